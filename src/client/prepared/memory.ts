// hot path
/**
 * What a client's named statements take of memory, and the bounds to that: `max_client_prepared_memory`,
 * and `max_prepared_memory` for those of all clients together. PostgreSQL bounds
 * them by its backend's memory, which is its client's alone; here they are kept in memory that all clients share.
 *
 * What must hold: `statementBytes` of the session's state is what all its names take. Statements that have lost their name
 * are held, too, until the message that took it is answered: the queue of owed replies knows what those take.
 */

import { errorResponse } from "../../protocol/error_response.ts";
import * as messages from "../../protocol/messages.ts";
import { Owed, SWALLOW } from "../../protocol/owed_replies.ts";
import type { ServerConnection } from "../../server/connection.ts";
import { BESIDE_BYTES, tracked } from "../../server/statements/on_server.ts";
import { add } from "../relay/gather.ts";
import type { ClientView } from "../parts.ts";

/** The part of a session that this file sees. */
interface Session extends ClientView {}

type Bound = "max_client_prepared_memory" | "max_prepared_memory";

/** Never prepared: naming it makes PostgreSQL raise an error. It says why in PostgreSQL's log. */
const REFUSED = new TextEncoder().encode("DOORMAN_max_client_prepared_memory");
const BIND_REFUSED = messages.bind(REFUSED);

/** The key of the bound that one more statement would break; `undefined`: none. */
export function brokenBound(
  { context, pool, state }: Session,
  server: ServerConnection,
  nameBytes: number,
  textBytes: number,
): Bound | undefined {
  const { max_client_prepared_memory, max_prepared_memory } = context.general;
  const more = BESIDE_BYTES + nameBytes + textBytes;
  const held = state.statementBytes + server.owed.heldBytes;
  const all = pool!.statements.namedBytes;
  if (max_client_prepared_memory > 0 && held + more > max_client_prepared_memory) {
    return "max_client_prepared_memory";
  }
  return max_prepared_memory > 0 && all + more > max_prepared_memory
    ? "max_prepared_memory"
    : undefined;
}

/** Makes PostgreSQL raise an error in the place of a Parse that is not sent; the client is told why. */
export function refuseStatement(session: Session, server: ServerConnection, bound: Bound): void {
  const { context, state } = session;
  const whose = bound === "max_prepared_memory" ? "all clients" : "this client";
  const why =
    `prepared statements of ${whose} would take more than ${context.general[bound]} bytes ` +
    `(${bound})`;
  if (state.refusedStatements++ === 0) {
    context.log.warn("pg_doorman::client", `${session.name} was told: ${why}`);
  }
  const refusal = errorResponse({
    severity: "ERROR",
    code: "53400",
    message: why,
    hint: "Close or DEALLOCATE statements that are no longer used, use unnamed ones, or raise " +
      `${bound}.`,
  }).slice();
  add(server, BIND_REFUSED, 0, BIND_REFUSED.length);
  server.owed.track(Owed.Bind | SWALLOW, tracked({ refusal }));
}
