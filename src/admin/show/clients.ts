/** SHOW CLIENTS: every client that is connected, admin clients too. */

import { numeric, text } from "../rows.ts";
import type { Show } from "./show.ts";

/**
 * `client_id` is the token that stands in log lines. `pinned` and `channels`, last because upstream lacks them, tell why a
 * client in transaction mode keeps its server between transactions, and to how many channels it listens without one;
 * `tls_version` and `tls_cipher` what its TLS is made of, empty without.
 */
export const showClients: Show = {
  name: "clients",
  columns: [
    text("client_id"),
    text("database"),
    text("user"),
    text("application_name"),
    text("addr"),
    text("tls"),
    text("state"),
    text("wait"),
    numeric("transaction_count"),
    numeric("query_count"),
    numeric("error_count"),
    numeric("age_seconds"),
    text("replication"),
    text("pinned"),
    numeric("channels"),
    text("tls_version"),
    text("tls_cipher"),
  ],
  async rows(environment) {
    const clients = await environment.clients();
    return [...clients].sort((a, b) => a.id - b.id).map((client) => [
      `#c${client.id}`,
      client.database,
      client.user,
      client.application_name,
      client.addr,
      String(client.tls),
      client.state,
      client.wait,
      client.transaction_count,
      client.query_count,
      client.error_count,
      client.age_seconds,
      client.replication,
      client.pinned,
      client.channels,
      client.tls_version,
      client.tls_cipher,
    ]);
  },
};
