/**
 * Entry of a worker thread: one reactor with the listening sockets, the clients and the pools that live here. After
 * `start` it never returns to Deno's event loop; mail comes by `receiveMessageOnPort` when the eventfd says so.
 */

import * as libc from "../os/libc.ts";
import type { Fd } from "../os/fd.ts";
import { EPOLLIN } from "../os/layout.ts";
import { type Handler, Reactor } from "../reactor/reactor.ts";
import { settle } from "../reactor/posts.ts";
import { tuneSocket } from "../reactor/sockets.ts";
import type { Timer } from "../reactor/timers.ts";
import { PlainStream, readBuffer } from "../reactor/stream.ts";
import { HbaMatcher } from "../auth/hba.ts";
import type { GeneralSettings } from "../config/settings.ts";
import type { ClientContext } from "../client/context.ts";
import { checkQueryMessage } from "../client/local/check_query.ts";
import { ClientLogin } from "../client/login/login.ts";
import { bringPlace } from "../client/login/places.ts";
import type { SessionSnapshot } from "../client/freeze.ts";
import { Session } from "../client/session.ts";
import { newSessionState, type SessionState, Stage } from "../client/state.ts";
import type {
  ConnectionCounts,
  ControlToWorker,
  FrozenItem,
  SettingsApplied,
  SettingsChange,
  WorkerCommand,
  WorkerQuestion,
  WorkerStart,
  WorkerToControl,
  WorkerToWorker,
} from "../mail.ts";
import type { StatementSource } from "../pool/statement_cache.ts";
import type { QueryInterner } from "../server/statements/query_interner.ts";
import { createRecordLog, type Log } from "../log/log.ts";
import type { ServerConnection } from "../server/connection.ts";
import { Coordinator } from "../pool/coordinator.ts";
import type { PoolEnvironment } from "../pool/environment.ts";
import type { Pool } from "../pool/pool.ts";
import { REASONS } from "../reasons.ts";
import type { ServerAddress } from "../server/login.ts";
import { NO_PARAMETERS } from "../server/parameters.ts";
import { PERIOD_SECONDS } from "../stats/counters.ts";
import { Shared } from "../stats/shared.ts";
import { type Accepted, type Doorway, Listeners } from "./accept.ts";
import { literalAddress, resolvedAddresses } from "./addresses.ts";
import { type ArrivalPlace, thaw } from "./moving/arrival.ts";
import { commandPools, killPools, sendHome, sendHomeAtRest } from "./answers/commands.ts";
import { Departure } from "./moving/departure.ts";
import { Directory } from "./directory.ts";
import { Limits } from "./timeouts.ts";
import { Logins } from "./logins.ts";
import { received, wake } from "./mailbox.ts";
import { preparedMemoryRows, preparedRows } from "./answers/prepared_rows.ts";
import { Relocations } from "./moving/relocation.ts";
import { closePeriod, retain } from "./rounds.ts";
import { followIoUring } from "./sends.ts";
import { StatementTexts } from "./statement_texts.ts";
import { clientRows, poolRows, presenceRow, serverRows } from "./answers/rows.ts";

class Worker
  implements ClientContext, PoolEnvironment, ArrivalPlace, StatementSource, Handler, Doorway {
  readonly reactor = new Reactor();
  readonly log: Log;
  readonly shared: Int32Array;
  readonly mockSecret: Uint8Array;
  readonly #texts = new StatementTexts();
  readonly interner: QueryInterner = this.#texts.named;
  readonly statements: StatementSource = this;
  readonly logins = new Logins(this);
  readonly counts = { total: 0, tls: 0, plain: 0, cancel: 0 };
  general: GeneralSettings;
  hba: HbaMatcher | undefined;
  checkQuery: Uint8Array<ArrayBuffer>;
  draining = false;
  longBytes = 0;
  readonly #start: WorkerStart;
  readonly #index: number;
  readonly #control: MessagePort;
  readonly #peers = new Map<number, { wakeFd: Fd; port: MessagePort }>();
  readonly #listeners: Listeners;
  #departure: Departure | undefined;
  readonly coordinator: Coordinator;
  readonly #directory: Directory;
  readonly #relocations: Relocations;
  readonly #limits: Limits;
  readonly #sessions = new Map<number, Session>();
  readonly #resolving = new Map<number, (addresses: string[], error: string | undefined) => void>();
  readonly #deriving = new Map<number, (salted: Uint8Array | undefined) => void>();
  #lastRequest = 0;
  #retainTimer: Timer | undefined;

  constructor(start: WorkerStart) {
    const { mail } = start;
    this.#start = start;
    this.#index = mail.index;
    this.#control = start.control;
    this.shared = new Int32Array(mail.shared);
    this.mockSecret = mail.mockSecret;
    this.general = mail.settings.general;
    this.checkQuery = checkQueryMessage(this.general.pooler_check_query);
    this.log = createRecordLog({
      filter: mail.logFilter,
      emit: (record) => this.toControl({ kind: "log", record }),
    });
    for (const { index, wakeFd, port } of start.peers) {
      this.#peers.set(index, { wakeFd: wakeFd as Fd, port });
    }
    this.reactor.onDefect = (handler, error) => this.#defect(handler, error);
    this.reactor.register(mail.wakeFd as Fd, this, EPOLLIN);
    this.#setGeneral(mail.settings.general);
    this.coordinator = new Coordinator(this);
    this.#directory = new Directory(mail.index, this, mail);
    this.#relocations = new Relocations({
      reactor: this.reactor,
      log: this.log,
      index: this.#index,
      sessions: this.#sessions,
      directory: this.#directory,
      post: (worker, mail) => this.#toPeer(worker, mail),
    });
    this.#listeners = new Listeners(this);
    this.#listeners.accept(this.#directory.accepts);
    this.#listeners.open(mail.listeners);
    this.#every(PERIOD_SECONDS * 1000, () => closePeriod(this.#directory.all(), this.log));
    this.#retainLater();
    this.#sweepLater();
    this.#limits = new Limits({
      reactor: this.reactor,
      pools: () => this.#directory.all(),
      sessions: () => this.#sessions.values(),
    });
    this.#limits.lookSoon();
  }

  get mostLongBytes(): number {
    return this.general.max_memory_usage / this.#start.mail.workers;
  }

  run(): void {
    this.toControl({ kind: "ready", index: this.#index });
    this.reactor.run();
  }

  // ── clients ─────────────────────────────────────────────────────────────────────────────────────────────────────

  accepted(connection: Accepted): void {
    const { reactor, shared } = this;
    tuneSocket(connection.fd, connection.unix, this.general);
    this.counts.total++;
    // Positive, as PostgreSQL's process ids are.
    const id = (Atomics.add(shared, Shared.LastClientId, 1) + 1) & 0x7fffffff;
    const state: SessionState = {
      ...newSessionState(id, reactor.now),
      address: connection.address,
      ip: connection.ip,
      unix: connection.unix,
    };
    this.#open(connection.fd, state).listen(undefined);
  }

  #open(fd: Fd, state: SessionState): Session {
    const session = new Session(this, new PlainStream(fd), state);
    session.login = new ClientLogin(session);
    this.#sessions.set(state.id, session);
    return session;
  }

  leave(client: number): void {
    this.#sessions.delete(client);
    Atomics.sub(this.shared, Shared.Clients, 1);
  }

  retiredEmpty(pool: Pool): void {
    this.#directory.dismiss(pool);
  }

  relocate(pool: Pool, home: number): void {
    this.#relocations.begin(pool, home);
  }

  // ── binary upgrade ──────────────────────────────────────────────────────────────────────────────────────────────

  stranded(pool: Pool): void {
    (this.#relocations.departureOf(pool) ?? this.#departure)?.strand(pool);
  }

  lateServer(pool: Pool, server: ServerConnection | undefined): void {
    (this.#relocations.departureOf(pool) ?? this.#departure)?.late(pool, server);
  }

  pool(database: string, user: string): Pool | undefined {
    const found = this.#directory.find(database, user);
    return found.kind === "here" ? found.pool : undefined;
  }

  openThawed(fd: Fd, state: SessionState): Session {
    Atomics.add(this.shared, Shared.Clients, 1);
    bringPlace(this, state.stage);
    const session = new Session(this, new PlainStream(fd), state);
    if (state.stage <= Stage.Preparing) session.login = new ClientLogin(session);
    this.#sessions.set(state.id, session);
    return session;
  }

  #depart(pools: { database: string; user: string }[]): void {
    this.#departure = new Departure({
      reactor: this.reactor,
      index: this.#index,
      sessions: this.#sessions,
      directory: this.#directory,
      post: (mail) => this.toControl(mail),
    });
    this.#departure.start(pools);
  }

  /** Only of these pools servers will come. */
  #expect(pools: { database: string; user: string }[], counts: ConnectionCounts): void {
    const expecting = new Set(pools.map(({ database, user }) => this.pool(database, user)));
    for (const pool of this.#directory.all()) if (!expecting.has(pool)) pool.expectNothing();
    // They are sums over all workers: one has to have those of before.
    if (this.#index > 0) return;
    for (const kind of ["total", "tls", "plain", "cancel"] as const) {
      this.counts[kind] += counts[kind];
    }
  }

  findPool(database: string, user: string): ReturnType<Directory["find"]> {
    return this.#directory.find(database, user);
  }

  handOver(worker: number, client: number): void {
    const session = this.#sessions.get(client)!;
    this.#sessions.delete(client);
    const snapshot = session.freeze();
    session.handedOver();
    this.#toPeer(worker, { kind: "hand_over", fd: session.stream.fd, session: snapshot });
  }

  #takeOver(fd: Fd, snapshot: SessionSnapshot): void {
    const { state, tail } = snapshot;
    state.connectedAtMs = this.reactor.now - state.connectedAtMs;
    state.parameters = NO_PARAMETERS;
    const session = this.#open(fd, state);
    session.listen(tail);
    if (session.login!.begin()) session.takeKept();
  }

  cancel(processId: number, secret: Uint8Array): void {
    if (this.#cancelHere(processId, secret)) return;
    for (const index of this.#peers.keys()) {
      this.#toPeer(index, { kind: "cancel", processId, secret });
    }
    this.toControl({ kind: "cancel_elsewhere", processId, secret });
  }

  #cancelHere(processId: number, secret: Uint8Array): boolean {
    const session = this.#sessions.get(processId);
    if (session === undefined) return false;
    const own = session.state.secret;
    if (session.frozen) {
      const home = this.#relocations.homeOf(session.pool);
      if (home !== undefined) this.#toPeer(home, { kind: "cancel", processId, secret });
      else this.toControl({ kind: "cancel_elsewhere", processId, secret });
      return true;
    }
    if (own.length > 0 && own.length === secret.length && own.every((b, i) => b === secret[i])) {
      session.cancel();
    }
    return true;
  }

  // ── what pools ask for ──────────────────────────────────────────────────────────────────────────────────────────

  tune = (fd: Fd, unix: boolean): void => tuneSocket(fd, unix, this.general);

  nextServerId(): number {
    return Atomics.add(this.shared, Shared.LastServerId, 1) + 1;
  }

  nextStatementId(): number {
    return Atomics.add(this.shared, Shared.LastStatementId, 1) & 0x7fffffff;
  }

  schemaGeneration(): number {
    return Atomics.load(this.shared, Shared.SchemaGeneration);
  }

  raiseSchemaGeneration(): void {
    // −1 marks statements that are stale for good.
    Atomics.and(this.shared, Shared.SchemaGeneration, 0x3fffffff);
    Atomics.add(this.shared, Shared.SchemaGeneration, 1);
  }

  addresses(
    host: string,
    port: number,
    done: (addresses: ServerAddress[], error: string | undefined) => void,
  ): void {
    const known = literalAddress(host, port);
    if (known !== undefined) return done(known.addresses, known.error);
    const request = ++this.#lastRequest;
    this.#resolving.set(request, (found, error) => {
      const addresses = resolvedAddresses(host, port, found);
      done(addresses, error ?? (addresses.length === 0 ? "no address found" : undefined));
    });
    this.toControl({ kind: "resolve", request, host });
  }

  derive(
    password: string,
    salt: Uint8Array,
    iterations: number,
    done: (salted: Uint8Array | undefined) => void,
  ): void {
    const request = ++this.#lastRequest;
    this.#deriving.set(request, done);
    this.toControl({ kind: "derive", request, password, salt, iterations });
  }

  // ── mail ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The eventfd: mail is there. */
  onReady(): void {
    settle();
    libc.read(this.#start.mail.wakeFd as Fd, readBuffer, 8);
    for (const mail of received<ControlToWorker>(this.#control)) this.#fromControl(mail);
    for (const { port } of this.#peers.values()) {
      for (const mail of received<WorkerToWorker>(port)) this.#fromPeer(mail);
    }
  }

  toControl(mail: WorkerToControl): void {
    this.#control.postMessage(mail);
  }

  #toPeer(index: number, mail: WorkerToWorker): void {
    const peer = this.#peers.get(index)!;
    peer.port.postMessage(mail);
    wake(peer.wakeFd);
  }

  #fromPeer(mail: WorkerToWorker): void {
    switch (mail.kind) {
      case "hand_over":
        this.#takeOver(mail.fd as Fd, mail.session as SessionSnapshot);
        return;
      case "thaw":
        for (const item of mail.items) this.#thaw(item);
        return;
      case "thaw_over":
        this.pool(mail.database, mail.user)?.expectNothing();
        return;
      case "cancel":
        this.#cancelHere(mail.processId, mail.secret);
        return;
      default:
        mail satisfies never;
    }
  }

  #fromControl(mail: ControlToWorker): void {
    switch (mail.kind) {
      case "start":
        return;
      case "settings":
        this.toControl({
          kind: "answer",
          request: mail.request,
          rows: [this.#apply(mail.change)],
        });
        return;
      case "ping":
        Atomics.add(this.shared, Shared.Heartbeats + this.#index, 1);
        return;
      case "move":
        this.#depart(mail.pools);
        return;
      case "taken":
        this.#departure?.taken(mail.batch, mail.refused);
        return;
      case "move_failed":
        this.#departure?.failed();
        this.#limits.lookSoon();
        this.#departure = undefined;
        return;
      case "expect":
        this.#expect(mail.pools, mail.counts);
        return;
      case "not_taken":
        this.#departure?.notTaken(mail.batch);
        return;
      case "thaw":
        for (const item of mail.items) this.#thaw(item);
        return;
      case "expect_over":
        for (const pool of this.#directory.all()) pool.expectNothing();
        return;
      case "listen":
        this.#listeners.open(mail.listeners);
        return;
      case "cancel":
        this.#cancelHere(mail.processId, mail.secret);
        return;
      case "log_filter":
        this.log.setFilter(mail.filter);
        return;
      case "admin_reply":
        this.#sessions.get(mail.client)?.admin?.answer(mail.bytes, mail.close);
        return;
      case "resolved": {
        const done = this.#resolving.get(mail.request);
        this.#resolving.delete(mail.request);
        done?.(mail.addresses, mail.error);
        return;
      }
      case "derived": {
        const done = this.#deriving.get(mail.request);
        this.#deriving.delete(mail.request);
        done?.(mail.saltedPassword);
        return;
      }
      case "ask":
        this.toControl({
          kind: "answer",
          request: mail.request,
          rows: this.#rows(mail.what, mail.most),
        });
        return;
      case "command":
        this.toControl({
          kind: "answer",
          request: mail.request,
          rows: [this.#obey(mail.command)],
        });
        return;
      default:
        mail satisfies never;
    }
  }

  #setGeneral(general: GeneralSettings): void {
    const query = general.pooler_check_query;
    if (query !== this.general.pooler_check_query) this.checkQuery = checkQueryMessage(query);
    this.general = general;
    followIoUring(general.io_uring, this.log);
    this.hba = general.hba === undefined
      ? undefined
      : new HbaMatcher(general.hba, this.#start.mail.interfaces);
  }

  #apply(change: SettingsChange): SettingsApplied {
    const started = performance.now();
    const { general } = change;
    if (general !== undefined) {
      const period = this.general.retain_connections_time;
      this.#setGeneral(general);
      if (general.retain_connections_time !== period) this.#retainLater();
    }
    this.#directory.apply(change);
    this.#listeners.accept(this.#directory.accepts);
    this.#limits.lookSoon();
    return { worker: this.#index, tookMs: performance.now() - started };
  }

  #rows(what: WorkerQuestion, most = 0): unknown[] {
    const { now } = this.reactor;
    switch (what) {
      case "pools":
        return poolRows(this.#directory.all(), this.#sessions.values(), now, this.#index);
      case "clients":
        return clientRows(this.#sessions.values(), now, this.#index);
      case "prepared":
        return preparedRows(this.#directory.all(), this.#index);
      case "interner":
        return [this.#texts.row(this.#sessions.values(), this.#index)];
      case "interner_texts":
        return this.#texts.longest([...this.#sessions.values()], {
          most,
          now,
          worker: this.#index,
        });
      case "prepared_memory":
        return preparedMemoryRows(this.#directory.all(), this.#sessions.values(), this.#index);
      case "servers":
        return serverRows(this.#directory.all(), now, this.#index);
      case "limits":
        return [...this.coordinator.databases()];
      case "moving":
        return this.#departure === undefined ? [] : [this.#departure.row()];
      case "presence":
        return [presenceRow(this.#sessions.values(), this.#index)];
      case "counts":
        return [{ ...this.counts, clients: this.#sessions.size, worker: this.#index }];
      default:
        return what satisfies never;
    }
  }

  /** Number of pools that the command concerned. */
  #obey(command: WorkerCommand): number {
    if (command.name === "stop_accepting" || command.name === "drain") {
      this.#listeners.close();
      if (command.name === "stop_accepting") return 0;
      this.draining = true;
      sendHomeAtRest(this.#sessions.values());
      return 0;
    }
    const pools = this.#directory.named(command.database);
    if (command.name === "kill") return killPools(pools, this.#sessions.values(), this.log);
    if (command.name === "send_home") return sendHome(this.#sessions.values());
    if (command.name === "reset_interner") {
      this.#texts.clear();
      return 0;
    }
    return commandPools(command.name, pools, this.log);
  }

  // ── rounds ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #every(periodMs: number, action: () => void): void {
    this.reactor.at(this.reactor.now + periodMs, () => {
      action();
      this.#every(periodMs, action);
    });
  }

  #retainLater(): void {
    this.#retainTimer?.cancel();
    this.#retainTimer = this.reactor.at(
      this.reactor.now + this.general.retain_connections_time,
      () => {
        this.coordinator.retain();
        retain(
          this.#directory.all(),
          this.general.retain_connections_max,
          this.reactor.now,
        );
        this.#retainLater();
      },
    );
  }

  #sweepLater(): void {
    const periodMs = this.general.query_interner_gc_interval_seconds * 1000 / 4;
    this.reactor.at(this.reactor.now + periodMs, () => {
      const ttlMs = this.general.query_interner_anon_idle_ttl_seconds * 1000;
      this.#texts.sweep(this.#sessions.values(), ttlMs, this.reactor.now);
      this.#sweepLater();
    });
  }

  #thaw(item: FrozenItem): void {
    // It may be overdue already.
    this.#limits.lookSoon();
    const found = this.#directory.find(item.database, item.user);
    if (found.kind === "elsewhere") {
      // It has moved on since this was sent.
      this.#toPeer(found.worker, { kind: "thaw", items: [item] });
      return;
    }
    try {
      thaw(item, this);
    } catch (error) {
      this.#defect(undefined, error);
    }
  }

  /** A handler threw. It costs that connection, not the worker. */
  #defect(handler: Handler | undefined, error: unknown): void {
    const text = error instanceof Error ? error.stack ?? error.message : String(error);
    this.log.error("pg_doorman::app", `defect, please report: ${text}`);
    if (handler instanceof Session) handler.fail("FATAL", REASONS.internalError, "", "");
    else if (handler !== undefined && "close" in handler) {
      (handler as { close(reason: unknown, detail: string): void }).close(
        REASONS.internalError,
        "defect",
      );
    }
  }
}

self.onmessage = (event: MessageEvent<WorkerStart>) => {
  new Worker(event.data).run();
};
