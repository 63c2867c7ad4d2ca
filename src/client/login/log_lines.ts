/** The log lines of a login that fails: what a stranger can cause as often as he likes is summed up by kind and address. */

import { peerName, type Reason, REASONS, reasonText } from "../../reasons.ts";
import type { ClientView } from "../parts.ts";
import { countRejection } from "../../stats/rejections.ts";
import { peerAddress } from "../state.ts";
import { placesTaken } from "./places.ts";

/** Who wanted in, and why he was refused. */
export function logFailure(
  { context, name, state }: Pick<ClientView, "context" | "name" | "state">,
  reason: Reason,
  first: string,
  second: string,
): void {
  countRejection(context.shared, reason.name);
  const claim = `as "${peerName(state.user)}" to "${peerName(state.database)}"`;
  context.log.provoked(
    "warn",
    "pg_doorman::auth",
    { kind: reason.name, address: peerAddress(state) },
    `${name} login from ${state.address} ${claim} failed: ${reasonText(reason, first, second)}`,
  );
}

/** A TLS handshake came to nothing. */
export function logHandshakeFailure(
  { context, name, state }: Pick<ClientView, "context" | "name" | "state">,
  why: string,
): void {
  countRejection(context.shared, REASONS.tlsHandshakeFailed.name);
  context.log.provoked(
    "warn",
    "pg_doorman::auth",
    { kind: REASONS.tlsHandshakeFailed.name, address: peerAddress(state) },
    `${name} ${reasonText(REASONS.tlsHandshakeFailed, state.address, why)}`,
  );
}

/** `max_connections` is reached. */
export function logNoPlace({ context, state }: Pick<ClientView, "context" | "state">): void {
  context.log.provoked(
    "warn",
    "pg_doorman::client",
    { kind: "no_place", address: peerAddress(state) },
    `rejected ${state.address}: too many clients, current=${
      placesTaken(context)
    } max=${context.general.max_connections}`,
  );
}
