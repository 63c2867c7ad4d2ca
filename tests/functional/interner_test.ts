/**
 * The texts of statements on the console: SHOW INTERNER, with and without a number, RESET INTERNER, and what the two
 * `query_interner` keys do.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { ADMIN, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;
let doorman: Doorman;

function config(ttl: number) {
  return {
    general: {
      query_interner_gc_interval_seconds: 1,
      query_interner_anon_idle_ttl_seconds: ttl,
      client_anonymous_prepared_cache_size: 3,
    },
    pools: { app: poolOf(postgres) },
  };
}

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  doorman = await Doorman.start({ config: config(1), allowLog: [/unsupported RESET/] });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

function login(): Promise<WireClient> {
  return WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
}

function openConsole(): Promise<WireClient> {
  return WireClient.login({ port: doorman.port, ...ADMIN, database: "pgdoorman" });
}

/** Entries and bytes of a half. */
async function half(admin: WireClient, kind: string): Promise<[number, number]> {
  const row = (await admin.rows("SHOW INTERNER")).find((row) => row[0] === kind)!;
  return [Number(row[1]), Number(row[2])];
}

async function bound(client: WireClient): Promise<string> {
  return wire.letters(await client.ask(wire.bind("", ""), wire.execute(), wire.SYNC));
}

Deno.test("SHOW INTERNER: equal unnamed statements that rest are kept once, and answer as before", async () => {
  using admin = await openConsole();
  const clients = await Promise.all([login(), login(), login()]);
  try {
    const sql = "SELECT g FROM generate_series(1, 2) g";
    for (const client of clients) await client.ask(wire.parse("", sql), wire.SYNC);
    assert.deepEqual(await half(admin, "anonymous"), [3, 3 * (sql.length + 3)]);
    await waitFor(
      "one text",
      5000,
      async () => (await half(admin, "anonymous"))[0] === 1 || undefined,
    );
    const [row] = await admin.rows("SHOW INTERNER 5");
    assert.match(row![0]!, /^0x[0-9a-f]{1,8}$/);
    assert.deepEqual([row![1], row![2], row![4]], ["anonymous", String(sql.length + 3), sql]);
    assert.ok(Number(row![3]) >= 1000, `idle for ${row![3]} ms`);
    for (const client of clients) assert.equal(await bound(client), "2D*CZ");
    await clients[0]!.ask(wire.parse("", "SELECT 1"), wire.SYNC);
    assert.equal(await bound(clients[0]!), "2DCZ");
    assert.equal(await bound(clients[1]!), "2D*CZ");
    assert.equal((await half(admin, "anonymous"))[0], 2);
  } finally {
    for (const client of clients) client.close();
  }
  await waitFor(
    "no text",
    5000,
    async () => (await half(admin, "anonymous"))[0] === 0 || undefined,
  );
});

Deno.test("SHOW INTERNER with a number: the longest first, no more than asked for", async () => {
  using admin = await openConsole();
  using client = await login();
  const texts = [20, 300, 100].map((length) => `SELECT '${"é".repeat(length)}'`);
  for (const [i, sql] of texts.entries()) await client.ask(wire.parse(`s${i}`, sql), wire.SYNC);
  const rows = await admin.rows("SHOW INTERNER 2");
  assert.deepEqual(
    rows.map(([, kind, , idle, query]) => [kind, idle, query]),
    [["named", "-1", texts[1]!.slice(0, 120)], ["named", "-1", texts[2]]],
  );
  assert.deepEqual(await admin.rows("SHOW INTERNER 0"), []);
  assert.equal((await admin.rows("SHOW INTERNER 99999999999999999999")).length, 3);
});

Deno.test("RESET INTERNER: empties both halves, and statements of clients go on", async () => {
  using admin = await openConsole();
  using named = await login();
  using unnamed = await login();
  await named.ask(wire.parse("mine", "SELECT 'named'"), wire.SYNC);
  await unnamed.ask(wire.parse("", "SELECT 'unnamed'"), wire.SYNC);
  await waitFor("it rests", 5000, async () => {
    const [row] = (await admin.rows("SHOW INTERNER 9")).filter(([, kind]) => kind === "anonymous");
    return Number(row?.[3]) > 1500 || undefined;
  });
  const answer = await admin.query("RESET INTERNER");
  assert.equal(wire.letters(answer), "CZ");
  assert.equal(new TextDecoder().decode(answer[0]!.body), "RESET\0");
  assert.deepEqual(await half(admin, "named"), [0, 0]);
  assert.equal(
    wire.letters(await named.ask(wire.bind("", "mine"), wire.execute(), wire.SYNC)),
    "2DCZ",
  );
  assert.equal(await bound(unnamed), "2DCZ");
  await named.ask(wire.parse("again", "SELECT 'named'"), wire.SYNC);
  assert.equal((await half(admin, "named"))[0], 1);
  assert.deepEqual(wire.errorCodes(await admin.query("RESET something_else")), ["58000"]);
  await doorman.waitForLog(/RESET INTERNER/);
});

Deno.test("query_interner_anon_idle_ttl_seconds takes effect on reload", async () => {
  await doorman.writeConfig(config(0));
  doorman.signal("SIGHUP");
  await doorman.waitForLog(/configuration reloaded.*query_interner_anon_idle_ttl_seconds/);
  using admin = await openConsole();
  using first = await login();
  using second = await login();
  for (const client of [first, second]) await client.ask(wire.parse("", "SELECT 9"), wire.SYNC);
  const texts = async () =>
    (await admin.rows("SHOW INTERNER 99")).filter((row) => row[4] === "SELECT 9").length;
  await new Promise((resolve) => setTimeout(resolve, 1800));
  assert.equal(await texts(), 2);
  await doorman.writeConfig(config(1));
  doorman.signal("SIGHUP");
  await waitFor("one text", 5000, async () => await texts() === 1 || undefined);
  assert.equal(await bound(second), "2DCZ");
});
