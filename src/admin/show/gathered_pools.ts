/**
 * The pools of all workers, one row each, in order. A pool that is spread over several workers comes as several rows:
 * counts add up, waits take the longest, and averages of time are weighted by what they are an average of.
 */

import type { PoolCounters, PoolRow } from "../../mail.ts";
import { addScaling } from "../../stats/counters.ts";
import type { AdminEnvironment } from "../environment.ts";
import { byPool } from "./show.ts";

/** All pools, ordered by database and user. */
export async function gatherPools(environment: AdminEnvironment): Promise<PoolRow[]> {
  const merged = new Map<string, PoolRow>();
  for (const row of await environment.pools()) {
    const key = `${row.database}\0${row.user}`;
    const known = merged.get(key);
    merged.set(key, known === undefined ? row : merge(known, row));
  }
  return [...merged.values()].sort(byPool);
}

function merge(a: PoolRow, b: PoolRow): PoolRow {
  return {
    ...a,
    paused: a.paused || b.paused,
    retired: a.retired && b.retired,
    cl_idle: a.cl_idle + b.cl_idle,
    cl_active: a.cl_active + b.cl_active,
    cl_waiting: a.cl_waiting + b.cl_waiting,
    cl_cancel_req: a.cl_cancel_req + b.cl_cancel_req,
    sv_active: a.sv_active + b.sv_active,
    sv_idle: a.sv_idle + b.sv_idle,
    sv_used: a.sv_used + b.sv_used,
    sv_login: a.sv_login + b.sv_login,
    sv_replication: a.sv_replication + b.sv_replication,
    maxwait_us: Math.max(a.maxwait_us, b.maxwait_us),
    oldest_active_age_ms: Math.max(a.oldest_active_age_ms, b.oldest_active_age_ms),
    total: add(a.total, b.total),
    scaling: {
      ...addScaling(a.scaling, b.scaling),
      inflight: a.scaling.inflight + b.scaling.inflight,
    },
    averages: {
      ...add(a.averages, b.averages),
      xact_time: weighted(
        [a.averages.xact_time, a.averages.xact_count],
        [b.averages.xact_time, b.averages.xact_count],
      ),
      query_time: weighted(
        [a.averages.query_time, a.averages.query_count],
        [b.averages.query_time, b.averages.query_count],
      ),
    },
  };
}

function add(a: PoolCounters, b: PoolCounters): PoolCounters {
  return {
    xact_count: a.xact_count + b.xact_count,
    query_count: a.query_count + b.query_count,
    received: a.received + b.received,
    sent: a.sent + b.sent,
    xact_time: a.xact_time + b.xact_time,
    query_time: a.query_time + b.query_time,
    wait_time: a.wait_time + b.wait_time,
    errors: a.errors + b.errors,
    pins: a.pins + b.pins,
    check_queries_run: a.check_queries_run + b.check_queries_run,
    check_queries_answered: a.check_queries_answered + b.check_queries_answered,
    query_timeouts: a.query_timeouts + b.query_timeouts,
    transaction_timeouts: a.transaction_timeouts + b.transaction_timeouts,
    idle_transaction_timeouts: a.idle_transaction_timeouts + b.idle_transaction_timeouts,
    client_idle_timeouts: a.client_idle_timeouts + b.client_idle_timeouts,
  };
}

/** The mean of two means; counts are per second and rounded down, so 0 may stand for a few. */
function weighted(a: [mean: number, count: number], b: [mean: number, count: number]): number {
  const count = a[1] + b[1];
  if (count === 0) return Math.max(a[0], b[0]);
  return Math.trunc((a[0] * a[1] + b[0] * b[1]) / count);
}
