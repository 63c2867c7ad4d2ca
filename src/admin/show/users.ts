/** SHOW USERS: the user of each pool, once a pool. */

import { numeric, text } from "../rows.ts";
import { gatherPools } from "./gathered_pools.ts";
import type { Show } from "./show.ts";

/**
 * A user of several databases has several rows, since the mode is the pool's. The last two columns are PgBouncer's and
 * count over all databases.
 */
export const showUsers: Show = {
  name: "users",
  columns: [
    text("name"),
    text("pool_mode"),
    numeric("max_user_connections"),
    numeric("current_connections"),
  ],
  async rows(environment) {
    const pools = await gatherPools(environment);
    const current = new Map<string, number>();
    for (const { user, sv_active, sv_idle, sv_used, sv_login, sv_replication } of pools) {
      const sum = sv_active + sv_idle + sv_used + sv_login + sv_replication;
      current.set(user, (current.get(user) ?? 0) + sum);
    }
    return pools.map((pool) => [
      pool.user,
      pool.pool_mode,
      pool.max_user_connections,
      current.get(pool.user)!,
    ]);
  },
};
