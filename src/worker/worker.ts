/**
 * Entry of a worker thread: one reactor with the listening sockets, the clients and the pools that live here. After
 * `start` it never returns to Deno's event loop; mail comes by `receiveMessageOnPort` when the eventfd says so.
 */

import type { Fd } from "../os/fd.ts";
import { ownThread } from "../os/threads.ts";
import { type Handler, Reactor } from "../reactor/reactor.ts";
import { tuneSocket } from "../reactor/sockets.ts";
import { Derivations, WORKER_DERIVATIONS } from "../auth/derivations.ts";
import { ExternalLine, WORKER_CHECKS } from "../auth/external.ts";
import { Failures } from "../auth/failures.ts";
import { HbaMatcher } from "../auth/hba.ts";
import { UserMaps } from "../auth/user_maps.ts";
import type { GeneralSettings, PasswordSource, ServerTls } from "../config/settings.ts";
import type { ClientContext, ClientEncryption } from "../client/context.ts";
import { checkQueryMessage } from "../client/local/check_query.ts";
import { Session } from "../client/session.ts";
import type {
  CancelAsker,
  ConnectionCounts,
  ControlToWorker,
  FoundPassword,
  FrozenItem,
  SettingsApplied,
  SettingsChange,
  TriedLogin,
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
import { AskingContexts } from "../server/asking_contexts.ts";
import type { ServerAddress } from "../server/dial.ts";
import type { AskedHandshake } from "../server/encryption.ts";
import { PreparedMemory } from "../stats/prepared_memory.ts";
import { ofWorker, Own, Shared, Tally } from "../stats/shared.ts";
import { type Accepted, type Doorway, Listeners } from "./accept.ts";
import { tryLogins } from "./answers/try_logins.ts";
import { answer, type AnsweringWorker, obey, type ObeyingWorker } from "./answers/answers.ts";
import { WrongKeys } from "./wrong_keys.ts";
import { cancelAnywhere, cancelAsked, type CancelingWorker, CancelTickets } from "./cancel.ts";
import { AuthQueries, type AuthQueryPlace } from "./auth_queries.ts";
import { Directory, type DirectoryEnvironment, type DynamicOrigin } from "./directory.ts";
import { encryptionOf, Handshakes } from "./handshakes.ts";
import { Logins } from "./logins.ts";
import { Mailbox, type Pieces, type Recipients } from "./mailbox.ts";
import { Memory } from "./memory.ts";
import { type ArrivalPlace, stackOf, tellLost, thaw } from "./moving/arrival.ts";
import { Departure } from "./moving/departure.ts";
import { type HeldItem, Holding } from "./moving/holding.ts";
import { Relocations } from "./moving/relocation.ts";
import { Requests } from "./requests.ts";
import { Rounds } from "./rounds.ts";
import { followIoUring } from "./sends.ts";
import { Sessions, type Travelled } from "./sessions.ts";
import { StatementTexts } from "./statement_texts.ts";
import { Limits } from "./timeouts.ts";

const REQUESTS_A_LIFE = 2 ** 24;

/** The parts say what they need; here it is. */
class Worker
  implements
    ClientContext,
    PoolEnvironment,
    DirectoryEnvironment,
    AuthQueryPlace,
    ArrivalPlace,
    StatementSource,
    Doorway,
    Recipients,
    CancelingWorker,
    AnsweringWorker,
    ObeyingWorker {
  readonly index: number;
  readonly reactor = new Reactor();
  readonly log: Log;
  readonly shared: Int32Array<SharedArrayBuffer>;
  readonly tally: Tally;
  readonly mockSecret: Uint8Array;
  readonly failures: Failures;
  readonly texts = new StatementTexts();
  readonly interner: QueryInterner = this.texts.named;
  readonly statements: StatementSource = this;
  readonly preparedMemory: PreparedMemory;
  readonly logins = new Logins(this);
  readonly passwords = new Derivations((...run) => this.derive(...run), WORKER_DERIVATIONS);
  readonly externalChecks = new ExternalLine(
    (asked, done) => this.requests.check(asked, done),
    WORKER_CHECKS,
  );
  readonly tls: ClientEncryption | undefined;
  readonly handshakes: Handshakes;
  readonly tickets: CancelTickets;
  readonly wrongKeys = new WrongKeys();
  readonly counts = { total: 0, tls: 0, plain: 0, cancel: 0 };
  general: GeneralSettings;
  hba: HbaMatcher | undefined;
  userMaps = new UserMaps([]);
  checkQuery: Uint8Array<ArrayBuffer>;
  draining = false;
  longBytes = 0;
  readonly clients = new Sessions(this);
  readonly sessions: ReadonlyMap<number, Session> = this.clients.all;
  readonly requests: Requests;
  readonly coordinator: Coordinator;
  readonly authQueries = new AuthQueries(this);
  readonly directory: Directory;
  readonly listeners = new Listeners(this);
  readonly relocations: Relocations;
  readonly #asking = new AskingContexts();
  departure: Departure | undefined = undefined;
  readonly holding: Holding;
  readonly #start: WorkerStart;
  readonly #mailbox: Mailbox;
  readonly #limits: Limits;
  readonly #rounds = new Rounds(this);

  constructor(start: WorkerStart) {
    const { mail } = start;
    this.#start = start;
    this.index = mail.index;
    this.#mailbox = new Mailbox(start, this);
    this.shared = new Int32Array(mail.shared);
    this.tally = new Tally(this.shared, mail.index, mail.life);
    this.preparedMemory = new PreparedMemory(this.shared, this.tally);
    // Answers to who was this worker before mean nobody here.
    const after = mail.life * REQUESTS_A_LIFE;
    this.tickets = new CancelTickets(after);
    this.requests = new Requests((mail) => this.toControl(mail), after);
    this.mockSecret = mail.mockSecret;
    this.failures = new Failures(new Int32Array(mail.failures), mail.mockSecret);
    this.tls = mail.clientTls && encryptionOf(mail.clientTls);
    this.handshakes = new Handshakes(this, mail.clientTls?.ratePerSecond ?? 0);
    this.general = mail.settings.general;
    this.checkQuery = checkQueryMessage(this.general.pooler_check_query);
    this.log = createRecordLog({
      filter: mail.logFilter,
      emit: (record) => this.toControl({ kind: "log", record }),
      later: (ms, action) => this.reactor.at(this.reactor.now + ms, action),
    });
    this.holding = new Holding(this);
    Atomics.store(this.shared, ofWorker(this.index, Own.Thread), ownThread());
    Atomics.store(this.shared, ofWorker(this.index, Own.Epoll), this.reactor.epoll);
    this.reactor.tellBusy(this.shared, ofWorker(this.index, Own.Busy));
    this.reactor.onDefect = (handler, error) => this.#defect(handler, error);
    this.#mailbox.open(this.reactor);
    this.#setGeneral(mail.settings.general);
    this.coordinator = new Coordinator(this);
    this.directory = new Directory(mail.index, this, mail);
    this.authQueries.apply({ authQueries: mail.settings.auth_queries, goneAuthQueries: [] });
    this.relocations = new Relocations({
      reactor: this.reactor,
      log: this.log,
      index: this.index,
      sessions: this.sessions,
      directory: this.directory,
      post: (worker, mail) => this.toPeer(worker, mail),
    });
    this.listeners.accept(this.directory.accepts);
    this.listeners.open(mail.listeners);
    this.#rounds.start();
    new Memory(this).start();
    this.#limits = new Limits({
      reactor: this.reactor,
      pools: () => this.directory.all(),
      sessions: () => this.sessions.values(),
    });
    this.#limits.lookSoon();
  }

  get mostLongBytes(): number {
    return this.general.max_memory_usage / this.#start.mail.workers;
  }

  run(): void {
    this.toControl({ kind: "ready", index: this.index });
    // What was taken for lost, and comes round after all, has nothing any more.
    this.reactor.run(() => this.tally.replaced);
  }

  // ── clients ─────────────────────────────────────────────────────────────────────────────────────────────────────

  accepted(connection: Accepted): void {
    this.clients.accept(connection);
  }

  findPool(database: string, user: string): ReturnType<Directory["find"]> {
    return this.directory.find(database, user);
  }

  handOver(worker: number, client: number): void {
    this.clients.handOver(worker, client);
  }

  leave(client: number): void {
    this.clients.leave(client);
  }

  cancel(
    processId: number,
    sent: { secret: Uint8Array; address: string },
    through: () => void,
  ): void {
    cancelAnywhere(this, processId, sent, through);
  }

  cancelHere(processId: number, secret: Uint8Array, from: CancelAsker | undefined): void {
    cancelAsked(this, processId, secret, from);
  }

  cancelThrough(ticket: number, from: number, key: "hit" | "miss"): void {
    this.tickets.answered(ticket, from, key);
  }

  peerReplaced(worker: number): void {
    this.tickets.lost(worker);
  }

  consoleAnswer(client: number, bytes: Uint8Array, close: boolean): void {
    this.sessions.get(client)?.admin?.answer(bytes, close);
  }

  // ── what moves ──────────────────────────────────────────────────────────────────────────────────────────────────

  retiredEmpty(pool: Pool): void {
    this.directory.dismiss(pool);
  }

  relocate(pool: Pool, home: number): void {
    this.relocations.begin(pool, home);
  }

  stranded(pool: Pool): void {
    (this.relocations.departureOf(pool) ?? this.departure)?.strand(pool);
  }

  lateServer(pool: Pool, server: ServerConnection | undefined): void {
    (this.relocations.departureOf(pool) ?? this.departure)?.late(pool, server);
  }

  pool(database: string, user: string): Pool | undefined {
    return this.directory.here(database, user);
  }

  openDynamic(
    { database, user }: { database: string; user: string },
    origin: DynamicOrigin,
  ): Pool | undefined {
    return this.authQueries.arrived({ database, user }, origin);
  }

  dynamicAdded(pool: Pool, origin: DynamicOrigin): void {
    this.departure?.joined(pool, origin);
  }

  openThawed(fd: Fd, snapshot: Travelled, pool: Pool | undefined): Session {
    return this.clients.openThawed(fd, snapshot, pool);
  }

  depart({ pools, authQueries, apart, tls, whole }: ControlToWorker & { kind: "move" }): void {
    this.departure = new Departure({
      reactor: this.reactor,
      index: this.index,
      sessions: this.sessions,
      directory: this.directory,
      post: (mail) => this.toControl(mail),
      apart,
      tls,
      whole,
    });
    this.departure.start(pools, authQueries);
  }

  departureFailed(): void {
    this.departure?.failed();
    this.#limits.lookSoon();
    this.departure = undefined;
  }

  expect(pools: { database: string; user: string }[], counts: ConnectionCounts): void {
    const expecting = new Set(pools.map(({ database, user }) => this.pool(database, user)));
    for (const pool of this.directory.all()) if (!expecting.has(pool)) pool.moving.expectNothing();
    // They are sums over all workers: one has to have those of before.
    if (this.index > 0) return;
    for (const kind of ["total", "tls", "plain", "cancel"] as const) {
      this.counts[kind] += counts[kind];
    }
  }

  thaw(items: FrozenItem[]): void {
    for (const item of items) this.#thaw(item, "tell");
  }

  thawHeld(held: readonly HeldItem[], returns: boolean): number[] {
    const failed: number[] = [];
    for (const { item, index } of held) {
      const isHere = this.#thaw(item, returns ? "return" : "tell");
      if (!isHere && item.type === "session") failed.push(index);
    }
    return failed;
  }

  /** Whether it lives now. A client that neither does nor lives on where it came from is told. */
  #thaw(item: FrozenItem, otherwise: "return" | "tell"): boolean {
    // It may be overdue already.
    this.#limits.lookSoon();
    const home = this.directory.homeOf(item) ?? this.index;
    if (home !== this.index) {
      // It has moved on since this was sent.
      this.toPeer(home, { kind: "thaw", items: [item] });
      return true;
    }
    try {
      thaw(item, this);
      return true;
    } catch (error) {
      const { type, user, database } = item;
      const end = type !== "session"
        ? "closed"
        : otherwise === "return"
        ? "it stays with the old process"
        : "its client is told";
      this.log.error(
        "pg_doorman::app",
        `a ${type} of ${user}@${database} can't be taken over, ${end}: ${stackOf(error)}`,
      );
      if (item.type === "session" && otherwise === "tell") tellLost(item);
      return false;
    }
  }

  thawOver(one: { database: string; user: string } | undefined): void {
    if (one !== undefined) this.pool(one.database, one.user)?.moving.expectNothing();
    else for (const pool of this.directory.all()) pool.moving.expectNothing();
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
    this.requests.addresses(host, port, done);
  }

  handshake(tls: ServerTls, serverName: string): AskedHandshake | string {
    return this.#asking.handshake(tls, serverName);
  }

  serverPassword(
    source: PasswordSource,
    refused: string | undefined,
    done: (found: FoundPassword) => void,
  ): void {
    this.requests.serverPassword(source, refused, done);
  }

  derive(
    password: string | Uint8Array,
    salt: Uint8Array,
    iterations: number,
    done: (salted: Uint8Array | undefined) => void,
  ): void {
    this.requests.derive(password, salt, iterations, done);
  }

  // ── mail ────────────────────────────────────────────────────────────────────────────────────────────────────────

  get peers(): Iterable<number> {
    return this.#mailbox.peers;
  }

  toControl(mail: WorkerToControl): void {
    this.#mailbox.toControl(mail);
  }

  toPeer(worker: number, mail: WorkerToWorker): void {
    this.#mailbox.toPeer(worker, mail);
  }

  rows(what: WorkerQuestion, most = 0): Pieces {
    return answer(this, what, most);
  }

  tryLogins(done: (tried: TriedLogin[]) => void): void {
    tryLogins(this.directory.all(), this, done);
  }

  obey(command: WorkerCommand): number {
    this.authQueries.obey(command);
    return obey(this, command);
  }

  apply(change: SettingsChange): SettingsApplied {
    const started = performance.now();
    const { general } = change;
    if (general !== undefined) {
      const period = this.general.retain_connections_time;
      this.#setGeneral(general);
      if (general.retain_connections_time !== period) this.#rounds.retainLater();
    }
    this.directory.apply(change);
    this.authQueries.apply(change);
    const pools = [...this.directory.all(), ...this.authQueries.executors()];
    this.#asking.keepOnly(pools.map(({ settings }) => settings.server_tls));
    this.listeners.accept(this.directory.accepts);
    this.#limits.lookSoon();
    return { worker: this.index, tookMs: performance.now() - started };
  }

  #setGeneral(general: GeneralSettings): void {
    const query = general.pooler_check_query;
    if (query !== this.general.pooler_check_query) this.checkQuery = checkQueryMessage(query);
    this.general = general;
    followIoUring(general.io_uring, this.log);
    this.hba = general.hba === undefined
      ? undefined
      : new HbaMatcher(general.hba, this.#start.mail.interfaces);
    this.userMaps = new UserMaps(general.ident);
  }

  /** A handler threw. It costs that connection, not the worker. */
  #defect(handler: Handler | undefined, error: unknown): void {
    this.log.error("pg_doorman::app", `defect, please report: ${stackOf(error)}`);
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
  // The runtime gives each thread copies of the standard streams; what this one has to say it mails.
  for (const stream of [Deno.stdin, Deno.stdout, Deno.stderr]) stream.close();
  const { control } = event.data;
  try {
    new Worker(event.data).run();
  } catch (error) {
    // Behind what it had to say before.
    const mail: WorkerToControl = { kind: "died", message: stackOf(error) };
    control.postMessage(mail);
  }
};
