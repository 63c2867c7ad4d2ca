/** SHOW POOLS: clients and servers of each pool by state. */

import { numeric, text } from "../rows.ts";
import { gatherPools } from "./gathered_pools.ts";
import type { Show } from "./show.ts";

const SECOND_US = 1_000_000;

/**
 * `maxwait` is the wait of the client that waits longest now, as PgBouncer has it. `retired`, last because upstream lacks
 * it, is 1 for a pool that a reload took out of the configuration and that lives on for its clients.
 */
export const showPools: Show = {
  name: "pools",
  columns: [
    text("database"),
    text("user"),
    text("pool_mode"),
    numeric("cl_idle"),
    numeric("cl_active"),
    numeric("cl_waiting"),
    numeric("cl_cancel_req"),
    numeric("sv_active"),
    numeric("sv_idle"),
    numeric("sv_used"),
    numeric("sv_login"),
    numeric("pool_size"),
    numeric("maxwait"),
    numeric("maxwait_us"),
    numeric("avg_xact_time"),
    text("paused"),
    text("fallback_active"),
    numeric("oldest_active_age_ms"),
    text("retired"),
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
      pool.cl_cancel_req,
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
    ]);
  },
};
