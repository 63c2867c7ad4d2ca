/**
 * Cancel requests for a pool's servers. Until PostgreSQL has taken one, its server must not meet another client: it would
 * lose a query that nobody wanted canceled.
 */

import type { Reactor } from "../reactor/reactor.ts";
import { sendCancelRequest } from "../server/cancel_request.ts";
import type { ServerConnection } from "../server/connection.ts";

/** Asks PostgreSQL to cancel what the server runs. `through`: this request is not under way any more, nor is any for `free`. */
export function cancelQuery(
  reactor: Reactor,
  server: ServerConnection,
  timeoutMs: number,
  { through, free }: { through: () => void; free: () => void },
): void {
  server.cancelsUnderWay++;
  sendCancelRequest(reactor, server.state, timeoutMs, (end) => {
    server.cancelsUnderWay--;
    // Lost is not the same as never: the server must not meet another client.
    if (end === "lost") server.state.epoch = -1;
    if (server.cancelsUnderWay === 0) free();
    through();
  });
}
