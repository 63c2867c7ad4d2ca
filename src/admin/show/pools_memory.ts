/** SHOW POOLS_MEMORY: what the prepared statements of each pool and of its clients take. */

import { numeric, text } from "../rows.ts";
import { byPool } from "./show.ts";
import type { Show } from "./show.ts";

/**
 * `client_anonymous_evictions_alive` and `async_clients` are 0 always: a client's last unnamed statement is never
 * evicted, and no client is marked for its use of Flush.
 */
export const showPoolsMemory: Show = {
  name: "pools_memory",
  columns: [
    text("database"),
    text("user"),
    numeric("pool_prepared_count"),
    numeric("pool_prepared_bytes"),
    numeric("client_prepared_count"),
    numeric("client_prepared_bytes"),
    numeric("client_named_count"),
    numeric("client_anonymous_count"),
    numeric("client_anonymous_evictions_alive"),
    numeric("async_clients"),
  ],
  async rows(environment) {
    const pools = await environment.preparedMemory();
    return [...pools].sort(byPool).map((pool) => [
      pool.database,
      pool.user,
      pool.pool_prepared_count,
      pool.pool_prepared_bytes,
      pool.client_named_count + pool.client_anonymous_count,
      pool.client_named_bytes + pool.client_anonymous_bytes,
      pool.client_named_count,
      pool.client_anonymous_count,
      0,
      0,
    ]);
  },
};
