/**
 * Another server before an old one ends: a checkout that meets a server near the end of its life has a connection opened
 * beside it, so that no client waits for a login when it is closed. Only in a pool that is in use, has room and has no
 * better use for the connection; `pool_size` holds all the time.
 */

import { ServerStage } from "../../server/state.ts";
import type { ScalingCounters } from "../../stats/counters.ts";

/** Shorter lives than this are left to end by themselves. */
const LEAST_LIFETIME_MS = 60_000;
/** The part of its life that a server must have behind it. */
const OLD = 0.95;
/** With this share of idle servers, in percent, the pool can do without it. */
const ENOUGH_IDLE = 25;
const MOST_AT_ONCE = 3;

/** A server, as far as its life is concerned. */
export interface AgingServer {
  readonly state: {
    readonly createdAtMs: number;
    readonly lifetimeMs: number;
    readonly stage: number;
  };
}

/** What is needed of a pool. */
export interface ReplacingPool {
  readonly paused: boolean;
  readonly size: number;
  readonly idle: number;
  readonly waiting: number;
  readonly share: { takeAhead(free?: number): boolean };
}

/** How a connection would be opened. */
export interface Opening {
  readonly hasRoom: boolean;
  readonly gateFull: boolean;
  readonly connecting: number;
  /** `ended` is called when its login is over, with what it failed by, if so. */
  connect(ended: (failure: object | undefined) => void): void;
}

/** Whether a server is so old that another one is due. */
export function isOld({ state }: AgingServer, now: number): boolean {
  const age = now - state.createdAtMs;
  return age >= state.lifetimeMs * OLD && state.lifetimeMs >= LEAST_LIFETIME_MS &&
    age < state.lifetimeMs;
}

export class Replacement {
  readonly #pool: ReplacingPool;
  readonly #opening: Opening;
  readonly #counters: ScalingCounters;
  /** Each is replaced once, unless that fails. */
  readonly #done = new WeakSet<AgingServer>();

  constructor(pool: ReplacingPool, opening: Opening, counters: ScalingCounters) {
    this.#pool = pool;
    this.#opening = opening;
    this.#counters = counters;
  }

  /** An old server was lent: opens another beside it, if that is of use. */
  consider(server: AgingServer): void {
    if (this.#done.has(server)) return;
    if (!this.#useful()) {
      this.#counters.replace_skipped++;
      return;
    }
    this.#done.add(server);
    this.#counters.replace_begun++;
    this.#opening.connect((failure) => {
      if (failure !== undefined) {
        this.#counters.replace_failed++;
        this.#done.delete(server);
      } else if (server.state.stage !== ServerStage.Closed) this.#counters.replace_in_time++;
    });
  }

  #useful(): boolean {
    const { paused, size, idle, waiting, share } = this.#pool;
    const { hasRoom, gateFull, connecting } = this.#opening;
    return !paused && waiting === 0 && hasRoom && !gateFull && connecting < MOST_AT_ONCE &&
      idle * 100 < size * ENOUGH_IDLE && share.takeAhead(2);
  }
}
