/**
 * The wait before a password is looked at, where others were wrong before (auth/failures.ts). It takes a timer and what the
 * client has sent; client_login_timeout goes on, and where there are too many connections such a login is the first to go.
 */

import type { Failures } from "../../auth/failures.ts";
import type { GeneralSettings } from "../../config/settings.ts";
import type { Timer } from "../../reactor/timers.ts";
import { type Reason, REASONS } from "../../reasons.ts";
import type { ClientContext } from "../context.ts";

/** What the client has shown was wrong. */
const PROOF_FAILED: ReadonlySet<Reason> = new Set([
  REASONS.authenticationFailed,
  REASONS.pamFailed,
  REASONS.ldapFailed,
]);

/** The part of a session that this file sees. */
interface Session {
  readonly state: { readonly ip: string; readonly user: string };
  readonly context: {
    readonly reactor: Pick<ClientContext["reactor"], "now" | "at">;
    readonly failures: Pick<
      Failures,
      "wait" | "failed" | "succeeded" | "checkBegins" | "checkEnds"
    >;
    readonly general: GeneralSettings;
  };
  hold(): void;
  unhold(): void;
}

export class ProofDelay {
  readonly #session: Session;
  #timer: Timer | undefined;
  /** It has waited for what its address has done. */
  #waited = false;
  /** A password is being looked at; `long`: others do that. */
  #looks: "no" | "now" | "long" = "no";

  constructor(session: Session) {
    this.#session = session;
  }

  /** Calls `go`, which looks at a password, now or, with a copy, when it may. Returns whether that was now. */
  look(body: Uint8Array, go: (body: Uint8Array) => void): boolean {
    const waitMs = this.#waitMs();
    if (waitMs <= 0) {
      this.#go(() => go(body));
      return true;
    }
    this.#session.hold();
    const kept = body.slice();
    this.#wait(waitMs, () => go(kept));
    return false;
  }

  #waitMs(): number {
    const { context, state } = this.#session;
    const { failures, reactor, general } = context;
    const { pairMs, addressMs } = failures.wait(state.ip, state.user, reactor.now, general);
    return this.#waited ? pairMs : Math.max(pairMs, addressMs);
  }

  #wait(waitMs: number, go: () => void): void {
    const { reactor } = this.#session.context;
    this.#timer = reactor.at(reactor.now + waitMs, () => {
      this.#waited = true;
      // Another one may have been wrong meanwhile: so many at once are no faster than one by one.
      const moreMs = this.#waitMs();
      if (moreMs > 0) return this.#wait(moreMs, go);
      this.#timer = undefined;
      this.#session.unhold();
      this.#go(go);
    });
  }

  #go(go: () => void): void {
    const { context, state } = this.#session;
    this.#looks = "now";
    go();
    if (this.#looks !== "now") return;
    this.#looks = "long";
    context.failures.checkBegins(state.ip, state.user);
  }

  /** The login has failed; `undefined`: nobody can tell whether the password is right. */
  refused(reason: Reason | undefined): void {
    this.#looked();
    if (reason !== undefined && PROOF_FAILED.has(reason)) this.#failed();
  }

  #failed(): void {
    const { context, state } = this.#session;
    context.failures.failed(state.ip, state.user, context.reactor.now);
  }

  succeeded(): void {
    const { context, state } = this.#session;
    this.#looked();
    context.failures.succeeded(state.ip, state.user, context.reactor.now);
  }

  #looked(): void {
    const { context, state } = this.#session;
    if (this.#looks === "long") context.failures.checkEnds(state.ip, state.user);
    this.#looks = "no";
  }

  /** The login ends or is through. */
  end(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const unanswered = this.#looks === "long";
    this.#looked();
    // Who did not wait for the answer would try the next one: a right one is told sooner than a wrong one.
    if (unanswered) this.#failed();
  }
}
