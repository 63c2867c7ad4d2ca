/** The log lines of a login that fails: what a stranger can cause as often as he likes is summed up by kind and address. */

import type { HbaRule } from "../../config/hba_rule.ts";
import { peerName, type Reason, REASONS, reasonText } from "../../reasons.ts";
import type { ClientView } from "../parts.ts";
import { countRejection } from "../../stats/rejections.ts";
import { peerAddress } from "../state.ts";
import { placesTaken } from "./places.ts";

/** How a login is decided, for the operator: what the client hears says less. */
export interface Trail {
  /** The rule that fits; `undefined`: none was looked for, or there is none. */
  rule: HbaRule | undefined;
  /** Why the answer is no, where that is more than a wrong password. */
  cause: string;
  /** Nobody knows whether the password is right. */
  undecided?: boolean;
}

/** Who wanted in, and why he was refused. */
export function logFailure(
  { context, name, state }: Pick<ClientView, "context" | "name" | "state">,
  reason: Reason,
  first: string,
  second: string,
  trail?: Trail,
): void {
  const claim = `as "${peerName(state.user)}" to "${peerName(state.database)}"`;
  const why = reasonText(reason, first, second) + (trail === undefined ? "" : trailText(trail));
  tell({ context, state }, reason, `${name} login from ${state.address} ${claim} failed: ${why}`);
}

function trailText({ rule, cause }: Trail): string {
  const by = rule && ` (method ${rule.method}, ${rule.source} line ${rule.line})`;
  return `${by ?? ""}${cause === "" ? "" : `: ${cause}`}`;
}

/** A TLS handshake came to nothing. */
export function logHandshakeFailure(
  { context, name, state }: Pick<ClientView, "context" | "name" | "state">,
  why: string,
): void {
  const reason = REASONS.tlsHandshakeFailed;
  tell({ context, state }, reason, `${name} ${reasonText(reason, state.address, why)}`);
}

/** Counts a refusal and logs it. */
function tell(
  { context, state }: Pick<ClientView, "context" | "state">,
  { name: kind }: Reason,
  line: string,
): void {
  countRejection(context.shared, kind);
  context.log.provoked("warn", "pg_doorman::auth", { kind, address: peerAddress(state) }, line);
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
