/** SHOW DATABASES: where each pool leads, one row a pool. */

import { int4, text } from "../rows.ts";
import { gatherPools } from "./gathered_pools.ts";
import type { Show } from "./show.ts";

/** `name` is what clients ask for, `database` what PostgreSQL is asked for. */
export const showDatabases: Show = {
  name: "databases",
  columns: [
    text("name"),
    text("host"),
    text("port"),
    text("database"),
    text("force_user"),
    int4("pool_size"),
    int4("min_pool_size"),
    int4("reserve_pool"),
    text("pool_mode"),
    int4("max_connections"),
    int4("current_connections"),
  ],
  async rows(environment) {
    const pools = await gatherPools(environment);
    return pools.map((pool) => [
      pool.database,
      pool.server_host,
      String(pool.server_port),
      pool.server_database,
      pool.user,
      pool.pool_size,
      pool.min_pool_size,
      0,
      pool.pool_mode,
      pool.pool_size,
      pool.sv_active + pool.sv_idle + pool.sv_used,
    ]);
  },
};
