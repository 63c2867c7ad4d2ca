/** SHOW POOLS: clients and servers of each pool by state. SHOW POOLS_EXTENDED: and how long things take. */

import { int4, numeric, text } from "../rows.ts";
import { gatherPools } from "./gathered_pools.ts";
import type { Show } from "./show.ts";
import { timePercentiles } from "../../stats/recent_times.ts";

const SECOND_US = 1_000_000;

/**
 * `maxwait` is the wait of the client that waits longest now, as PgBouncer has it. From `retired` on columns are not in
 * upstream: a pool that a reload took out of the configuration and that lives on for its clients; and those of PgBouncer
 * since 1.18. No client waits to cancel: its request is sent at once.
 */
export const showPools: Show = {
  name: "pools",
  columns: [
    text("database"),
    text("user"),
    text("pool_mode"),
    numeric("cl_idle"),
    int4("cl_active"),
    int4("cl_waiting"),
    int4("cl_cancel_req"),
    int4("sv_active"),
    int4("sv_idle"),
    int4("sv_used"),
    int4("sv_login"),
    numeric("pool_size"),
    int4("maxwait"),
    int4("maxwait_us"),
    numeric("avg_xact_time"),
    text("paused"),
    text("fallback_active"),
    numeric("oldest_active_age_ms"),
    text("retired"),
    int4("cl_active_cancel_req"),
    int4("cl_waiting_cancel_req"),
    int4("sv_active_cancel"),
    int4("sv_being_canceled"),
    int4("sv_tested"),
  ],
  async rows(environment) {
    const pools = await gatherPools(environment);
    return pools.map((pool) => [
      pool.database,
      pool.user,
      pool.pool_mode,
      pool.cl_idle,
      pool.cl_active,
      pool.cl_waiting,
      pool.cl_active_cancel_req,
      pool.sv_active,
      pool.sv_idle,
      pool.sv_used,
      pool.sv_login,
      pool.pool_size,
      Math.trunc(pool.maxwait_us / SECOND_US),
      Math.trunc(pool.maxwait_us % SECOND_US),
      pool.averages.xact_time,
      pool.paused ? "1" : "0",
      // There is no fallback host until Patroni is supported.
      "0",
      pool.oldest_active_age_ms,
      pool.retired ? "1" : "0",
      pool.cl_active_cancel_req,
      0,
      pool.sv_active_cancel,
      pool.sv_being_canceled,
      pool.sv_tested,
    ]);
  },
};

/** Of 50, 90, 95 and 99 %. */
const SHARES = [0.5, 0.95, 0.99];

/** `bytes_recieved` is spelt as in upstream. Percentiles are microseconds, of the last 15 to 30 s. */
export const showPoolsExtended: Show = {
  name: "pools_extended",
  columns: [
    text("database"),
    text("user"),
    int4("cl_active"),
    int4("cl_waiting"),
    int4("sv_active"),
    int4("sv_idle"),
    int4("sv_used"),
    int4("sv_login"),
    numeric("pool_size"),
    numeric("maxwait"),
    int4("maxwait_us"),
    text("pool_mode"),
    numeric("bytes_recieved"),
    numeric("bytes_sent"),
    numeric("query_0.99"),
    numeric("transaction_0.99"),
    numeric("query_0.95"),
    numeric("transaction_0.95"),
    numeric("query_0.5"),
    numeric("transaction_0.5"),
  ],
  async rows(environment) {
    const pools = await gatherPools(environment);
    return pools.map((pool) => {
      const [query50, query95, query99] = timePercentiles(pool.times, "query", SHARES);
      const [xact50, xact95, xact99] = timePercentiles(pool.times, "xact", SHARES);
      return [
        pool.database,
        pool.user,
        pool.cl_active,
        pool.cl_waiting,
        pool.sv_active,
        pool.sv_idle,
        pool.sv_used,
        pool.sv_login,
        pool.pool_size,
        pool.maxwait_us / SECOND_US,
        Math.trunc(pool.maxwait_us % SECOND_US),
        pool.pool_mode,
        pool.total.received,
        pool.total.sent,
        query99,
        xact99,
        query95,
        xact95,
        query50,
        xact50,
      ];
    });
  },
};
