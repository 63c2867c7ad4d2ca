/** SHOW SERVERS: every connection to PostgreSQL. */

import { numeric, text } from "../rows.ts";
import { byPool } from "./show.ts";
import type { Show } from "./show.ts";

/** `server_process_id` is 0 until PostgreSQL has told it. The last two columns are not in upstream. */
export const showServers: Show = {
  name: "servers",
  columns: [
    text("server_id"),
    text("server_process_id"),
    text("database_name"),
    text("user"),
    text("application_name"),
    text("tls"),
    text("state"),
    text("wait"),
    numeric("transaction_count"),
    numeric("query_count"),
    numeric("bytes_sent"),
    numeric("bytes_received"),
    numeric("age_seconds"),
    numeric("prepare_cache_hit"),
    numeric("prepare_cache_miss"),
    numeric("prepare_cache_size"),
    text("replication"),
    text("tls_version"),
    text("tls_cipher"),
  ],
  async rows(environment) {
    const servers = await environment.servers();
    return [...servers].sort((a, b) => byPool(a, b) || a.id - b.id).map((server) => [
      `0x${server.id.toString(16).toUpperCase().padStart(8, "0")}`,
      String(server.server_process_id),
      server.database,
      server.user,
      server.application_name,
      String(server.tls),
      server.state,
      server.wait,
      server.transaction_count,
      server.query_count,
      server.bytes_sent,
      server.bytes_received,
      server.age_seconds,
      server.prepare_cache_hit,
      server.prepare_cache_miss,
      server.prepare_cache_size,
      server.replication,
      server.tls_version,
      server.tls_cipher,
    ]);
  },
};
