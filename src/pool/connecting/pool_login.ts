/**
 * One connection on its way, by a pool's address and credentials: its server's name is resolved, its password fetched if
 * the configuration does not have it, then it logs in. It can be given up at any time. What becomes of it is for whoever
 * has begun it.
 *
 * ```
 *   resolving ──▶ fetching ──▶ connecting ──▶ done
 *                    ▲               │ PostgreSQL refuses the password: once more with another, if there is one
 *                    └───────────────┘
 * ```
 */

import { passwordCredentials, sourceKey } from "../../config/server_password.ts";
import type { PasswordSource, PoolSettings } from "../../config/settings.ts";
import type { LoginSecrets } from "../../server/authentication.ts";
import type { ServerAddress } from "../../server/dial.ts";
import { type LoggedIn, type LoginFailure, ServerLogin } from "../../server/login.ts";
import { startupFields } from "../../server/startup_fields.ts";
import type { PoolEnvironment } from "../environment.ts";

type Done = (result: LoggedIn | LoginFailure) => void;

/** Where it leads, and how it begins. */
interface Way {
  fields: readonly [string, string][];
  addresses: ServerAddress[];
}

export class PoolLogin {
  readonly #environment: PoolEnvironment;
  readonly #secrets: LoginSecrets;
  /** What it waits for before it connects. */
  waitsFor: "name" | "password" | undefined = "name";
  #login: ServerLogin | undefined;
  #givenUp = false;

  constructor(environment: PoolEnvironment, secrets: LoginSecrets) {
    this.#environment = environment;
    this.#secrets = secrets;
  }

  /**
   * Begins. `done` is called once, perhaps before this returns, unless it is given up. `fields` are those of the
   * StartupMessage.
   */
  start(
    settings: PoolSettings,
    done: Done,
    fields: readonly [string, string][] = startupFields(settings),
  ): void {
    const { server_host, server_port, credentials } = settings;
    this.#environment.addresses(server_host, server_port, (addresses, error) => {
      if (this.#givenUp) return;
      if (error !== undefined) {
        const message = `resolve "${server_host}": ${error}`;
        return done({ kind: "failed", code: "53300", message, transient: true });
      }
      const way = { fields, addresses };
      if (credentials.kind !== "fetched") this.#logIn(settings, way, done);
      else this.#fetch(credentials.source, undefined, settings, way, done);
    });
  }

  #logIn(settings: PoolSettings, way: Way, done: Done): void {
    const { reactor, tune } = this.#environment;
    this.waitsFor = undefined;
    this.#login = new ServerLogin(reactor, {
      settings,
      ...way,
      tune,
      secrets: this.#secrets,
      done,
    });
    this.#login.start();
  }

  #fetch(
    source: PasswordSource,
    refusal: { password: string; failure: LoginFailure } | undefined,
    settings: PoolSettings,
    way: Way,
    done: Done,
  ): void {
    this.waitsFor = "password";
    this.#environment.serverPassword(source, refusal?.password, (found) => {
      if (this.#givenUp) return;
      if ("error" in found) return done(notFetched(source, found.error, refusal?.failure));
      const { password } = found;
      if (password === refusal?.password) return done(refusal.failure);
      this.#logIn({ ...settings, credentials: passwordCredentials(password) }, way, (result) => {
        if (refusal !== undefined || result.kind === "ready" || !result.passwordRefused) {
          return done(result);
        }
        this.#fetch(source, { password, failure: result }, settings, way, done);
      });
    });
  }

  /** An answer of the control plane may still come. */
  giveUp(): void {
    this.#givenUp = true;
    this.#login?.abandon();
  }
}

function notFetched(
  source: PasswordSource,
  error: string,
  refusal: LoginFailure | undefined,
): LoginFailure {
  const message = `no password: ${sourceKey(source)}: ${error}`;
  if (refusal === undefined) return { kind: "failed", code: "28000", message, transient: false };
  return { ...refusal, message: `${refusal.message} (${message})` };
}
