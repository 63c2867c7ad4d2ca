/**
 * What a client may not do, or not now: it is told, and goes or goes on.
 */

import { frontendLimit } from "../protocol/codes.ts";
import { type Reason, REASONS, reasonText } from "../reasons.ts";
import type { ClientEnd, ClientView } from "./parts.ts";

/** What a session whose request was canceled does. */
interface CanceledSession extends ClientView {
  release(): void;
  refuse(reason: Reason, first: string, second: string): void;
}

/** The client has left the protocol: tells it so and closes. */
export function violation(
  session: Pick<ClientView, "context" | "name"> & ClientEnd,
  type: number,
  length: number,
): void {
  const what = frontendLimit(type) === 0
    ? `invalid frontend message type ${type}`
    : `invalid message length ${length}`;
  session.context.log.warn("pg_doorman::client::protocol", `${session.name} ${what}`);
  session.fail("FATAL", REASONS.protocolViolation, what, "");
}

/** Statement mode: a query has left a transaction open. The client is told instead of its ReadyForQuery. */
export function refuseBlock(session: ClientView & ClientEnd): void {
  const { context, state } = session;
  context.log.warn(
    "pg_doorman::client",
    `${session.name} client disconnected from ${state.address}: ${reasonText(REASONS.noBlocks)}`,
  );
  session.fail("FATAL", REASONS.noBlocks, "", "");
}

/** A cancel came before the request was sent: it never is. */
export function refuseCanceled(session: CanceledSession): void {
  session.state.canceled = false;
  session.release();
  session.refuse(REASONS.canceled, "", "");
}
