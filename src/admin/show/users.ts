/** SHOW USERS: the user of each pool, once a pool. */

import { int4, text } from "../rows.ts";
import { gatherPools } from "./gathered_pools.ts";
import type { Show } from "./show.ts";

/**
 * A user of several databases has several rows, since the mode is the pool's. From `max_user_connections` on columns are
 * PgBouncer's; all but the last are of all databases together.
 */
export const showUsers: Show = {
  name: "users",
  columns: [
    text("name"),
    text("pool_mode"),
    int4("max_user_connections"),
    int4("current_connections"),
    int4("max_user_client_connections"),
    int4("current_client_connections"),
    int4("pool_size"),
  ],
  async rows(environment) {
    const pools = await gatherPools(environment);
    const servers = new Map<string, number>();
    const clients = new Map<string, number>();
    for (const pool of pools) {
      const { user } = pool;
      const sum = pool.sv_active + pool.sv_idle + pool.sv_used + pool.sv_login +
        pool.sv_being_canceled + pool.sv_tested + pool.sv_replication;
      servers.set(user, (servers.get(user) ?? 0) + sum);
      clients.set(user, (clients.get(user) ?? 0) + pool.clients);
    }
    return pools.map((pool) => [
      pool.user,
      pool.pool_mode,
      pool.max_user_connections,
      servers.get(pool.user)!,
      pool.max_user_client_connections,
      clients.get(pool.user)!,
      pool.pool_size,
    ]);
  },
};
