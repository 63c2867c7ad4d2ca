/** SHOW DATABASES: where each pool leads, one row a pool; in the console `pgbouncer` one row a database. */

import { int4, text } from "../rows.ts";
import { gatherDatabases, gatherPools } from "./gathered_pools.ts";
import type { Show } from "./show.ts";

/**
 * `name` is what clients ask for, `database` what PostgreSQL is asked for. From `reserve_pool_size` on columns are not in
 * upstream, but in PgBouncer.
 */
export const showDatabases: Show = {
  name: "databases",
  columns: [
    text("name"),
    text("host"),
    int4("port"),
    text("database"),
    text("force_user"),
    int4("pool_size"),
    int4("min_pool_size"),
    int4("reserve_pool"),
    text("pool_mode"),
    int4("max_connections"),
    int4("current_connections"),
    int4("reserve_pool_size"),
    int4("max_client_connections"),
    int4("current_client_connections"),
    int4("paused"),
    int4("disabled"),
  ],
  async rows(environment, { database }) {
    const gather = database === "pgbouncer" ? gatherDatabases : gatherPools;
    const pools = await gather(environment);
    return pools.map((pool) => [
      pool.database,
      pool.server_host,
      pool.server_port,
      pool.server_database,
      pool.user,
      pool.pool_size,
      pool.min_pool_size,
      pool.reserve_pool_size,
      pool.pool_mode,
      pool.max_db_connections || pool.pool_size,
      pool.sv_active + pool.sv_idle + pool.sv_used + pool.sv_being_canceled + pool.sv_tested,
      pool.reserve_pool_size,
      pool.max_db_client_connections,
      pool.clients,
      pool.paused ? 1 : 0,
      pool.disabled ? 1 : 0,
    ]);
  },
};
