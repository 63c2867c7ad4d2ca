/**
 * SHOW STATS: sums since the pool's beginning, and averages of the last closed period. `PoolRow.averages` holds what
 * the period's end made of the sums: events and bytes per second, microseconds per transaction and per query, and
 * microseconds waited per second. The columns from `total_pins` on are not in upstream; those from
 * `total_server_assignment_count` on are PgBouncer's, `total_requests` that of its versions before 1.8, which exporters
 * still read. The last three are ours, microseconds for each handshake with PostgreSQL that went through.
 *
 * The console `pgbouncer` has a row a database, as PgBouncer: exporters name what they read by the database alone.
 */

import type { PoolCounters } from "../../mail.ts";
import { numeric, text } from "../rows.ts";
import { gatherDatabases, gatherPools } from "./gathered_pools.ts";
import type { Show } from "./show.ts";

/** Counters of each pool. */
export const showStats: Show = {
  name: "stats",
  columns: [
    text("database"),
    text("user"),
    numeric("total_xact_count"),
    numeric("total_query_count"),
    numeric("total_received"),
    numeric("total_sent"),
    numeric("total_xact_time"),
    numeric("total_query_time"),
    numeric("total_wait_time"),
    numeric("total_errors"),
    numeric("avg_xact_count"),
    numeric("avg_query_count"),
    numeric("avg_recv"),
    numeric("avg_sent"),
    numeric("avg_errors"),
    numeric("avg_xact_time"),
    numeric("avg_query_time"),
    numeric("avg_wait_time"),
    numeric("total_pins"),
    numeric("total_query_timeouts"),
    numeric("total_transaction_timeouts"),
    numeric("total_idle_transaction_timeouts"),
    numeric("total_client_idle_timeouts"),
    numeric("total_check_queries_run"),
    numeric("total_check_queries_answered"),
    numeric("total_server_assignment_count"),
    numeric("total_client_parse_count"),
    numeric("total_server_parse_count"),
    numeric("total_bind_count"),
    numeric("avg_server_assignment_count"),
    numeric("avg_client_parse_count"),
    numeric("avg_server_parse_count"),
    numeric("avg_bind_count"),
    numeric("total_requests"),
    numeric("total_server_tls_handshake_count"),
    numeric("total_server_tls_handshake_errors"),
    numeric("avg_server_tls_handshake_time"),
  ],
  async rows(environment, console) {
    const gather = console.database === "pgbouncer" ? gatherDatabases : gatherPools;
    const pools = await gather(environment);
    return pools.map(({ database, user, total, averages }) => [
      database,
      user,
      total.xact_count,
      total.query_count,
      total.received,
      total.sent,
      total.xact_time,
      total.query_time,
      total.wait_time,
      total.errors,
      averages.xact_count,
      averages.query_count,
      averages.received,
      averages.sent,
      averages.errors,
      averages.xact_time,
      averages.query_time,
      waitPerTransaction(averages),
      total.pins,
      total.query_timeouts,
      total.transaction_timeouts,
      total.idle_transaction_timeouts,
      total.client_idle_timeouts,
      total.check_queries_run,
      total.check_queries_answered,
      total.server_assignments,
      total.client_parses,
      total.server_parses,
      total.binds,
      averages.server_assignments,
      averages.client_parses,
      averages.server_parses,
      averages.binds,
      total.query_count,
      total.server_tls_handshakes,
      total.server_tls_handshake_errors,
      averages.server_tls_handshake_time,
    ]);
  },
};

function waitPerTransaction(averages: PoolCounters): number {
  if (averages.xact_count <= 0) return 0;
  return Math.trunc(averages.wait_time / averages.xact_count);
}
