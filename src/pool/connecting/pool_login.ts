/**
 * One connection on its way, by a pool's address and credentials: its server's name is resolved, then it logs in. It can
 * be given up at any time. What becomes of it is for whoever has begun it.
 */

import type { PoolSettings } from "../../config/settings.ts";
import type { LoginSecrets } from "../../server/authentication.ts";
import { type LoggedIn, type LoginFailure, ServerLogin } from "../../server/login.ts";
import { startupFields } from "../../server/startup_fields.ts";
import type { PoolEnvironment } from "../environment.ts";

export class PoolLogin {
  readonly #environment: PoolEnvironment;
  readonly #secrets: LoginSecrets;
  /** `undefined` while the server's name is being resolved. */
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
    done: (result: LoggedIn | LoginFailure) => void,
    fields: readonly [string, string][] = startupFields(settings),
  ): void {
    const { reactor, tune } = this.#environment;
    const { server_host, server_port } = settings;
    this.#environment.addresses(server_host, server_port, (addresses, error) => {
      if (this.#givenUp) return;
      if (error !== undefined) {
        const message = `resolve "${server_host}": ${error}`;
        return done({ kind: "failed", code: "53300", message, transient: true });
      }
      const secrets = this.#secrets;
      this.#login = new ServerLogin(reactor, { settings, fields, addresses, tune, secrets, done });
      this.#login.start();
    });
  }

  /** Whether the server's name is still being resolved. */
  get resolving(): boolean {
    return this.#login === undefined;
  }

  /** An answer of the resolver may still come. */
  giveUp(): void {
    this.#givenUp = true;
    this.#login?.abandon();
  }
}
