/** SHOW USERS: the user of each pool, once a pool. */

import { text } from "../rows.ts";
import { gatherPools } from "./gathered_pools.ts";
import type { Show } from "./show.ts";

/** A user of several databases has several rows, since the mode is the pool's. */
export const showUsers: Show = {
  name: "users",
  columns: [text("name"), text("pool_mode")],
  async rows(environment) {
    const pools = await gatherPools(environment);
    return pools.map((pool) => [pool.user, pool.pool_mode]);
  },
};
