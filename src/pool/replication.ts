/**
 * The replication connections of a pool: each belongs to one client from its login to its end, opened with what that
 * client's StartupMessage asks for. They are never given to another client and have a limit of their own
 * (`max_replication_connections`).
 *
 * What must hold: a server that is in here is linked; when its client leaves it is closed.
 */

import { canonicalName } from "../config/parameter_names.ts";
import type { PoolSettings } from "../config/settings.ts";
import { oneLine } from "../log/one_line.ts";
import type { Replication as Kind } from "../protocol/startup.ts";
import { MAX_STARTUP_BYTES, startupMessage } from "../protocol/startup.ts";
import { type Reason, REASONS } from "../reasons.ts";
import { ServerConnection } from "../server/connection.ts";
import type { ServerOwner } from "../server/link.ts";
import type { LoggedIn, LoginFailure } from "../server/login.ts";
import { startupFields } from "../server/startup_fields.ts";
import { ExtraConnections } from "./extra_connections.ts";
import type { PoolLogin } from "./connecting/pool_login.ts";

const TARGET = "pg_doorman::server";

/** What a client wants, and whom to tell; one of the two is called, once. */
export interface ReplicationRequest {
  kind: Kind;
  /** Of its StartupMessage: all but user, database and replication. */
  parameters: readonly [string, string][];
  ready: (server: ServerConnection) => void;
  failed: (reason: Reason, first: string, second?: string, code?: string) => void;
}

export class Replication extends ExtraConnections implements ServerOwner<ServerConnection> {
  readonly #servers = new Set<ServerConnection>();
  /** By client. */
  readonly #logins = new Map<object, PoolLogin>();

  /** Nobody stands in line for a place: a client that gets none is told so. */
  grow(): void {}

  // ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────────

  schemaChanged(): void {
    this.pool.schemaChanged();
  }

  servers(): Iterable<ServerConnection> {
    return this.#servers;
  }

  get size(): number {
    return this.#servers.size + this.#logins.size;
  }

  /** Makes a connection for `client`. It may be told before this returns. */
  open(client: object, request: ReplicationRequest): void {
    const { settings, paused } = this.pool;
    const most = settings.max_replication_connections;
    if (this.size >= most) return request.failed(REASONS.tooManyReplications, String(most));
    if (paused) return request.failed(REASONS.poolPaused, settings.database);
    const fields = startupFields(settings, this.#parameters(request));
    if (startupMessage(fields).length > MAX_STARTUP_BYTES) {
      // PostgreSQL would hang up without a word.
      return request.failed(REASONS.parametersFailed, "the startup parameters are too long");
    }
    if (!this.share.takeAhead()) {
      return request.failed(REASONS.replicationLimit, settings.database, settings.user);
    }
    const login = this.newLogin();
    this.#logins.set(client, login);
    this.share.count();
    login.start(settings, (result) => {
      // Without a gap: its place must not be given away.
      if (result.kind === "ready") return this.#loggedIn(client, request, result, settings);
      this.#forget(client);
      this.#failed(request, result);
    }, fields);
  }

  /** The client's own wishes, but for what is the operator's. */
  #parameters({ kind, parameters }: ReplicationRequest): [string, string][] {
    const { managed, settings } = this.pool;
    const own = parameters.filter(([name]) => {
      const canonical = canonicalName(name);
      return !managed.has(canonical) &&
        !(canonical === "application_name" && settings.application_name_pinned);
    });
    const replication = kind === "logical" ? "database" : "true";
    return [["replication", replication], ...own, ...settings.startup_parameters];
  }

  /** The client has gone before its connection was there. */
  abandon(client: object): void {
    const login = this.#logins.get(client);
    if (login === undefined) return;
    login.giveUp();
    this.#forget(client);
  }

  #forget(client: object): void {
    this.#logins.delete(client);
    this.share.count();
  }

  #failed({ failed }: ReplicationRequest, { code, message }: LoginFailure): void {
    this.environment.log.warn(
      TARGET,
      `[${this.name}] replication login failed: ${code}: ${oneLine(message)}`,
    );
    failed(REASONS.loginFailed, message, "", code);
  }

  #loggedIn(
    client: object,
    { ready }: ReplicationRequest,
    login: LoggedIn,
    settings: PoolSettings,
  ): void {
    const { reactor, log } = this.environment;
    const state = this.stateOf(login, settings);
    const server = new ServerConnection(reactor, login.stream, state, this);
    server.tlsSettings = login.tls?.settings;
    this.#logins.delete(client);
    this.#adopt(server);
    log.info(
      TARGET,
      `[${this.name}] new replication connection pid=${state.pid} to ${state.addressText}, ` +
        `replication=${this.size}/${settings.max_replication_connections}`,
    );
    ready(server);
  }

  #adopt(server: ServerConnection): void {
    this.#servers.add(server);
    this.share.count();
    server.listen();
  }

  // ── what server connections tell ────────────────────────────────────────────────────────────────────────────────

  serverSettled(server: ServerConnection): void {
    server.close(REASONS.replicationOver, "");
  }

  serverClosed(server: ServerConnection, reason: Reason, detail: string): void {
    this.#servers.delete(server);
    this.share.count();
    this.logClosed("replication", server, reason, detail);
  }

  /** Closes every connection; the clients have been sent home. */
  kill(): void {
    for (const server of [...this.#servers]) server.close(REASONS.adminShutdown, "");
  }

  /** The pool ends; its last client has left. */
  close(): void {
    this.share.end();
  }

  // ── to another process and from it ──────────────────────────────────────────────────────────────────────────────

  /** Lets go of a server that is about to be frozen; `putBack` is the way back. */
  takeOut(server: ServerConnection): void {
    this.#servers.delete(server);
    this.share.count();
  }

  putBack(server: ServerConnection): void {
    this.#servers.add(server);
    this.share.count();
  }

  /** A server connection from another process. */
  adoptThawed(server: ServerConnection): void {
    this.#adopt(server);
  }
}
