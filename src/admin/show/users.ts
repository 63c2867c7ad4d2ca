/** SHOW USERS: the user of each pool, once a pool, and those who share one. */

import type { PoolRow } from "../../mail.ts";
import { int4, text } from "../rows.ts";
import { gatherPools } from "./gathered_pools.ts";
import type { Show } from "./show.ts";

type PoolUser = Pick<PoolRow, "user" | "max_user_client_connections">;

/**
 * Those who share a pool have no server connections: these are their role's. A user of several databases has several rows, since the mode is the pool's. From `max_user_connections` on columns are
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
      for (const one of pool.users ?? [pool]) {
        clients.set(one.user, (clients.get(one.user) ?? 0) + one.clients);
      }
    }
    return pools.flatMap((pool) => {
      const row = ({ user, max_user_client_connections: most }: PoolUser) => [
        user,
        pool.pool_mode,
        user === pool.user ? pool.max_user_connections : 0,
        servers.get(user) ?? 0,
        most,
        clients.get(user) ?? 0,
        pool.pool_size,
      ];
      const others = (pool.users ?? []).filter(({ user }) => user !== pool.user);
      return [row(pool), ...others.map(row)];
    });
  },
};
