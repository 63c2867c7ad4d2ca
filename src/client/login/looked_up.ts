/**
 * A login whose user PostgreSQL is asked for (auth_query): waits for the answer, and when the client's proof does not fit
 * what was known, asks once more and looks at the same proof again.
 *
 * ```
 *   looking ─▶ challenged ─▶ accepted
 *                  │  ▲
 *        wrong (1) ▼  │ another answer than before
 *               asking anew ──the same──▶ refused
 * ```
 * 1. Once a login.
 *
 * What must hold: pg_hba has let the client in before PostgreSQL is asked for it.
 */

import type { GiveUp, Looked, Remembered } from "../../auth/lookup_cache.ts";
import type { FoundUser } from "../../pool/auth_query/answer.ts";
import type { Pool } from "../../pool/pool.ts";
import { REASONS } from "../../reasons.ts";
import type { UserLookup } from "../context.ts";
import { Stage } from "../state.ts";
import {
  type Account,
  askedOf,
  type AuthenticatingLogin,
  type Challenge,
  knownAccount,
  permitted,
  unknownAccount,
} from "./authentication.ts";
import type { PasswordChecks } from "./checks.ts";

/** What this file needs of a login. */
export interface LookingLogin extends AuthenticatingLogin {
  /** Asks the client for what the account has to show. */
  authenticate(account: Account): void;
  /** Looks at an answer that is here already. */
  takeProof(account: Account, asked: Challenge, body: Uint8Array): void;
  readonly checks: Pick<PasswordChecks, "salt" | "external" | "lookUp">;
  /** The next step is the client's. */
  waits(): void;
  /** From the StartupMessage on. */
  begin(): boolean;
}

/** The part of a session that this file sees. */
export interface LookingSession {
  readonly state: { readonly stage: number };
  readonly login: object | undefined;
  pool: Pool | undefined;
  takeKept(): void;
}

export class LookedUp {
  readonly #session: LookingSession;
  readonly #login: LookingLogin;
  readonly #users: UserLookup;
  #known: Remembered<FoundUser> | undefined;
  /** What the client was asked last, and its answer. */
  #proof: { asked: Challenge | undefined; body: Uint8Array } | undefined;
  #askedAnew = false;
  /** The client waits for PostgreSQL's answer. */
  waits = false;

  constructor(session: LookingSession, login: LookingLogin, users: UserLookup) {
    this.#session = session;
    this.#login = login;
    this.#users = users;
  }

  /** Returns whether this worker goes on with the session. */
  begin(): boolean {
    const { database, user } = this.#login.state;
    if (!permitted(this.#login)) return true;
    const claimed = { database, user };
    this.#ask((told) => this.#users.find(claimed, told), (looked) => {
      if (looked.kind === "failed") this.#lookupFailed();
      else this.#login.authenticate(this.#accountOf(looked));
    });
    return true;
  }

  /** The client answers. */
  notes(asked: Challenge | undefined, body: Uint8Array): void {
    // They lie where the next ones are read to.
    this.#proof = { asked, body: body.slice() };
  }

  /** The proof is wrong; `false`: and that is that. */
  triesAgain(): boolean {
    const known = this.#known;
    const proof = this.#proof;
    if (this.#askedAnew || known === undefined || proof === undefined) return false;
    if (proof.asked?.method === "external") return false;
    this.#askedAnew = true;
    const { user } = this.#login.state;
    const ask = (told: (looked: Looked<FoundUser>) => void) =>
      this.#users.refetch(user, known, told);
    this.#ask(ask, (looked) => {
      // That it was asked for is not to be told: of an unknown user it is not.
      const fresh = looked.kind === "failed" ? known : looked;
      const account = fresh === known ? undefined : this.#accountOf(fresh);
      const asked = account && askedOf(proof.asked, account);
      if (asked !== undefined) this.#login.takeProof(account!, asked, proof.body);
      else this.#login.refused(REASONS.authenticationFailed, user);
    });
    return true;
  }

  #ask(
    ask: (told: (looked: Looked<FoundUser>) => void) => GiveUp,
    then: (looked: Looked<FoundUser>) => void,
  ): void {
    let asking = true;
    this.waits = true;
    this.#login.checks.lookUp(ask, (looked) => {
      this.waits = false;
      then(looked);
      const { login, state } = this.#session;
      if (login !== this.#login || state.stage !== Stage.Login) return;
      this.#login.waits();
      // Whoever reads at the moment goes on by itself.
      if (!asking) this.#session.takeKept();
    });
    asking = false;
  }

  #accountOf(looked: Remembered<FoundUser>): Account {
    this.#known = looked;
    return looked.kind === "missing" || looked.found.password.kind === "unsupported"
      ? unknownAccount(this.#login, this.#users.shapes)
      : knownAccount(looked.found.password);
  }

  #lookupFailed(): void {
    if (this.#users.ended) this.#login.begin();
    else this.#login.refused(REASONS.lookupFailed, this.#login.state.user);
  }

  /** The client has proven itself: it gets its pool. `false`: there is none, and the login is refused. */
  enter(): boolean {
    const { database, user } = this.#login.state;
    const known = this.#known;
    if (known?.kind !== "found") throw new Error("nobody was found");
    const entered = this.#users.enter({ database, user }, known.found);
    if ("reason" in entered) {
      this.#login.refused(entered.reason, entered.first, entered.second);
      return false;
    }
    this.#session.pool = entered;
    entered.enter();
    return true;
  }

  through(): void {
    this.#users.count("auth_success");
  }

  wrong(): void {
    this.#users.count("auth_failure");
  }
}
