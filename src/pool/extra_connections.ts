/**
 * Connections that a pool has beside `pool_size`: its listener's and those of its replication clients. They are opened
 * with the pool's address and credentials. Limits over several pools count them, and they have nothing to give to a
 * limit: no client stands in a line for them, none of them is idle, and another process sends none that would be waited
 * for.
 */

import type { PoolSettings } from "../config/settings.ts";
import type { Reason } from "../reasons.ts";
import type { ServerConnection } from "../server/connection.ts";
import type { ServerOwner, Traffic } from "../server/link.ts";
import type { LoginSecrets } from "../server/authentication.ts";
import type { LoggedIn } from "../server/login.ts";
import { ServerStage, type ServerState } from "../server/state.ts";
import type { LimitedPool, Share } from "./share.ts";
import { loggedInState } from "./connecting/creation.ts";
import type { PoolEnvironment } from "./environment.ts";
import { PoolLogin } from "./connecting/pool_login.ts";
import { closedLine } from "./lifetime.ts";

const TARGET = "pg_doorman::server";

/** The pool that the connections are of. */
export interface ExtendedPool
  extends Pick<ServerOwner<ServerConnection>, "schemaChanged" | "traffic" | "reported"> {
  readonly settings: PoolSettings;
  readonly name: string;
  /** Names of the operator's parameters. */
  readonly managed: ReadonlySet<string>;
  readonly paused: boolean;
  readonly moved: boolean;
}

export abstract class ExtraConnections implements LimitedPool {
  readonly expected = 0;
  readonly waiting = 0;
  readonly transactionTime = 0;
  protected readonly pool: ExtendedPool;
  /** Its clients are the pool's. */
  readonly seated = 0;
  protected readonly environment: PoolEnvironment;
  /** Their part in limits over several pools. */
  protected readonly share: Share;

  readonly #secrets: LoginSecrets;

  constructor(pool: ExtendedPool, environment: PoolEnvironment, secrets: LoginSecrets) {
    this.pool = pool;
    this.environment = environment;
    this.#secrets = secrets;
    this.share = environment.coordinator.join(this);
  }

  /** Connections that are there or being made. */
  abstract readonly size: number;

  abstract grow(): void;

  get settings(): PoolSettings {
    return this.pool.settings;
  }

  get name(): string {
    return this.pool.name;
  }

  get moved(): boolean {
    return this.pool.moved;
  }

  get reported(): Set<string> {
    return this.pool.reported;
  }

  get traffic(): Traffic {
    return this.pool.traffic;
  }

  longestWaitMs(): number {
    return 0;
  }

  idleServers(): readonly ServerConnection[] {
    return [];
  }

  newLogin(): PoolLogin {
    return new PoolLogin(this.environment, this.#secrets);
  }

  /** The state of a connection that has logged in: it is at work from the first moment on. */
  protected stateOf(login: LoggedIn, settings: PoolSettings): ServerState {
    const { environment } = this;
    const id = environment.nextServerId();
    const state = loggedInState(id, environment.reactor.now, login, settings);
    state.stage = ServerStage.Linked;
    state.uses = 1;
    return state;
  }

  /** One has ended; `what` says which kind it was. */
  protected logClosed(
    what: string,
    server: ServerConnection,
    reason: Reason,
    detail: string,
  ): void {
    const { log, reactor } = this.environment;
    const line = closedLine(server, reason, detail, reactor.now);
    log[reason.level](TARGET, `[${this.name}] ${what}: ${line}`);
  }
}
