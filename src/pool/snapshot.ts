/**
 * A pool as it travels to the process that takes over: what its servers and clients do not carry themselves.
 */

import { addScaling, type PoolCounters, type ScalingCounters } from "../stats/counters.ts";
import { parameterSet } from "../server/parameters.ts";
import type { ServerState } from "../server/state.ts";
import type { FrozenStatement } from "../server/statements/on_server.ts";
import type { LimitCounts } from "./share.ts";
import type { PoolSettings } from "../config/settings.ts";
import type { Counters } from "../stats/counters.ts";
import type { ParameterSet } from "../server/parameters.ts";
import type { Share } from "./share.ts";
import type { StatementCache } from "./statement_cache.ts";

/** What of a pool travels, beside its servers. */
export interface TravelingPool {
  readonly settings: PoolSettings;
  paused: boolean;
  disabled: boolean;
  clientKey: Uint8Array | undefined;
  defaults: ParameterSet | undefined;
  readonly reported: Set<string>;
  readonly counters: Counters;
  readonly size: number;
  readonly statements: StatementCache;
  readonly share: Share;
  readonly pacing: { readonly counters: ScalingCounters };
}

export interface PoolSnapshot {
  paused: boolean;
  disabled: boolean;
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
  /** What the coordinator has counted for it. */
  limits: LimitCounts;
  scaling: ScalingCounters;
}

/** A pool's own part of what moves; its servers follow. */
export function snapshotOf(pool: TravelingPool): PoolSnapshot {
  return {
    paused: pool.paused,
    disabled: pool.disabled,
    clientKey: pool.clientKey,
    defaults: pool.defaults?.values,
    reported: [...pool.reported],
    totals: { ...pool.counters.total },
    averages: { ...pool.counters.averages },
    servers: pool.size,
    statements: pool.statements.freezeAll(),
    limits: { ...pool.share.counts },
    scaling: { ...pool.pacing.counters },
  };
}

/** A server that logged in while its pool moved may be the first one: then it tells what a new client has. */
export function learnFrom(pool: TravelingPool, { uses, digest, parameters }: ServerState): void {
  if (pool.defaults !== undefined || uses > 0 || digest !== pool.settings.server_digest) return;
  pool.defaults = parameters;
  for (const name of parameters.values.keys()) pool.reported.add(name);
}

/** Gives a pool its own part of what has moved. */
export function thawInto(pool: TravelingPool, snapshot: PoolSnapshot): void {
  const { settings, statements } = pool;
  pool.paused ||= snapshot.paused;
  pool.disabled ||= snapshot.disabled;
  pool.clientKey ??= snapshot.clientKey;
  if (snapshot.defaults !== undefined) pool.defaults ??= parameterSet(snapshot.defaults);
  for (const name of snapshot.reported) pool.reported.add(name);
  statements.thawAll(snapshot.statements, settings.prepared_statements_cache_size);
  pool.counters.add(snapshot.totals, snapshot.averages);
  pool.share.addCounts(snapshot.limits);
  Object.assign(pool.pacing.counters, addScaling(pool.pacing.counters, snapshot.scaling));
}
