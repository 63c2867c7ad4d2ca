/**
 * The life of server connections: idle_timeout, server_lifetime, the check before use, and their death at any moment:
 * idle, held, in a transaction, in a query, in the middle of a row.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

const DEATHS = [/server connection closed/, /client lost its server/];

async function start(
  general: Config = {},
  pool: Config = {},
  user: Config = {},
): Promise<Doorman> {
  return await Doorman.start({
    config: {
      general,
      pools: {
        app: poolOf(postgres, {
          users: [{ username: "postgres", password: "postgres", pool_size: 3, ...user }],
          ...pool,
        }),
      },
    },
    allowLog: DEATHS,
  });
}

async function login(doorman: Doorman): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
}

async function pidOf(client: WireClient): Promise<string> {
  return (await client.value("SELECT pg_backend_pid()"))!;
}

async function backends(): Promise<string[]> {
  const rows = await postgres.query<{ pid: number }>(
    "SELECT pid FROM pg_stat_activity WHERE application_name = 'pg_doorman' ORDER BY backend_start",
  );
  return rows.map(({ pid }) => String(pid));
}

async function terminate(pid: string): Promise<void> {
  await postgres.query(`SELECT pg_terminate_backend(${pid})`);
}

/** The backend that runs pg_sleep, as soon as there is one. */
async function sleeper(): Promise<string> {
  return await waitFor("the query runs", 5000, async () =>
    await postgres.psql(
      "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
    ) || undefined);
}

/** The last error that a client is told before the connection ends, and what came before it. */
async function lastWords(client: WireClient): Promise<[string, wire.ErrorFields]> {
  const messages = await client.readToEnd();
  const error = messages.findLast(({ type }) => type === "E");
  assert.ok(error, `no error among ${wire.letters(messages)}`);
  return [wire.letters(messages), wire.errorFields(error)];
}

Deno.test("idle_timeout closes servers that nobody uses, down to min_pool_size", async () => {
  await using doorman = await start({ retain_connections_time: "100ms" }, { idle_timeout: 300 }, {
    min_pool_size: 1,
  });
  const clients = [await login(doorman), await login(doorman), await login(doorman)];
  try {
    for (const client of clients) await client.query("START TRANSACTION");
    for (const client of clients) await client.query("COMMIT");
    assert.equal((await backends()).length, 3);
    await waitFor("one is left", 5000, async () => (await backends()).length === 1 || undefined);
    await doorman.waitForLog(/server connection closed: idle_timeout reached/);
    assert.equal(await clients[0]!.value("SELECT 1"), "1");
  } finally {
    for (const client of clients) client.close();
  }
});

Deno.test("server_lifetime replaces servers between transactions and never in one", async () => {
  await using doorman = await start({ retain_connections_time: "50ms" }, { server_lifetime: 300 });
  using client = await login(doorman);
  await client.query("START TRANSACTION");
  const first = await pidOf(client);
  await client.query("SELECT pg_sleep(0.6)");
  assert.equal(await pidOf(client), first);
  await client.query("COMMIT");
  assert.notEqual(await pidOf(client), first);
  assert.match(doorman.logs, /server connection closed: server_lifetime reached/);
});

Deno.test("retain_connections_max: that many servers at most are closed a round", async () => {
  await using doorman = await start(
    { retain_connections_time: "300ms", retain_connections_max: 1 },
    { idle_timeout: 100 },
  );
  const clients = [await login(doorman), await login(doorman), await login(doorman)];
  try {
    for (const client of clients) await client.query("START TRANSACTION");
    for (const client of clients) await client.query("COMMIT");
    await waitFor("all are closed", 5000, async () => (await backends()).length === 0 || undefined);
    const times = [...doorman.logs.matchAll(/^(\S+) .*idle_timeout reached/gm)]
      .map(([, time]) => Date.parse(time!));
    // One that waited for the others' logins may have been closed before.
    assert.ok(times.length >= 3, String(times));
    for (const [i, time] of times.entries()) {
      if (i > 0) assert.ok(time - times[i - 1]! > 200, String(times));
    }
  } finally {
    for (const client of clients) client.close();
  }
});

Deno.test("a server that died in the pool is noticed at once: the next query gets another and no error", async () => {
  await using doorman = await start();
  using client = await login(doorman);
  const first = await pidOf(client);
  await terminate(first);
  await doorman.waitForLog(/server connection closed.*57P01/);
  assert.notEqual(await pidOf(client), first);
});

Deno.test("a server that hangs is found by the check before use, and the query runs on another", async () => {
  await using doorman = await start({ server_idle_check_timeout: "100ms" }, {
    connect_timeout: 1000,
  });
  using client = await login(doorman);
  const first = await pidOf(client);
  const hung = Number(first);
  Deno.kill(hung, "SIGSTOP");
  try {
    await new Promise((resolve) => setTimeout(resolve, 150));
    const started = performance.now();
    assert.notEqual(await pidOf(client), first);
    assert.ok(performance.now() - started < 3000);
    await doorman.waitForLog(/no answer to the pooler's own query/);
  } finally {
    Deno.kill(hung, "SIGCONT");
  }
});

Deno.test("the check before use costs nothing visible when the server is well", async () => {
  await using doorman = await start({ server_idle_check_timeout: "50ms" });
  using client = await login(doorman);
  const first = await pidOf(client);
  await new Promise((resolve) => setTimeout(resolve, 120));
  assert.equal(await pidOf(client), first);
});

Deno.test("server killed while its client is idle in a transaction: FATAL 57P01 at once, session closed, pool recovers", async () => {
  await using doorman = await start();
  using client = await login(doorman);
  await client.query("START TRANSACTION");
  const pid = await pidOf(client);
  await terminate(pid);
  const [, error] = await lastWords(client);
  assert.deepEqual([error.S, error.C], ["FATAL", "57P01"]);
  using next = await login(doorman);
  assert.notEqual(await pidOf(next), pid);
});

Deno.test("server killed in a query: FATAL 57P01, session closed, the other sessions go on", async () => {
  await using doorman = await start();
  using client = await login(doorman);
  using other = await login(doorman);
  await other.query("START TRANSACTION");
  client.send(wire.query("SELECT 1; SELECT pg_sleep(60)"));
  await terminate(await sleeper());
  const [, error] = await lastWords(client);
  assert.deepEqual([error.S, error.C], ["FATAL", "57P01"]);
  assert.equal(await other.value("SELECT 5"), "5");
  await other.query("COMMIT");
});

Deno.test("idle_in_transaction_session_timeout of PostgreSQL is told with its own SQLSTATE", async () => {
  await using doorman = await start();
  using client = await login(doorman);
  await client.query("BEGIN; SET LOCAL idle_in_transaction_session_timeout = '100ms'");
  const [, error] = await lastWords(client);
  assert.deepEqual([error.S, error.C], ["FATAL", "25P03"]);
});

Deno.test("session mode: a server killed while its client is idle is told at once, and a new session gets another", async () => {
  await using doorman = await start({}, { pool_mode: "session" });
  using client = await login(doorman);
  const pid = await pidOf(client);
  await terminate(pid);
  const [, error] = await lastWords(client);
  assert.deepEqual([error.S, error.C], ["FATAL", "57P01"]);
  using next = await login(doorman);
  assert.notEqual(await pidOf(next), pid);
});

Deno.test("a crash of the backend (SIGKILL): FATAL 08006 to its client, pool recovers", async () => {
  await using server = await Postgres.start();
  await using doorman = await Doorman.start({
    config: { pools: { app: poolOf(server) } },
    allowLog: [...DEATHS, /server login failed/],
  });
  using client = await login(doorman);
  await client.query("START TRANSACTION");
  Deno.kill(Number(await pidOf(client)), "SIGKILL");
  const [, error] = await lastWords(client);
  assert.deepEqual([error.S, error.C], ["FATAL", "08006"]);
  using next = await login(doorman);
  assert.equal(await next.value("SELECT 1"), "1");
});

Deno.test("server killed in the middle of a row: the client's connection ends without a false message", async () => {
  await using server = await Postgres.start();
  await using doorman = await Doorman.start({
    config: { pools: { app: poolOf(server) } },
    allowLog: [...DEATHS, /server login failed/],
  });
  using client = await login(doorman);
  const pid = await pidOf(client);
  // Far more than the sockets hold: PostgreSQL is in the middle of the row while the client does not read.
  client.send(wire.query("SELECT repeat('x', 200000000)"));
  await waitFor(
    "PostgreSQL waits for its client",
    10_000,
    async () =>
      await server.psql(`SELECT wait_event FROM pg_stat_activity WHERE pid = ${pid}`) ===
        "ClientWrite" || undefined,
  );
  Deno.kill(Number(pid), "SIGKILL");
  const messages = await client.readToEnd();
  assert.equal(wire.letters(messages), "T", "no whole row, no error inside of one");
  using next = await login(doorman);
  assert.equal(await next.value("SELECT 1"), "1");
});

Deno.test("no descriptors are left behind by a hundred servers that were killed", async () => {
  await using doorman = await start();
  using client = await login(doorman);
  await client.value("SELECT 1");
  await doorman.waitForLog(/Accepting connections/);
  const before = doorman.fdCount();
  for (let i = 0; i < 100; i++) {
    const from = doorman.logs.length;
    await terminate(await pidOf(client));
    await doorman.waitForLog(/server connection closed/, 5000, from);
  }
  assert.equal(await client.value("SELECT 1"), "1");
  assert.ok(doorman.fdCount() <= before, `${doorman.fdCount()} descriptors, ${before} before`);
});

Deno.test("server_lifetime replaces the server under a named statement, and it goes on", async () => {
  await using doorman = await start({ retain_connections_time: "50ms" }, { server_lifetime: 150 });
  using client = await login(doorman);
  const prepared = [wire.parse("named", "SELECT $1::text, pg_backend_pid()"), wire.SYNC];
  await client.ask(...prepared);
  const pids = new Set<string | null>();
  const deadline = performance.now() + 5000;
  while (pids.size < 4) {
    assert.ok(performance.now() < deadline, "the server is never replaced");
    const answer = await client.ask(wire.bind("", "named", ["x"]), wire.execute(), wire.SYNC);
    const [row] = wire.rowsOf(answer);
    assert.equal(row?.[0], "x", wire.letters(answer));
    pids.add(row![1]!);
  }
});

Deno.test("query_timeout: a server that takes nothing of what its client sends ends, and its client is told", async () => {
  await using doorman = await start({ query_timeout: "300ms" });
  doorman.allowLog(/query_timeout/);
  using simple = await login(doorman);
  using extended = await login(doorman);
  const frozen: number[] = [];
  try {
    const long = "x".repeat(20_000_000);
    for (const client of [simple, extended]) {
      await client.query("START TRANSACTION");
      frozen.push(Number(await pidOf(client)));
    }
    for (const pid of frozen) Deno.kill(pid, "SIGSTOP");
    simple.send(wire.query(`SELECT length('${long}')`));
    extended.send(wire.extended("SELECT length($1)", [long]), wire.SYNC);
    using other = await login(doorman);
    for (let i = 0; i < 20; i++) assert.equal(await other.value(`SELECT ${i}`), String(i));
    for (const client of [simple, extended]) {
      const [, error] = await lastWords(client);
      assert.deepEqual([error.S, error.C], ["FATAL", "57014"]);
      assert.match(error.M!, /query_timeout/);
    }
    assert.equal(await other.value("SELECT 'well'"), "well");
  } finally {
    for (const pid of frozen) Deno.kill(pid, "SIGCONT");
  }
});
