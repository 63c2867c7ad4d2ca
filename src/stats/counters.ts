/**
 * Counters of one pool: sums since its start, sums of the running period, and the closed period's averages. Sums only
 * grow, and go along when the pool goes to another process: whoever draws them sees no step back. Times are
 * microseconds.
 */

import type { DurationCounts } from "./durations.ts";
import type { ErrorCounts } from "./error_classes.ts";
import { RecentTimes } from "./recent_times.ts";

/** Sums of one pool. Times in microseconds. */
export interface PoolCounters {
  xact_count: number;
  query_count: number;
  /** Bytes read from PostgreSQL. */
  received: number;
  /** Bytes written to PostgreSQL. */
  sent: number;
  xact_time: number;
  query_time: number;
  wait_time: number;
  errors: number;
  /** Times that a client began to keep its server between transactions. */
  pins: number;
  /** Times that `pooler_check_query` was sent to PostgreSQL, and answered without it. */
  check_queries_run: number;
  check_queries_answered: number;
  /** Times that a limit for clients ended a query or a session. */
  query_timeouts: number;
  transaction_timeouts: number;
  idle_transaction_timeouts: number;
  client_idle_timeouts: number;
  /** Times that a client was given a server. */
  server_assignments: number;
  /** Parse messages of clients, those that PostgreSQL has carried out, and Bind messages of clients. */
  client_parses: number;
  server_parses: number;
  binds: number;
  /** TLS handshakes with PostgreSQL that went through, how long they took together, and those that did not. */
  server_tls_handshakes: number;
  server_tls_handshake_time: number;
  server_tls_handshake_errors: number;
}

/** What is summed of one pool beside the columns of SHOW STATS: for metrics. */
export interface PoolSums extends PoolCounters, DurationCounts, ErrorCounts {
  /** Statements that clients asked for and their servers had, and had not: of servers that are closed. */
  prepared_hits: number;
  prepared_misses: number;
}

/** How servers came to those who waited for one, since the pool is there; SHOW POOL_SCALING. */
export interface ScalingCounters {
  /** Connections that were begun: for clients, to warm the pool, to replace old ones. */
  creates: number;
  /** Clients that found as many connections being opened as may be at the same time. */
  gate_waits: number;
  /** Connections that were opened late, since too many others were being opened. */
  gate_budget_ex: number;
  /** Clients of a warm pool that were handed a server that came back. */
  antic_notify: number;
  /** Waits for a server to come back in which none did. */
  antic_timeout: number;
  /** Connections that were begun on a warm pool since none came back. */
  create_fallback: number;
  /** Times that the pool was to be warmed and too many others were being opened. */
  replenish_def: number;
  /** Connections that were begun to take the place of a server near the end of its life. */
  replace_begun: number;
  /** Those of them that were there before that server was closed, and those whose login failed. */
  replace_in_time: number;
  replace_failed: number;
  /** Checkouts of such a server at which none was begun: it was of no use, or there was no room. */
  replace_skipped: number;
}

/** All at zero. */
export function noScaling(): ScalingCounters {
  return {
    creates: 0,
    gate_waits: 0,
    gate_budget_ex: 0,
    antic_notify: 0,
    antic_timeout: 0,
    create_fallback: 0,
    replenish_def: 0,
    replace_begun: 0,
    replace_in_time: 0,
    replace_failed: 0,
    replace_skipped: 0,
  };
}

/** The sums of two. */
export function addScaling(a: ScalingCounters, b: ScalingCounters): ScalingCounters {
  const sum = { ...a };
  for (const key of Object.keys(sum) as (keyof ScalingCounters)[]) sum[key] += b[key];
  return sum;
}

/** Length of the averaging period in seconds; fixed, as monitoring built for upstream expects. */
export const PERIOD_SECONDS = 15;

/** All at zero. */
export function noCounts(): PoolCounters {
  return {
    xact_count: 0,
    query_count: 0,
    received: 0,
    sent: 0,
    xact_time: 0,
    query_time: 0,
    wait_time: 0,
    errors: 0,
    pins: 0,
    check_queries_run: 0,
    check_queries_answered: 0,
    query_timeouts: 0,
    transaction_timeouts: 0,
    idle_transaction_timeouts: 0,
    client_idle_timeouts: 0,
    server_assignments: 0,
    client_parses: 0,
    server_parses: 0,
    binds: 0,
    server_tls_handshakes: 0,
    server_tls_handshake_time: 0,
    server_tls_handshake_errors: 0,
  };
}

/** All sums at zero. */
export function noSums(): PoolSums {
  return {
    ...noCounts(),
    query_0: 0,
    query_1: 0,
    query_2: 0,
    query_3: 0,
    query_4: 0,
    query_5: 0,
    xact_0: 0,
    xact_1: 0,
    xact_2: 0,
    xact_3: 0,
    xact_4: 0,
    xact_5: 0,
    wait_0: 0,
    wait_1: 0,
    wait_2: 0,
    wait_3: 0,
    wait_4: 0,
    wait_5: 0,
    handshake_0: 0,
    handshake_1: 0,
    handshake_2: 0,
    handshake_3: 0,
    handshake_4: 0,
    handshake_5: 0,
    handshake_6: 0,
    handshake_7: 0,
    handshake_8: 0,
    handshake_9: 0,
    handshake_10: 0,
    errors_25P02: 0,
    errors_26000: 0,
    errors_08: 0,
    errors_53: 0,
    errors_57: 0,
    errors_other: 0,
    prepared_hits: 0,
    prepared_misses: 0,
  };
}

/** The sums of two. */
export function addSums(a: PoolSums, b: PoolSums): PoolSums {
  const sum = { ...a };
  for (const key of Object.keys(sum) as (keyof PoolSums)[]) sum[key] += b[key];
  return sum;
}

export class Counters {
  /** How long queries, transactions and waits take. */
  readonly times: RecentTimes = new RecentTimes();
  readonly total: PoolSums = noSums();
  averages: PoolCounters = noCounts();
  #atPeriodStart: PoolCounters = noCounts();

  /** How long a transaction takes: in the period that runs, or in the one before; `undefined` when there was none. */
  get meanXactMs(): number | undefined {
    const xacts = this.total.xact_count - this.#atPeriodStart.xact_count;
    if (xacts > 0) return (this.total.xact_time - this.#atPeriodStart.xact_time) / xacts / 1000;
    return this.averages.xact_time > 0 ? this.averages.xact_time / 1000 : undefined;
  }

  /** What a server has counted for itself goes to the sums with its end. */
  serverClosed(
    { prepareHits, prepareMisses }: { prepareHits: number; prepareMisses: number },
  ): void {
    this.total.prepared_hits += prepareHits;
    this.total.prepared_misses += prepareMisses;
  }

  /** Takes over what another process has counted. */
  add(total: PoolCounters, averages: PoolCounters): void {
    for (const key of Object.keys(total) as (keyof PoolCounters)[]) {
      if (!(key in this.total)) continue;
      this.total[key] += total[key];
      this.#atPeriodStart[key] += total[key];
    }
    this.averages = { ...averages };
  }

  /** Closes the period: averages are per second, times per event. Integer divisions, truncating. */
  closePeriod(): void {
    const total = this.total;
    const start = this.#atPeriodStart;
    const xacts = total.xact_count - start.xact_count;
    const queries = total.query_count - start.query_count;
    const perSecond = (sum: number) => Math.trunc(sum / PERIOD_SECONDS);
    const each = (sum: number, count: number) => count === 0 ? 0 : Math.trunc(sum / count);
    this.averages = {
      xact_count: perSecond(xacts),
      query_count: perSecond(queries),
      received: perSecond(total.received - start.received),
      sent: perSecond(total.sent - start.sent),
      xact_time: each(total.xact_time - start.xact_time, xacts),
      query_time: each(total.query_time - start.query_time, queries),
      wait_time: each(total.wait_time - start.wait_time, xacts),
      errors: perSecond(total.errors - start.errors),
      pins: perSecond(total.pins - start.pins),
      check_queries_run: perSecond(total.check_queries_run - start.check_queries_run),
      check_queries_answered: perSecond(
        total.check_queries_answered - start.check_queries_answered,
      ),
      query_timeouts: perSecond(total.query_timeouts - start.query_timeouts),
      transaction_timeouts: perSecond(total.transaction_timeouts - start.transaction_timeouts),
      idle_transaction_timeouts: perSecond(
        total.idle_transaction_timeouts - start.idle_transaction_timeouts,
      ),
      client_idle_timeouts: perSecond(total.client_idle_timeouts - start.client_idle_timeouts),
      server_assignments: perSecond(total.server_assignments - start.server_assignments),
      client_parses: perSecond(total.client_parses - start.client_parses),
      server_parses: perSecond(total.server_parses - start.server_parses),
      binds: perSecond(total.binds - start.binds),
      server_tls_handshakes: perSecond(total.server_tls_handshakes - start.server_tls_handshakes),
      server_tls_handshake_time: each(
        total.server_tls_handshake_time - start.server_tls_handshake_time,
        total.server_tls_handshakes - start.server_tls_handshakes,
      ),
      server_tls_handshake_errors: perSecond(
        total.server_tls_handshake_errors - start.server_tls_handshake_errors,
      ),
    };
    this.#atPeriodStart = { ...total };
    this.times.closePeriod();
  }
}
