// hot path
/**
 * What a client's named statements take of memory, and the bound to that: `max_client_prepared_memory`. PostgreSQL bounds
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

/** Never prepared: naming it makes PostgreSQL raise an error. It says why in PostgreSQL's log. */
const REFUSED = new TextEncoder().encode("DOORMAN_max_client_prepared_memory");
const BIND_REFUSED = messages.bind(REFUSED);

/** Whether the session may have one more statement. */
export function mayKeep(
  { context, state }: Session,
  server: ServerConnection,
  nameBytes: number,
  textBytes: number,
): boolean {
  const most = context.general.max_client_prepared_memory;
  if (most === 0) return true;
  const held = state.statementBytes + server.owed.heldBytes;
  return held + BESIDE_BYTES + nameBytes + textBytes <= most;
}

/** Makes PostgreSQL raise an error in the place of a Parse that is not sent; the client is told why. */
export function refuseStatement(session: Session, server: ServerConnection): void {
  const { context, state } = session;
  const most = context.general.max_client_prepared_memory;
  const why = `prepared statements of this client would take more than ${most} bytes ` +
    "(max_client_prepared_memory)";
  if (state.refusedStatements++ === 0) {
    context.log.warn("pg_doorman::client", `${session.name} was told: ${why}`);
  }
  const refusal = errorResponse({
    severity: "ERROR",
    code: "53400",
    message: why,
    hint: "Close or DEALLOCATE statements that are no longer used, use unnamed ones, or raise " +
      "max_client_prepared_memory.",
  }).slice();
  add(server, BIND_REFUSED, 0, BIND_REFUSED.length);
  server.owed.track(Owed.Bind | SWALLOW, tracked({ refusal }));
}
