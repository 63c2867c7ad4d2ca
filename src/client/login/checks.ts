/**
 * Checks of a password that are not done here: the login waits for the answer, and gives the check up when it ends. What
 * the client has sent behind its password waits, too.
 */

import type { ScramVerifier } from "../../auth/scram.ts";
import type { ExternalRequest, ExternalVerdict } from "../../config/external_check.ts";
import type { ClientContext, WaitingLogin } from "../context.ts";

/** The part of a session that this file sees. */
interface Session {
  readonly context: Pick<ClientContext, "logins" | "passwords" | "externalChecks">;
  hold(): void;
  unhold(): void;
}

/** What is told where no check can be asked for. */
interface Login extends WaitingLogin {
  tooManyChecks(): void;
}

export class PasswordChecks {
  readonly #session: Session;
  readonly #login: Login;
  #abandon: (() => void) | undefined;

  constructor(session: Session, login: Login) {
    this.#session = session;
    this.#login = login;
  }

  /** Salts a password on another thread. */
  salt(
    password: Uint8Array,
    { salt, iterations }: ScramVerifier,
    done: (saltedPassword: Uint8Array | undefined) => void,
  ): void {
    const { passwords } = this.#session.context;
    this.#wait((told) => passwords.ask(password, salt, iterations, told), done);
  }

  /** Others check it. */
  external(request: ExternalRequest, done: (verdict: ExternalVerdict) => void): void {
    const { externalChecks } = this.#session.context;
    this.#wait((told) => externalChecks.ask(request, told), done);
  }

  /** Somebody is asked who may know at once. */
  lookUp<Answer>(
    ask: (told: (answer: Answer) => void) => () => void,
    done: (answer: Answer) => void,
  ): void {
    const session = this.#session;
    let told = false;
    session.context.logins.over(this.#login);
    session.hold();
    const giveUp = ask((answer) => {
      told = true;
      session.unhold();
      done(answer);
    });
    // What is asked next has been asked by now.
    if (!told) this.#abandon = giveUp;
  }

  #wait<Answer>(
    ask: (told: (answer: Answer) => void) => (() => void) | undefined,
    done: (answer: Answer) => void,
  ): void {
    const session = this.#session;
    session.context.logins.over(this.#login);
    session.hold();
    this.#abandon = ask((answer) => {
      session.unhold();
      done(answer);
    });
    if (this.#abandon === undefined) this.#login.tooManyChecks();
  }

  /** The login ends or is through. */
  end(): void {
    this.#abandon?.();
    this.#abandon = undefined;
  }
}
