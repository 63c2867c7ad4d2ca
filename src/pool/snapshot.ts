/**
 * A pool as it travels to the process that takes over: what its servers and clients do not carry themselves.
 */

import type { PoolCounters } from "../stats/counters.ts";
import type { FrozenStatement } from "../server/prepared.ts";
import type { Pool } from "./pool.ts";

export interface PoolSnapshot {
  paused: boolean;
  /** ClientKey of the pool's user, for passthrough. A secret. */
  clientKey: Uint8Array | undefined;
  /** Values of the first server's parameters. */
  defaults: ReadonlyMap<string, string> | undefined;
  reported: string[];
  totals: PoolCounters;
  averages: PoolCounters;
  /** Servers that will come, those included that are still logging in or about to be canceled: part of `pool_size`. */
  servers: number;
  /** The prepared statements that its clients may refer to. */
  statements: FrozenStatement[];
}

/** A pool's own part of what moves; its servers follow. */
export function snapshotOf(pool: Pool): PoolSnapshot {
  return {
    paused: pool.paused,
    clientKey: pool.clientKey,
    defaults: pool.defaults?.values,
    reported: [...pool.reported],
    totals: { ...pool.counters.total },
    averages: { ...pool.counters.averages },
    servers: pool.size,
    statements: pool.statements.freezeAll(),
  };
}
