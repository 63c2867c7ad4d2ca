/**
 * A pool of server connections for one (database, user): checkout with direct hand-off to the first waiter, check-in
 * with cleaning, creation on demand, pause, reconnect, and new settings at any time. All on one worker's thread.
 *
 * What must hold: a server is idle, linked, being cleaned, draining, or closed, and in `#servers` unless closed; idle
 * ones owe nothing, are in no transaction, and nobody waits while one is idle and the pool is not paused.
 */

import type { Reactor } from "../reactor/reactor.ts";
import type { Timer } from "../reactor/timers.ts";
import type { PoolSettings } from "../config/settings.ts";
import { TransactionStatus } from "../protocol/codes.ts";
import type { ReceivedError } from "../protocol/error_response.ts";
import { Owed } from "../protocol/owed_replies.ts";
import { type Reason, REASONS, reasonText } from "../reasons.ts";
import { sendCancelRequest } from "../server/cancel_request.ts";
import { ServerConnection, type ServerOwner } from "../server/connection.ts";
import {
  type LoggedIn,
  type LoginFailure,
  type LoginSecrets,
  type ServerAddress,
  ServerLogin,
  type SocketTuner,
} from "../server/login.ts";
import { onlyReported, type ParameterSet, parameterSet } from "../server/parameters.ts";
import { Dirty, newServerState, ServerStage } from "../server/state.ts";
import { Counters } from "../stats/counters.ts";
import type { Log } from "../log/log.ts";
import { cleanupQueries } from "./cleanup.ts";
import type { PoolSnapshot } from "./snapshot.ts";
import { type Waiter, Waiting } from "./waiting.ts";

/** What a pool needs of its worker. */
export interface PoolEnvironment {
  readonly reactor: Reactor;
  readonly log: Log;
  readonly tune: SocketTuner;
  nextServerId(): number;
  /** Addresses of the server, in the order to try. May answer at once. */
  addresses(
    host: string,
    port: number,
    done: (addresses: ServerAddress[], error: string | undefined) => void,
  ): void;
  derive: LoginSecrets["derive"];
  /** The last client of a retired pool has left. */
  retiredEmpty(pool: Pool): void;
  /** A client of a pool that has moved asks for a server: it has to move, too. */
  stranded(pool: Pool): void;
  /** A server of a pool that has moved is free to follow; `undefined`: it is gone instead. */
  lateServer(pool: Pool, server: ServerConnection | undefined): void;
}

/** First pause after a failed login; doubles up to `MOST_RETRY_MS`. */
const FIRST_RETRY_MS = 50;
const MOST_RETRY_MS = 1000;
/** So many server connections are closed in one go; each costs some 20 µs, and clients of other pools wait meanwhile. */
const CLOSES_A_TURN = 16;
const TARGET = "pg_doorman::pool";

export class Pool implements ServerOwner {
  settings: PoolSettings;
  readonly counters: Counters = new Counters();
  readonly traffic: { received: number; sent: number };
  readonly reported = new Set<string>();
  /** Parameters of the first server: what a client has that asks for nothing. */
  defaults: ParameterSet | undefined = undefined;
  /** Names that belong to the operator: clients' values of them are not taken. */
  managed: ReadonlySet<string>;
  /** ClientKey of the pool's user, for passthrough. */
  clientKey: Uint8Array | undefined = undefined;
  paused = false;
  retired = false;
  /** Sessions of this pool. */
  clients = 0;
  #environment: PoolEnvironment;
  #idle: ServerConnection[] = [];
  /** Idle servers that new settings have no use for: closed a few in each turn. */
  #outdated: ServerConnection[] = [];
  #servers = new Set<ServerConnection>();
  #logins = new Set<ServerLogin>();
  #connecting = 0;
  #waiting = new Waiting();
  #epoch = 0;
  #waitTimer: Timer | undefined;
  #deadlineTimer: Timer | undefined;
  #retryTimer: Timer | undefined;
  #retryMs = 0;
  #lastFailure: LoginFailure | undefined;
  #salted = new Map<string, Uint8Array>();
  /** Its servers went to another process: none is made here, and who waits has to follow them. */
  #moved = false;
  /** Servers that another process still has and will send: part of `pool_size`. */
  #expected = 0;

  constructor(settings: PoolSettings, environment: PoolEnvironment) {
    this.settings = settings;
    this.#environment = environment;
    this.traffic = this.counters.total;
    this.managed = managedNames(settings);
  }

  get name(): string {
    return `${this.settings.user}@${this.settings.database}`;
  }

  /** Servers that are connected or connecting. */
  get size(): number {
    return this.#servers.size + this.#connecting;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get idle(): number {
    return this.#idle.length;
  }

  get connecting(): number {
    return this.#connecting;
  }

  servers(): Iterable<ServerConnection> {
    return this.#servers;
  }

  /** Longest wait of those who wait now, in milliseconds. */
  longestWaitMs(now: number): number {
    const first = this.#waiting.first();
    return first === undefined ? 0 : now - first.waitSinceMs;
  }

  /** A session has logged in to this pool. */
  enter(): void {
    this.clients++;
  }

  /** A session of this pool has ended, its server is given back. */
  leave(): void {
    this.clients--;
    if (this.retired && this.clients === 0) this.#environment.retiredEmpty(this);
  }

  // ── check out, check in ─────────────────────────────────────────────────────────────────────────────────────────

  /** A server at once, or `undefined`: then the waiter will be told. */
  checkOut(waiter: Waiter): ServerConnection | undefined {
    if (this.#waiting.length === 0 && !this.paused) {
      const server = this.#takeIdle();
      if (server !== undefined) {
        this.#lend(server);
        return server;
      }
    }
    const reactor = this.#environment.reactor;
    this.#waiting.push(waiter, reactor.now);
    if (this.#moved) {
      this.#environment.stranded(this);
      return undefined;
    }
    this.#grow();
    // A refusal that is still fresh has answered already.
    if (waiter.waitSinceMs !== 0) this.#watchWaiting();
    return undefined;
  }

  /** The waiter does not want a server any more. */
  leaveQueue(waiter: Waiter): void {
    this.#waiting.remove(waiter);
  }

  /** A client gives its server back: nothing is owed, or what is owed is to be dropped. */
  checkIn(server: ServerConnection): void {
    server.link = undefined;
    if (server.state.stage === ServerStage.Closed) return;
    if (server.owed.length > 0 || server.state.unsynced) {
      this.#drain(server);
      return;
    }
    this.#afterUse(server);
  }

  /** Asks PostgreSQL to cancel what this server runs. */
  cancel(server: ServerConnection): void {
    server.cancelsUnderWay++;
    sendCancelRequest(
      this.#environment.reactor,
      server.state,
      this.settings.connect_timeout,
      (delivered) => {
        server.cancelsUnderWay--;
        // Undelivered is not the same as never: the server must not meet another client.
        if (!delivered) server.state.epoch = -1;
        if (server.cancelsUnderWay > 0) return;
        if (server.state.stage === ServerStage.Cleaning && server.owed.length === 0) {
          this.#afterUse(server);
        } else if (this.#moved && this.#servers.has(server)) {
          this.#environment.lateServer(this, server);
        }
      },
    );
  }

  #lend(server: ServerConnection): void {
    const state = server.state;
    state.stage = ServerStage.Linked;
    state.uses++;
    state.heldSinceMs = this.#environment.reactor.now;
  }

  /** The next usable idle server; stale ones are closed and doubtful ones checked on the way. */
  #takeIdle(): ServerConnection | undefined {
    const checkAfter = this.settings.server_idle_check_timeout;
    const now = this.#environment.reactor.now;
    for (;;) {
      const server = this.settings.server_round_robin ? this.#idle.shift() : this.#idle.pop();
      if (server === undefined) return undefined;
      const stale = this.#stale(server);
      if (stale !== undefined) {
        server.close(stale, "");
      } else if (
        checkAfter > 0 && server.state.uses > 0 && now - server.state.usedAtMs > checkAfter
      ) {
        this.#check(server);
      } else return server;
    }
  }

  #check(server: ServerConnection): void {
    server.state.stage = ServerStage.Cleaning;
    server.runOwn(";");
    this.#limit(server, this.settings.connect_timeout);
  }

  /** Closes the server unless what it is doing for the pool is through in `ms`. */
  #limit(server: ServerConnection, ms: number): void {
    const { reactor } = this.#environment;
    server.deadlineMs = reactor.now + ms;
    this.#deadlineTimer ??= reactor.at(server.deadlineMs, () => this.#closeOverdue());
  }

  #closeOverdue(): void {
    const { reactor } = this.#environment;
    this.#deadlineTimer = undefined;
    let next = Infinity;
    for (const server of [...this.#servers]) {
      const { stage } = server.state;
      if (stage !== ServerStage.Cleaning && stage !== ServerStage.Draining) continue;
      if (server.deadlineMs <= reactor.now) {
        const what = stage === ServerStage.Draining
          ? "a result that nobody waits for takes too long"
          : "no answer to the pooler's own query";
        server.close(REASONS.serverUnusable, what);
      } else next = Math.min(next, server.deadlineMs);
    }
    if (next !== Infinity && this.#deadlineTimer === undefined) {
      this.#deadlineTimer = reactor.at(next, () => this.#closeOverdue());
    }
  }

  /** Why a server must not be used again, if so. */
  #stale(server: ServerConnection): Reason | undefined {
    const state = server.state;
    if (
      state.epoch !== this.#epoch || state.digest !== this.settings.server_digest ||
      this.size - this.#outdated.length > this.settings.pool_size
    ) return REASONS.serverReplaced;
    // Under pressure an old server is better than none; the limit holds again when nobody waits.
    const age = this.#environment.reactor.now - state.createdAtMs;
    if (state.lifetimeMs > 0 && age > state.lifetimeMs && this.#waiting.length === 0) {
      return REASONS.serverLifetime;
    }
    return undefined;
  }

  #drain(server: ServerConnection): void {
    if (server.owed.copyIn || server.congested) {
      server.close(REASONS.serverUnusable, "its client left in the middle of a message or a COPY");
      return;
    }
    server.state.stage = ServerStage.Draining;
    if (server.state.unsynced && !server.owed.skipping && server.owed.lastKind() !== Owed.Sync) {
      // A Sync would commit what the client has not asked to: at a direct connection its end undoes it.
      server.runOwn("ROLLBACK");
      server.syncOwn();
    } else if (server.owed.skipping) server.syncOwn();
    server.resumeReading();
    this.#limit(server, this.settings.connect_timeout);
  }

  /** Nothing is owed: clean what has to be, then offer the server. */
  #afterUse(server: ServerConnection): void {
    const state = server.state;
    state.stage = ServerStage.Cleaning;
    if (server.congested || state.left > 0) {
      server.close(REASONS.serverUnusable, "bytes are left over");
      return;
    }
    // A slow client may have stopped it.
    server.resumeReading();
    if (server.cancelsUnderWay > 0) return;
    const stale = this.#stale(server);
    if (stale !== undefined) {
      server.close(stale, "");
      return;
    }
    if (state.status === TransactionStatus.Idle && state.dirty === 0) {
      this.#offer(server);
      return;
    }
    const queries = cleanupQueries(state, this.settings.cleanup_server_connections);
    if (queries.length === 0) {
      this.#offer(server);
      return;
    }
    for (const query of queries) server.runOwn(query);
    this.#limit(server, this.settings.connect_timeout);
  }

  /** A clean server: to the first waiter, or to the idle ones. */
  #offer(server: ServerConnection): void {
    const state = server.state;
    if (this.#moved) {
      state.stage = ServerStage.Idle;
      this.#environment.lateServer(this, server);
      return;
    }
    state.usedAtMs = this.#environment.reactor.now;
    const waiter = this.paused ? undefined : this.#waiting.shift();
    if (waiter === undefined) {
      state.stage = ServerStage.Idle;
      this.#idle.push(server);
      return;
    }
    this.#lend(server);
    waiter.serverReady(server);
  }

  // ── what server connections tell ────────────────────────────────────────────────────────────────────────────────

  serverSettled(server: ServerConnection, error: ReceivedError | undefined): void {
    const { state } = server;
    if (state.stage === ServerStage.Draining) {
      this.#afterUse(server);
      return;
    }
    if (state.stage !== ServerStage.Cleaning) return;
    if (error !== undefined) {
      server.close(REASONS.serverCleanupFailed, `${error.code}: ${error.message}`);
      return;
    }
    if ((state.dirty & (Dirty.Set | Dirty.All)) !== 0) {
      state.parameters = onlyReported(state.parameters, this.reported);
    }
    state.dirty = 0;
    this.#afterUse(server);
  }

  serverClosed(server: ServerConnection, reason: Reason, detail: string): void {
    if (this.#servers.delete(server) && this.#moved) {
      this.#environment.lateServer(this, undefined);
    }
    const at = this.#idle.indexOf(server);
    if (at >= 0) this.#idle.splice(at, 1);
    const now = this.#environment.reactor.now;
    this.#environment.log[reason.level](
      "pg_doorman::server",
      `[${this.name}] pid=${server.state.pid} server connection closed: ${
        reasonText(reason, detail)
      }${detail !== "" && !reason.text.includes("{0}") ? `: ${oneLine(detail)}` : ""}, session=${
        Math.round(now - server.state.createdAtMs)
      }ms`,
    );
    this.#grow();
  }

  // ── growth ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Starts as many logins as are wanted and allowed. */
  #grow(): void {
    while (this.#waiting.length > this.#connecting && this.#mayConnect()) this.#connect();
  }

  #mayConnect(): boolean {
    const { pool_size, scaling_max_parallel_creates, max_concurrent_creates } = this.settings;
    return !this.paused && !this.#moved && this.size + this.#expected < pool_size &&
      this.#connecting < Math.min(scaling_max_parallel_creates, max_concurrent_creates) &&
      this.#retryTimer === undefined;
  }

  #connect(): void {
    const { settings } = this;
    const environment = this.#environment;
    const epoch = this.#epoch;
    this.#connecting++;
    environment.addresses(settings.server_host, settings.server_port, (addresses, error) => {
      if (error !== undefined) {
        this.#connecting--;
        const message = `resolve "${settings.server_host}": ${error}`;
        this.#loginFailed({ kind: "failed", code: "53300", message, transient: true });
        return;
      }
      const login = new ServerLogin(environment.reactor, {
        settings,
        addresses,
        tune: environment.tune,
        secrets: {
          clientKey: () => this.clientKey,
          derive: (password, salt, iterations, done) =>
            this.#derive(password, salt, iterations, done),
        },
        done: (result) => {
          this.#logins.delete(login);
          this.#connecting--;
          if (result.kind === "failed") this.#loginFailed(result);
          else this.#loggedIn(result, epoch, settings);
        },
      });
      this.#logins.add(login);
      login.start();
    });
  }

  /** PBKDF2 of the same salt is done once: PostgreSQL keeps a role's salt until its password changes. */
  #derive(
    password: string,
    salt: Uint8Array,
    iterations: number,
    done: (salted: Uint8Array | undefined) => void,
  ): void {
    const key = `${iterations}:${salt.join(",")}:${password}`;
    const known = this.#salted.get(key);
    if (known !== undefined) return done(known);
    this.#environment.derive(password, salt, iterations, (salted) => {
      if (this.#salted.size > 8) this.#salted.clear();
      if (salted !== undefined) this.#salted.set(key, salted);
      done(salted);
    });
  }

  #loggedIn(login: LoggedIn, epoch: number, settings: PoolSettings): void {
    const { reactor, log } = this.#environment;
    const state = newServerState(this.#environment.nextServerId(), reactor.now);
    state.pid = login.pid;
    state.secret = login.secret;
    state.address = login.address.bytes;
    state.addressText = login.address.text;
    state.lifetimeMs = spread(settings.server_lifetime);
    state.idleLimitMs = spread(settings.idle_timeout);
    state.epoch = epoch;
    state.digest = settings.server_digest;
    state.applicationName = settings.application_name;
    state.parameters = parameterSet(login.parameters);
    for (const name of login.parameters.keys()) this.reported.add(name);
    // One that logged in by settings of before is closed right away: its parameters are nobody's.
    if (epoch === this.#epoch) this.defaults ??= state.parameters;
    this.#retryMs = 0;
    this.#lastFailure = undefined;
    const server = this.adopt(new ServerConnection(reactor, login.stream, state, this));
    log.info(
      "pg_doorman::server",
      `[${this.name}] new server connection pid=${state.pid} to ${state.addressText}, ` +
        `size=${this.size}/${settings.pool_size}`,
    );
    this.#afterUse(server);
    this.#grow();
    this.warm();
  }

  /** Takes a server connection in: one that has logged in, or was thawed. */
  adopt(server: ServerConnection): ServerConnection {
    this.#servers.add(server);
    server.listen();
    return server;
  }

  #loginFailed(failure: LoginFailure): void {
    const { reactor, log } = this.#environment;
    if (this.#moved) {
      this.#environment.lateServer(this, undefined);
      return;
    }
    this.#lastFailure = failure;
    this.#retryMs = failure.transient
      ? Math.min(MOST_RETRY_MS, Math.max(FIRST_RETRY_MS, this.#retryMs * 2))
      : MOST_RETRY_MS;
    log.error(
      TARGET,
      `[${this.name}] server login failed: ${failure.code}: ${oneLine(failure.message)}, ` +
        `next attempt in ${this.#retryMs} ms, waiting=${this.#waiting.length}`,
    );
    this.#retryTimer?.cancel();
    this.#retryTimer = reactor.at(reactor.now + this.#retryMs, () => {
      this.#retryTimer = undefined;
      this.#grow();
    });
    // What waiting does not mend is told at once; while other servers work, theirs may still come.
    if (!failure.transient && this.#servers.size === 0) {
      for (;;) {
        const waiter = this.#waiting.shift();
        if (waiter === undefined) break;
        this.#refuse(waiter, failure);
      }
    }
  }

  #refuse(waiter: Waiter, failure: LoginFailure): void {
    this.counters.total.errors++;
    waiter.checkOutFailed(REASONS.loginFailed, failure.message, "", failure);
  }

  // ── waiting ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** How long a checkout may wait, in milliseconds. Zero in the configuration: only for a connection under way. */
  #patienceMs(): number {
    const { query_wait_timeout, connect_timeout } = this.settings;
    if (query_wait_timeout > 0) return query_wait_timeout;
    return this.#connecting > 0 && !this.paused ? connect_timeout : 0;
  }

  #watchWaiting(): void {
    const first = this.#waiting.first();
    if (first === undefined) return;
    const failure = this.#lastFailure;
    if (failure !== undefined && !failure.transient && this.size === 0) {
      // The refusal is younger than its retry time. Told when this turn ends: the waiter is still at its checkout.
      this.#environment.reactor.atEndOfTurn(() => {
        for (let w = this.#waiting.shift(); w !== undefined; w = this.#waiting.shift()) {
          this.#refuse(w, failure);
        }
      });
      return;
    }
    if (this.#waitTimer !== undefined) return;
    const { reactor } = this.#environment;
    this.#waitTimer = reactor.at(first.waitSinceMs + this.#patienceMs(), () => {
      this.#waitTimer = undefined;
      this.#failOverdue();
      this.#watchWaiting();
    });
  }

  #failOverdue(): void {
    const { reactor, log } = this.#environment;
    const patience = this.#patienceMs();
    for (;;) {
      const first = this.#waiting.first();
      if (first === undefined || first.waitSinceMs + patience > reactor.now) return;
      this.#waiting.remove(first);
      this.counters.total.errors++;
      const why = this.#whyWaiting();
      log.warn(
        TARGET,
        `[${this.name}] checkout timeout after ${patience}ms: ${why}, size=${this.size}/` +
          `${this.settings.pool_size} idle=${this.#idle.length} waiting=${this.#waiting.length} ` +
          `connecting=${this.#connecting}`,
      );
      const failure = this.size === this.#connecting ? this.#lastFailure : undefined;
      if (failure !== undefined) this.#reject(first, failure, patience);
      else first.checkOutFailed(REASONS.waitTimeout, String(patience), why);
    }
  }

  #reject(waiter: Waiter, failure: LoginFailure, patience: number): void {
    const message = `${failure.message} (query_wait_timeout of ${patience} ms is over)`;
    waiter.checkOutFailed(REASONS.loginFailed, message, "", { ...failure, message });
  }

  #whyWaiting(): string {
    if (this.paused) return "the pool is paused";
    if (this.#lastFailure !== undefined) return oneLine(this.#lastFailure.message);
    return `timeout, all ${this.settings.pool_size} server connections are in use`;
  }

  // ── operator ────────────────────────────────────────────────────────────────────────────────────────────────────

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    while (this.#waiting.length > 0) {
      const server = this.#takeIdle();
      if (server === undefined) break;
      this.#offer(server);
    }
    this.#grow();
  }

  /** Replaces every server connection: idle ones now, the others when they come back. */
  reconnect(): void {
    this.#epoch++;
    this.#closeStale();
  }

  /** Takes every stale server out of use now, and closes them a few in each turn. */
  #closeStale(): void {
    const kept: ServerConnection[] = [];
    const underWay = this.#outdated.length > 0;
    for (const server of this.#idle) {
      if (this.#stale(server) === undefined) kept.push(server);
      else this.#outdated.push(server);
    }
    this.#idle = kept;
    if (!underWay) this.#closeOutdated();
  }

  #closeOutdated(): void {
    const { reactor } = this.#environment;
    for (let i = 0; i < CLOSES_A_TURN && this.#outdated.length > 0; i++) {
      // Closed by PostgreSQL in the meantime: then this does nothing.
      this.#outdated.pop()!.close(this.retired ? REASONS.poolClosed : REASONS.serverReplaced, "");
    }
    if (this.#outdated.length > 0) reactor.at(reactor.now, () => this.#closeOutdated());
    else this.warm();
  }

  /**
   * New settings: used from the next checkout on, by clients that wait already, too. Servers that do not fit them any
   * more are closed: idle ones soon, linked ones when they come back. Paused stays paused, counters go on.
   */
  apply(settings: PoolSettings): void {
    const before = this.settings;
    const changedLogin = settings.server_digest !== before.server_digest;
    this.settings = settings;
    this.managed = managedNames(settings);
    if (verifierOf(settings) !== verifierOf(before)) this.clientKey = undefined;
    for (const { state } of this.#servers) {
      if (settings.server_lifetime !== before.server_lifetime) {
        state.lifetimeMs = spread(settings.server_lifetime);
      }
      if (settings.idle_timeout !== before.idle_timeout) {
        state.idleLimitMs = spread(settings.idle_timeout);
      }
    }
    if (changedLogin) {
      // Not by the digest alone: changed and changed back, a server of before must not outlive `defaults`.
      this.#epoch++;
      this.#lastFailure = undefined;
      this.#retryTimer?.cancel();
      this.#retryTimer = undefined;
      this.defaults = undefined;
    }
    this.#closeStale();
    this.#waitTimer?.cancel();
    this.#waitTimer = undefined;
    this.#watchWaiting();
    this.#grow();
  }

  /** Cancels what runs before its server is closed: PostgreSQL notices that nobody is there only when it writes. */
  cancelRunning(): void {
    for (const server of this.#servers) {
      if (server.owed.length > 0 && server.cancelsUnderWay === 0) this.cancel(server);
    }
  }

  /** Closes every server connection, linked ones included; their clients have been sent home. */
  kill(): void {
    this.#epoch++;
    for (const server of [...this.#servers]) server.close(REASONS.adminShutdown, "");
  }

  /** Creates servers up to `min_pool_size`, as far as that is possible now. */
  warm(): void {
    if (this.retired) return;
    const { min_pool_size, credentials } = this.settings;
    if (credentials.kind === "scram_passthrough" && this.clientKey === undefined) return;
    while (this.size < min_pool_size && this.#mayConnect()) this.#connect();
  }

  /** Idle servers past `idle_timeout` or `server_lifetime`, oldest first; the retain round closes them. */
  expired(): ServerConnection[] {
    if (this.#waiting.length > 0) return [];
    const now = this.#environment.reactor.now;
    let spare = this.size - this.settings.min_pool_size;
    return [...this.#idle]
      .sort((a, b) => a.state.createdAtMs - b.state.createdAtMs)
      .filter(({ state }) => {
        if (state.lifetimeMs > 0 && now - state.createdAtMs > state.lifetimeMs) return true;
        const idle = state.idleLimitMs > 0 && state.uses > 0 &&
          now - state.usedAtMs > state.idleLimitMs;
        return idle && spare-- > 0;
      });
  }

  // ── to another process and from it ──────────────────────────────────────────────────────────────────────────────

  /** Gives the pool up: from here on every server and waiter that is taken out goes to another process. */
  beginMove(): PoolSnapshot {
    this.#moved = true;
    this.#waitTimer?.cancel();
    this.#waitTimer = undefined;
    this.#retryTimer?.cancel();
    this.#retryTimer = undefined;
    let late = this.#connecting;
    for (const server of this.#servers) if (server.cancelsUnderWay > 0) late++;
    return {
      paused: this.paused,
      clientKey: this.clientKey,
      defaults: this.defaults?.values,
      reported: [...this.reported],
      totals: { ...this.counters.total },
      averages: { ...this.counters.averages },
      late,
    };
  }

  get moved(): boolean {
    return this.#moved;
  }

  /** The other process is gone: what is left here goes on here. */
  endMove(): void {
    this.#moved = false;
    this.#watchWaiting();
    while (this.#waiting.length > 0 && !this.paused) {
      const server = this.#takeIdle();
      if (server === undefined) break;
      this.#offer(server);
    }
    this.#grow();
  }

  /** Takes a server that is about to be frozen out of the pool; `putBack` is the way back. */
  takeOut(server: ServerConnection): void {
    this.#servers.delete(server);
    const at = this.#idle.indexOf(server);
    if (at >= 0) this.#idle.splice(at, 1);
    if (server.state.epoch !== this.#epoch) server.state.epoch = -1;
    else server.state.epoch = 0;
  }

  putBack(server: ServerConnection): void {
    this.#servers.add(server);
    if (server.state.epoch === 0) server.state.epoch = this.#epoch;
    this.#resume(server);
  }

  /** Until its servers come from another process, none is made here. */
  expect(): void {
    this.#expected = Infinity;
  }

  /** The pool's own part of what was expected is here; late servers are still to come. */
  thaw(snapshot: PoolSnapshot): void {
    this.#expected = snapshot.late;
    this.paused ||= snapshot.paused;
    this.clientKey ??= snapshot.clientKey;
    if (snapshot.defaults !== undefined) this.defaults ??= parameterSet(snapshot.defaults);
    for (const name of snapshot.reported) this.reported.add(name);
    this.counters.add(snapshot.totals, snapshot.averages);
    // By then the servers that came along have been adopted.
    this.#environment.reactor.atEndOfTurn(() => this.#grow());
  }

  /** A late server has come, or will never. */
  lateArrived(): void {
    this.#expected = Math.max(0, this.#expected - 1);
    this.#environment.reactor.atEndOfTurn(() => this.#grow());
  }

  /** Nothing more will come. */
  expectNothing(): void {
    if (this.#expected === 0) return;
    this.#expected = 0;
    this.#grow();
    this.warm();
  }

  /** A server connection from another process. */
  adoptThawed(server: ServerConnection): void {
    if (server.state.epoch === 0) server.state.epoch = this.#epoch;
    this.adopt(server);
    this.#resume(server);
  }

  #resume(server: ServerConnection): void {
    const { stage } = server.state;
    if (stage === ServerStage.Idle) this.#afterUse(server);
    else if (stage === ServerStage.Cleaning || stage === ServerStage.Draining) {
      this.#limit(server, this.settings.connect_timeout);
      if (stage === ServerStage.Cleaning && server.owed.length === 0) this.#afterUse(server);
    }
  }

  /** Those who wait, in their order. */
  *waiters(): Iterable<Waiter> {
    for (let w = this.#waiting.first(); w !== undefined; w = w.waitNext) yield w;
  }

  // ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Ends the pool: waiting clients are refused, idle servers closed; linked ones are their clients' matter. */
  close(): void {
    this.#waitTimer?.cancel();
    this.#retryTimer?.cancel();
    this.#deadlineTimer?.cancel();
    for (const login of this.#logins) login.abandon();
    this.#logins.clear();
    for (;;) {
      const waiter = this.#waiting.shift();
      if (waiter === undefined) break;
      waiter.checkOutFailed(REASONS.poolRetired, "", "");
    }
    this.paused = true;
    this.#epoch++;
    this.#closeStale();
    this.cancelRunning();
    for (const server of [...this.#servers]) {
      const { stage } = server.state;
      if (stage === ServerStage.Cleaning || stage === ServerStage.Draining) {
        server.close(REASONS.poolClosed, "");
      }
    }
  }
}

function managedNames(settings: PoolSettings): ReadonlySet<string> {
  return new Set(settings.startup_parameters.map(([name]) => name));
}

/** What the ClientKey of a passthrough pool belongs to. */
function verifierOf({ credentials }: PoolSettings): string {
  return credentials.kind === "scram_passthrough" ? credentials.verifier : "";
}

/** A limit of its own for each server, ±20 %, so that they do not all end together. */
function spread(ms: number): number {
  return ms === 0 ? 0 : Math.max(1, Math.round(ms * (0.8 + 0.4 * Math.random())));
}

function oneLine(text: string): string {
  return text.replace(/[\r\n]+/g, " ");
}
