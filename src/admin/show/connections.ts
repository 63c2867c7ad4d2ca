/** SHOW CONNECTIONS: what became of the sockets accepted since the start. */

import { numeric } from "../rows.ts";
import type { Show } from "./show.ts";

/** One row for the process. */
export const showConnections: Show = {
  name: "connections",
  columns: [
    numeric("total"),
    numeric("errors"),
    numeric("tls"),
    numeric("plain"),
    numeric("cancel"),
  ],
  async rows(environment) {
    let total = 0, tls = 0, plain = 0, cancel = 0;
    for (const counts of await environment.counts()) {
      total += counts.total;
      tls += counts.tls;
      plain += counts.plain;
      cancel += counts.cancel;
    }
    // A cancel request over TLS counts twice, and a socket counts before it has said what it wants.
    const errors = Math.max(0, total - tls - plain - cancel);
    return [[total, errors, tls, plain, cancel]];
  },
};
