/**
 * How long those who wait for a server do so: one timer for the head of the queue, since all have the same patience and
 * the queue's order is that of their deadlines.
 */

import type { Reactor } from "../reactor/reactor.ts";
import type { Timer } from "../reactor/timers.ts";
import type { Log } from "../log/log.ts";
import { oneLine } from "../log/one_line.ts";
import { REASONS } from "../reasons.ts";
import { countError, type ErrorCounts } from "../stats/error_classes.ts";
import type { LoginFailure } from "../server/login.ts";
import type { PoolSettings } from "../config/settings.ts";
import type { Share } from "./share.ts";
import type { Waiter, Waiting } from "./waiting.ts";

/** What is needed of a pool. */
export interface PatientPool {
  readonly settings: PoolSettings;
  readonly name: string;
  readonly counters: { readonly total: ErrorCounts & { errors: number } };
  readonly size: number;
  readonly idle: number;
  /** Idle servers that are checked for those who wait. */
  readonly checking: number;
  readonly expected: number;
  readonly paused: boolean;
  readonly share: Share;
}

/** The parts of the pool that it looks at. */
export interface PatientParts {
  readonly waiting: Waiting;
  readonly creation: {
    readonly connecting: number;
    /** Of these, those whose server's name is being resolved. */
    readonly resolving: number;
    readonly fetching: number;
    readonly lastFailure: LoginFailure | undefined;
  };
}

export class Patience {
  readonly #pool: PatientPool;
  readonly #waiting: Waiting;
  readonly #creation: PatientParts["creation"];
  readonly #reactor: Reactor;
  readonly #log: Log;
  #timer: Timer | undefined;

  constructor(
    pool: PatientPool,
    { waiting, creation }: PatientParts,
    environment: { reactor: Reactor; log: Log },
  ) {
    this.#pool = pool;
    this.#waiting = waiting;
    this.#creation = creation;
    this.#reactor = environment.reactor;
    this.#log = environment.log;
  }

  /** Somebody waits, or waits for something else: sees to it that it does not do so for ever. */
  watch(): void {
    const first = this.#waiting.first();
    if (first === undefined) return;
    const failure = this.#creation.lastFailure;
    if (failure !== undefined && !failure.transient && this.#pool.size === 0) {
      // The refusal is younger than its retry time. Told when this turn ends: the waiter is still at its checkout.
      this.#reactor.atEndOfTurn(() => this.refuseAll(failure));
      return;
    }
    const at = this.#deadline(first);
    // One that fires too early is no harm; a new one at each checkout would be.
    if (this.#timer !== undefined && this.#timer.at <= at) return;
    this.#timer?.cancel();
    this.#timer = this.#reactor.at(at, () => {
      this.#timer = undefined;
      this.#failOverdue();
      this.watch();
    });
  }

  /** The pool is retired: nobody waits any more. */
  end(): void {
    this.stop();
    for (const waiter of this.#waiting.takeAll()) {
      waiter.checkOutFailed(REASONS.poolRetired, "", "");
    }
  }

  /** Nobody can be served: PostgreSQL has said why. */
  refuseAll(failure: LoginFailure): void {
    for (const waiter of this.#waiting.takeAll()) {
      countError(this.#pool.counters.total, failure.code);
      waiter.checkOutFailed(REASONS.loginFailed, failure.message, "", failure);
    }
  }

  /** The settings or the queue have changed: count anew. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** Zero in the configuration: only for a connection under way. */
  #milliseconds(): number {
    const { query_wait_timeout, connect_timeout } = this.#pool.settings;
    if (query_wait_timeout > 0) return query_wait_timeout;
    const { checking, expected } = this.#pool;
    const coming = this.#creation.connecting > 0 || checking > 0 || expected > 0;
    return coming && !this.#pool.paused ? connect_timeout : 0;
  }

  #deadline({ waitSinceMs }: Waiter): number {
    const { share, settings } = this.#pool;
    const deadline = waitSinceMs + this.#milliseconds();
    if (!share.hopeless) return deadline;
    const hopelessSince = Math.max(waitSinceMs, share.refusedAtMs);
    return Math.min(deadline, hopelessSince + settings.reserve_pool_timeout);
  }

  #failOverdue(): void {
    const pool = this.#pool;
    const { connecting } = this.#creation;
    const { now } = this.#reactor;
    for (;;) {
      const first = this.#waiting.first();
      if (first === undefined || this.#deadline(first) > now) return;
      const patience = Math.round(this.#deadline(first) - first.waitSinceMs);
      this.#waiting.remove(first);
      countError(pool.counters.total, REASONS.waitTimeout.code);
      const exhausted = pool.paused ? undefined : pool.share.exhausted();
      const why = exhausted?.log ?? this.#why();
      this.#log.warn(
        "pg_doorman::pool",
        `[${pool.name}] checkout timeout after ${patience}ms: ${why}, size=${pool.size}/` +
          `${pool.settings.pool_size} idle=${pool.idle} waiting=${this.#waiting.length} ` +
          `connecting=${connecting}`,
      );
      if (exhausted !== undefined) {
        first.checkOutFailed(REASONS.connectionLimit, exhausted.first, exhausted.second);
        continue;
      }
      const failure = pool.size === connecting ? this.#creation.lastFailure : undefined;
      if (failure !== undefined) reject(first, failure, patience);
      else first.checkOutFailed(REASONS.waitTimeout, String(patience), why);
    }
  }

  /** What it was that did not come. */
  #why(): string {
    const { paused, expected, checking, size, settings } = this.#pool;
    const { connecting, resolving, fetching, lastFailure } = this.#creation;
    if (paused) return "the pool is paused";
    if (expected > 0) return "the server connections are still in another process";
    if (lastFailure !== undefined) return oneLine(lastFailure.message);
    if (checking > 0) return "an idle server connection is being checked";
    const opening = connecting > 0 ? `, ${connecting} being opened` : "";
    const there = size - connecting;
    if (there > 0) return `timeout, all ${there} server connections are in use${opening}`;
    if (connecting === 0) return "no server connection has been opened";
    if (fetching === connecting) return "the password for PostgreSQL is being fetched";
    return resolving === connecting
      ? `the name "${settings.server_host}" is being resolved`
      : `a server connection to ${settings.server_host}:${settings.server_port} is being opened`;
  }
}

function reject(waiter: Waiter, failure: LoginFailure, patience: number): void {
  const message = `${failure.message} (query_wait_timeout of ${patience} ms is over)`;
  waiter.checkOutFailed(REASONS.loginFailed, message, "", { ...failure, message });
}
