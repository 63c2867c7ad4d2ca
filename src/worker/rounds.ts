/**
 * What a worker does from time to time for all its pools: closes the period of their statistics, and server connections
 * that have been idle or alive too long, and forgets texts of statements that nobody has.
 */

import type { Session } from "../client/session.ts";
import type { GeneralSettings } from "../config/settings.ts";
import type { Log } from "../log/log.ts";
import type { Coordinator } from "../pool/coordinator.ts";
import type { Pool } from "../pool/pool.ts";
import type { Reactor } from "../reactor/reactor.ts";
import type { Timer } from "../reactor/timers.ts";
import { REASONS } from "../reasons.ts";
import { PERIOD_SECONDS } from "../stats/counters.ts";
import { timePercentiles, TOLD_SHARES } from "../stats/recent_times.ts";
import { Shared } from "../stats/shared.ts";
import type { AuthQueries } from "./auth_queries.ts";
import { type Directory, POOLS_AT_ONCE } from "./directory.ts";
import type { StatementTexts } from "./statement_texts.ts";

/** What comes round needs of its worker. */
export interface RoundsPlace {
  readonly reactor: Pick<Reactor, "now" | "at">;
  readonly log: Log;
  readonly shared: Int32Array;
  readonly general: Pick<
    GeneralSettings,
    | "retain_connections_time"
    | "retain_connections_max"
    | "query_interner_gc_interval_seconds"
    | "query_interner_anon_idle_ttl_seconds"
  >;
  readonly directory: Pick<Directory, "all">;
  readonly sessions: ReadonlyMap<number, Session>;
  readonly texts: Pick<StatementTexts, "sweep">;
  readonly coordinator: Pick<Coordinator, "retain">;
  readonly authQueries: Pick<AuthQueries, "executors" | "collect">;
}

export class Rounds {
  readonly #place: RoundsPlace;
  #retainTimer: Timer | undefined;

  constructor(place: RoundsPlace) {
    this.#place = place;
  }

  start(): void {
    this.#closePeriodLater();
    this.retainLater();
    this.#sweepLater();
  }

  /** From now on by the period that is set now. */
  retainLater(): void {
    const place = this.#place;
    this.#retainTimer?.cancel();
    this.#retainTimer = this.#in(place.general.retain_connections_time, () => {
      place.coordinator.retain();
      const { retain_connections_max: most, retain_connections_time: periodMs } = place.general;
      const mayClose = () => takeClosing(place.shared, most, { periodMs, clockMs: Date.now() });
      const { directory, authQueries } = place;
      const pools = [...directory.all(), ...authQueries.executors()];
      retain(pools, mayClose, place.reactor.now);
      authQueries.collect();
      this.retainLater();
    });
  }

  #closePeriodLater(): void {
    this.#in(PERIOD_SECONDS * 1000, () => {
      this.#closePeriod([...this.#place.directory.all()]);
      this.#closePeriodLater();
    });
  }

  /** Some now, the others behind what clients want meanwhile. */
  #closePeriod(pools: Pool[]): void {
    closePeriod(pools.splice(0, POOLS_AT_ONCE), this.#place.log);
    if (pools.length > 0) this.#in(0, () => this.#closePeriod(pools));
  }

  #sweepLater(): void {
    const place = this.#place;
    this.#in(place.general.query_interner_gc_interval_seconds * 1000 / 4, () => {
      const ttlMs = place.general.query_interner_anon_idle_ttl_seconds * 1000;
      const gone = place.texts.sweep(place.sessions.values(), ttlMs, place.reactor.now);
      Atomics.add(place.shared, Shared.NamedEvictions, gone.named);
      Atomics.add(place.shared, Shared.AnonymousEvictions, gone.anonymous);
      this.#sweepLater();
    });
  }

  #in(ms: number, action: () => void): Timer {
    const { reactor } = this.#place;
    return reactor.at(reactor.now + ms, action);
  }
}

/** Averages of the period that ends now, and a line for each pool with clients. */
export function closePeriod(pools: Iterable<Pool>, log: Log): void {
  for (const pool of pools) {
    const { buffer } = pool.counters.times;
    const wanted = pool.clients > 0 && log.enabled("info", "pg_doorman::stats");
    const times = wanted ? timesLine(buffer === undefined ? [] : [buffer]) : "";
    pool.counters.closePeriod();
    if (!wanted) continue;
    const { averages } = pool.counters;
    log.requested(
      "pg_doorman::stats",
      `[${pool.name}] qps=${averages.query_count} tps=${averages.xact_count} | ` +
        `clients=${pool.clients} wait=${pool.waiting} | servers=${pool.size} idle=${pool.idle} | ` +
        `${times} | ` +
        `avg_wait=${(averages.wait_time / 1000).toFixed(3)}ms`,
    );
  }
}

/** Percentiles in milliseconds, as upstream writes them. */
function timesLine(buffers: SharedArrayBuffer[]): string {
  return (["query", "xact", "wait"] as const).map((kind) => {
    const [p50, p90, p95, p99] = timePercentiles(buffers, kind, TOLD_SHARES)
      .map((us) => (us / 1000).toFixed(2));
    return `${kind}_ms p50=${p50} p90=${p90} p95=${p95} p99=${p99}`;
  }).join(" | ");
}

/** Bits of `Shared.Retained` that count; the others tell the period. */
const COUNT_BITS = 16;
const MOST_COUNTED = 2 ** COUNT_BITS - 1;

/**
 * Takes one of the `most` closings (0: no limit) that all workers have together in a period. `clockMs` is the time of
 * day: the workers' own clocks differ.
 */
export function takeClosing(
  shared: Int32Array,
  most: number,
  { periodMs, clockMs }: { periodMs: number; clockMs: number },
): boolean {
  if (most === 0 || most > MOST_COUNTED) return true;
  const period = Math.floor(clockMs / periodMs) & 0x7fff;
  for (;;) {
    const word = Atomics.load(shared, Shared.Retained);
    const closed = word >>> COUNT_BITS === period ? word & MOST_COUNTED : 0;
    if (closed >= most) return false;
    const next = period << COUNT_BITS | closed + 1;
    if (Atomics.compareExchange(shared, Shared.Retained, word, next) === word) return true;
  }
}

/** Closes servers that are past their time, as long as `mayClose`, and keeps `min_pool_size` up. */
export function retain(pools: Iterable<Pool>, mayClose: () => boolean, now: number): void {
  // Another order each time, so that no pool has the quota to itself.
  for (const pool of [...pools].sort(() => Math.random() - 0.5)) {
    for (const server of pool.expired()) {
      if (!mayClose()) break;
      const { lifetimeMs, createdAtMs } = server.state;
      const old = lifetimeMs > 0 && now - createdAtMs > lifetimeMs;
      server.close(old ? REASONS.serverLifetime : REASONS.serverIdle, "");
    }
    pool.warm();
  }
}
