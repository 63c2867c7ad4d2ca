import assert from "node:assert/strict";
import fc from "fast-check";
import { EPOLLIN, EPOLLOUT } from "../os/layout.ts";
import { bytesOf, type Message, ModelServer } from "../protocol/testing/model_server.ts";
import { pipelines, simpleQuery, SYNC } from "../protocol/testing/pipelines.ts";
import { concat } from "../protocol/testing/wire.ts";
import type { ServerConnection } from "../server/connection.ts";
import { FakeReactor } from "../testing/fake_reactor.ts";
import { FakeStream } from "../testing/fake_stream.ts";
import { HoardingStream } from "../testing/hoarding_stream.ts";
import { KeepingStream } from "../testing/keeping_stream.ts";
import { type FakeClient, World } from "../testing/world.ts";
import type { ClientContext } from "./context.ts";
import { ClientSocket } from "./socket.ts";
import { MOST_OWED } from "./socket_parts.ts";
import { newSessionState, Stage } from "./state.ts";

const choices = fc.infiniteStream(fc.nat({ max: 0xffffff }));

function bytesOfAll(messages: Message[]): Uint8Array {
  return concat(...messages.map(bytesOf));
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** A client's socket, and what decides whether it is read. */
class PlainSocket extends ClientSocket {
  reads = 0;

  take(): void {
    this.reads++;
  }

  close(): void {
    assert.fail("nobody ends it");
  }

  fail(): void {
    assert.fail("nobody ends it");
  }

  protected drained(): void {}

  moveTo(stage: number): void {
    this.state.stage = stage;
    this.resume();
  }
}

/** What is in the way of reading, and the socket that is to know of it. */
class Obstacles {
  readonly reactor: FakeReactor = new FakeReactor();
  readonly stream: FakeStream;
  readonly server = {
    owed: { length: 0 },
    congested: false,
    pauseReading: () => {},
    state: { left: 0, messageBytes: 0 },
  };
  socket: PlainSocket;
  throttled = false;
  held = false;
  backlogged = false;

  constructor(stream: FakeStream) {
    this.stream = stream;
    this.socket = this.#newSocket();
    this.socket.state.stage = Stage.Idle;
    this.socket.listen(undefined);
  }

  #newSocket(state = newSessionState(1, 0)): PlainSocket {
    const context = {
      reactor: this.reactor,
      general: { proxy_copy_data_timeout: 1000, message_size_to_be_stream: 0 },
    };
    return new PlainSocket(context as unknown as ClientContext, this.stream, state);
  }

  get stage(): number {
    return this.socket.state.stage;
  }

  get clear(): boolean {
    switch (this.stage) {
      case Stage.Linked:
        return !this.throttled && !this.held && !this.server.congested;
      case Stage.Idle:
        return !this.backlogged;
      case Stage.Admin:
        return !this.backlogged && !this.held;
      default:
        return this.stage === Stage.Startup;
    }
  }

  moveTo(stage: number): void {
    const { socket } = this;
    const linked = stage === Stage.Linked || stage === Stage.Syncing;
    socket.server = linked ? this.server as unknown as ServerConnection : undefined;
    if (this.held) {
      // Whoever is held keeps its stage.
      this.held = false;
      socket.goOn();
    }
    socket.moveTo(stage);
    if (linked) return;
    this.throttled = false;
    socket.unthrottle();
    this.server.congested = false;
    this.server.owed.length = 0;
  }

  /** PostgreSQL has answered until it owes no more than this. */
  answer(owed: number): void {
    this.server.owed.length = owed;
    this.socket.write(Uint8Array.of(1));
    this.#taken(this.backlogged ? "not all" : "all");
  }

  #taken(all: "all" | "not all"): void {
    if (all === "all" && this.server.owed.length <= MOST_OWED / 2) this.throttled = false;
  }

  /** The client takes no more of its answers. */
  stopTaking(): void {
    this.stream.usually = 0;
    this.socket.write(Uint8Array.of(1));
    this.backlogged = true;
  }

  takeAll(): void {
    this.stream.usually = Infinity;
    if (!this.backlogged) return;
    this.backlogged = false;
    this.socket.onReady(EPOLLOUT);
    this.#taken("all");
  }

  travel(): void {
    const before = this.socket;
    const snapshot = before.freezeSocket();
    this.socket = this.#newSocket(before.state);
    this.socket.thawSocket(snapshot, before.server);
  }

  get watched(): boolean {
    return (this.reactor.registered.get(this.stream.fd)!.events & EPOLLIN) !== 0;
  }

  /** The client sends, and the event loop looks; returns whether it was read. */
  send(): boolean {
    this.stream.push(Uint8Array.of(1));
    const { reads } = this.socket;
    if (this.watched) this.socket.onReady(EPOLLIN);
    return this.socket.reads > reads;
  }
}

const STAGES = [
  Stage.Startup,
  Stage.Idle,
  Stage.Waiting,
  Stage.Syncing,
  Stage.Linked,
  Stage.Linked,
  Stage.Admin,
];

/** One change of what is in the way. */
function change(way: Obstacles, choice: number): void {
  const { server, socket, stage } = way;
  const linked = stage === Stage.Linked;
  switch (choice % 9) {
    case 0:
      return way.moveTo(STAGES[(choice >> 4) % STAGES.length]!);
    case 1:
      if (!linked) return;
      server.owed.length = MOST_OWED + 1;
      way.throttled = true;
      return socket.throttle();
    case 2:
      return way.answer(linked ? choice % (MOST_OWED + 1) : 0);
    case 3:
      return way.stopTaking();
    case 4:
      return way.takeAll();
    case 5:
      server.congested = linked;
      return;
    case 6:
      server.congested = false;
      return socket.resume();
    case 7:
      if (!linked && stage !== Stage.Admin) return;
      way.held = !way.held;
      return way.held ? socket.hold() : socket.goOn();
    default:
      if (stage !== Stage.Admin) way.travel();
  }
}

/** Streams that take what they are given, and those that count it as taken and keep it. */
const STREAMS = [
  ["", FakeStream],
  [", by a stream that keeps", KeepingStream],
  [", by a stream that hoards", HoardingStream],
] as const;

for (const [by, Stream] of STREAMS) {
  Deno.test(`socket: a client is read from when nothing is in the way, and at no other time${by}`, () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat({ max: 0xffffff }), { maxLength: 80, size: "max" }),
        (changes) => {
          const way = new Obstacles(new Stream(2));
          for (const choice of changes) {
            change(way, choice);
            if (way.clear) assert.ok(way.watched, `not read in stage ${way.stage}`);
            if ((choice & 0x800) !== 0) assert.equal(way.send(), way.clear, `stage ${way.stage}`);
          }
        },
      ),
      { numRuns: 2000 },
    );
  });
}

/** Whether a client of the world may be read from, said from outside; `undefined`: it can't be told. */
class Onlooker {
  readonly #client: FakeClient;
  constructor(client: FakeClient) {
    this.#client = client;
  }

  look(): boolean | undefined {
    const { server, state, backlogged } = this.#client.session;
    switch (state.stage) {
      case Stage.Idle:
      case Stage.Closing:
        return !backlogged;
      case Stage.Linked:
        return !server!.congested;
      case Stage.Waiting:
      case Stage.Syncing:
        return false;
      default:
        return undefined;
    }
  }
}

/** Nobody reads who may not: from now on each read is looked at. */
function watch(client: FakeClient): Onlooker {
  const onlooker = new Onlooker(client);
  const { stream } = client;
  const receive = stream.receive.bind(stream);
  stream.receive = (offset: number) => {
    assert.ok(onlooker.look() !== false, `read in stage ${client.session.state.stage}`);
    return receive(offset);
  };
  return onlooker;
}

/** Frozen, and back: the new process is gone. */
function freezeInVain(world: World, { session }: FakeClient): void {
  if (!session.movable) return;
  world.pool.leaveQueue(session);
  session.freeze();
  session.unfreeze();
  world.reactor.endTurn();
}

/** Does one thing somewhere. */
function step(world: World, choice: number): void {
  const { clients, servers } = world;
  const client = clients[(choice >> 12) % clients.length]!;
  const server = servers[(choice >> 12) % servers.length]!;
  const n = choice >> 6;
  const size = [1 + n % 7, 1 + n % 300, 1 + n % 5000, Infinity][(choice >> 4) % 4]!;
  switch (choice % 11) {
    case 0:
    case 1:
      world.clientSends(client, size);
      world.dispatch(client.stream);
      return;
    case 2:
      world.dispatch(client.stream);
      return;
    case 3:
      world.serverTakes(server, size);
      return;
    case 4:
    case 5:
      world.serverSends(server, size);
      world.dispatch(server.stream);
      return;
    case 6:
      world.dispatch(server.stream);
      return;
    case 7:
      if (n % 8 === 0) world.move();
      else freezeInVain(world, client);
      return;
    default: {
      const { stream } = (choice & 0x8) === 0 ? client : server;
      if (stream.appetite.length < 6) stream.appetite.push(n % 2 === 0 ? 0 : size);
    }
  }
}

const asked = fc.array(pipelines, { minLength: 1, maxLength: 4 });

const KINDS = (["transaction", "session"] as const).flatMap((pool_mode) => [
  ...STREAMS.map(([by, Stream]) => [pool_mode, by, Stream, FakeStream] as const),
  [pool_mode, ", both sides by streams that keep", KeepingStream, KeepingStream] as const,
]);

for (const [pool_mode, by, Stream, ServerStream] of KINDS) {
  Deno.test(`socket: a client is read from when it may be and at no other time, ${pool_mode} mode${by}`, () => {
    fc.assert(
      fc.property(asked, choices, fc.nat({ max: 600 }), (all, choice, steps) => {
        const world = new World({ pool_mode });
        world.clientStream = Stream;
        world.serverStream = ServerStream;
        const few = pool_mode === "transaction" ? 2 : all.length;
        for (let i = 0; i < few; i++) world.addServer();
        const sent = all.map((messages) => bytesOfAll([...messages, simpleQuery("commit"), SYNC]));
        const onlookers = sent.map((bytes) => watch(world.addClient(bytes)));
        for (let i = 0; i < steps; i++) {
          step(world, choice.next().value);
          world.clients.forEach(({ session, stream }, i) => {
            if (onlookers[i]!.look() !== true) return;
            const { events } = world.reactor.registered.get(stream.fd)!;
            assert.ok((events & EPOLLIN) !== 0, `not read in stage ${session.state.stage}`);
          });
        }
        world.settle();
        world.clients.forEach(({ received }, i) => {
          assert.ok(same(received, new ModelServer().feed(sent[i]!)));
        });
        assert.deepEqual(world.warnings, []);
      }),
      { numRuns: 60 },
    );
  });
}
