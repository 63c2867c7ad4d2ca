/**
 * When a pool opens server connections: for those who wait, to have `min_pool_size` of them, and (replacement.ts) before
 * an old one ends.
 *
 * Below `scaling_warm_pool_ratio` a connection is opened at once. From there on a waiter first gets its chance to be
 * handed a server that comes back: until it has waited about twice as long as transactions take, none is opened for it.
 * So a burst of short transactions on a warm pool is served by the servers that there are. It does not wait for nothing:
 * when no server is at work (their clients think), a connection is opened at once, and while PostgreSQL is fast nobody
 * waits for longer than the last connection took to be opened. When a burst makes it slow, that time grows by itself.
 *
 * The gate of `scaling_max_parallel_creates` and `max_concurrent_creates` holds for all that is opened. Nothing here
 * prolongs a wait past `query_wait_timeout`: whoever can't be patient gets no such chance.
 */

import type { PoolSettings } from "../../config/settings.ts";
import type { Reactor } from "../../reactor/reactor.ts";
import type { Timer } from "../../reactor/timers.ts";
import type { LoginFailure } from "../../server/login.ts";
import { noScaling, type ScalingCounters } from "../../stats/counters.ts";
import type { Share } from "../share.ts";
import { hasPlace, isShort, isWarm, type SizedPool } from "../capacity.ts";
import type { Creation } from "./creation.ts";
import type { Patience } from "../wait_timeout.ts";
import { type AgingServer, isOld, Replacement } from "./replacement.ts";
import type { Waiter, Waiting } from "../waiting.ts";

/** Bounds of the wait for a server to come back. */
const LEAST_WAIT_MS = 5;
const MOST_WAIT_MS = 500;
/** The least time at the gate that counts as too long. */
const LEAST_GATE_MS = 20;
/** Without statistics: for each of `scaling_fast_retries`. */
const RETRY_MS = 10;
/** What a waiter has left of `query_wait_timeout` when its chance is over. */
const RESERVE_MS = 500;
/** So long the same wait holds for all, before the statistics are looked at again. */
const SAME_MS = 500;

/** What is needed of a pool. */
export interface PacedPool extends SizedPool {
  readonly settings: PoolSettings;
  readonly counters: { readonly meanXactMs: number | undefined };
  readonly paused: boolean;
  readonly moved: boolean;
  readonly retired: boolean;
  readonly idle: number;
  readonly waiting: number;
  /** Idle servers that are checked for those who wait. */
  readonly checking: number;
  readonly clientKey: Uint8Array | undefined;
  servers(): Iterable<{ readonly owed: { readonly length: number } }>;
  /** Opens one connection. */
  connect(ended?: (failure: LoginFailure | undefined) => void): void;
  readonly share: Share;
}

/** The parts of the pool that pacing works with. */
export interface PacedParts {
  readonly waiting: Waiting;
  readonly creation: Creation;
  readonly patience: Patience;
  readonly reactor: Reactor;
}

export class Pacing {
  readonly counters: ScalingCounters = noScaling();
  readonly #pool: PacedPool;
  readonly #replacement: Replacement;
  readonly #waiting: Waiting;
  readonly #creation: Creation;
  readonly #patience: Patience;
  readonly #reactor: Reactor;
  #timer: Timer | undefined;
  /** How long a server is waited for, and since when that holds. */
  #waitMs = 0;
  #chosenMs = -Infinity;

  constructor(pool: PacedPool, parts: PacedParts) {
    this.#pool = pool;
    this.#waiting = parts.waiting;
    this.#creation = parts.creation;
    this.#patience = parts.patience;
    this.#reactor = parts.reactor;
    this.#replacement = new Replacement(pool, this, this.counters);
  }

  /** Opens as many connections as are wanted and allowed. */
  grow(): void {
    const creation = this.#creation;
    for (;;) {
      const coming = creation.connecting + this.#pool.checking;
      if (this.#waiting.length <= coming || !this.hasRoom || this.gateFull) return;
      if (!this.#due(coming)) return;
      if (!this.#pool.share.take()) {
        this.#patience.watch();
        return;
      }
      this.connect();
    }
  }

  /** Opens connections up to `min_pool_size`, as far as that is possible now. */
  warm(): void {
    const pool = this.#pool;
    if (pool.retired) return;
    // Without its user's key no connection can log in.
    const { kind } = pool.settings.credentials;
    if (kind === "scram_passthrough" && pool.clientKey === undefined) return;
    while (isShort(pool) && this.hasRoom) {
      if (this.gateFull) {
        this.counters.replenish_def++;
        return;
      }
      if (!pool.share.takeAhead()) return;
      this.connect();
    }
  }

  connect(ended?: (failure: LoginFailure | undefined) => void): void {
    this.counters.creates++;
    this.#pool.connect(ended);
  }

  get connecting(): number {
    return this.#creation.connecting;
  }

  /** A server that was used before was lent. */
  lent(server: AgingServer): void {
    if (isOld(server, this.#reactor.now)) this.#replacement.consider(server);
  }

  /** A client has come into the queue. */
  queued(): void {
    if (this.hasRoom && this.gateFull) this.counters.gate_waits++;
  }

  /** A server that came back was handed to a client that waited. */
  handedOn(): void {
    if (isWarm(this.#pool)) this.counters.antic_notify++;
  }

  /** Whether a connection may be opened at all. */
  get hasRoom(): boolean {
    const { paused, moved } = this.#pool;
    return !paused && !moved && hasPlace(this.#pool) && !this.#creation.resting;
  }

  get gateFull(): boolean {
    const { scaling_max_parallel_creates, max_concurrent_creates } = this.#pool.settings;
    return this.#creation.connecting >=
      Math.min(scaling_max_parallel_creates, max_concurrent_creates);
  }

  /** Whether the waiter with so many others before it is past its chance; if not, this asks again when it is. */
  #due(before: number): boolean {
    if (!isWarm(this.#pool)) return true;
    const waiter = this.#waiter(before)!;
    const { now } = this.#reactor;
    if (now - this.#chosenMs > SAME_MS) {
      this.#waitMs = this.#chance();
      this.#chosenMs = now;
    }
    const waited = now - waiter.waitSinceMs;
    const most = this.#most;
    if (waited >= most || !this.#atWork) {
      this.#fallBack(waited, most);
      return true;
    }
    this.#timer ??= this.#reactor.at(waiter.waitSinceMs + most, () => {
      this.#timer = undefined;
      this.grow();
    });
    return false;
  }

  /** Whoever waits as long as the other way takes has lost nothing by it. Pools that share a limit spare it first. */
  get #most(): number {
    const shared = this.#pool.settings.max_db_connections > 0;
    return shared ? this.#waitMs : Math.min(this.#waitMs, this.#creation.openMs);
  }

  /** Whether a server runs something: one whose client thinks will not come back soon. */
  get #atWork(): boolean {
    for (const { owed } of this.#pool.servers()) if (owed.length > 0) return true;
    return false;
  }

  #fallBack(waited: number, most: number): void {
    const { counters } = this;
    counters.create_fallback++;
    if (waited < most || most === 0) return;
    counters.antic_timeout++;
    const budget = Math.min(MOST_WAIT_MS, Math.max(LEAST_GATE_MS, this.#base));
    if (waited > most + budget) counters.gate_budget_ex++;
  }

  /** Twice the time that transactions take now; before there were any, by the configuration. */
  get #base(): number {
    const { counters, settings } = this.#pool;
    const mean = counters.meanXactMs;
    return mean === undefined ? settings.scaling_fast_retries * RETRY_MS : 2 * mean;
  }

  /** How long a waiter waits for a server to come back before a connection is opened for it. */
  #chance(): number {
    const { scaling_fast_retries, query_wait_timeout } = this.#pool.settings;
    if (scaling_fast_retries === 0 || query_wait_timeout === 0) return 0;
    // Pools that wait for the same PostgreSQL should not all go on at the same moment.
    const base = this.#base;
    const wait = base + Math.max(1, base / 5) * (2 * Math.random() - 1);
    const bounded = Math.min(MOST_WAIT_MS, Math.max(LEAST_WAIT_MS, wait));
    return Math.max(0, Math.min(bounded, query_wait_timeout - RESERVE_MS));
  }

  #waiter(n: number): Waiter | undefined {
    let waiter = this.#waiting.first();
    while (n-- > 0) waiter = waiter?.waitNext;
    return waiter;
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
