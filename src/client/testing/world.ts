/**
 * Sessions, a pool and server connections as they are, between sockets and a reactor that are not: bytes come in the
 * pieces that a test chooses, sockets take as much as it chooses, and events are handled in its order. PostgreSQL is the
 * model of protocol/testing.
 */

import assert from "node:assert/strict";
import type { ClientContext } from "../context.ts";
import { checkQueryMessage } from "../local/check_query.ts";
import { ClientLogin } from "../login/login.ts";
import { Session } from "../session.ts";
import { newSessionState, type SessionState, Stage } from "../state.ts";
import type { HbaMatcher } from "../../auth/hba.ts";
import type { PoolSettings } from "../../config/settings.ts";
import type { WorkerToControl } from "../../mail.ts";
import { decode, encode } from "../../handover/codec.ts";
import { levelFilter } from "../../log/filter.ts";
import { createRecordLog } from "../../log/log.ts";
import { EAGAIN, EPIPE } from "../../os/errno.ts";
import type { Fd } from "../../os/fd.ts";
import { EPOLLIN, EPOLLOUT, EPOLLRDHUP } from "../../os/layout.ts";
import { Coordinator } from "../../pool/coordinator.ts";
import type { PoolEnvironment, PoolOwner } from "../../pool/environment.ts";
import { Pool } from "../../pool/pool.ts";
import { ModelServer } from "../../protocol/testing/model_server.ts";
import { concat, concatAll } from "../../protocol/testing/wire.ts";
import { MOST_POSTED_BYTES, type Sender } from "../../reactor/posts.ts";
import type { Handler, Reactor } from "../../reactor/reactor.ts";
import { type ByteStream, READ_BYTES, readBuffer } from "../../reactor/stream.ts";
import { type Timer, Timers } from "../../reactor/timers.ts";
import { ServerConnection } from "../../server/connection.ts";
import type { ServerSnapshot } from "../../server/link.ts";
import { QueryInterner } from "../../server/statements/query_interner.ts";
import { newServerState, ServerStage } from "../../server/state.ts";
import { parameterSet } from "../../server/parameters.ts";

/** Sends of this turn that were put off. */
const putOff = new Set<FakeStream>();

/** The pooler's end of a socket. Every other one puts its sends off. */
export class FakeStream implements ByteStream {
  readonly fd: Fd;
  /** What the pooler has written. */
  #written: Uint8Array[] = [];
  #incoming: Uint8Array[] = [];
  #posted: { bytes: Uint8Array<ArrayBuffer>; sender: Sender } | undefined = undefined;
  /** No more bytes will come. */
  ended = false;
  /** Sends fail: the peer is gone. */
  broken = false;
  /** Bytes that the next sends take, one number a send; when there is none, `usually`. */
  appetite: number[] = [];
  usually = Infinity;

  constructor(fd: number) {
    this.fd = fd as Fd;
  }

  /** Bytes for the pooler to read, in one piece or several. */
  push(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#incoming.push(bytes);
  }

  /** All that was written and not fetched yet. */
  fetch(): Uint8Array {
    const bytes = concatAll(this.#written);
    this.#written = [];
    return bytes;
  }

  /** Bytes that the pooler has left unread. */
  get unread(): number {
    return this.#incoming.reduce((sum, piece) => sum + piece.length, 0);
  }

  get events(): number {
    const readable = this.#incoming.length > 0 || this.ended;
    return (readable ? EPOLLIN : 0) | (this.ended ? EPOLLRDHUP : 0) | EPOLLOUT;
  }

  receive(offset: number): number {
    assert.ok(offset <= READ_BYTES, `no room to read at ${offset}`);
    const piece = this.#incoming.shift();
    if (piece === undefined) return this.ended ? 0 : -EAGAIN;
    const most = piece.subarray(0, READ_BYTES);
    readBuffer.set(most, offset);
    // Bytes behind what was read are whatever they were.
    readBuffer.fill(0xee, offset + most.length, offset + most.length + 16);
    if (piece.length > most.length) this.#incoming.unshift(piece.subarray(most.length));
    return most.length;
  }

  post(bytes: Uint8Array<ArrayBuffer>, start: number, end: number, sender: Sender): number {
    if (this.fd % 2 === 0 || end - start > MOST_POSTED_BYTES) return this.send(bytes, start, end);
    if (!this.settle()) return -EAGAIN;
    this.#posted = { bytes: bytes.slice(start, end), sender };
    putOff.add(this);
    return end - start;
  }

  settle(): boolean {
    const posted = this.#posted;
    if (posted === undefined) return true;
    this.#posted = undefined;
    putOff.delete(this);
    const { bytes, sender } = posted;
    const taken = Math.max(0, this.send(bytes, 0, bytes.length));
    const all = taken === bytes.length;
    if (!all) sender.notTaken(bytes, taken, bytes.length);
    bytes.fill(0xee);
    return all;
  }

  send(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): number {
    if (!this.settle()) return -EAGAIN;
    if (this.broken) return -EPIPE;
    const most = this.appetite.shift() ?? this.usually;
    if (most <= 0) return -EAGAIN;
    const piece = bytes.slice(start, Math.min(end, start + most));
    this.#written.push(piece);
    return piece.length;
  }
}

/** The part of a reactor that connections use, with time that stands still unless it is moved. */
class FakeReactor {
  now = 1000;
  readonly timers = new Timers();
  readonly registered = new Map<Fd, { handler: Handler; events: number }>();
  #atEnd: (() => void)[] = [];

  register(fd: Fd, handler: Handler, events: number): void {
    assert.ok(!this.registered.has(fd), `descriptor ${fd} is registered twice`);
    this.registered.set(fd, { handler, events });
    this.#released.delete(fd);
  }

  modify(fd: Fd, events: number): void {
    const entry = this.registered.get(fd);
    assert.ok(entry !== undefined, `descriptor ${fd} is not registered`);
    entry.events = events;
  }

  /** Out of the loop, and still open. */
  readonly #released = new Set<Fd>();

  release(fd: Fd): void {
    this.registered.delete(fd);
    this.#released.add(fd);
  }

  close(fd: Fd): void {
    // It closes at the end of the turn, and what was put off goes out before.
    for (const stream of putOff) if (stream.fd === fd) stream.settle();
    const open = this.registered.delete(fd) || this.#released.delete(fd);
    assert.ok(open, `descriptor ${fd} is closed twice`);
  }

  at(at: number, fire: () => void): Timer {
    return this.timers.add(at, fire);
  }

  atEndOfTurn(action: () => void): void {
    this.#atEnd.push(action);
  }

  endTurn(): void {
    const actions = this.#atEnd;
    this.#atEnd = [];
    for (const action of actions) action();
    for (const stream of putOff) stream.settle();
  }
}

/** A client: what it has still to send, and what it got. */
export interface FakeClient {
  session: Session;
  stream: FakeStream;
  unsent: Uint8Array;
  received: Uint8Array;
}

/** A server connection with the model at its other end. */
export interface FakeServer {
  connection: ServerConnection;
  stream: FakeStream;
  model: ModelServer;
  /** On the way to the model. */
  toModel: Uint8Array;
  /** On the way from the model. */
  fromModel: Uint8Array;
}

/** A pool's settings for tests that make its server connections themselves. */
export function poolSettings(change: Partial<PoolSettings>): PoolSettings {
  return {
    database: "db",
    user: "me",
    home: 0,
    password: { kind: "empty" },
    pool_mode: "transaction",
    pool_size: 10,
    min_pool_size: 0,
    max_db_connections: 0,
    max_user_connections: 0,
    min_connection_lifetime: 30_000,
    reserve_pool_size: 0,
    reserve_pool_timeout: 3000,
    min_guaranteed_pool_size: 0,
    server_host: "127.0.0.1",
    server_port: 5432,
    server_database: "db",
    server_username: "me",
    credentials: { kind: "none" },
    application_name: "pg_doorman",
    application_name_pinned: false,
    startup_parameters: [],
    connect_timeout: 3000,
    query_wait_timeout: 5000,
    idle_timeout: 0,
    server_lifetime: 0,
    query_timeout: 0,
    transaction_timeout: 0,
    idle_transaction_timeout: 0,
    client_idle_timeout: 0,
    query_wait_notify: 0,
    server_idle_check_timeout: 0,
    server_round_robin: false,
    sync_server_parameters: true,
    cleanup_server_connections: true,
    log_client_parameter_status_changes: false,
    max_replication_connections: 10,
    max_concurrent_creates: 0,
    scaling_warm_pool_ratio: 0,
    scaling_fast_retries: 0,
    scaling_max_parallel_creates: 0,
    prepared_statements: false,
    prepared_statements_cache_size: 0,
    server_prepared_statements_cache_size: 0,
    client_anonymous_prepared_cache_size: 0,
    server_digest: "",
    ...change,
  };
}

/** What the model's server connection reports at its login. */
const REPORTED = new Map([["application_name", "default"]]);

/** A snapshot as the other process reads it. */
function throughBytes<T>(snapshot: T): T {
  return decode(encode(snapshot)) as T;
}

export class World {
  readonly reactor = new FakeReactor();
  readonly warnings: string[] = [];
  /** Mail to the control plane. */
  readonly mail: WorkerToControl[] = [];
  pool: Pool;
  /** Of the schema. */
  generation = 0;
  readonly interner = new QueryInterner();
  readonly clients: FakeClient[] = [];
  readonly servers: FakeServer[] = [];
  readonly #context: ClientContext;
  readonly #environment: PoolEnvironment & PoolOwner<Pool>;
  /** What the worker is told of a pool that has moved. */
  stranded: PoolOwner<Pool>["stranded"] = () => assert.fail("no pool has moved");
  lateServer: PoolOwner<Pool>["lateServer"] = () => assert.fail("no pool has moved");
  #lastFd = 100;
  #lastStatementId = 0;

  constructor(change: Partial<PoolSettings> = {}, { checkQuery = ";" } = {}) {
    const reactor = this.reactor as unknown as Reactor;
    const log = createRecordLog({
      filter: levelFilter("warn"),
      emit: ({ message }) => this.warnings.push(message),
      callSites: "error",
    });
    this.#environment = {
      reactor,
      log,
      tune: () => {},
      nextServerId: () => 1,
      addresses: () => assert.fail("no server is to be connected to"),
      derive: () => assert.fail("no key is to be derived"),
      retiredEmpty: () => {},
      relocate: () => assert.fail("there is one worker"),
      stranded: (...told: Parameters<PoolOwner<Pool>["stranded"]>) => this.stranded(...told),
      lateServer: (...told: Parameters<PoolOwner<Pool>["lateServer"]>) => this.lateServer(...told),
      coordinator: new Coordinator({ reactor, log }),
      statements: {
        interner: this.interner,
        nextStatementId: () => ++this.#lastStatementId,
        schemaGeneration: () => this.generation,
        raiseSchemaGeneration: () => {},
      },
    } as unknown as PoolEnvironment & PoolOwner<Pool>;
    this.pool = new Pool(poolSettings(change), this.#environment);
    this.pool.defaults = parameterSet(REPORTED);
    for (const name of REPORTED.keys()) this.pool.reported.add(name);
    const unused = () => assert.fail("not a part of the relay");
    this.#context = {
      reactor,
      log,
      shared: new Int32Array(1024),
      mockSecret: new Uint8Array(0),
      general: {
        client_login_timeout: 60_000,
        max_connections: 100,
        max_client_prepared_memory: 0,
        log_client_connections: false,
        log_client_disconnections: false,
      } as ClientContext["general"],
      hba: { match: () => ({ method: "trust" }) } as unknown as HbaMatcher,
      checkQuery: checkQueryMessage(checkQuery),
      draining: false,
      longBytes: 0,
      mostLongBytes: 1_000_000,
      counts: { total: 0, tls: 0, plain: 0, cancel: 0 },
      findPool: () => ({ kind: "here", pool: this.pool }),
      logins: { waits: () => {}, over: () => {} },
      handOver: unused,
      cancel: unused,
      leave: () => {},
      toControl: (mail) => this.mail.push(mail),
    };
  }

  /** As a reload of `pooler_check_query` does. */
  setCheckQuery(text: string): void {
    Object.assign(this.#context, { checkQuery: checkQueryMessage(text) });
  }

  /** A server connection that has logged in. */
  addServer(): FakeServer {
    const server = this.#newServer();
    this.pool.adopt(server.connection);
    this.pool.checkIn(server.connection);
    return server;
  }

  /** One that logged in where the pool was before, when the pool had moved already. */
  addLateServer(): FakeServer {
    const server = this.#newServer();
    server.connection.state.stage = ServerStage.Idle;
    this.pool.adoptThawed(server.connection);
    return server;
  }

  #newServer(): FakeServer {
    const stream = new FakeStream(++this.#lastFd);
    const state = newServerState(this.#lastFd, this.reactor.now);
    state.parameters = parameterSet(REPORTED);
    const connection = new ServerConnection(
      this.reactor as unknown as Reactor,
      stream,
      state,
      this.pool,
    );
    const nothing = new Uint8Array(0);
    const model = new ModelServer();
    const server = { connection, stream, model, toModel: nothing, fromModel: nothing };
    this.servers.push(server);
    return server;
  }

  /** A client that will send these bytes, from its first packet on. */
  addNewClient(unsent: Uint8Array): FakeClient {
    const client = this.addClient(unsent);
    this.pool.leave();
    client.session.pool = undefined;
    client.session.state.stage = Stage.Startup;
    client.session.login = new ClientLogin(client.session);
    return client;
  }

  /** A client that has logged in and will send these bytes. */
  addClient(unsent: Uint8Array): FakeClient {
    const stream = new FakeStream(++this.#lastFd);
    const state: SessionState = {
      ...newSessionState(this.#lastFd, this.reactor.now),
      stage: Stage.Idle,
      database: "db",
      user: "me",
      parameters: this.pool.defaults!,
      initial: this.pool.defaults!,
    };
    const session = new Session(this.#context, stream, state);
    session.pool = this.pool;
    this.pool.enter();
    session.listen(undefined);
    const client = { session, stream, unsent, received: new Uint8Array(0) };
    this.clients.push(client);
    return client;
  }

  /**
   * Freezes all there is, makes it plain data, and thaws it around a new pool, as a binary upgrade does; `nowMs` is the
   * time on the other process's clock.
   */
  move(nowMs: number = this.reactor.now): void {
    const reactor = this.reactor as unknown as Reactor;
    const old = this.pool;
    const poolSnapshot = throughBytes(old.beginMove());
    const pool = new Pool(old.settings, this.#environment);
    this.pool = pool;
    const thawServer = (server: FakeServer, snapshot: ServerSnapshot) => {
      server.connection = ServerConnection.thaw(reactor, server.stream, snapshot, pool);
      pool.adoptThawed(server.connection);
      return server.connection;
    };
    const alone = this.servers.filter(({ connection }) =>
      connection.link === undefined && old.has(connection)
    ).map((server) => {
      old.takeOut(server.connection);
      return { server, snapshot: throughBytes(server.connection.freeze()) };
    });
    // Those with a server first, then those who wait, in their order.
    const waiting = [...old.waiters()];
    const rank = ({ session }: FakeClient) =>
      session.server !== undefined ? -1 : waiting.indexOf(session) >>> 0;
    const moving = this.clients.filter(({ session }) => session.movable)
      .sort((a, b) => rank(a) - rank(b))
      .map((client) => {
        const { session } = client;
        const server = this.servers.find(({ connection }) => connection === session.server);
        old.leaveQueue(session);
        if (server !== undefined) old.takeOut(server.connection);
        return { client, server, snapshot: throughBytes(session.freeze()) };
      });
    this.reactor.now = nowMs;
    pool.expect();
    pool.thaw(poolSnapshot);
    for (const { server, snapshot } of alone) thawServer(server, snapshot);
    for (const { client, server, snapshot } of moving) {
      const connection = server === undefined ? undefined : thawServer(server, snapshot.server!);
      const session = new Session(this.#context, client.stream, snapshot.state);
      if (session.state.stage <= Stage.Preparing) session.login = new ClientLogin(session);
      session.pool = pool;
      pool.enter();
      session.thaw(snapshot, connection);
      client.session = session;
    }
    this.reactor.endTurn();
  }

  /** The client sends up to `most` of what it has to send, as one piece. */
  clientSends(client: FakeClient, most: number): boolean {
    if (client.unsent.length === 0 || most <= 0) return false;
    client.stream.push(client.unsent.slice(0, most));
    client.unsent = client.unsent.slice(most);
    return true;
  }

  /** Up to `most` bytes of the pooler's reach the server, which answers. */
  serverTakes(server: FakeServer, most: number): boolean {
    server.toModel = concat(server.toModel, server.stream.fetch());
    if (server.toModel.length === 0 || most <= 0) return false;
    const replies = server.model.feed(server.toModel.slice(0, most));
    server.toModel = server.toModel.slice(most);
    server.fromModel = concat(server.fromModel, replies);
    return true;
  }

  /** Up to `most` bytes of the server's answers reach the pooler, as one piece. */
  serverSends(server: FakeServer, most: number): boolean {
    if (server.fromModel.length === 0 || most <= 0) return false;
    server.stream.push(server.fromModel.slice(0, most));
    server.fromModel = server.fromModel.slice(most);
    return true;
  }

  /** Lets the pooler handle the events of one connection. */
  dispatch(stream: FakeStream): boolean {
    const entry = this.reactor.registered.get(stream.fd);
    if (entry === undefined) return false;
    const events = stream.events & (entry.events | 0x18);
    if (events === 0) return false;
    entry.handler.onReady(events);
    this.reactor.endTurn();
    return true;
  }

  /** Goes on until nothing is under way. Throws when that takes suspiciously long: an event that comes over and over. */
  settle(): void {
    for (const { stream } of [...this.clients, ...this.servers]) {
      stream.appetite = [];
      stream.usually = Infinity;
    }
    for (let turn = 0; turn < 20_000; turn++) {
      let moved = false;
      this.reactor.endTurn();
      for (const client of this.clients) {
        if (this.clientSends(client, Infinity)) moved = true;
        if (this.dispatch(client.stream)) moved = true;
      }
      for (const server of this.servers) {
        if (this.serverTakes(server, Infinity)) moved = true;
        if (this.serverSends(server, Infinity)) moved = true;
        if (this.dispatch(server.stream)) moved = true;
      }
      if (!moved) {
        for (const client of this.clients) {
          client.received = concat(client.received, client.stream.fetch());
        }
        return;
      }
    }
    assert.fail("events without end");
  }

  /** What must hold of a server connection that rests. */
  checkIdle(server: FakeServer): void {
    const { connection, model } = server;
    assert.equal(connection.state.stage, ServerStage.Idle);
    assert.equal(connection.link, undefined);
    assert.equal(connection.state.left, 0);
    assert.equal(connection.state.unsynced, false);
    assert.equal(connection.congested, false);
    assert.deepEqual(connection.owed.freeze(), {
      entries: [],
      skipping: false,
      copyIn: false,
      copyBoth: false,
    });
    assert.equal(model.status, "I");
    assert.equal(model.copying, false);
    assert.equal(model.skipping, false);
    assert.equal(model.unfinished.length, 0);
    assert.equal(connection.state.parameters.values.get("application_name"), model.parameter);
  }
}
