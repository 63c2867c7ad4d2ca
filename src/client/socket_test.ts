import assert from "node:assert/strict";
import fc from "fast-check";
import { EPOLLIN } from "../os/layout.ts";
import { bytesOf, type Message, ModelServer } from "../protocol/testing/model_server.ts";
import { pipelines, simpleQuery, SYNC } from "../protocol/testing/pipelines.ts";
import { concat } from "../protocol/testing/wire.ts";
import { type FakeClient, World } from "../testing/world.ts";
import { MOST_OWED } from "./socket.ts";
import { Stage } from "./state.ts";

const choices = fc.infiniteStream(fc.nat({ max: 0xffffff }));

function bytesOfAll(messages: Message[]): Uint8Array {
  return concat(...messages.map(bytesOf));
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/** Whether a client may be read from, said from outside; `undefined` where what was before decides. */
class Onlooker {
  readonly #client: FakeClient;
  /** It was owed too much, and has not been seen since with little owed and all taken. */
  #throttled = false;

  constructor(client: FakeClient) {
    this.#client = client;
  }

  look(): boolean | undefined {
    const { server, state, backlogged } = this.#client.session;
    switch (state.stage) {
      case Stage.Idle:
      case Stage.Closing:
        this.#throttled = false;
        return !backlogged;
      case Stage.Linked: {
        const owed = server!.owed.length;
        if (owed > MOST_OWED) this.#throttled = true;
        else if (owed <= MOST_OWED / 2 && !backlogged) this.#throttled = false;
        if (server!.congested || owed > MOST_OWED) return false;
        return this.#throttled ? undefined : true;
      }
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
    assert.notEqual(onlooker.look(), false, `read in stage ${client.session.state.stage}`);
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

/** More than may be owed at once, within a transaction. */
const flood = fc.nat({ max: 30 }).map((n) => [
  simpleQuery("begin"),
  ...Array.from({ length: MOST_OWED + 100 * n }, () => SYNC),
]);
/** What the clients ask; seldom one of them floods, since that takes the model long. */
const asked = fc.tuple(
  fc.oneof({ weight: 14, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: flood }),
  fc.array(pipelines, { minLength: 1, maxLength: 4 }),
).map(([first, [one, ...others]]) => [[...first, ...one!], ...others]);

for (const pool_mode of ["transaction", "session"] as const) {
  Deno.test(`socket: a client is read from when it may be and at no other time, ${pool_mode} mode`, () => {
    fc.assert(
      fc.property(asked, choices, fc.nat({ max: 600 }), (all, choice, steps) => {
        const world = new World({ pool_mode });
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
      { numRuns: 100 },
    );
  });
}
