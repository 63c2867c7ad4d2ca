/**
 * A pool of server connections for one (database, user): checkout with direct hand-off to the first waiter, check-in
 * with cleaning, creation on demand, pause, reconnect, and new settings at any time. All on one worker's thread. Which
 * servers there are is in servers.ts, when one is opened in connecting/, how the pool moves in moving.ts.
 *
 * What must hold: a server is idle, linked, being cleaned, draining, or closed, and in `#servers` unless closed; idle
 * ones owe nothing, are in no transaction, and while one is idle and the pool is not paused nobody waits but for a check
 * (idle_check.ts) or a connection that is being opened.
 */

import type { PoolSettings } from "../config/settings.ts";
import type { ReceivedError } from "../protocol/error_response.ts";
import { type Reason, REASONS } from "../reasons.ts";
import { ServerConnection } from "../server/connection.ts";
import type { ServerOwner } from "../server/link.ts";
import { type LoggedIn, type LoginFailure } from "../server/login.ts";
import type { ParameterSet } from "../server/parameters.ts";
import { ServerStage } from "../server/state.ts";
import { Counters, type PoolSums } from "../stats/counters.ts";
import { Canceling, type CancelingPool, cancelRunning } from "./canceling.ts";
import { cleanupFailure, cleanupQueries, markClean, startDraining } from "./cleanup.ts";
import { type CreatingPool, Creation, loggedInState, verifierOf } from "./connecting/creation.ts";
import { Deadlines } from "./deadlines.ts";
import { Greeting } from "./connecting/greeting.ts";
import { type PacedPool, Pacing } from "./connecting/pacing.ts";
import type { PoolEnvironment, PoolOwner } from "./environment.ts";
import { IdleChecks } from "./idle_check.ts";
import { Listener } from "./listen/listener.ts";
import { Replication } from "./replication.ts";
import { closedLine, closeUnlinked, giveLimits, openedLine } from "./lifetime.ts";
import { Moving, type MovingPool } from "./moving.ts";
import { Servers, type ServersPool } from "./servers.ts";
import type { LimitedPool, Share } from "./share.ts";
import { StatementCache } from "./statement_cache.ts";
import { Patience, type PatientPool } from "./wait_timeout.ts";
import { type Waiter, Waiting } from "./waiting.ts";

export class Pool
  implements
    ServerOwner<ServerConnection>,
    CancelingPool,
    CreatingPool,
    LimitedPool,
    MovingPool<ServerConnection>,
    PacedPool,
    PatientPool,
    ServersPool {
  settings: PoolSettings;
  readonly counters: Counters = new Counters();
  readonly traffic: PoolSums = this.counters.total;
  readonly reported = new Set<string>();
  readonly statements: StatementCache;
  readonly replication: Replication;
  readonly listener: Listener;
  /** Parameters of the newest server: what a new client has that asks for nothing. */
  defaults: ParameterSet | undefined = undefined;
  /** Names that belong to the operator: clients' values of them are not taken. */
  managed: ReadonlySet<string>;
  /** ClientKey of the pool's user, for passthrough. */
  clientKey: Uint8Array | undefined = undefined;
  /** What PostgreSQL has answered to `pooler_check_query`. */
  checkAnswer: { query: Uint8Array; answer: Uint8Array } | undefined = undefined;
  paused = false;
  retired = false;
  /** DISABLE: nobody may log in. */
  disabled = false;
  /** Sessions of this pool, and those of them that have logged in. */
  clients = 0;
  seated = 0;
  readonly #environment: PoolEnvironment & PoolOwner<Pool>;
  readonly #servers: Servers<ServerConnection>;
  readonly #waiting = new Waiting();
  readonly #creation: Creation;
  readonly #deadlines: Deadlines;
  readonly checks: IdleChecks<ServerConnection>;
  readonly #greeting: Greeting<ServerConnection>;
  readonly #patience: Patience;
  readonly #canceling: Canceling<Pool>;
  readonly pacing: Pacing;
  readonly moving: Moving<ServerConnection>;
  /** Its part in limits over several pools. */
  readonly share: Share;
  /** Its servers went to another process: none is made here, and who waits has to follow them. */
  moved = false;
  /** Servers that another process still has and will send: part of `pool_size`. */
  expected = 0;

  constructor(settings: PoolSettings, environment: PoolEnvironment & PoolOwner<Pool>) {
    const { reactor } = environment;
    const waiting = this.#waiting;
    this.settings = settings;
    this.#environment = environment;
    const creation = this.#creation = new Creation(this, environment);
    const servers = this.#servers = new Servers(this, reactor);
    const deadlines = this.#deadlines = new Deadlines(reactor, servers.all);
    const checks = this.checks = new IdleChecks(this, reactor, deadlines);
    const patience = this.#patience = new Patience(this, { waiting, creation }, environment);
    this.#canceling = new Canceling<Pool>(this, environment);
    this.#greeting = new Greeting(this, environment.log);
    this.replication = new Replication(this, environment, creation.secrets);
    const listener = this.listener = new Listener(this, environment, creation.secrets);
    this.share = environment.coordinator.join(this);
    const pacing = this.pacing = new Pacing(this, { waiting, creation, patience, reactor });
    const parts = { servers, waiting, reactor, patience, pacing, creation, deadlines, checks };
    this.moving = new Moving(this, { ...parts, listener });
    this.managed = new Set(settings.startup_parameters.map(([name]) => name));
    this.statements = new StatementCache(environment.statements);
  }

  get name(): string {
    return `${this.settings.user}@${this.settings.database}`;
  }

  /** Servers that are connected or connecting. */
  get size(): number {
    return this.#servers.all.size + this.#creation.connecting;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  get idle(): number {
    return this.#servers.idle.length;
  }

  idleServers(): readonly ServerConnection[] {
    return this.#servers.idle;
  }

  get transactionTime(): number {
    return this.counters.averages.xact_time;
  }

  /** Why no server could be made, while that is so. */
  get lastFailure(): LoginFailure | undefined {
    return this.#creation.lastFailure;
  }

  get connecting(): number {
    return this.#creation.connecting;
  }

  /** Idle servers that are checked for those who wait. */
  get checking(): number {
    return this.checks.coming;
  }

  servers(): Iterable<ServerConnection> {
    return this.#servers.all;
  }

  /** It was made by other settings, or before a RECONNECT. */
  isOutdated(server: ServerConnection): boolean {
    return this.#servers.isOutdated(server);
  }

  longestWaitMs(now: number): number {
    return this.#waiting.longestMs(now);
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

  /** A server at once, or `undefined`: then the waiter will be told. `sinceMs`: it has waited elsewhere before. */
  checkOut(waiter: Waiter, sinceMs?: number): ServerConnection | undefined {
    if (!this.paused) {
      const server = this.#takeIdle(this.#waiting.length + 1);
      if (server !== undefined) {
        if (this.#waiting.length === 0) {
          this.#lend(server);
          return server;
        }
        this.#offer(server);
      }
    }
    this.#waiting.push(waiter, sinceMs ?? this.#environment.reactor.now);
    // It may have come to the head of the queue, with a deadline of its own.
    if (sinceMs !== undefined) this.#patience.stop();
    if (this.moved) {
      this.#environment.stranded(this);
      return undefined;
    }
    this.pacing.queued();
    this.grow();
    // A refusal that is still fresh has answered already.
    if (waiter.waitSinceMs !== 0) this.#patience.watch();
    return undefined;
  }

  /** The waiter does not want a server any more. */
  leaveQueue(waiter: Waiter): void {
    this.#waiting.remove(waiter);
  }

  /**
   * A client gives its server back: nothing is owed, or what is owed is to be dropped, and what PostgreSQL still does for
   * it is canceled after `graceMs`.
   */
  checkIn(server: ServerConnection, graceMs = 0): void {
    server.link = undefined;
    if (server.state.stage === ServerStage.Closed) return;
    if (server.owed.length > 0 || server.state.unsynced) {
      this.#drain(server);
      this.#canceling.leftBehind(server, graceMs);
    } else this.afterUse(server);
  }

  /** `through`: what is sent to the server now can't be hit. */
  cancel(server: ServerConnection, through?: () => void): void {
    this.#canceling.cancel(server, through);
  }

  #lend(server: ServerConnection): void {
    const state = server.state;
    this.counters.total.server_assignments++;
    this.#servers.moveTo(server, ServerStage.Linked);
    if (state.uses++ > 0) this.pacing.lent(server);
    state.heldSinceMs = this.#environment.reactor.now;
  }

  /** The next usable idle server. Doubtful ones are checked, until `wanted` are: they come back for those who wait. */
  #takeIdle(wanted: number): ServerConnection | undefined {
    while (this.checks.coming < wanted) {
      const server = this.#servers.takeIdle();
      if (server === undefined || !this.checks.isDoubtful(server)) return server;
      this.#servers.moveTo(server, ServerStage.Cleaning);
      this.checks.begin(server);
    }
    return undefined;
  }

  /** Idle servers to those who wait, but for so many who get others. */
  #serveIdle(others: number): void {
    while (!this.paused && !this.moved) {
      const server = this.#takeIdle(this.#waiting.length - others);
      if (server === undefined) return;
      this.#offer(server);
    }
  }

  #drain(server: ServerConnection): void {
    if (!startDraining(server)) return;
    this.#servers.moveTo(server, ServerStage.Draining);
    this.#deadlines.limit(server, this.settings.connect_timeout);
  }

  /** Nothing is owed: cleans what has to be, then offers the server. */
  afterUse(server: ServerConnection): void {
    const { state } = server;
    const { connect_timeout } = this.settings;
    this.#servers.moveTo(server, ServerStage.Cleaning);
    if (server.congested || state.left > 0) {
      server.close(REASONS.serverUnusable, "bytes are left over");
      return;
    }
    // A slow client may have stopped it.
    server.resumeReading();
    // The request has an end of its own; a deadline of before must not count.
    if (server.cancelsUnderWay > 0) return this.#deadlines.limit(server, 2 * connect_timeout);
    const stale = this.share.over ? REASONS.serverSurplus : this.#servers.stale(server);
    if (stale !== undefined) {
      server.close(stale, "");
      return;
    }
    const queries = cleanupQueries(state, this);
    if (queries.length === 0) {
      this.#offer(server);
      return;
    }
    for (const query of queries) server.runOwn(query);
    this.#deadlines.limit(server, connect_timeout);
  }

  /** A clean server: to the first waiter, or to the idle ones. */
  #offer(server: ServerConnection): void {
    const state = server.state;
    if (this.moved) {
      this.#servers.moveTo(server, ServerStage.Idle);
      this.#environment.lateServer(this, server);
      return;
    }
    const checked = this.checks.end(server);
    const waiter = this.paused ? undefined : this.#waiting.shift();
    if (!checked) state.usedAtMs = this.#environment.reactor.now;
    if (waiter === undefined) {
      this.#servers.rest(server);
      if (this.share.contended) this.share.changed();
      return;
    }
    if (state.uses > 0) this.pacing.handedOn();
    this.#lend(server);
    waiter.serverReady(server);
  }

  // ── what server connections tell ────────────────────────────────────────────────────────────────────────────────

  serverSettled(server: ServerConnection, error: ReceivedError | undefined): void {
    const { state } = server;
    if (state.stage === ServerStage.Draining) {
      this.afterUse(server);
      return;
    }
    if (state.stage !== ServerStage.Cleaning) return;
    if (!this.#greeting.end(server, error) && error !== undefined) {
      server.close(cleanupFailure(error), `${error.code}: ${error.message}`);
      return;
    }
    markClean(state, this);
    this.afterUse(server);
  }

  schemaChanged(): void {
    this.#environment.statements.raiseSchemaGeneration();
  }

  serverClosed(server: ServerConnection, reason: Reason, detail: string): void {
    if (this.#servers.remove(server) && this.moved) this.#environment.lateServer(this, undefined);
    this.counters.serverClosed(server.state);
    this.checks.end(server);
    this.#greeting.end(server, undefined);
    this.share.count();
    const { log, reactor } = this.#environment;
    log[reason.level](
      "pg_doorman::server",
      `[${this.name}] ${closedLine(server, reason, detail, reactor.now)}`,
    );
    this.serve();
  }

  /** Somebody may have counted on a server that does not come. */
  serve(): void {
    // Idle ones last: they have rested as long as one that did not answer, and may be gone, too.
    this.grow();
    this.#serveIdle(this.connecting);
  }

  // ── growth ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Opens connections for those who wait, as far as that is wanted and allowed. */
  grow(): void {
    this.pacing.grow();
  }

  /** Opens connections up to `min_pool_size`, as far as that is possible now. */
  warm(): void {
    this.pacing.warm();
  }

  connect(ended?: (failure: LoginFailure | undefined) => void): void {
    this.#creation.connect(this.#servers.epoch, ended);
    this.share.count();
  }

  loggedIn(login: LoggedIn, epoch: number, settings: PoolSettings): void {
    const { reactor, log } = this.#environment;
    const id = this.#environment.nextServerId();
    const state = loggedInState(id, reactor.now, login, settings);
    state.epoch = epoch;
    for (const name of login.parameters.keys()) this.reported.add(name);
    // One that logged in by settings of before is closed right away: its parameters are nobody's.
    if (epoch === this.#servers.epoch) this.defaults = state.parameters;
    const server = this.adopt(new ServerConnection(reactor, login.stream, state, this));
    server.tlsSettings = login.tls?.settings;
    log.info("pg_doorman::server", `[${this.name}] ${openedLine(state, this)}`);
    if (this.#greeting.begin(server, settings)) {
      this.#servers.moveTo(server, ServerStage.Cleaning);
      this.#deadlines.limit(server, settings.connect_timeout);
    } else this.afterUse(server);
    this.grow();
    this.warm();
  }

  /** Takes a server connection in: one that has logged in, or was thawed. */
  adopt(server: ServerConnection): ServerConnection {
    this.#servers.add(server);
    this.share.count();
    server.listen();
    return server;
  }

  loginFailed(failure: LoginFailure): void {
    this.share.count();
    if (this.moved) {
      this.#environment.lateServer(this, undefined);
      return;
    }
    // What waiting does not mend is told at once; while other servers work, theirs may still come.
    if (!failure.transient && this.#servers.all.size === 0) this.#patience.refuseAll(failure);
    this.#serveIdle(this.connecting);
  }

  // ── operator ────────────────────────────────────────────────────────────────────────────────────────────────────

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.#serveIdle(0);
    this.grow();
    this.listener.grow();
  }

  /** Replaces every server connection: idle ones now, the others when they come back. */
  reconnect(): void {
    this.#servers.epoch++;
    this.#servers.closeStale();
    this.listener.replace();
  }

  /**
   * New settings: used from the next checkout on, by clients that wait already, too. Servers that do not fit them any
   * more are closed: idle ones soon, linked ones when they come back. Paused stays paused, counters go on.
   */
  apply(settings: PoolSettings): void {
    const before = this.settings;
    const changedLogin = settings.server_digest !== before.server_digest;
    this.settings = settings;
    this.managed = new Set(settings.startup_parameters.map(([name]) => name));
    if (verifierOf(settings) !== verifierOf(before)) this.clientKey = undefined;
    giveLimits(this.#servers.all, before, settings);
    this.#creation.settingsChanged(before, settings);
    if (changedLogin) {
      // Not by the digest alone: changed and changed back, a server of before must not outlive `defaults`.
      this.#servers.epoch++;
      this.defaults = undefined;
      this.listener.replace();
    }
    this.#servers.closeStale();
    this.share.apply();
    this.#patience.watch();
    this.grow();
  }

  /** Closes every server connection, linked ones included; their clients have been sent home. */
  kill(): void {
    this.#servers.epoch++;
    for (const server of [...this.#servers.all]) server.close(REASONS.adminShutdown, "");
    this.replication.kill();
    this.listener.kill();
  }

  /** Idle servers past `idle_timeout` or `server_lifetime`, oldest first; the retain round closes them. */
  expired(): ServerConnection[] {
    return this.#waiting.length > 0 ? [] : this.#servers.expired();
  }

  // ── to another process and from it ──────────────────────────────────────────────────────────────────────────────

  /** Takes a server that is about to be frozen out of the pool; `putBack` is the way back. */
  takeOut(server: ServerConnection): void {
    this.moving.takeOut(server);
  }

  putBack(server: ServerConnection): void {
    this.moving.putBack(server);
  }

  /** A server connection from another process. */
  adoptThawed(server: ServerConnection): void {
    this.moving.adopt(server);
  }

  /** Those who wait, in their order. */
  waiters(): Iterable<Waiter> {
    return this.#waiting;
  }

  // ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Ends the pool: waiting clients are refused, idle servers closed; linked ones are their clients' matter. */
  close(): void {
    this.pacing.stop();
    this.#creation.close();
    this.share.end();
    this.replication.close();
    this.listener.close();
    this.#deadlines.stop();
    this.#patience.end();
    this.paused = true;
    this.#servers.epoch++;
    this.statements.clear();
    this.#servers.closeStale();
    cancelRunning(this);
    closeUnlinked(this.#servers.all);
  }
}
