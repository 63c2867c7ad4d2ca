/**
 * Sessions, a pool and server connections as they are, between sockets and a reactor that are not: bytes come in the
 * pieces that a test chooses, sockets take as much as it chooses, and events are handled in its order. PostgreSQL is the
 * model of protocol/testing.
 */

import { PreparedMemory } from "../stats/prepared_memory.ts";
import { SHARED_WORDS, Tally } from "../stats/shared.ts";
import assert from "node:assert/strict";
import type { ClientContext } from "../client/context.ts";
import { messageOf } from "../client/local/check_query.ts";
import { ClientLogin } from "../client/login/login.ts";
import { Session } from "../client/session.ts";
import { newSessionState, type SessionState, Stage } from "../client/state.ts";
import { Derivations, type Derive } from "../auth/derivations.ts";
import type { ExternalRequest, ExternalVerdict } from "../config/external_check.ts";
import { shapeOf } from "../auth/mock_password.ts";
import { UserMaps } from "../auth/user_maps.ts";
import { FAILURE_WORDS, Failures } from "../auth/failures.ts";
import { ExternalLine } from "../auth/external.ts";
import type { HbaMatcher } from "../auth/hba.ts";
import type { PoolSettings } from "../config/settings.ts";
import type { WorkerToControl } from "../mail.ts";
import { decode, encode } from "../handover/codec.ts";
import { levelFilter } from "../log/filter.ts";
import { createRecordLog } from "../log/log.ts";
import { Coordinator } from "../pool/coordinator.ts";
import type { PoolEnvironment, PoolOwner } from "../pool/environment.ts";
import { Pool } from "../pool/pool.ts";
import { ModelServer } from "../protocol/testing/model_server.ts";
import { concat } from "../protocol/testing/wire.ts";
import type { Fd } from "../os/fd.ts";
import type { Reactor } from "../reactor/reactor.ts";
import { ServerConnection } from "../server/connection.ts";
import type { ServerSnapshot } from "../server/link.ts";
import { QueryInterner } from "../server/statements/query_interner.ts";
import { newServerState, ServerStage } from "../server/state.ts";
import { parameterSet } from "../server/parameters.ts";
import { FakeReactor } from "./fake_reactor.ts";
import { FakeStream } from "./fake_stream.ts";
import { poolSettings } from "./settings.ts";

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

/** What the model's server connection reports at its login. */
const REPORTED = new Map([["application_name", "default"]]);

/** A snapshot as the other process reads it. */
function throughBytes<T>(snapshot: T): T {
  return decode(encode(snapshot)) as T;
}

export class World {
  readonly reactor: FakeReactor = new FakeReactor();
  readonly warnings: string[] = [];
  /** A user that the pool's database does not know. */
  readonly stranger = "stranger";
  /** Passwords that are being checked. */
  readonly checks: Parameters<Derive>[] = [];
  readonly passwords = new Derivations((...run) => this.checks.push(run), {
    atOnce: 1,
    waiting: 1,
    waitingBytes: 100,
  });
  /** What others are asked to check. */
  readonly external: [ExternalRequest, (verdict: ExternalVerdict) => void][] = [];
  readonly externalChecks = new ExternalLine((...asked) => {
    this.external.push(asked);
    return () => {};
  }, { atOnce: 1, waiting: 1, waitingBytes: 100 });
  /** Mail to the control plane. */
  readonly mail: WorkerToControl[] = [];
  pool: Pool;
  /** Of the schema. */
  generation = 0;
  readonly interner = new QueryInterner();
  readonly clients: FakeClient[] = [];
  readonly servers: FakeServer[] = [];
  readonly #context: ClientContext;
  readonly environment: PoolEnvironment & PoolOwner<Pool>;
  /** What the worker is told of a pool that has moved. */
  stranded: PoolOwner<Pool>["stranded"] = () => assert.fail("no pool has moved");
  lateServer: PoolOwner<Pool>["lateServer"] = () => assert.fail("no pool has moved");
  /** What it is asked when a server is to be connected to. */
  addresses: PoolEnvironment["addresses"] = () => assert.fail("no server is to be connected to");
  /** What clients are connected by. */
  clientStream: new (fd: number) => FakeStream = FakeStream;
  serverStream: new (fd: number) => FakeStream = FakeStream;
  #lastFd = 100;
  #lastStatementId = 0;

  constructor(change: Partial<PoolSettings> = {}, { checkQuery = ";", method = "trust" } = {}) {
    const reactor = this.reactor as unknown as Reactor;
    const log = createRecordLog({
      filter: levelFilter("warn"),
      emit: ({ message }) => this.warnings.push(message),
      callSites: "error",
    });
    this.environment = {
      reactor,
      log,
      tune: () => {},
      nextServerId: () => 1,
      addresses: (...asked: Parameters<PoolEnvironment["addresses"]>) => this.addresses(...asked),
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
        preparedMemory: new PreparedMemory(new Int32Array(1024)),
      },
    } as unknown as PoolEnvironment & PoolOwner<Pool>;
    this.pool = new Pool(poolSettings(change), this.environment);
    this.pool.defaults = parameterSet(REPORTED);
    for (const name of REPORTED.keys()) this.pool.reported.add(name);
    const unused = () => assert.fail("not a part of the relay");
    const shared = new Int32Array(SHARED_WORDS);
    this.#context = {
      reactor,
      log,
      shared,
      tally: new Tally(shared),
      mockSecret: new Uint8Array(0),
      failures: new Failures(new Int32Array(FAILURE_WORDS), new Uint8Array(0)),
      general: {
        talos_databases: ["talos_db"],
        auth_failure_delay: 100,
        auth_failure_delay_max: 5000,
        auth_failures_free: 3,
        client_login_timeout: 60_000,
        max_connections: 100,
        max_client_prepared_memory: 0,
        max_prepared_memory: 0,
        log_client_connections: false,
        login_notify_message: "",
        log_client_disconnections: false,
      } as ClientContext["general"],
      hba: { match: () => ({ method, source: "hba", line: 1 }) } as unknown as HbaMatcher,
      userMaps: new UserMaps([]),
      checkQuery: messageOf(checkQuery),
      draining: false,
      longBytes: 0,
      mostLongBytes: 1_000_000,
      counts: { total: 0, tls: 0, plain: 0, cancel: 0 },
      findPool: (_, user) =>
        user === this.stranger
          ? { kind: "no_user", known: [shapeOf(this.pool.settings.password)] }
          : { kind: "here", pool: this.pool },
      tls: undefined,
      handshakes: { begin: () => true, stepped: () => {}, over: () => {} },
      logins: { waits: () => {}, over: () => {} },
      passwords: this.passwords,
      externalChecks: this.externalChecks,
      handOver: unused,
      cancel: unused,
      leave: () => {},
      toControl: (mail) => this.mail.push(mail),
    };
  }

  /** As a reload of `pooler_check_query` does. */
  setCheckQuery(text: string): void {
    Object.assign(this.#context, { checkQuery: messageOf(text) });
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
    const stream = new this.serverStream(++this.#lastFd);
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
    const stream = new this.clientStream(++this.#lastFd);
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

  /** A session that another process has frozen. */
  openThawed(fd: Fd, { state }: { state: SessionState }): Session {
    return new Session(this.#context, new FakeStream(fd), state);
  }

  /**
   * Freezes all there is, makes it plain data, and thaws it around a new pool, as a binary upgrade does; `nowMs` is the
   * time on the other process's clock.
   */
  move(nowMs: number = this.reactor.now): void {
    const reactor = this.reactor as unknown as Reactor;
    const old = this.pool;
    const poolSnapshot = throughBytes(old.moving.begin());
    const pool = new Pool(old.settings, this.environment);
    this.pool = pool;
    const thawServer = (server: FakeServer, snapshot: ServerSnapshot) => {
      server.connection = ServerConnection.thaw(reactor, server.stream, snapshot, pool);
      pool.adoptThawed(server.connection);
      return server.connection;
    };
    const alone = this.servers.filter(({ connection }) =>
      connection.link === undefined && old.moving.has(connection)
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
        const snapshot = throughBytes(session.freeze());
        client.stream.forgetWaiting();
        return { client, server, snapshot };
      });
    this.reactor.now = nowMs;
    pool.moving.expect();
    pool.moving.thaw(poolSnapshot);
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
      let moved = this.clients.some(({ stream, session }) =>
        stream.waiting > 0 && session.mayBeRead
      );
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
    assert.ok(!connection.state.unsynced);
    assert.ok(!connection.congested);
    assert.deepEqual(connection.owed.freeze(), {
      entries: [],
      skipping: false,
      copyIn: false,
      copyBoth: false,
    });
    assert.equal(model.status, "I");
    assert.ok(!model.copying);
    assert.ok(!model.skipping);
    assert.equal(model.unfinished.length, 0);
    assert.equal(connection.state.parameters.values.get("application_name"), model.parameter);
  }
}
