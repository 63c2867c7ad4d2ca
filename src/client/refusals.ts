/**
 * What a client may not do, or not now: it is told, and goes or goes on.
 */

import { Frontend, frontendLimit, readLength, TransactionStatus } from "../protocol/codes.ts";
import { type ErrorAside, errorResponse } from "../protocol/error_response.ts";
import { join, readyForQuery } from "../protocol/messages.ts";
import { type Reason, REASONS, reasonText } from "../reasons.ts";
import type { Waiter } from "../pool/waiting.ts";
import type { ServerConnection } from "../server/connection.ts";
import type { ClientEnd, ClientInput, ClientOutput, ClientTimes, ClientView } from "./parts.ts";
import { peerAddress, Stage } from "./state.ts";
import { noteRefusal } from "./timeouts.ts";

/** A session that waits for a server, and whose request is kept. */
interface WaitingSession extends ClientView, ClientInput, ClientOutput, ClientEnd, ClientTimes {
  readonly kept: Uint8Array<ArrayBuffer> | undefined;
  moveTo(stage: number): void;
}

/** What a session whose request was canceled does. */
interface CanceledSession extends ClientView {
  release(): void;
  refuse(reason: Reason, first: string, second: string): void;
}

/**
 * What a client is told of a reason, with a SQLSTATE that is not the reason's own, or all that PostgreSQL has said
 * beside its message.
 */
export function errorOf(
  severity: "FATAL" | "ERROR",
  reason: Reason,
  [first, second]: [string, string],
  told: string | ErrorAside = reason.code,
): { bytes: Uint8Array<ArrayBuffer>; message: string } {
  const message = reasonText(reason, first, second);
  const own = reason.detail && reasonText({ text: reason.detail }, first, second);
  const { code, detail, hint }: Partial<ErrorAside> & { code: string } = typeof told === "string"
    ? { code: told, detail: own }
    : told;
  const more = { detail: detail || undefined, hint: hint || undefined };
  return { bytes: errorResponse({ severity, code, message, ...more }), message };
}

/** The client has left the protocol: tells it so and closes. */
export function violation(
  session: Pick<ClientView, "context" | "name" | "state"> & ClientEnd,
  type: number,
  length: number,
): void {
  const what = frontendLimit(type) === 0
    ? `invalid frontend message type ${type}`
    : `invalid message length ${length}`;
  session.context.log.provoked(
    "warn",
    "pg_doorman::client::protocol",
    { kind: REASONS.protocolViolation.name, address: peerAddress(session.state) },
    `${session.name} ${what}`,
  );
  session.fail("FATAL", REASONS.protocolViolation, what, "");
}

/** Statement mode: a query has left a transaction open. The client is told instead of its ReadyForQuery. */
export function refuseBlock(session: ClientView & ClientEnd): void {
  const { context, state } = session;
  context.log.provoked(
    "warn",
    "pg_doorman::client",
    { kind: REASONS.noBlocks.name, address: peerAddress(state) },
    `${session.name} client disconnected from ${state.address}: ${reasonText(REASONS.noBlocks)}`,
  );
  session.fail("FATAL", REASONS.noBlocks, "", "");
}

/** What a session whose request is to be canceled has beside that. */
interface CancelableSession extends CanceledSession, Waiter {
  readonly server: ServerConnection | undefined;
}

/** A CancelRequest came. `through` is called once: from then on it hits nothing. */
export function cancelRequest(session: CancelableSession, through: () => void): void {
  const { pool, server, state } = session;
  if (state.stage === Stage.Linked && server!.owed.owesClient()) {
    return pool!.cancel(server!, through);
  }
  if (state.stage === Stage.Waiting) {
    pool!.leaveQueue(session);
    session.refuse(REASONS.canceled, "", "");
  } else if (state.stage === Stage.Syncing) {
    // The request has not been sent: it is answered when the server is free of what was.
    state.canceled = true;
  }
  through();
}

/** A cancel came before the request was sent: it never is. */
export function refuseCanceled(session: CanceledSession): void {
  session.state.canceled = false;
  session.release();
  session.refuse(REASONS.canceled, "", "");
}

/** Why a request is refused: a row of reasons.ts, or PostgreSQL's own SQLSTATE. */
interface Refusal {
  reason: Reason;
  first: string;
  second: string;
  code: string | undefined;
}

const IDLE_READY = readyForQuery(TransactionStatus.Idle);

/**
 * Answers the request at the head of what was kept with an ERROR; the session goes on, nothing of it has run. It ends
 * where a transaction is to begin: the client would go on as if it were in one.
 */
export function refuse(session: WaitingSession, { reason, first, second, code }: Refusal): void {
  const { state } = session;
  if (state.deferredBegin) {
    session.fail("FATAL", reason, first, second, code);
    return;
  }
  const tail = session.kept!;
  session.moveTo(Stage.Idle);
  state.errorCount++;
  noteRefusal(session);
  const message = reasonText(reason, first, second);
  const error = errorResponse({ severity: "ERROR", code: code ?? reason.code, message });
  const simple = tail[0] === Frontend.Query || tail[0] === Frontend.FunctionCall;
  if (simple) {
    session.write(join(error, IDLE_READY));
    state.left = readLength(tail, 1) + 1;
    state.leftDropped = true;
  } else {
    session.write(error);
    state.skipToSync = true;
  }
  session.takeKept();
}
