/**
 * Makes the connection of a pool's listener: one login at a time, by the pool's address and credentials.
 */

import type { PoolSettings } from "../config/settings.ts";
import { type LoggedIn, type LoginSecrets, ServerLogin } from "../server/login.ts";
import { canonicalName } from "../server/parameters.ts";
import type { PoolEnvironment } from "./environment.ts";

export class ListenerLogin {
  readonly #environment: PoolEnvironment;
  readonly #secrets: LoginSecrets;
  /** `true` while the server's name is being resolved. */
  #login: ServerLogin | true | undefined;
  /** Tells an answer for a login that was given up. */
  #attempt = 0;

  constructor(environment: PoolEnvironment, secrets: LoginSecrets) {
    this.#environment = environment;
    this.#secrets = secrets;
  }

  get underWay(): boolean {
    return this.#login !== undefined;
  }

  /** Begins; one of the two is called, once, unless it is given up. */
  start(
    settings: PoolSettings,
    ready: (login: LoggedIn) => void,
    failed: (detail: string) => void,
  ): void {
    const attempt = ++this.#attempt;
    this.#login = true;
    const { server_host, server_port } = settings;
    this.#environment.addresses(server_host, server_port, (addresses, error) => {
      if (attempt !== this.#attempt) return;
      if (error !== undefined) {
        this.#login = undefined;
        failed(`resolve "${server_host}": ${error}`);
        return;
      }
      const login = new ServerLogin(this.#environment.reactor, {
        settings,
        parameters: startupParameters(settings),
        addresses,
        tune: this.#environment.tune,
        secrets: this.#secrets,
        done: (result) => {
          this.#login = undefined;
          if (result.kind === "ready") ready(result);
          else failed(`${result.code}: ${result.message.replace(/[\r\n]+/g, " ")}`);
        },
      });
      this.#login = login;
      login.start();
    });
  }

  giveUp(): void {
    if (this.#login instanceof ServerLogin) this.#login.abandon();
    // An answer of the resolver may still come.
    this.#attempt++;
    this.#login = undefined;
  }
}

/** The StartupMessage's fields. Notifications come in one encoding for all. */
function startupParameters(settings: PoolSettings): [string, string][] {
  const own = settings.startup_parameters.filter(([name]) =>
    canonicalName(name) !== "client_encoding"
  );
  const fields: [string, string][] = [
    ["user", settings.server_username],
    ["database", settings.server_database],
  ];
  if (!own.some(([name]) => canonicalName(name) === "application_name")) {
    fields.push(["application_name", settings.application_name]);
  }
  return [...fields, ...own, ["client_encoding", "UTF8"]];
}
