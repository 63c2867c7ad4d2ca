import assert from "node:assert/strict";
import fc from "fast-check";
import { FakeStream } from "../../testing/fake_stream.ts";
import { HoardingStream } from "../../testing/hoarding_stream.ts";
import { type FakeClient, World } from "../../testing/world.ts";
import { Stage } from "../state.ts";
import { ServerStage } from "../../server/state.ts";
import { bytesOf, type Message, ModelServer } from "../../protocol/testing/model_server.ts";
import { pipelines, simpleQuery, SYNC } from "../../protocol/testing/pipelines.ts";
import { concat } from "../../protocol/testing/wire.ts";

const choices = fc.infiniteStream(fc.nat({ max: 0xffffff }));

function bytesOfAll(messages: Message[]): Uint8Array {
  return concat(...messages.map(bytesOf));
}

/** What a client that has a PostgreSQL to itself gets. */
function answers(bytes: Uint8Array): Uint8Array {
  return new ModelServer().feed(bytes);
}

/** A size of a piece: often few bytes, sometimes all. */
function size(choice: number): number {
  const n = choice >> 6;
  return [1 + n % 7, 1 + n % 7, 1 + n % 300, 1 + n % 5000, Infinity][(choice >> 3) % 5];
}

/** Does one thing somewhere. */
function step(world: World, choice: number): void {
  const { clients, servers } = world;
  const client = clients[(choice >> 12) % clients.length];
  const server = servers[(choice >> 12) % servers.length];
  switch (choice % 8) {
    case 0:
    case 1:
      world.clientSends(client, size(choice));
      world.dispatch(client.stream);
      break;
    case 2:
      world.dispatch(client.stream);
      break;
    case 3:
      world.serverTakes(server, size(choice));
      break;
    case 4:
    case 5:
      world.serverSends(server, size(choice));
      world.dispatch(server.stream);
      break;
    case 6:
      world.dispatch(server.stream);
      break;
    default: {
      // A full socket, or one that takes a part.
      const { stream } = (choice & 0x8) === 0 ? client : server;
      if (stream.appetite.length < 4) {
        stream.appetite.push((choice >> 6) % 3 === 0 ? 0 : size(choice));
      }
    }
  }
}

function readable(bytes: Uint8Array): string {
  return new TextDecoder("latin1").decode(bytes).replaceAll(/[^ -~]/g, ".");
}

function checkAnswers(client: FakeClient, sent: Uint8Array): void {
  assert.equal(readable(client.received), readable(answers(sent)));
  assert.equal(client.session.state.left, 0);
}

for (const pool_mode of ["transaction", "session"] as const) {
  Deno.test(`relay: any cut of the bytes gives the same answers, ${pool_mode} mode`, () => {
    fc.assert(
      fc.property(pipelines, choices, fc.nat({ max: 400 }), (pipeline, choice, steps) => {
        const world = new World({ pool_mode });
        const server = world.addServer();
        const sent = bytesOfAll(pipeline);
        const client = world.addClient(sent);
        for (let i = 0; i < steps; i++) step(world, choice.next().value);
        world.settle();
        checkAnswers(client, sent);
        assert.deepEqual(world.warnings, []);
        if (pool_mode === "transaction") {
          assert.equal(
            client.session.state.stage,
            server.model.status === "I" ? Stage.Idle : Stage.Linked,
          );
        } else {
          // All of it reached the server, and nothing else did; only Syncs before the checkout are answered here.
          const seen = concat(...server.model.seen.map(bytesOf));
          let elided = 0;
          while (pipeline[elided]?.type === "S") elided++;
          assert.equal(readable(seen), readable(bytesOfAll(pipeline.slice(elided))));
        }
        const { owed, state } = server.connection;
        assert.deepEqual(owed.freeze(), {
          entries: [],
          skipping: false,
          copyIn: false,
          copyBoth: false,
        });
        assert.equal(state.left, 0);
        assert.equal(state.status, server.model.status.charCodeAt(0));
      }),
      { numRuns: 400 },
    );
  });
}

Deno.test("relay: many clients on few servers each get the answers to what they asked", () => {
  const many = fc.array(pipelines, { minLength: 2, maxLength: 5 });
  fc.assert(
    fc.property(many, choices, fc.nat({ max: 1500 }), (all, choice, steps) => {
      const world = new World();
      const servers = [world.addServer(), world.addServer()];
      // Transactions end, or those who wait would wait for ever.
      const sent = all.map((pipeline) => bytesOfAll([...pipeline, simpleQuery("commit"), SYNC]));
      const clients = sent.map((bytes) => world.addClient(bytes));
      for (let i = 0; i < steps; i++) step(world, choice.next().value);
      world.settle();
      clients.forEach((client, i) => {
        checkAnswers(client, sent[i]);
        assert.equal(client.session.state.stage, Stage.Idle);
      });
      for (const server of servers) world.checkIdle(server);
      assert.equal(world.pool.waiting, 0);
      assert.deepEqual(world.warnings, []);
    }),
    { numRuns: 300 },
  );
});

Deno.test("relay: clients that leave at any moment do not touch those who stay, nor leave a dirty server", () => {
  const many = fc.array(pipelines, { minLength: 2, maxLength: 5 });
  fc.assert(
    fc.property(many, choices, fc.nat({ max: 1500 }), (all, choice, steps) => {
      const world = new World();
      for (let i = 0; i < 2; i++) world.addServer();
      const sent = all.map((pipeline) => bytesOfAll([...pipeline, simpleQuery("commit"), SYNC]));
      const clients = sent.map((bytes) => world.addClient(bytes));
      const leaving = clients.slice(1);
      for (let i = 0; i < steps; i++) {
        const c = choice.next().value;
        const leaver = leaving[(c >> 4) % Math.max(1, leaving.length)];
        if (c % 97 === 0 && leaver !== undefined) {
          leaver.unsent = new Uint8Array(0);
          leaver.stream.ended = true;
          leaver.stream.broken = c % 2 === 0;
        }
        step(world, c);
        while (world.pool.size < 2) world.addServer();
      }
      for (;;) {
        world.settle();
        if (world.pool.size === 2) break;
        while (world.pool.size < 2) world.addServer();
      }
      clients.forEach((client, i) => {
        if (!client.stream.ended) checkAnswers(client, sent[i]);
        else assert.equal(client.session.state.stage, Stage.Closed);
      });
      for (const server of world.servers) {
        const seen = server.model.seen;
        if (server.connection.state.stage !== ServerStage.Closed) world.checkIdle(server);
        // A goodbye is the last thing that a server hears.
        const goodbye = seen.findIndex(({ type }) => type === "X");
        assert.ok(goodbye === -1 || goodbye === seen.length - 1);
      }
      assert.equal(world.pool.waiting, 0);
    }),
    { numRuns: 300 },
  );
});

for (
  const [pool_mode, by, Stream] of [
    ["transaction", "", FakeStream],
    ["session", "", FakeStream],
    ["transaction", ", by streams that hoard", HoardingStream],
    ["session", ", by streams that hoard", HoardingStream],
  ] as const
) {
  Deno.test(`relay: everything may be frozen and thawed between any two events, ${pool_mode} mode${by}`, () => {
    const many = fc.array(pipelines, { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(many, choices, fc.nat({ max: 800 }), (all, choice, steps) => {
        const world = new World({ pool_mode });
        world.clientStream = Stream;
        const few = pool_mode === "transaction" ? 2 : all.length;
        for (let i = 0; i < few; i++) world.addServer();
        const sent = all.map((pipeline) => bytesOfAll([...pipeline, simpleQuery("commit"), SYNC]));
        for (const bytes of sent) world.addClient(bytes);
        for (let i = 0; i < steps; i++) {
          const c = choice.next().value;
          if ((c >> 8) % 20 === 0) world.move();
          step(world, c);
        }
        world.move();
        world.settle();
        world.move();
        world.clients.forEach((client, i) => checkAnswers(client, sent[i]));
        assert.equal(world.pool.clients, all.length);
        assert.equal(world.pool.waiting, 0);
        assert.equal(world.pool.size, few);
        if (pool_mode === "transaction") {
          for (const server of world.servers) world.checkIdle(server);
        }
        assert.deepEqual(world.warnings, []);
      }),
      { numRuns: by === "" ? 200 : 60 },
    );
  });
}
