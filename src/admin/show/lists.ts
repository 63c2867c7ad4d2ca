/** SHOW LISTS: how many there are of each kind of thing. */

import { int4, text } from "../rows.ts";
import { gatherPools } from "./gathered_pools.ts";
import type { Show } from "./show.ts";

/** Databases, users and pools count the admin console's own, as PgBouncer does. */
export const showLists: Show = {
  name: "lists",
  columns: [text("list"), int4("items")],
  async rows(environment) {
    const [pools, clients, servers] = await Promise.all([
      gatherPools(environment),
      environment.clients(),
      environment.servers(),
    ]);
    const workers = environment.workers();
    const clientsIn = (state: string) => clients.filter((client) => client.state === state).length;
    const serversIn = (state: string) => servers.filter((server) => server.state === state).length;
    return [
      ["databases", new Set(pools.map((pool) => pool.database)).size + 1],
      [
        "users",
        new Set(pools.flatMap((pool) => [pool, ...pool.users ?? []].map(({ user }) => user))).size +
        1,
      ],
      ["pools", pools.length + 1],
      ["free_clients", clientsIn("idle")],
      ["used_clients", clientsIn("active")],
      ["login_clients", clientsIn("login")],
      ["free_servers", serversIn("idle")],
      ["used_servers", serversIn("active")],
      // Names are resolved by the system; there is no cache to count.
      ["dns_names", 0],
      ["dns_zones", 0],
      ["dns_queries", 0],
      ["dns_pending", 0],
      ["workers", workers.running],
      ["lost_workers", workers.lost],
      ["lost_log_lines", environment.lostLogLines()],
    ];
  },
};
