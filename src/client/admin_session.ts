/**
 * The transport of a console session: cuts the client's bytes into whole messages, mails them to the control plane, and
 * writes its answers. One request is under way at a time; meanwhile the client's next ones stay in its socket.
 */

import { Frontend, frontendLimit, readLength } from "../protocol/codes.ts";
import { REASONS } from "../reasons.ts";
import type { ClientEnd, ClientInput, ClientOutput, ClientView } from "./parts.ts";

/** The part of a session that this file sees. */
interface Session extends ClientView, ClientInput, ClientOutput, ClientEnd {}

/** Commands are short; a longer message is refused. */
const MOST_MESSAGE_BYTES = 60_000;

export class AdminSession {
  #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  open(): void {
    const { context, state } = this.#session;
    const { id, user, database, address } = state;
    // A reload may have taken the name away while its password was checked.
    const role = context.general.console_users.find((one) => one.user === user)?.role ?? "stats";
    context.toControl({ kind: "admin_open", client: id, user, database, address, role });
  }

  take(bytes: Uint8Array<ArrayBuffer>, at: number, end: number): void {
    const session = this.#session;
    let next = at;
    while (end - next >= 5) {
      const length = readLength(bytes, next + 1);
      const limit = Math.min(frontendLimit(bytes[next]), MOST_MESSAGE_BYTES);
      if (length < 4 || length > limit) {
        session.fail("FATAL", REASONS.protocolViolation, "invalid message on the console", "");
        return;
      }
      if (bytes[next] === Frontend.Terminate) {
        session.close(REASONS.clientTerminated, "");
        return;
      }
      if (end - next < length + 1) break;
      next += length + 1;
    }
    if (next < end) session.keep(bytes, next, end);
    if (next === at) return;
    session.hold();
    session.context.toControl({
      kind: "admin_request",
      client: session.state.id,
      bytes: bytes.slice(at, next),
    });
  }

  /** The control plane's answer. */
  answer(bytes: Uint8Array, close: boolean): void {
    const session = this.#session;
    if (close) {
      session.say(bytes);
      return;
    }
    session.write(bytes);
    session.goOn();
  }

  closed(): void {
    this.#session.context.toControl({ kind: "admin_closed", client: this.#session.state.id });
  }
}
