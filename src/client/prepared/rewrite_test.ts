import assert from "node:assert/strict";
import fc from "fast-check";
import { shareUnnamed } from "./unnamed.ts";
import { bytesOf as statementBytes } from "../../server/statements/on_server.ts";
import { QueryInterner } from "../../server/statements/query_interner.ts";
import { clearStatements, namedStatements } from "./names.ts";
import { Stage } from "../state.ts";
import { type FakeServer, World } from "../../testing/world.ts";
import { bytesOf, type Message, ModelServer } from "../../protocol/testing/model_server.ts";
import {
  deallocation,
  preparedPipelines,
  simpleQuery,
  SYNC,
} from "../../protocol/testing/pipelines.ts";
import { concat } from "../../protocol/testing/wire.ts";

const choices = fc.infiniteStream(fc.nat({ max: 0xffffff }));

function bytesOfAll(messages: Message[]): Uint8Array {
  return concat(...messages.map(bytesOf));
}

function readable(bytes: Uint8Array): string {
  return new TextDecoder("latin1").decode(bytes).replaceAll(/[^ -~]/g, ".");
}

/** Does one thing somewhere; pieces are small half of the time. */
function step(world: World, choice: number): void {
  const n = choice >> 6;
  const size = [1 + n % 7, 1 + n % 300, 1 + n % 5000, Infinity][(choice >> 3) % 4];
  const client = world.clients[(choice >> 12) % world.clients.length];
  const server = world.servers[(choice >> 12) % world.servers.length];
  switch (choice % 7) {
    case 0:
    case 1:
      world.clientSends(client, size);
      world.dispatch(client.stream);
      break;
    case 2:
      world.serverTakes(server, size);
      break;
    case 3:
    case 4:
      world.serverSends(server, size);
      world.dispatch(server.stream);
      break;
    case 5:
      world.dispatch(client.stream);
      world.dispatch(server.stream);
      break;
    default: {
      const { stream } = (choice & 0x8) === 0 ? client : server;
      if (stream.appetite.length < 4) stream.appetite.push((choice >> 6) % 3 === 0 ? 0 : size);
    }
  }
}

/** The server has what its list says, and as much as it may. */
function checkServer(world: World, server: FakeServer, limit: number): void {
  world.checkIdle(server);
  const has = [...server.model.statements.keys()].filter((name) => /^DOORMAN_\d+$/.test(name));
  const listed = [...server.connection.state.statements.keys()].map((id) => `DOORMAN_${id}`);
  for (const name of listed) assert.ok(has.includes(name), `${name} is listed and not there`);
  // What an error kept from being closed is over the limit until the next Parse.
  assert.ok(listed.length <= 2 * limit);
  for (const { confirmed } of server.connection.state.statements.values()) assert.ok(confirmed);
}

function nameIn(message: Message): string {
  const at = message.type === "B" ? message.body.indexOf(0) + 1 : message.type === "P" ? 0 : 1;
  return readable(message.body.slice(at, message.body.indexOf(0, at)));
}

/**
 * Without what uses a name whose Parse or Close was sent ahead, before the last Sync, and may have been skipped: then
 * PostgreSQL has the old statement under that name and the pooler the new one (it cannot know yet).
 */
function withoutBlindUses(messages: Message[]): Message[] {
  const kept: Message[] = [];
  const before = new Set<string>();
  let now: string[] = [];
  for (const message of messages) {
    const statement = message.type === "B" || message.type === "P" ||
      "DC".includes(message.type) && message.body[0] === 0x53;
    const name = statement ? nameIn(message) : "";
    if (statement && before.has(name)) continue;
    if (message.type === "P" || message.type === "C") now.push(name);
    if (message.type === "S") {
      for (const one of now) before.add(one);
      now = [];
    }
    kept.push(message);
  }
  return kept;
}

const SETTINGS = {
  prepared_statements: true,
  prepared_statements_cache_size: 5,
  server_prepared_statements_cache_size: 3,
};
const parts = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: preparedPipelines },
    { weight: 1, arbitrary: deallocation },
  ),
  { minLength: 1, maxLength: 5 },
);

for (const moves of [false, true]) {
  Deno.test(`prepared: clients that share servers get what one of their own would answer${moves ? ", frozen and thawed meanwhile" : ""}`, () => {
    const many = fc.array(parts, { minLength: 2, maxLength: 5 });
    fc.assert(
      fc.property(many, choices, fc.nat({ max: 1500 }), (all, choice, steps) => {
        const world = new World(SETTINGS);
        const servers = [world.addServer(), world.addServer()];
        // Part after part, as a client does that waits for its answers; a DEALLOCATE is not sent ahead.
        const rounds = Math.max(...all.map((mine) => mine.length));
        const models = all.map(() => new ModelServer());
        const clients = all.map(() => world.addClient(new Uint8Array(0)));
        const wanted: Uint8Array[] = all.map(() => new Uint8Array(0));
        const resting = new QueryInterner();
        for (let round = 0; round < rounds; round++) {
          all.forEach((mine, i) => {
            if (mine[round] === undefined) return;
            const sent = bytesOfAll([...withoutBlindUses(mine[round]), simpleQuery("commit")]);
            clients[i].unsent = sent;
            wanted[i] = concat(wanted[i], models[i].feed(sent));
          });
          for (let i = 0; i < steps / rounds; i++) {
            const c = choice.next().value;
            if (moves && (c >> 8) % 30 === 0) world.move();
            // Elsewhere a table was changed that none of the statements names.
            if ((c >> 8) % 31 === 0) world.generation++;
            // Unnamed statements rest, and their texts are shared.
            if ((c >> 8) % 29 === 0) {
              for (const { session } of clients) shareUnnamed(session, resting, Infinity);
              resting.sweep();
            }
            if ((c >> 8) % 211 === 0) resting.clear();
            step(world, c);
          }
          world.settle();
          clients.forEach((client, i) => {
            assert.equal(readable(client.received), readable(wanted[i]));
            assert.equal(client.session.state.stage, Stage.Idle);
            assert.equal(client.session.state.left, 0);
            let taken = 0;
            for (const { name, statement } of namedStatements(client.session.state)) {
              taken += statementBytes(name, statement);
            }
            assert.equal(client.session.state.statementBytes, taken);
          });
        }
        for (const server of servers) {
          checkServer(world, server, 3);
          assert.equal(server.connection.owed.heldBytes, 0);
        }
        assert.deepEqual(world.warnings, []);
        // Nothing is held by nobody.
        if (moves) return;
        for (const { session } of clients) clearStatements(session.state, world.pool.statements);
        world.pool.statements.clear();
        world.interner.sweep();
        world.interner.sweep();
        assert.equal(world.interner.entries, 0);
        assert.equal(world.interner.bytes, 0);
      }),
      { numRuns: moves ? 300 : 700, endOnFailure: true },
    );
  });
}

for (const moves of [false, true]) {
  Deno.test(`prepared: one statement too many is an error of the client's own${moves ? ", frozen and thawed meanwhile" : ""}`, () => {
    const world = new World(SETTINGS);
    world.addServer();
    const text = (value: string) => new TextEncoder().encode(value + "\0");
    const parse = (name: string, sql: string): Message => ({
      type: "P",
      body: concat(text(name), text(sql), Uint8Array.of(0, 0)),
    });
    const client = world.addClient(new Uint8Array(0));
    const { general } = client.session.context;
    general.max_client_prepared_memory = 3 * 2100;
    const told = () => readable(client.received.slice()).replaceAll(/\.+/g, ".");
    const sent = [parse("a", "rows 1"), parse("b", "rows 1"), SYNC];
    client.unsent = bytesOfAll([...sent, parse("c", "rows 1"), parse("d", "rows 1"), SYNC]);
    for (let i = 0; i < 200; i++) {
      if (moves && i % 3 === 0) world.move();
      world.clientSends(client, 20);
      world.dispatch(client.stream);
      const [server] = world.servers;
      if (i < 100) continue;
      world.serverTakes(server, Infinity);
      world.serverSends(server, 7);
      world.dispatch(server.stream);
    }
    world.settle();
    assert.match(
      told(),
      /^1\.1\.Z\.I1\.E\.[^E]*SERROR\.VERROR\.C53400\.Mprepared statements of this client would take .*H.*Z\.I$/,
    );
    assert.deepEqual(
      [...namedStatements(client.session.state)].map(({ name }) => readable(name)).sort(),
      // What was answered before the error stays.
      ["a", "b", "c"],
    );
    assert.deepEqual(world.warnings.map((line) => line.replace(/\d+ bytes/, "n bytes")), [
      "[me@db #c102] was told: prepared statements of this client would take more than n bytes " +
      "(max_client_prepared_memory)",
    ]);
  });
}

Deno.test("prepared: statements that have lost their names count until they are answered", () => {
  const world = new World(SETTINGS);
  const server = world.addServer();
  const text = (value: string) => new TextEncoder().encode(value + "\0");
  const parse = (sql: string): Message[] => [
    { type: "C", body: text("Ss") },
    { type: "P", body: concat(text("s"), text(sql), Uint8Array.of(0, 0)) },
  ];
  const many = [1, 2, 3, 4, 5, 6].flatMap((n) => parse(`rows ${n}`));
  const client = world.addClient(bytesOfAll(many));
  client.session.context.general.max_client_prepared_memory = 3 * 2100;
  world.clientSends(client, Infinity);
  world.dispatch(client.stream);
  const { owed } = server.connection;
  assert.ok(owed.heldBytes > 2 * 2048 && owed.heldBytes <= 3 * 2100, `${owed.heldBytes}`);
  client.unsent = bytesOfAll([SYNC]);
  world.settle();
  assert.equal(owed.heldBytes, 0);
  assert.match(readable(client.received), /C53400/);
  for (let n = 0; n < 10; n++) {
    client.received = new Uint8Array(0);
    client.unsent = bytesOfAll([...parse(`rows ${n}`), SYNC]);
    world.settle();
    assert.match(readable(client.received), /^3\.+1\.+Z\.+I$/);
  }
});

Deno.test("prepared: a name in use is PostgreSQL's error, when it is known to be in use", () => {
  for (let cut = 1; cut < 60; cut++) {
    const world = new World(SETTINGS);
    world.addServer();
    const text = (value: string) => new TextEncoder().encode(value + "\0");
    const parse = (sql: string): Message => ({
      type: "P",
      body: concat(text("s"), text(sql), Uint8Array.of(0, 0)),
    });
    const sent = [parse("badparse"), SYNC, parse("rows 1"), SYNC, parse("rows 2"), SYNC];
    const client = world.addClient(bytesOfAll([...sent, parse("badparse"), SYNC]));
    for (let turn = 0; turn < 20; turn++) {
      world.clientSends(client, cut);
      world.dispatch(client.stream);
    }
    world.settle();
    const told = readable(client.received).replaceAll(/\.+/g, ".");
    assert.match(
      told,
      /^E.{1,30}C22012.Mmodel.Z.I1.Z.IE.{1,30}C42P05.Mprepared statement "s" already exists.{1,30}Z.IE.{1,30}C22012.Mmodel.Z.I$/,
    );
  }
});

Deno.test("prepared: one Parse for a statement and server, whoever asks", () => {
  const world = new World(SETTINGS);
  const server = world.addServer();
  const text = (type: string, ...fields: Uint8Array[]) => ({ type, body: concat(...fields) });
  const bytes = (value: string) => new TextEncoder().encode(value + "\0");
  for (let i = 0; i < 20; i++) {
    const name = bytes(`mine${i}`);
    const parse = text("P", name, bytes("rows 3"), Uint8Array.of(0, 0));
    const bind = text("B", bytes(""), name, Uint8Array.of(0, 0, 0, 0, 0, 0));
    const execute = text("E", bytes(""), Uint8Array.of(0, 0, 0, 0));
    const client = world.addClient(bytesOfAll([parse, SYNC]));
    world.settle();
    client.unsent = bytesOfAll([bind, execute, SYNC]);
    world.settle();
    const model = new ModelServer();
    const wanted = model.feed(bytesOfAll([parse, SYNC, bind, execute, SYNC]));
    assert.equal(readable(client.received), readable(wanted));
  }
  assert.equal(server.model.parses, 1);
  assert.equal(server.connection.state.prepareMisses, 1);
  assert.equal(world.pool.statements.size, 1);
});
