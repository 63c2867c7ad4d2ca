/**
 * pooler_check_query: PostgreSQL answers it once for each pool, from then on the pooler does, whatever becomes of
 * PostgreSQL; a reload changes the text.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { ADMIN, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({ settings: ["log_statement = all"] });
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

function config(pooler_check_query: string): Parameters<typeof Doorman.start>[0] {
  const general = { pooler_check_query, query_wait_timeout: 500 };
  return {
    config: { general, pools: { app: poolOf(postgres), other: poolOf(postgres) } },
    allowLog: [/checkout timeout/],
  };
}

async function login(doorman: Doorman, database: string = "app"): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user: "postgres", database });
}

async function admin(doorman: Doorman, command: string): Promise<Record<string, string | null>[]> {
  const { user, password } = ADMIN;
  using client = await WireClient.login({
    port: doorman.port,
    user,
    password,
    database: "pgdoorman",
  });
  const messages = await client.query(command);
  await client.terminate();
  return messages[0]?.type === "T" ? wire.recordsOf(messages) : [];
}

/** How often PostgreSQL was asked a text, by its log; `last` was asked after all of them. */
async function asked(text: string, last: WireClient): Promise<number> {
  const from = postgres.log.length;
  await last.query("SELECT 'the last'");
  await waitFor("the log", 5000, () => postgres.log.slice(from).includes("the last") || undefined);
  return postgres.log.split("\n").filter((line) => line.endsWith(`LOG:  statement: ${text}`))
    .length;
}

Deno.test("PostgreSQL answers it once for each pool; paused or not, the pooler answers then", async () => {
  const text = "SELECT 'here' AS answer";
  await using doorman = await Doorman.start(config(text));
  using client = await login(doorman);
  const first = await client.query(text);
  assert.deepEqual(wire.rowsOf(first), [["here"]]);
  await admin(doorman, "PAUSE app");
  for (let i = 0; i < 3; i++) {
    using probe = await login(doorman);
    assert.deepEqual(await probe.query(text), first);
  }
  // Another text needs a server.
  const refused = await client.query(`${text} `);
  assert.equal(wire.letters(refused), "EZ");
  using elsewhere = await login(doorman, "other");
  assert.deepEqual(await elsewhere.query(text), first);
  assert.equal(await asked(text, elsewhere), 2);
  const counted = (await admin(doorman, "SHOW STATS")).map((row) => [
    row.total_check_queries_run,
    row.total_check_queries_answered,
  ]);
  assert.deepEqual(counted, [["1", "3"], ["1", "0"]]);
});

Deno.test("a reload changes the text; an error is never the pooler's answer", async () => {
  await using doorman = await Doorman.start(config("SELECT 'old'"));
  using client = await login(doorman);
  for (let i = 0; i < 2; i++) await client.query("SELECT 'old'");
  assert.equal(await asked("SELECT 'old'", client), 1);
  await doorman.writeConfig(config("SELECT 1/0").config);
  await admin(doorman, "RELOAD");
  for (let i = 0; i < 2; i++) {
    await client.query("SELECT 'old'");
    const [error] = await client.query("SELECT 1/0");
    assert.equal(wire.errorFields(error!).C, "22012");
  }
  assert.equal(await asked("SELECT 'old'", client), 3);
  assert.equal(await asked("SELECT 1/0", client), 2);
});

Deno.test("the default, a semicolon, as drivers send it", async () => {
  await using doorman = await Doorman.start(config(";"));
  using client = await login(doorman);
  for (let i = 0; i < 3; i++) assert.equal(wire.letters(await client.query(";")), "IZ");
  assert.equal(await asked(";", client), 1);
});

Deno.test("a long answer is taken to its last byte, kept or not", async () => {
  const long = `SELECT '${"x".repeat(3000)}'`;
  const longer = "SELECT repeat('x', 100000)";
  for (const [text, length, times] of [[long, 3000, 1], [longer, 100_000, 3]] as const) {
    await using doorman = await Doorman.start(config(text));
    using client = await login(doorman);
    for (let i = 0; i < 3; i++) {
      assert.equal((await client.value(text))!.length, length);
      assert.equal(await client.value(`SELECT ${i}`), String(i));
    }
    assert.equal(await asked(text, client), times);
  }
});

Deno.test("an answer that depends on the session is nobody else's", async () => {
  await postgres.query("CREATE ROLE somebody");
  const texts = [
    "SELECT current_user",
    "SHOW timezone",
    "SELECT current_setting('datestyle')",
    "SELECT now()",
  ];
  for (const text of texts) {
    await using doorman = await Doorman.start(config(text));
    using first = await login(doorman);
    await first.query("SET ROLE somebody");
    await first.query("SET timezone TO 'Asia/Tokyo'; SET datestyle TO 'German'");
    const its = await first.value(text);
    using second = await login(doorman);
    const other = await second.value(text);
    assert.notEqual(other, its, text);
    await first.query("SELECT 1");
    if (text !== "SELECT now()") assert.equal(await first.value(text), its, text);
  }
});
