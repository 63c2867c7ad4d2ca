/**
 * Prepared statements in transaction mode: every conversation is held with PostgreSQL directly and through PgDoorman,
 * with servers that other clients use in between, and must bring the same messages.
 */

import assert from "node:assert/strict";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import type { Message } from "../support/wire_messages.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  await postgres.query("CREATE TABLE numbers(n int); INSERT INTO numbers VALUES (1), (2), (3)");
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

async function start(general: Config = {}, pool_size = 1): Promise<Doorman> {
  const users = [{ username: "postgres", password: "postgres", pool_size }];
  return await Doorman.start({
    config: { general, pools: { postgres: poolOf(postgres, { users }) } },
  });
}

function login(
  place: { port: number },
  parameters: Record<string, string> = {},
): Promise<WireClient> {
  return WireClient.login({ port: place.port, user: "postgres", database: "postgres", parameters });
}

const P = wire.parse;
const B = (name: string, values: (string | null)[] = [], portal = "") =>
  wire.bind(portal, name, values);
const D = (name: string) => wire.describe("S", name);
const C = (name: string) => wire.close("S", name);
const E = wire.execute();
const S = wire.SYNC;

/** What a client can tell apart: type, and body but for an error's place in PostgreSQL's source. */
function seen(messages: readonly Message[]): string[] {
  return messages.map((message) => {
    if (message.type !== "E") return `${message.type} ${new TextDecoder().decode(message.body)}`;
    const { C, M } = wire.errorFields(message);
    return `E ${C} ${
      M!.replace(/"DOORMAN_\d+"/, '"…"').replace(/statement ".*"/, 'statement "…"')
    }`;
  });
}

/** One client's messages up to each ReadyForQuery. */
type Step = Uint8Array[];

/** Holds the conversation directly and through a pool of one server that another client disturbs after each step. */
async function same(steps: Step[], disturb: Step[] = []): Promise<string> {
  await using doorman = await start();
  using direct = await login(postgres);
  using pooled = await login(doorman);
  using other = await login(doorman);
  let letters = "";
  for (const step of steps) {
    const syncs = step.filter((bytes) => bytes[0] === 0x53 || bytes[0] === 0x51).length;
    const answers: Message[][] = [];
    for (const client of [direct, pooled]) {
      client.send(...step);
      const messages: Message[] = [];
      for (let i = 0; i < syncs; i++) messages.push(...await client.readUntil("Z"));
      answers.push(messages.filter(({ type }) => type !== "S"));
    }
    assert.deepEqual(seen(answers[1]!), seen(answers[0]!));
    letters += wire.letters(answers[1]!) + " ";
    const idle = wire.letters(answers[1]!).endsWith("Z") && answers[1]!.at(-1)!.body[0] === 0x49;
    if (idle) { for (const part of disturb) await other.ask(...part); }
  }
  assert.ok(await pooled.silent(20));
  return letters.trim();
}

const SELECT = "SELECT n FROM numbers WHERE n = $1";
const DISTURB: Step[] = [
  [P("", "SELECT 'other'"), B(""), E, S],
  [P("s1", "SELECT 'mine'"), B("s1"), E, C("s1"), S],
];

Deno.test("prepared: a named statement is there in every later transaction", async () => {
  assert.equal(
    await same([
      [P("s1", SELECT), D("s1"), S],
      [B("s1", ["1"]), E, S],
      [B("s1", ["2"]), wire.describe("P", ""), E, S],
      [P("s2", SELECT), B("s2", ["3"]), E, B("s1", ["1"]), E, S],
      [C("s1"), S],
      [B("s1", ["1"]), E, S],
      [B("s2", ["1"]), E, S],
    ], DISTURB),
    "1tTZ 2DCZ 2TDCZ 12DC2DCZ 3Z EZ 2DCZ",
  );
});

Deno.test("prepared: the unnamed statement lives until the next Parse, Query or Close", async () => {
  await same([
    [P("", SELECT), D(""), S],
    [B("", ["1"]), E, S],
    [B("", ["2"]), E, S],
    [P("", "SELECT 'second'"), S],
    [B(""), E, S],
    [wire.query("SELECT 1")],
    [B(""), E, S],
    [P("", "SELECT 3"), S],
    [C(""), S],
    [D(""), S],
    [P("", "SELEKT"), S],
    [B(""), E, S],
  ], DISTURB);
});

Deno.test("prepared: unknown names are PostgreSQL's own error, and the session goes on", async () => {
  await same([
    [B("nobody"), E, S],
    [D("nobody"), S],
    [B(""), E, S],
    [wire.query("BEGIN")],
    [B("nobody"), E, S],
    [B("nobody"), E, S],
    [wire.query("ROLLBACK")],
    [B("DOORMAN_0"), E, S],
    [C("DOORMAN_0"), S],
    [P("DOORMAN_0", "SELECT 'own'"), B("DOORMAN_0"), E, S],
    [B("DOORMAN_0"), E, S],
  ], DISTURB);
});

Deno.test("prepared: a Parse that fails or is skipped leaves names as they were", async () => {
  await same([
    [P("s1", "SELEKT"), B("s1"), E, S],
    [B("s1"), E, S],
    [P("s1", "SELECT 1"), S],
    [P("bad", "SELECT 1/$1::int"), B("bad", ["0"]), E, P("s2", "SELECT 2"), C("s1"), S],
    [B("s1"), E, S],
    [B("s2"), E, S],
    [P("s2", "SELECT 2"), B("s2"), E, S],
    // Sent together: what the first Sync ends must not reach into the second.
    [P("s3", "SELEKT"), P("s4", "SELECT 4"), S, P("s4", "SELECT 4"), B("s4"), E, S, B("s4"), E, S],
    [B("bad", ["0"]), E, B("s1"), E, S, B("s1"), E, S],
  ], DISTURB);
});

Deno.test("prepared: transactions, failed ones too", async () => {
  await same([
    [P("b", "BEGIN"), B("b"), E, S],
    [P("s1", SELECT), B("s1", ["1"]), E, S],
    [wire.query("SELECT 1/0")],
    [P("s2", SELECT), B("s2", ["1"]), E, S],
    [P("s3", "SELECT 33"), S],
    [B("s1", ["1"]), E, S],
    [P("r", "ROLLBACK"), B("r"), E, S],
    [B("s1", ["2"]), E, S],
    [B("s2", ["2"]), E, S],
    [B("b"), E, S],
    [P("r2", "ROLLBACK"), B("r2"), E, S],
  ], DISTURB);
});

Deno.test("prepared: Flush brings what is owed, made-up replies too", async () => {
  await using doorman = await start();
  using first = await login(doorman);
  await first.ask(P("a", SELECT), S);
  using second = await login(doorman);
  second.send(P("mine", SELECT), wire.FLUSH);
  assert.equal(wire.letters(await second.readUntil("1")), "1");
  second.send(D("mine"), wire.FLUSH);
  assert.equal(wire.letters(await second.readUntil("T")), "tT");
  second.send(P("again", SELECT), B("again", ["2"]), E, P("third", SELECT), wire.FLUSH);
  assert.equal(wire.letters(await second.readUntil("C")), "12DC");
  assert.equal(wire.letters(await second.readUntil("1")), "1");
  assert.equal(wire.letters(await second.ask(S)), "Z");
});

Deno.test("prepared: DEALLOCATE and DISCARD by SQL", async () => {
  await same([
    [P("s1", "SELECT 1"), P("Two", "SELECT 2"), P("s3", "SELECT 3"), S],
    [wire.query("DEALLOCATE s1")],
    [B("s1"), E, S],
    [wire.query(' deallocate prepare "Two" ; ')],
    [B("Two"), E, S],
    [wire.query("DEALLOCATE nobody")],
    [B("s3"), E, S],
    [P("s1", "SELECT 'new'"), B("s1"), E, S],
    [wire.query("BEGIN")],
    [wire.query("DEALLOCATE s1")],
    [B("s3"), E, S],
    [wire.query("DEALLOCATE s1")],
    [wire.query("ROLLBACK")],
    [P("", "DEALLOCATE s3"), B(""), E, S],
    [B("s3"), E, S],
    [P("s3", "SELECT 'third'"), B("s3"), E, S],
    [wire.query("DEALLOCATE ALL")],
    [B("s3"), E, S],
    [P("s3", "SELECT 'fourth'"), B("s3"), E, S],
    [wire.query("SELECT 1; DEALLOCATE ALL; SELECT 2")],
    [B("s3"), E, S],
    [P("s3", "SELECT 'fifth'"), B("s3"), E, S],
    [wire.query("DISCARD ALL")],
    [B("s3"), E, S],
  ], DISTURB);
});

Deno.test("prepared: DEALLOCATE with comments, and among other statements", async () => {
  await same([
    [P("s1", "SELECT 1"), P("Two", "SELECT 2"), P("s3", "SELECT 3"), P("s4", "SELECT 4"), S],
    [wire.query("/* c */ DEALLOCATE s1")],
    [B("s1"), E, S],
    [wire.query("SELECT 1; DEALLOCATE/**/PREPARE \"Two\";; SELECT ';'")],
    [B("Two"), E, S],
    [wire.query("-- c\nDEALLOCATE s3;;")],
    [B("s3"), E, S],
    [wire.query("SELECT 1; DEALLOCATE nobody")],
    [wire.query("SELECT 1/0; DEALLOCATE s4")],
    [B("s4"), E, S],
    [wire.query("PREPARE own AS SELECT 5; DEALLOCATE s4; DEALLOCATE own")],
    [B("s4"), E, S],
  ], DISTURB);
});

Deno.test("prepared: after a change of the schema a new Parse is a new statement", async () => {
  await postgres.query("CREATE TABLE changing(a int); INSERT INTO changing VALUES (1)");
  await using doorman = await start();
  using first = await login(doorman);
  using second = await login(doorman);
  using ddl = await login(doorman);
  await first.ask(P("s", "SELECT * FROM changing"), B("s"), E, S);
  await ddl.query("ALTER TABLE changing ADD COLUMN b int DEFAULT 5");
  // As at a direct connection: who has it is told, who prepares it now sees the table of now.
  assert.deepEqual(wire.errorCodes(await first.ask(B("s"), E, S)), ["0A000"]);
  assert.deepEqual(wire.rowsOf(await second.ask(P("s", "SELECT * FROM changing"), B("s"), E, S)), [[
    "1",
    "5",
  ]]);
  await first.ask(C("s"), S);
  assert.deepEqual(wire.rowsOf(await first.ask(P("s", "SELECT * FROM changing"), B("s"), E, S)), [[
    "1",
    "5",
  ]]);
  // Not seen by the pooler: the error tells.
  await postgres.query("ALTER TABLE changing ADD COLUMN c int DEFAULT 6");
  assert.deepEqual(wire.errorCodes(await second.ask(B("s"), E, S)), ["0A000"]);
  assert.deepEqual(wire.errorCodes(await first.ask(B("s"), E, S)), ["0A000"]);
  const again = await second.ask(P("s2", "SELECT * FROM changing"), B("s2"), E, S);
  assert.deepEqual(wire.rowsOf(again), [["1", "5", "6"]]);
});

Deno.test("prepared: a server that never had the statement does not give its client another table's columns", async () => {
  await postgres.query(
    "CREATE TABLE wide(a int); INSERT INTO wide VALUES (1); CREATE TABLE other(x int)",
  );
  await using doorman = await start({}, 2);
  using client = await login(doorman);
  using holder = await login(doorman);
  const all = "SELECT * FROM wide";
  await client.ask(P("s", all), D("s"), P("t", "SELECT 5 AS five"), S);
  // The server that has them is taken: from here on the client gets the other.
  await holder.query("START TRANSACTION");
  await holder.query("ALTER TABLE other ADD COLUMN y int");
  assert.deepEqual(wire.rowsOf(await client.ask(B("s"), E, S)), [["1"]]);
  assert.deepEqual(wire.rowsOf(await client.ask(B("t"), E, S)), [["5"]]);
  await holder.query("COMMIT");
  using first = await login(doorman);
  await first.query("START TRANSACTION");
  await first.ask(P("u", all), D("u"), P("v", `${all} /* v */`), P("w", "SELECT 6"), S);
  await first.query("COMMIT");
  await postgres.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' " +
      "AND pid <> pg_backend_pid()",
  );
  await doorman.waitForLog(/server connection closed[^]*server connection closed/);
  doorman.allowLog(/server connection closed/);
  await holder.query("ALTER TABLE wide ADD COLUMN b int DEFAULT 2");
  // Sent together with what follows: all of it is skipped up to the Sync.
  const pipelined = [P("", "SELECT 1"), B("u"), E, B("w"), E, S, B("w"), E, S];
  first.send(...pipelined);
  const refused = await first.readUntil("Z");
  assert.equal(wire.letters(refused), "1EZ");
  assert.deepEqual(wire.errorCodes(refused), ["0A000"]);
  assert.match(wire.errorFields(refused[1]!).M!, /cached plan must not change result type/);
  assert.deepEqual(wire.rowsOf(await first.readUntil("Z")), [["6"]]);
  await first.query("START TRANSACTION");
  assert.deepEqual(wire.errorCodes(await first.ask(D("v"), S)), ["0A000"]);
  assert.deepEqual(wire.errorCodes(await first.ask(B("v"), E, S)), ["25P02"]);
  await first.query("ROLLBACK");
  assert.deepEqual(wire.rowsOf(await first.ask(P("new", all), B("new"), E, S)), [["1", "2"]]);
  assert.deepEqual(wire.errorCodes(await first.ask(B("u"), E, S)), ["0A000"]);
});

async function preparedCount(client: WireClient): Promise<number> {
  return Number(await client.value("SELECT count(*) FROM pg_prepared_statements"));
}

Deno.test("prepared: one statement for all clients, and errors leave the server's others alone", async () => {
  await using doorman = await start();
  using first = await login(doorman);
  using second = await login(doorman);
  for (let i = 0; i < 5; i++) await first.ask(P(`s${i}`, `SELECT ${i}`), S);
  for (let i = 0; i < 5; i++) await second.ask(P(`x${i}`, `SELECT ${i}`), B(`x${i}`), E, S);
  assert.equal(await preparedCount(first), 5);
  assert.deepEqual(wire.errorCodes(await first.query("SELEKT")), ["42601"]);
  assert.deepEqual(wire.errorCodes(await first.ask(P("bad", "SELEKT"), S)), ["42601"]);
  assert.deepEqual(wire.errorCodes(await first.ask(P("bad", "SELECT 1/0"), B("bad"), E, S)), [
    "22012",
  ]);
  assert.equal(await preparedCount(first), 6);
});

Deno.test("prepared: a server keeps no more than its limit, a pool forgets what is used least", async () => {
  await using doorman = await start({
    server_prepared_statements_cache_size: 3,
    prepared_statements_cache_size: 4,
  });
  using client = await login(doorman);
  for (let i = 0; i < 10; i++) await client.ask(P(`s${i}`, `SELECT ${i}`), S);
  assert.equal(await preparedCount(client), 3);
  for (const i of [0, 9, 3, 4, 5, 9, 1]) {
    assert.deepEqual(wire.rowsOf(await client.ask(B(`s${i}`), E, S)), [[String(i)]]);
  }
  const all = Array.from({ length: 10 }, (_, i) => [B(`s${i}`), E]).flat();
  const rows = wire.rowsOf(await client.ask(...all, S));
  assert.deepEqual(rows, Array.from({ length: 10 }, (_, i) => [String(i)]));
  assert.equal(await preparedCount(client), 3);
});

Deno.test("prepared: a server that lost its statements, and a server that died", async () => {
  await using doorman = await start();
  doorman.allowLog(/client lost its server|server connection closed/);
  using client = await login(doorman);
  await client.ask(P("s1", "SELECT 1"), S);
  await client.query("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$");
  // DO may have done anything: PostgreSQL is asked what is left.
  assert.deepEqual(wire.rowsOf(await client.ask(B("s1"), E, S)), [["1"]]);
  await postgres.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' " +
      "AND pid <> pg_backend_pid()",
  );
  await doorman.waitForLog(/server connection closed/);
  assert.deepEqual(wire.rowsOf(await client.ask(B("s1"), E, S)), [["1"]]);
});

Deno.test("prepared: clients with other search_path have other statements", async () => {
  await postgres.query(
    "CREATE SCHEMA one; CREATE SCHEMA two; CREATE TABLE one.t AS SELECT 1 AS a; " +
      "CREATE TABLE two.t AS SELECT 'two' AS b, 2 AS c",
  );
  await using doorman = await start({ sync_server_parameters: true });
  using one = await login(doorman, { options: "", search_path: "one" });
  using two = await login(doorman, { search_path: "two" });
  for (let i = 0; i < 3; i++) {
    const parse = i === 0 ? [P("s", "SELECT * FROM t"), D("s")] : [];
    assert.deepEqual(wire.rowsOf(await one.ask(...parse, B("s"), E, S)), [["1"]]);
    assert.deepEqual(wire.rowsOf(await two.ask(...parse, B("s"), E, S)), [["two", "2"]]);
  }
});

Deno.test("prepared: long texts and long parameters, however they are cut", async () => {
  await using doorman = await start();
  using client = await login(doorman);
  using other = await login(doorman);
  for (const size of [1_000, 20_000, 70_000, 1_500_000, 5_000_000]) {
    const text = `SELECT length($1), ${size} /* ${"x".repeat(size)} */`;
    const value = "v".repeat(size);
    const bytes = [P("long", text), B("long", [value]), E, C("long"), S];
    assert.deepEqual(wire.rowsOf(await client.ask(...bytes)), [[String(size), String(size)]]);
    assert.equal(wire.letters(await client.ask(P("", text), S)), "1Z");
    await other.query("SELECT 1");
    const answer = await client.ask(B("", [value]), E, S);
    if (size <= 1_000_000) assert.deepEqual(wire.rowsOf(answer), [[String(size), String(size)]]);
    else assert.deepEqual(wire.errorCodes(answer), ["26000"]);
  }
  // Byte by byte.
  const whole = [P("cut", SELECT), D("cut"), B("cut", ["2"]), E, C("cut"), S];
  for (const part of whole) {
    for (const byte of part) {
      client.send(Uint8Array.of(byte));
      await client.flushed();
    }
  }
  assert.equal(wire.letters(await client.readUntil("Z")), "1tT2DC3Z");
});

Deno.test("prepared: many messages in one go, with statements that the server lacks", async () => {
  await using doorman = await start({ server_prepared_statements_cache_size: 5 });
  using client = await login(doorman);
  const count = 300;
  const filler = "y".repeat(3000);
  const parses = Array.from({ length: count }, (_, i) => P(`s${i}`, `SELECT ${i} /* ${filler} */`));
  assert.equal(wire.letters(await client.ask(...parses, S)), "1".repeat(count) + "Z");
  const uses = Array.from({ length: count }, (_, i) => [B(`s${i}`), E]).flat();
  const rows = wire.rowsOf(await client.ask(...uses, S));
  assert.deepEqual(rows, Array.from({ length: count }, (_, i) => [String(i)]));
});
