/**
 * Batches in which the pooler answers a part by itself: statements that the server has already, that it lacks, that are
 * closed on it to make room. Each is held with PostgreSQL directly and through PgDoorman and must bring the same bytes
 * in the same order, by Sync and by Flush, with short lists, long rows and COPY.
 */

import assert from "node:assert/strict";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import type { Message } from "../support/wire_messages.ts";

let postgres: Postgres;
/** Pools of one server each; `short` keeps two statements on its server, `plain` rewrites none. */
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  await postgres.query("CREATE TABLE numbers(n int); INSERT INTO numbers VALUES (1), (2), (3)");
  const pool = (rest: Config = {}) =>
    poolOf(postgres, {
      users: [{ username: "postgres", password: "postgres", pool_size: 1 }],
      ...rest,
    });
  doorman = await Doorman.start({
    config: {
      pools: {
        app: pool(),
        short: pool({ server_prepared_statements_cache_size: 2 }),
        plain: pool({ prepared_statements_cache_size: 0 }),
      },
    },
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

type PoolName = "app" | "short" | "plain";

function login(database: PoolName): Promise<WireClient> {
  return WireClient.login({ port: doorman.port, user: "postgres", database });
}

function loginDirectly(): Promise<WireClient> {
  return WireClient.login({ port: postgres.port, user: "postgres" });
}

const P = wire.parse;
const B = (name: string, values: (string | null)[] = [], portal = "") =>
  wire.bind(portal, name, values);
const D = (name: string) => wire.describe("S", name);
const E = wire.execute();
const S = wire.SYNC;
const H = wire.FLUSH;
const SELECT = "SELECT n FROM numbers WHERE n = $1";
/** Its first row is sent before it fails. */
const FAILS_LATE = "SELECT 1/($1 - n) FROM generate_series(0, 1) n";

function seen(messages: readonly Message[]): string[] {
  return messages.map((message) => {
    if (message.type !== "E") return `${message.type} ${new TextDecoder().decode(message.body)}`;
    const { C, M } = wire.errorFields(message);
    return `E ${C} ${M!.replace(/statement ".*"/, 'statement "…"')}`;
  });
}

/** What is sent at once, and the type of the message that ends its answer; absent: ReadyForQuery. */
type Step = { send: Uint8Array[]; until?: string };

async function hold(client: WireClient, steps: Step[]): Promise<Message[][]> {
  const answers: Message[][] = [];
  for (const { send, until = "Z" } of steps) {
    client.send(...send);
    answers.push(await client.readUntil(until));
  }
  assert.ok(await client.silent(20));
  return answers;
}

/**
 * Holds a conversation directly, and twice through PgDoorman, by two clients: for the second one all of the statements
 * are known. Returns the types of all answers.
 */
async function sameAsDirect(steps: Step[], database: PoolName = "app"): Promise<string> {
  using direct = await loginDirectly();
  const expected = await hold(direct, steps);
  for (const who of ["first", "second"]) {
    using client = await login(database);
    const answers = await hold(client, steps);
    answers.forEach((answer, i) =>
      assert.deepEqual(seen(answer), seen(expected[i]!), `${who} client, step ${i}`)
    );
    await client.terminate();
  }
  return expected.map(wire.letters).join(" ");
}

Deno.test("pipelines: known and new statements in one batch are answered in the order of asking", async () => {
  const answered = await sameAsDirect([
    { send: [P("known", SELECT), D("known"), S] },
    // What is known comes before, behind and between what is not.
    {
      send: [
        ...[P("a", SELECT), P("b", "SELECT 'b'"), D("b"), D("a"), B("a", ["1"]), E, B("b"), E, S],
      ],
    },
    { send: [P("c", "SELECT 'c'"), B("known", ["2"]), E, B("c"), E, P("d", SELECT), S] },
    { send: [P("e", SELECT), B("d", ["3"]), wire.describe("P", ""), E, D("e"), D("d"), S] },
    // The same name twice in a batch: the new text counts.
    { send: [wire.close("S", "c"), P("c", "SELECT 'new'"), D("c"), B("c"), E, S] },
    { send: [P("", SELECT), D(""), P("", "SELECT 'x' AS y"), D(""), B(""), E, S] },
  ]);
  assert.equal(answered, "1tTZ 11tTtT2DC2DCZ 12DC2DC1Z 12TDCtTtTZ 31tT2DCZ 1tT1tT2DCZ");
});

Deno.test("pipelines: a reply of the pooler's own never comes between rows, long ones and COPY data included", async () => {
  const long = "SELECT repeat('x', 3000000) FROM generate_series(1, 2)";
  const many = "SELECT repeat('y', 1000) FROM generate_series(1, 3000)";
  const copy = "COPY (SELECT repeat('z', 2000000) FROM generate_series(1, 2)) TO STDOUT";
  const known = [P("l", long), P("m", many), P("c", copy), P("k", SELECT), S];
  await sameAsDirect([
    { send: known },
    {
      send: [
        ...[P("l2", long), D("l2"), B("l2"), E, P("k2", SELECT), B("k2", ["1"]), E],
        ...[P("m2", many), B("m2"), E, P("k3", SELECT), D("k3")],
        ...[P("c2", copy), B("c2"), E, P("k4", SELECT), B("k4", ["2"]), E, S],
      ],
    },
  ]);
});

Deno.test("pipelines: an error leaves no known Parse before it unanswered and answers none behind it", async () => {
  const answered = await sameAsDirect([
    { send: [P("k", SELECT), P("z", FAILS_LATE), S] },
    {
      send: [
        ...[P("a", SELECT), P("b", SELECT), P("y", FAILS_LATE), B("y", ["1"]), E],
        ...[P("c", SELECT), P("d", "SELECT 'd'"), B("a", ["1"]), E, S],
      ],
    },
    { send: [B("a", ["1"]), E, B("b", ["2"]), E, S] },
    { send: [B("c", ["1"]), E, S] },
    { send: [P("c", SELECT), P("bad", "SELEKT"), S] },
    { send: [P("e", SELECT), B("e", ["x"]), E, S] },
    { send: [B("c", ["1"]), E, B("e", ["2"]), E, S] },
    { send: [B("k", ["3"]), E, S] },
  ]);
  assert.equal(answered, "11Z 1112DEZ 2DC2DCZ EZ 1EZ 1EZ 2DC2DCZ 2DCZ");
});

Deno.test("pipelines: portals are closed between Executes, suspended, and go on by their names", async () => {
  const answered = await sameAsDirect([
    { send: [P("s", "SELECT generate_series(1, 5)"), S] },
    {
      send: [
        ...[B("s", [], "one"), B("s", [], "two"), wire.execute("one", 2), wire.execute("two", 1)],
        ...[wire.close("P", "one"), wire.execute("two", 3), wire.close("P", "two")],
        ...[B("s", [], "one"), wire.execute("one", 0), wire.close("P", "none"), S],
      ],
    },
  ]);
  assert.equal(answered, "1Z 22D*sDs3D*s32D*C3Z");
});

Deno.test("pipelines: empty query, failed Parse and failed Bind with Flush, and what follows up to the Sync", async () => {
  for (const database of ["app", "short"] as const) {
    await sameAsDirect([
      { send: [P("", ""), B(""), E, H], until: "I" },
      { send: [S] },
      { send: [P("", "SELEKT"), H], until: "E" },
      { send: [P("", "SELECT 1"), B(""), E, H, S] },
      { send: [P("k", SELECT), B("k", ["x"]), E, H], until: "E" },
      { send: [S] },
      { send: [B("k", ["1"]), E, H, S] },
      { send: [wire.close("S", "k"), S] },
    ], database);
  }
});

Deno.test("pipelines: Flush brings what is asked for however long it takes, with rewriting and without", async () => {
  for (const database of ["app", "short", "plain"] as const) {
    // Slower than any time that might be guessed; the answer to the second comes much later than that to the first.
    const slow = "SELECT pg_sleep(0.4), 'slow'";
    const answered = await sameAsDirect([
      { send: [P("f", "SELECT 'fast'"), B("f"), E, H], until: "C" },
      { send: [P("w", slow), B("w"), E, P("f2", "SELECT 'fast'"), B("f2"), E, H], until: "C" },
      { send: [H], until: "C" },
      { send: [P("f3", "SELECT 'fast'"), H], until: "1" },
      { send: [D("f3"), H], until: "T" },
      { send: [B("f3"), wire.describe("P", ""), E, H], until: "C" },
      { send: [wire.close("S", "f"), wire.close("S", "w"), H, S] },
    ], database);
    assert.equal(answered, "12DC 12DC 12DC 1 tT 2TDC 33Z");
  }
});

Deno.test("pipelines: statements that are closed on the server to make room, in one batch, by Flush and by Sync", async () => {
  // `short` keeps two: with four, nearly every Bind finds its statement gone.
  const names = ["a", "b", "c", "d"];
  const parses = names.map((name) => P(name, `SELECT '${name}', $1::text`));
  const uses = names.flatMap((name) => [B(name, [`of ${name}`]), E]);
  const answered = await sameAsDirect([
    { send: [...parses, H], until: "1" },
    { send: [H], until: "1" },
    { send: [H], until: "1" },
    { send: [H], until: "1" },
    { send: [...uses, ...uses, S] },
    { send: [...uses.toReversed().filter((part) => part !== E), S] },
    { send: [B("d", ["1"]), E, B("c", ["2"]), E, B("b", ["3"]), E, B("a", ["4"]), E, H, S] },
    { send: [B("a", ["5"]), E, P("e", "SELECT 'e'"), B("e"), E, B("b", ["6"]), E, D("c"), S] },
    { send: [...names.map((name) => wire.close("S", name)), S] },
  ], "short");
  assert.equal(
    answered,
    "1 1 1 1 2DC2DC2DC2DC2DC2DC2DC2DCZ 2222Z 2DC2DC2DC2DCZ 2DC12DC2DCtTZ 3333Z",
  );
});

Deno.test("pipelines: five hundred operations before one Sync", async () => {
  const parts: Uint8Array[] = [];
  for (let i = 0; i < 250; i++) {
    const name = `s${i % 7}`;
    if (i % 50 < 7) parts.push(wire.close("S", name), P(name, `SELECT ${i % 3}, $1::int`), D(name));
    parts.push(B(name, [String(i)]), E);
  }
  for (const database of ["app", "short", "plain"] as const) {
    await sameAsDirect([{ send: [...parts, S] }], database);
  }
});

Deno.test("pipelines: ROLLBACK with a comment, in lower case, to a savepoint: PostgreSQL tells what it was", async () => {
  const query = (sql: string): Step => ({ send: [wire.query(sql)] });
  await sameAsDirect([
    ...["BEGIN", "savepoint sp", "SELECT 1/0", "rollback to sp", "SELECT 2", "release sp"],
    ...["SELECT 1/0", "ROLLBACK /*comment*/;", "SELECT 3", "BEGIN; SELECT 4", "SELECT 1/0"],
    ...["rollback -- that's it", "SELECT 5"],
  ].map(query));
  using other = await login("app");
  assert.equal(await other.value("SELECT 'the server is free'"), "the server is free");
});

Deno.test("pipelines: without rewriting a client's statement is there under its own name", async () => {
  using client = await login("plain");
  await client.query("BEGIN");
  client.send(P("mine", SELECT), B("mine", ["1"]), E, S);
  await client.readUntil("Z");
  assert.equal(await client.value("SELECT name FROM pg_prepared_statements"), "mine");
  await client.query("ROLLBACK");
  using rewritten = await login("app");
  await rewritten.ask(P("mine", SELECT), S);
  const sql = "SELECT count(*) FROM pg_prepared_statements WHERE name = 'mine'";
  assert.equal(await rewritten.value(sql), "0");
});

Deno.test("pipelines: a value of 100 MB that a function call returns is streamed", async () => {
  using client = await login("app");
  const oid = Number(await client.value("SELECT 'repeat(text,int)'::regprocedure::oid"));
  const before = doorman.rssKb();
  let most = 0;
  const watch = setInterval(() => most = Math.max(most, doorman.rssKb()), 10);
  try {
    const [value, ready] = await client.ask(wire.functionCall(oid, ["x", "100000000"]));
    assert.deepEqual([value!.type, value!.body.length, ready!.type], ["V", 100_000_004, "Z"]);
  } finally {
    clearInterval(watch);
  }
  assert.ok(most > 0 && most - before < 30_000, `${before} kB before, ${most} kB at most`);
});

Deno.test("pipelines: sixteen clients with the same names, three thousand texts in a pool that keeps three hundred", async () => {
  await using crowded = await Doorman.start({
    config: {
      general: {
        prepared_statements_cache_size: 300,
        server_prepared_statements_cache_size: 50,
      },
      pools: {
        app: poolOf(postgres, {
          users: [{ username: "postgres", password: "postgres", pool_size: 4 }],
        }),
      },
    },
  });
  await Promise.all(Array.from({ length: 16 }, async (_, who) => {
    using client = await WireClient.login({
      port: crowded.port,
      user: "postgres",
      database: "app",
    });
    for (let round = 0; round < 40; round++) {
      // Half of the texts are everybody's, half are the client's own; names are the same for all.
      const texts = Array.from({ length: 10 }, (_, i) => {
        const number = (round * 10 + i) % 188;
        return i % 2 === 0 ? `SELECT ${number}, 'all'` : `SELECT ${number}, '${who}'`;
      });
      const parts = texts.flatMap((text, i) => [P(`s${i}`, text), B(`s${i}`), E]);
      const again = texts.flatMap((_, i) => [B(`s${i}`), E]);
      const closes = texts.map((_, i) => wire.close("S", `s${i}`));
      const wanted = texts.map((text) => text.slice(7).replaceAll("'", "").split(", "));
      for (const batch of [parts, again]) {
        const answer = await client.ask(...batch, S);
        assert.deepEqual(wire.errorCodes(answer), []);
        assert.deepEqual(wire.rowsOf(answer), wanted);
      }
      await client.ask(...closes, S);
    }
  }));
  using admin = await WireClient.login({
    port: crowded.port,
    user: "admin",
    password: "admin-secret",
    database: "pgdoorman",
  });
  const kept = await admin.rows("SHOW PREPARED_STATEMENTS");
  assert.ok(kept.length > 100 && kept.length <= 300, `${kept.length} statements`);
});

Deno.test("pipelines: a thousand unnamed statements cost no named one", async () => {
  using client = await login("short");
  await client.ask(P("named", SELECT), S);
  for (let i = 0; i < 10; i++) {
    const parts = Array.from({ length: 100 }, (_, j) => [P("", `SELECT ${i * 100 + j}`), B(""), E]);
    assert.equal(wire.rowsOf(await client.ask(...parts.flat(), S)).length, 100);
  }
  assert.deepEqual(wire.rowsOf(await client.ask(B("named", ["2"]), E, S)), [["2"]]);
});
