/**
 * What a worker does from time to time for all its pools: closes the period of their statistics, and server connections
 * that have been idle or alive too long.
 */

import type { Log } from "../log/log.ts";
import type { Pool } from "../pool/pool.ts";
import { REASONS } from "../reasons.ts";

/** Averages of the period that ends now, and a line for each pool with clients. */
export function closePeriod(pools: Iterable<Pool>, log: Log): void {
  for (const pool of pools) {
    pool.counters.closePeriod();
    if (pool.clients === 0) continue;
    const { averages } = pool.counters;
    log.info(
      "pg_doorman::stats",
      `[${pool.name}] qps=${averages.query_count} tps=${averages.xact_count} | ` +
        `clients=${pool.clients} wait=${pool.waiting} | servers=${pool.size} idle=${pool.idle} | ` +
        `avg_wait=${(averages.wait_time / 1000).toFixed(3)}ms`,
    );
  }
}

/** Closes at most `most` servers (0: no limit) that are past their time, and keeps `min_pool_size` up. */
export function retain(pools: Iterable<Pool>, most: number, now: number): void {
  let quota = most || Infinity;
  // Another order each time, so that no pool has the quota to itself.
  for (const pool of [...pools].sort(() => Math.random() - 0.5)) {
    for (const server of pool.expired()) {
      if (quota-- <= 0) break;
      const { lifetimeMs, createdAtMs } = server.state;
      const old = lifetimeMs > 0 && now - createdAtMs > lifetimeMs;
      server.close(old ? REASONS.serverLifetime : REASONS.serverIdle, "");
    }
    pool.warm();
  }
}
