/**
 * The pools of all workers, one row each, in order. A pool that is spread over several workers comes as several rows:
 * counts add up, waits take the longest, and averages of time are weighted by what they are an average of.
 */

import type { PoolCounters, PoolRow } from "../../mail.ts";
import { addScaling, addSums } from "../../stats/counters.ts";
import type { AdminEnvironment } from "../environment.ts";
import { byPool } from "./show.ts";

/** All pools, ordered by database and user. */
export async function gatherPools(
  environment: Pick<AdminEnvironment, "pools">,
): Promise<PoolRow[]> {
  const merged = new Map<string, PoolRow>();
  for (const row of await environment.pools()) {
    const key = `${row.database}\0${row.user}`;
    const known = merged.get(key);
    merged.set(key, known === undefined ? row : mergePools(known, row));
  }
  return [...merged.values()].sort(byPool);
}

/**
 * The databases, each with the sums of its pools; `user` is empty where there are several. A size is the largest: it is
 * that of one pool.
 */
export async function gatherDatabases(environment: AdminEnvironment): Promise<PoolRow[]> {
  const merged = new Map<string, PoolRow>();
  for (const row of await gatherPools(environment)) {
    const known = merged.get(row.database);
    merged.set(
      row.database,
      known === undefined ? row : {
        ...mergePools(known, row),
        user: "",
        pool_size: Math.max(known.pool_size, row.pool_size),
        min_pool_size: Math.max(known.min_pool_size, row.min_pool_size),
        paused: known.paused && row.paused,
        disabled: known.disabled && row.disabled,
      },
    );
  }
  return [...merged.values()];
}

/** Two rows as one; it is called as the first one is. */
export function mergePools(a: PoolRow, b: PoolRow): PoolRow {
  return {
    ...a,
    paused: a.paused || b.paused,
    disabled: a.disabled || b.disabled,
    clients: a.clients + b.clients,
    users: a.users?.map((user) => ({
      ...user,
      clients: user.clients + (b.users?.find((one) => one.user === user.user)?.clients ?? 0),
    })),
    retired: a.retired && b.retired,
    cl_idle: a.cl_idle + b.cl_idle,
    cl_active: a.cl_active + b.cl_active,
    cl_waiting: a.cl_waiting + b.cl_waiting,
    cl_active_cancel_req: a.cl_active_cancel_req + b.cl_active_cancel_req,
    sv_active: a.sv_active + b.sv_active,
    sv_idle: a.sv_idle + b.sv_idle,
    sv_used: a.sv_used + b.sv_used,
    sv_login: a.sv_login + b.sv_login,
    sv_active_cancel: a.sv_active_cancel + b.sv_active_cancel,
    sv_being_canceled: a.sv_being_canceled + b.sv_being_canceled,
    sv_tested: a.sv_tested + b.sv_tested,
    sv_close_needed: a.sv_close_needed + b.sv_close_needed,
    sv_encrypted: a.sv_encrypted + b.sv_encrypted,
    sv_replication: a.sv_replication + b.sv_replication,
    maxwait_us: Math.max(a.maxwait_us, b.maxwait_us),
    oldest_active_age_ms: Math.max(a.oldest_active_age_ms, b.oldest_active_age_ms),
    prepared: {
      hits: a.prepared.hits + b.prepared.hits,
      misses: a.prepared.misses + b.prepared.misses,
    },
    total: addSums(a.total, b.total),
    scaling: {
      ...addScaling(a.scaling, b.scaling),
      inflight: a.scaling.inflight + b.scaling.inflight,
    },
    times: [...a.times, ...b.times],
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
  const sum = { ...a };
  for (const key of Object.keys(sum) as (keyof PoolCounters)[]) sum[key] += b[key];
  return sum;
}

/** The mean of two means; counts are per second and rounded down, so 0 may stand for a few. */
function weighted(a: [mean: number, count: number], b: [mean: number, count: number]): number {
  const count = a[1] + b[1];
  if (count === 0) return Math.max(a[0], b[0]);
  return Math.trunc((a[0] * a[1] + b[0] * b[1]) / count);
}
