/**
 * What a Parse reads beside its text: parameters of the session, and a schema that changes under it. Clients that share a
 * server get from a Parse what PostgreSQL would make of it for each of them directly.
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
const B = (name: string, values: (string | null)[] = []) => wire.bind("", name, values);
const C = (name: string) => wire.close("S", name);
const E = wire.execute();
const S = wire.SYNC;
const Q = wire.query;

/** Parse, Bind and Execute in one pipeline: the rows, or the SQLSTATE of the error. */
async function fresh(
  client: WireClient,
  name: string,
  sql: string,
  values: string[] = [],
): Promise<unknown> {
  return outcome(await client.ask(C(name), P(name, sql), B(name, values), E, S));
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function outcome(messages: readonly Message[]): unknown {
  const errors = wire.errorCodes([...messages]);
  return errors.length > 0 ? errors : wire.rowsOf([...messages]);
}

Deno.test("prepared: a Parse that was only compared with what is known costs no server when its client leaves", async () => {
  await using doorman = await start();
  using other = await login(doorman);
  const statement = [P("kept", "SELECT pg_backend_pid()"), B("kept"), E, S];
  const pid = outcome(await other.ask(...statement));
  {
    using client = await login(doorman);
    await client.query("SELECT pg_advisory_lock(1)");
    // PostgreSQL is asked anew.
    await delay(30);
    assert.deepEqual(outcome(await client.ask(...statement)), pid);
    await client.terminate();
  }
  assert.deepEqual(outcome(await other.ask(B("kept"), E, S)), pid);
});

Deno.test("prepared: constants are those of the client's own TimeZone and DateStyle", async () => {
  await using doorman = await start();
  const sql = "SELECT extract(epoch FROM timestamptz '2024-01-01 00:00')::bigint, " +
    "to_char(date '02/03/2024', 'YYYY-MM-DD')";
  const sessions = [
    { TimeZone: "UTC", DateStyle: "ISO, MDY" },
    { TimeZone: "Asia/Tokyo", DateStyle: "ISO, MDY" },
    { TimeZone: "UTC", DateStyle: "ISO, DMY" },
    { TimeZone: "Asia/Tokyo", DateStyle: "ISO, DMY" },
  ];
  const pairs: WireClient[][] = [];
  for (const parameters of sessions) {
    pairs.push([await login(postgres, parameters), await login(doorman, parameters)]);
  }
  for (let round = 0; round < 2; round++) {
    const seen = new Set<string>();
    for (const [direct, pooled] of pairs) {
      const wanted = await fresh(direct!, "s", sql);
      assert.deepEqual(await fresh(pooled!, "s", sql), wanted);
      seen.add(JSON.stringify(wanted));
    }
    assert.equal(seen.size, 4, [...seen].join(" "));
  }
  for (const client of pairs.flat()) client[Symbol.dispose]();
});

Deno.test("prepared: backslashes, nulls in arrays and roles are read, names for people are not", async () => {
  await postgres.query("CREATE ROLE reader; GRANT reader TO postgres");
  await using doorman = await start();
  using monitor = await login(doorman);
  const sql = "SELECT '{NULL}'::text[] IS NOT NULL, ('{NULL}'::text[])[1] IS NULL";
  for (const value of ["on", "off", "on"]) {
    using direct = await login(postgres);
    using pooled = await login(doorman, { application_name: `app ${value}` });
    for (const client of [direct, pooled]) await client.query(`SET array_nulls = ${value}`);
    assert.deepEqual(await fresh(pooled, "s", sql), await fresh(direct, "s", sql));
  }
  const before = await monitor.value("SELECT count(*) FROM pg_prepared_statements");
  for (let i = 0; i < 5; i++) {
    using pooled = await login(doorman, { application_name: `app ${i}`, extra_float_digits: "2" });
    await pooled.query("SET statement_timeout = '10s'");
    await fresh(pooled, "s", "SELECT 'shared'");
  }
  const after = await monitor.value("SELECT count(*) FROM pg_prepared_statements");
  // One for all, and perhaps one that is asked for again.
  assert.ok(Number(after) - Number(before) <= 2, `${before} before, ${after} after`);
});

/** Two tenants' tables: a number in one, a text in the other. */
async function tenants(): Promise<void> {
  await postgres.query(`
    DROP SCHEMA IF EXISTS s1, s2 CASCADE; CREATE SCHEMA s1; CREATE SCHEMA s2;
    CREATE TYPE s1.mood AS ENUM ('a', 'b'); CREATE TYPE s2.mood AS ENUM ('a', 'b');
    CREATE TABLE s1.mt(a int, m s1.mood); CREATE TABLE s2.mt(a text, m s2.mood);`);
}

/** Ways to come to a search_path that ends with its transaction, or not; each in one flight, or step by step. */
const WAYS: Record<string, (schema: string) => Uint8Array[][]> = {
  "SET LOCAL": (schema) => [[Q("BEGIN")], [Q(`SET LOCAL search_path = ${schema}`)]],
  "SET LOCAL extended": (schema) => [
    [P("", "BEGIN"), B(""), E, S],
    [P("", `SET LOCAL search_path = ${schema}`), B(""), E, S],
  ],
  "set_config": (schema) => [
    [Q("BEGIN")],
    [Q(`SELECT set_config('search_path', '${schema}', true)`)],
  ],
  "set_config with values": (schema) => [
    [Q("BEGIN")],
    [P("", "SELECT set_config($1, $2, true)"), B("", ["search_path", schema]), E, S],
  ],
  "prepared set_config": (schema) => [
    [C("set"), P("set", "SELECT set_config('search_path', $1, true)"), S],
    [Q("BEGIN")],
    [B("set", [schema]), E, S],
  ],
  "SET in a transaction": (schema) => [[Q("BEGIN")], [Q(`SET search_path = ${schema}`)]],
  "several statements": (schema) => [[Q(`BEGIN; SET LOCAL search_path = ${schema}`)]],
  "with a comment": (schema) => [[Q("BEGIN")], [Q(`/* c */ SET LOCAL search_path = ${schema}`)]],
  "DO": (schema) => [[Q("BEGIN")], [Q(`DO $$BEGIN SET LOCAL search_path = ${schema}; END$$`)]],
};

for (const [way, steps] of Object.entries(WAYS)) {
  for (const pipelined of [false, true]) {
    Deno.test(`prepared: a Parse behind ${way} is parsed where it stands${pipelined ? ", in one flight" : ""}`, async () => {
      await tenants();
      await using doorman = await start();
      using one = await login(doorman);
      using two = await login(doorman);
      const insert = [
        C("i"),
        P("i", "INSERT INTO mt(a, m) VALUES ($1, $2)"),
        B("i", ["007", "a"]),
        E,
        S,
      ];
      for (let round = 0; round < 3; round++) {
        for (const [client, schema] of [[one, "s1"], [two, "s2"]] as const) {
          const parts = [...steps(schema), insert, [Q("COMMIT")]];
          if (pipelined) {
            client.send(...parts.flat());
            for (let i = 0; i < parts.length; i++) {
              assert.deepEqual(wire.errorCodes(await client.readUntil("Z")), []);
            }
          } else {
            for (const part of parts) {
              assert.deepEqual(wire.errorCodes(await client.ask(...part)), []);
            }
          }
          await client.query("RESET search_path");
        }
      }
      assert.deepEqual(await postgres.query("SELECT DISTINCT a FROM s1.mt"), [{ a: 7 }]);
      assert.deepEqual(await postgres.query("SELECT DISTINCT a FROM s2.mt"), [{ a: "007" }]);
    });
  }
}

Deno.test("prepared: a client that has it does not bring another's search_path to a new server", async () => {
  await tenants();
  await postgres.query("CREATE SCHEMA s0; CREATE TABLE s0.mt(a int)");
  await using doorman = await start({}, 2);
  using one = await login(doorman);
  using holder = await login(doorman);
  using two = await login(doorman, { search_path: "s0" });
  using three = await login(doorman, { search_path: "s0" });
  const sql = "INSERT INTO mt(a) VALUES ($1)";
  await two.ask(P("i", sql), S);
  // The server that has it is taken.
  await holder.query("BEGIN");
  await two.query("BEGIN");
  await two.query("SET LOCAL search_path = s2");
  assert.deepEqual(wire.errorCodes(await two.ask(B("i", ["007"]), E, S)), []);
  await two.query("COMMIT");
  assert.deepEqual(await fresh(three, "i", sql, ["007"]), []);
  await holder.query("COMMIT");
  await one.query("SELECT 1");
  assert.deepEqual(await postgres.query("SELECT a FROM s0.mt"), [{ a: 7 }]);
  // A statement keeps the types of its parameters, whatever table it finds.
  assert.deepEqual(await postgres.query("SELECT a FROM s2.mt"), [{ a: "7" }]);
});

Deno.test("prepared: what a transaction made and undid is in nobody's statement", async () => {
  await using doorman = await start();
  for (const end of ["ROLLBACK", "ROLLBACK TO SAVEPOINT a; COMMIT"]) {
    using one = await login(doorman);
    using two = await login(doorman);
    await postgres.query("DROP TABLE IF EXISTS undone; DROP TYPE IF EXISTS undone_mood");
    await postgres.query(
      "CREATE TYPE undone_mood AS ENUM ('x'); CREATE TABLE undone(a undone_mood)",
    );
    await fresh(two, "s", "SELECT * FROM undone WHERE a = $1", ["x"]);
    await one.query("BEGIN");
    await one.query("SAVEPOINT a");
    await one.query("DROP TABLE undone; DROP TYPE undone_mood");
    await one.query("CREATE TYPE undone_mood AS ENUM ('y')");
    await one.query("CREATE TABLE undone AS SELECT 'y'::undone_mood AS a, 5 AS b");
    const sql = "SELECT * FROM undone WHERE a = $1";
    assert.deepEqual(await fresh(one, "s", sql, ["y"]), [["y", "5"]]);
    await one.query(end);
    assert.deepEqual(await fresh(two, "s", sql, ["x"]), []);
    assert.deepEqual(await fresh(one, "s", sql, ["x"]), []);
  }
});

Deno.test("prepared: a type and a table that were never committed are in nobody's statement", async () => {
  await using doorman = await start();
  using direct = await login(postgres);
  const sql = "INSERT INTO never(a) VALUES ($1) RETURNING a";
  for (const extended of [false, true]) {
    for (let round = 0; round < 2; round++) {
      using one = await login(doorman);
      using two = await login(doorman);
      const make = ["CREATE TYPE never_mood AS ENUM ('x')", "CREATE TABLE never(a never_mood)"];
      const steps = make.flatMap((text) => extended ? [P("", text), B(""), E] : [Q(text)]);
      await one.query("BEGIN");
      one.send(...steps, P("s", sql), B("s", ["x"]), E, S);
      for (let i = extended ? 1 : 3; i > 0; i--) {
        assert.deepEqual(wire.errorCodes(await one.readUntil("Z")), []);
      }
      await one.query("ROLLBACK");
      for (const client of [direct, two]) {
        assert.deepEqual(await fresh(client, "s", sql, ["x"]), ["42P01"]);
      }
    }
  }
});

Deno.test("prepared: tables of one transaction or session are in nobody else's statement", async () => {
  await postgres.query("CREATE TABLE items(a int); INSERT INTO items VALUES (1)");
  await using doorman = await start({}, 2);
  using one = await login(doorman);
  using two = await login(doorman);
  const all = "SELECT * FROM items";
  for (
    const make of [
      "CREATE TEMP TABLE items ON COMMIT DROP AS SELECT 'temp' AS b, 2 AS c",
      "SELECT 'temp' AS b, 2 AS c INTO TEMP items",
      "CREATE /* c */ TEMPORARY TABLE items(b, c) ON COMMIT DROP AS SELECT 'temp', 2",
    ]
  ) {
    await one.query("BEGIN");
    await one.query(make);
    assert.deepEqual(await fresh(one, "s", all), [["temp", "2"]]);
    assert.deepEqual(await fresh(two, "s", all), [["1"]]);
    await one.query("ROLLBACK");
    assert.deepEqual(await fresh(two, "s", all), [["1"]]);
    assert.deepEqual(await fresh(one, "s", all), [["1"]]);
  }
  await one.query("CREATE TEMP TABLE items AS SELECT 'mine' AS b");
  assert.deepEqual(await fresh(one, "t", all), [["mine"]]);
  assert.deepEqual(await fresh(two, "t", all), [["1"]]);
  await one.query("DROP TABLE items");
  assert.deepEqual(await fresh(one, "t", all), [["1"]]);
  assert.deepEqual(await fresh(two, "t", all), [["1"]]);
});

Deno.test("prepared: a Parse sees what was changed past the pooler", async () => {
  await postgres.query("CREATE TABLE past(a int)");
  await using doorman = await start();
  using one = await login(doorman);
  using two = await login(doorman);
  using outside = await login(postgres);
  const insert = "INSERT INTO past(a) VALUES ($1)";
  const all = "SELECT * FROM past";
  for (let round = 0; round < 3; round++) {
    await outside.query("DROP TABLE past; CREATE TABLE past(a int)");
    await new Promise((done) => setTimeout(done, 20));
    assert.deepEqual(await fresh(one, "i", insert, ["007"]), []);
    assert.deepEqual(await fresh(one, "a", all), [["7"]]);
    await outside.query("DROP TABLE past; CREATE TABLE past(a text, b int)");
    await new Promise((done) => setTimeout(done, 20));
    assert.deepEqual(await fresh(two, "i", insert, ["007"]), []);
    assert.deepEqual(await fresh(two, "a", all), [["007", null]]);
  }
});

Deno.test("prepared: a statement keeps the types of its parameters on every server", async () => {
  await postgres.query("CREATE TABLE typed(a int)");
  await using doorman = await start({}, 2);
  using client = await login(doorman);
  using holder = await login(doorman);
  using direct = await login(postgres);
  const insert = "INSERT INTO typed(a) VALUES ($1)";
  for (const one of [client, direct]) await one.ask(P("i", insert), S);
  await postgres.query("ALTER TABLE typed ALTER a TYPE text");
  await holder.query("BEGIN");
  for (const one of [client, direct]) {
    assert.deepEqual(wire.errorCodes(await one.ask(B("i", ["007"]), E, S)), []);
  }
  await holder.query("COMMIT");
  assert.deepEqual(await postgres.query("SELECT a FROM typed"), [{ a: "7" }, { a: "7" }]);
});

for (
  const reset of [
    "DISCARD ALL",
    "DEALLOCATE ALL",
    "/* c */ deallocate prepare all",
    "SELECT 1; DEALLOCATE ALL",
  ]
) {
  Deno.test(`prepared: ${reset} takes effect in the order of the messages`, async () => {
    await using doorman = await start();
    using other = await login(doorman);
    for (const extended of [false, true]) {
      if (extended && reset.includes(";")) continue;
      for (let round = 0; round < 2; round++) {
        using direct = await login(postgres);
        using pooled = await login(doorman);
        await other.ask(C("o"), P("o", "SELECT 'known'"), P("p", "SELECT 2"), C("p"), S);
        const seen: unknown[] = [];
        for (const client of [direct, pooled]) {
          await client.ask(P("k", "SELECT 'known'"), P("k2", "SELECT 2"), S);
          const steps = extended ? [P("", reset), B(""), E, S] : [Q(reset)];
          client.send(
            ...steps,
            ...[P("k", "SELECT 'known'"), B("k"), E, S],
            ...[B("k2"), E, S],
            ...[wire.describe("S", "k2"), S],
            ...[Q("DEALLOCATE k2")],
            ...[P("k2", "SELECT 3"), B("k2"), E, B("k"), E, S],
          );
          const answers: Message[] = [];
          for (let i = 0; i < 6; i++) answers.push(...await client.readUntil("Z"));
          seen.push(
            answers.filter(({ type }) => type !== "S").map((message) =>
              message.type === "E"
                ? `${wire.errorFields(message).C} ${wire.errorFields(message).M}`
                : `${message.type} ${new TextDecoder().decode(message.body)}`
            ),
          );
        }
        assert.deepEqual(seen[1], seen[0]);
        await other.query("SELECT 1");
      }
    }
  });
}

Deno.test("prepared: errors name what the client named", async () => {
  await using doorman = await start();
  using client = await login(doorman);
  await client.ask(P("mine", "SELECT 1"), S);
  // When the transaction is over PostgreSQL is asked what is left, and the statement comes back.
  await client.query("BEGIN");
  await client.query("DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$");
  for (const [name, shown] of [["mine", "mine"], ["DOORMAN_7", "DOORMAN_7"], ["none", "none"]]) {
    const answer = await client.ask(B(name!), E, S);
    const error = answer.find(({ type }) => type === "E");
    assert.equal(wire.errorFields(error!).M, `prepared statement "${shown}" does not exist`);
    assert.equal(wire.errorFields(error!).C, "26000");
  }
});

Deno.test("prepared: a name in use is an error, as PostgreSQL has it", async () => {
  await using doorman = await start();
  using direct = await login(postgres);
  using pooled = await login(doorman);
  const steps = [
    [P("s", "SELECT 1"), S],
    [P("s", "SELECT 2"), S],
    [B("s"), E, S],
    [P("s", "SELEKT"), S],
    [P("t", "SELEKT"), S, P("t", "SELECT 3"), S, P("t", "SELECT 4"), B("t"), E, S],
    [B("t"), E, S],
    [C("s"), P("s", "SELECT 5"), B("s"), E, S],
    [Q("BEGIN")],
    [P("s", "SELECT 6"), B("s"), E, S],
    [P("s", "SELECT 7"), S],
    [Q("ROLLBACK")],
    [Q("DEALLOCATE s"), P("s", "SELECT 8"), B("s"), E, S],
  ];
  for (const step of steps) {
    const syncs = step.filter((bytes) => bytes[0] === 0x53 || bytes[0] === 0x51).length;
    const seen: unknown[] = [];
    for (const client of [direct, pooled]) {
      client.send(...step);
      const messages: Message[] = [];
      for (let i = 0; i < syncs; i++) messages.push(...await client.readUntil("Z"));
      seen.push(messages.map((message) => {
        if (message.type !== "E") {
          return `${message.type} ${new TextDecoder().decode(message.body)}`;
        }
        const { C, M } = wire.errorFields(message);
        return `E ${C} ${M}`;
      }));
    }
    assert.deepEqual(seen[1], seen[0]);
  }
});
