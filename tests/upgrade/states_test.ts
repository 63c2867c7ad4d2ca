/**
 * Clients move in whatever state they are: each test brings one into a state, upgrades, and goes on where it was. All tests
 * have one instance, so that each upgrade is one of an upgraded process.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { poolOf, removeCopies, Service } from "./support.ts";

let postgres: Postgres;
let service: Service;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({ settings: ["max_connections = 60"] });
  service = await Service.start({
    config: {
      general: {
        unix_socket_dir: "{dir}",
        query_wait_timeout: "10s",
        shutdown_timeout: "5s",
        proxy_copy_data_timeout: "1500ms",
      },
      pools: {
        app: poolOf(postgres, {}, { pool_size: 8 }),
        one: poolOf(postgres, {}, { pool_size: 1 }),
        session: poolOf(postgres, { pool_mode: "session" }, { pool_size: 4 }),
        limited: poolOf(postgres, {
          server_database: "template1",
          idle_transaction_timeout: "4s",
          query_timeout: "5s",
        }),
        idle: poolOf(postgres, { server_database: "template1", client_idle_timeout: "4s" }),
      },
    },
  });
});

Deno.test.afterAll(async () => {
  await service[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

/** Backends and when they were started: what must be the same afterwards. That of the last question may still be there. */
function backends(): Promise<string> {
  return postgres.psql(
    "SELECT pid, backend_start FROM pg_stat_activity WHERE backend_type = 'client backend' " +
      "AND application_name <> current_setting('application_name') ORDER BY pid",
  );
}

async function running(what: string, count: number): Promise<void> {
  await waitFor(
    `${count} × ${what}`,
    5000,
    async () =>
      await postgres.psql(`SELECT count(*) FROM pg_stat_activity WHERE ${what}`) ===
        String(count) || undefined,
  );
}

/** Upgrades, and checks that PostgreSQL sees nothing of it. */
async function upgrade(): Promise<void> {
  const before = await backends();
  const { left } = await service.upgrade();
  assert.equal(left, 0);
  assert.equal(await backends(), before);
}

Deno.test("upgrade: an idle client, one that was silent since its login, and one on the unix socket", async () => {
  using idle = await service.login();
  await idle.query("SELECT 1");
  using silent = await service.login();
  using unix = await WireClient.login({
    path: `${service.dir}/.s.PGSQL.${service.port}`,
    user: "postgres",
    database: "app",
  });
  await upgrade();
  for (const client of [idle, silent, unix]) assert.equal(await client.value("SELECT 42"), "42");
});

Deno.test("upgrade: a connection that has said nothing, and one that asked for encryption", async () => {
  using mute = await WireClient.open({ port: service.port });
  using asking = await WireClient.open({ port: service.port });
  asking.send(wire.GSSENC_REQUEST);
  assert.equal(await asking.readByte(), "N");
  using half = await WireClient.open({ port: service.port });
  const startup = wire.startup({ user: "postgres", database: "app" });
  half.send(startup.slice(0, 7));
  await half.flushed();
  await upgrade();
  await mute.logIn({ user: "postgres", database: "app" });
  await asking.logIn({ user: "postgres", database: "app" });
  half.send(startup.slice(7));
  const [request] = await half.readUntil("R");
  assert.equal(request!.type, "R");
  assert.equal(await mute.value("SELECT 1"), "1");
  assert.equal(await asking.value("SELECT 1"), "1");
});

Deno.test("upgrade: a login under way ends where it began, and its client moves then", async () => {
  using client = await WireClient.open({ port: service.port });
  client.send(wire.startup({ user: "postgres", database: "app" }));
  const request = await client.read();
  assert.equal(request.type, "R");
  const from = service.logs.length;
  const { old } = await service.begin();
  await service.waitForLog(/moved \d+ clients.*; waiting for .* 1 clients that log in/, 5000, from);
  // A wrong SCRAM message would be refused: this is the same exchange, so the process must be the same.
  const { ScramLogin } = await import("../support/wire_login.ts");
  const scram = new ScramLogin("postgres");
  client.send(scram.first());
  const challenge = await client.read();
  client.send(scram.final(challenge.body.subarray(4)));
  await client.readUntil("Z");
  await service.waitForEnd(old);
  assert.equal(await client.value("SELECT 7"), "7");
});

Deno.test("upgrade: a transaction goes on with its server, and a failed one is still failed", async () => {
  using client = await service.login();
  await client.query("CREATE TABLE IF NOT EXISTS moved (n int); TRUNCATE moved");
  await client.query("START TRANSACTION");
  await client.query("INSERT INTO moved VALUES (1)");
  const backend = await client.value("SELECT pg_backend_pid()");
  using failed = await service.login();
  await failed.query("START TRANSACTION");
  await failed.query("SELECT 1/0");
  await upgrade();
  assert.equal(await client.value("SELECT pg_backend_pid()"), backend);
  await client.query("INSERT INTO moved VALUES (2)");
  await client.query("COMMIT");
  assert.equal(await client.value("SELECT sum(n) FROM moved"), "3");
  assert.deepEqual(wire.errorCodes(await failed.query("SELECT 1")), ["25P02"]);
  assert.equal((await failed.query("ROLLBACK")).at(-1)!.body[0], 0x49);
  assert.equal(await failed.value("SELECT 2"), "2");
});

Deno.test("upgrade: limits for clients go on counting", async () => {
  service.allowLog(/idle_transaction_timeout, 4000 ms/, /query_timeout of 5000 ms reached/);
  using open = await service.login({ database: "limited" });
  using busy = await service.login({ database: "limited" });
  using idle = await service.login({ database: "idle" });
  const started = performance.now();
  await open.query("BEGIN; SELECT 1");
  await idle.query("SELECT 1");
  busy.send(wire.query("SELECT pg_sleep(60)"));
  await new Promise((resolve) => setTimeout(resolve, 2000));
  await upgrade();
  const ends = async (what: Promise<wire.Message[]>, code: string, afterMs: number) => {
    assert.deepEqual(wire.errorCodes(await what), [code]);
    const tookMs = performance.now() - started;
    // Counted from the upgrade it would be two seconds more.
    assert.ok(tookMs > afterMs - 100 && tookMs < afterMs + 1900, `${code} after ${tookMs} ms`);
  };
  await Promise.all([
    ends(open.readToEnd(), "25P03", 4000),
    ends(idle.readToEnd(), "57P05", 4000),
    ends(busy.readUntil("Z"), "57014", 5000),
  ]);
  assert.equal(await busy.value("SELECT 1"), "1");
});

Deno.test("upgrade: clients in the queue are served in their order, within the time they had", async () => {
  using holder = await service.login({ database: "one" });
  await holder.query("START TRANSACTION");
  const waiting: WireClient[] = [];
  for (let i = 0; i < 3; i++) {
    const client = await service.login({ database: "one" });
    client.send(wire.query(`INSERT INTO order_of_service (n) VALUES (${i})`));
    waiting.push(client);
  }
  await holder.query("CREATE TABLE order_of_service (at serial, n int)");
  await upgrade();
  using late = await service.login({ database: "one" });
  late.send(wire.query("INSERT INTO order_of_service (n) VALUES (3)"));
  await holder.query("COMMIT");
  for (const client of [...waiting, late]) {
    assert.deepEqual(wire.errorCodes(await client.readUntil("Z")), []);
    client.close();
  }
  const rows = await postgres.psql("SELECT n FROM order_of_service ORDER BY at");
  await postgres.query("DROP TABLE order_of_service");
  assert.equal(rows, "0\n1\n2\n3");
});

Deno.test("upgrade: a query that runs is answered, simple, extended and pipelined", async () => {
  using simple = await service.login();
  simple.send(wire.query("SELECT pg_sleep(2), 'simple'"));
  using extended = await service.login();
  extended.send(wire.extended("SELECT pg_sleep(2), 'extended'"), wire.SYNC);
  using pipelined = await service.login();
  pipelined.send(
    wire.parse("", "SELECT pg_sleep(2), 'first'"),
    wire.bind("", ""),
    wire.execute(),
    wire.SYNC,
    wire.query("SELECT 'second'"),
    wire.extended("SELECT 'third'"),
    wire.SYNC,
  );
  await running("wait_event = 'PgSleep'", 3);
  await upgrade();
  assert.deepEqual(wire.rowsOf(await simple.readUntil("Z")), [["", "simple"]]);
  assert.deepEqual(wire.rowsOf(await extended.readUntil("Z")), [["", "extended"]]);
  assert.deepEqual(wire.rowsOf(await pipelined.readUntil("Z")), [["", "first"]]);
  assert.deepEqual(wire.rowsOf(await pipelined.readUntil("Z")), [["second"]]);
  assert.deepEqual(wire.rowsOf(await pipelined.readUntil("Z")), [["third"]]);
});

Deno.test("upgrade: half a message, and half of a request that has no Sync yet", async () => {
  using half = await service.login();
  const question = wire.query("SELECT 'whole'");
  half.send(question.slice(0, 9));
  await half.flushed();
  using header = await service.login();
  await header.query("START TRANSACTION");
  header.send(question.slice(0, 3));
  await header.flushed();
  using unsynced = await service.login();
  unsynced.send(wire.parse("", "SELECT 'synced'"), wire.bind("", ""), wire.FLUSH);
  assert.deepEqual((await unsynced.readUntil("2")).map(({ type }) => type), ["1", "2"]);
  await upgrade();
  half.send(question.slice(9));
  assert.deepEqual(wire.rowsOf(await half.readUntil("Z")), [["whole"]]);
  header.send(question.slice(3));
  assert.deepEqual(wire.rowsOf(await header.readUntil("Z")), [["whole"]]);
  await header.query("COMMIT");
  unsynced.send(wire.execute(), wire.SYNC);
  assert.deepEqual(wire.rowsOf(await unsynced.readUntil("Z")), [["synced"]]);
});

Deno.test("upgrade: COPY in both directions arrives byte-exact", async () => {
  using into = await service.login();
  await into.query("DROP TABLE IF EXISTS copied; CREATE TABLE copied (n int, padding text)");
  into.send(wire.query("COPY copied FROM STDIN"));
  await into.readUntil("G");
  const line = (n: number) => `${n}\t${"x".repeat(1000)}\n`;
  for (let n = 0; n < 500; n++) into.send(wire.copyData(line(n)));
  using out = await service.login();
  out.send(
    wire.query("COPY (SELECT n, repeat('y', 1000) FROM generate_series(1, 20000) n) TO STDOUT"),
  );
  const received: wire.Message[] = [];
  while (received.length < 100) received.push(await out.read());
  await upgrade();
  for (let n = 500; n < 1000; n++) into.send(wire.copyData(line(n)));
  into.send(wire.COPY_DONE);
  assert.deepEqual(wire.errorCodes(await into.readUntil("Z")), []);
  assert.equal(
    await into.value("SELECT count(*) || ':' || sum(n) || ':' || sum(length(padding)) FROM copied"),
    "1000:499500:1000000",
  );
  received.push(...await out.readUntil("Z"));
  const data = received.filter(({ type }) => type === "d");
  assert.equal(data.length, 20000);
  data.forEach(({ body }, i) => {
    assert.equal(new TextDecoder().decode(body), `${i + 1}\t${"y".repeat(1000)}\n`);
  });
});

Deno.test("upgrade: a slow reader gets its rows, those in the pooler's hands included", async () => {
  using slow = await service.login();
  slow.send(wire.query("SELECT n, repeat('z', 50000) FROM generate_series(1, 400) n"));
  // Two rows are read; the rest fills every buffer on the way.
  for (let i = 0; i < 3; i++) await slow.read();
  await running("wait_event = 'ClientWrite'", 1);
  await upgrade();
  const rows = wire.rowsOf(await slow.readUntil("Z"));
  assert.equal(rows.length, 398);
  rows.forEach(([n, value], i) => {
    assert.equal(n, String(i + 3));
    assert.equal(value, "z".repeat(50000));
  });
  assert.equal(await slow.value("SELECT 1"), "1");
});

Deno.test("upgrade: a client that takes nothing of a large row is given up after the move, too", async () => {
  using stuck = await service.login();
  stuck.send(wire.query("SELECT repeat('z', 50000000)"));
  await running("wait_event = 'ClientWrite'", 1);
  service.allowLog(
    /client took none of its result for 1500 ms/,
    /left in a state that can't be reused/,
  );
  const from = service.logs.length;
  await upgrade();
  await service.waitForLog(/client took none of its result for 1500 ms/, 5000, from);
});

Deno.test("upgrade: a server that does not take what its client sends gets it", async () => {
  using busy = await service.login();
  await busy.query("START TRANSACTION");
  // PostgreSQL does not read while it sleeps: the second query stays in the buffers on the way.
  busy.send(wire.query("SELECT pg_sleep(1.5)"));
  await running("wait_event = 'PgSleep'", 1);
  const long = `SELECT length('${"w".repeat(30_000_000)}')`;
  busy.send(wire.query(long));
  await upgrade();
  await busy.readUntil("Z");
  assert.deepEqual(wire.rowsOf(await busy.readUntil("Z")), [["30000000"]]);
  await busy.query("COMMIT");
});

Deno.test("upgrade: session mode with a temporary table, a prepared statement, a cursor and LISTEN", async () => {
  using client = await service.login({ database: "session" });
  await client.query("CREATE TEMP TABLE mine AS SELECT 5 AS n; LISTEN news");
  await client.ask(wire.parse("kept", "SELECT n + $1::int FROM mine"), wire.SYNC);
  await client.query("PREPARE another AS SELECT n * 2 FROM mine");
  await client.query("DECLARE cursor_of_mine CURSOR WITH HOLD FOR SELECT generate_series(1, 3)");
  await client.query("FETCH 1 FROM cursor_of_mine");
  const backend = await client.value("SELECT pg_backend_pid()");
  await upgrade();
  await postgres.query("NOTIFY news, 'after the upgrade'");
  const notification = await client.read();
  assert.equal(notification.type, "A");
  assert.deepEqual(wire.strings(notification, 4), ["news", "after the upgrade"]);
  assert.equal(await client.value("SELECT pg_backend_pid()"), backend);
  assert.deepEqual(
    wire.rowsOf(await client.ask(wire.bind("", "kept", ["37"]), wire.execute(), wire.SYNC)),
    [["42"]],
  );
  assert.deepEqual(await client.rows("EXECUTE another"), [["10"]]);
  assert.deepEqual(await client.rows("FETCH 1 FROM cursor_of_mine"), [["2"]]);
});

Deno.test("upgrade: parameters of a client are its own", async () => {
  using client = await service.login({
    parameters: { application_name: "first name", search_path: "pg_catalog", DateStyle: "German" },
  });
  assert.equal(await client.value("SHOW application_name"), "first name");
  using other = await service.login({ parameters: { application_name: "other" } });
  await other.query("SET TimeZone TO 'Asia/Tokyo'");
  await upgrade();
  assert.equal(await client.value("SHOW application_name"), "first name");
  assert.equal(await client.value("SHOW search_path"), "pg_catalog");
  assert.equal(await client.value("SELECT '2024-02-01'::date"), "01.02.2024");
  assert.equal(await other.value("SHOW application_name"), "other");
  assert.equal(await other.value("SHOW TimeZone"), "Asia/Tokyo");
  assert.equal(await other.value("SHOW search_path"), '"$user", public');
});

Deno.test("upgrade: what a client has set follows it, and what pins it stays with it, in transaction mode", async () => {
  using pinned = await service.login();
  await pinned.query("CREATE TEMP TABLE mine (x int); INSERT INTO mine VALUES (7)");
  await pinned.query("SELECT pg_advisory_lock(99)");
  const pid = await pinned.value("SELECT pg_backend_pid()");
  using setting = await service.login();
  await setting.query("SET work_mem = '7MB'; SET app.who = 'me'");
  using asked = await service.login();
  // Perhaps the question of what it has left is under way.
  await asked.query("SET lock_timeout = '77s'");
  await upgrade();
  assert.equal(await pinned.value("SELECT x FROM mine"), "7");
  assert.equal(await pinned.value("SELECT pg_backend_pid()"), pid);
  using other = await service.login();
  for (let i = 0; i < 5; i++) {
    assert.notEqual(await other.value("SELECT pg_backend_pid()"), pid);
    assert.equal(await setting.value("SHOW work_mem"), "7MB");
    assert.equal(await setting.value("SHOW app.who"), "me");
    assert.equal(await asked.value("SHOW lock_timeout"), "77s");
    assert.equal(await other.value("SHOW work_mem"), "4MB");
  }
  await pinned.query("DROP TABLE mine; SELECT pg_advisory_unlock_all()");
  // By whom the server is met next depends on who gives one back at the same time.
  await service.waitForLog(new RegExp(`needs server pid=${pid} no more`));
});

Deno.test("upgrade: a key that the old process gave out cancels in the new one", async () => {
  using client = await service.login();
  // Of protocol 3.2: its key is longer.
  using newer = await service.login({ minor: 2 });
  for (const each of [client, newer]) each.send(wire.query("SELECT pg_sleep(60)"));
  await running("wait_event = 'PgSleep'", 2);
  await upgrade();
  for (const each of [client, newer]) {
    await each.cancel();
    assert.deepEqual(wire.errorCodes(await each.readUntil("Z")), ["57014"]);
  }
  using queued = await service.login({ database: "one" });
  using holder = await service.login({ database: "one" });
  await holder.query("START TRANSACTION");
  queued.send(wire.query("SELECT 1"));
  await upgrade();
  await queued.cancel();
  assert.deepEqual(wire.errorCodes(await queued.readUntil("Z")), ["57014"]);
  await holder.query("COMMIT");
});

Deno.test("upgrade: a cancel that arrives while the clients move finds its client", async () => {
  const clients: WireClient[] = [];
  for (let i = 0; i < 8; i++) clients.push(await service.login());
  for (const client of clients) client.send(wire.query("SELECT pg_sleep(60)"));
  await running("wait_event = 'PgSleep'", 8);
  const upgraded = service.upgrade();
  const answers = clients.map(async (client, i) => {
    await new Promise((resolve) => setTimeout(resolve, 60 * i));
    await client.cancel();
    return wire.errorCodes(await client.readUntil("Z"));
  });
  for (const answer of await Promise.all(answers)) assert.deepEqual(answer, ["57014"]);
  await upgraded;
  for (const client of clients) {
    assert.equal(await client.value("SELECT 1"), "1");
    client.close();
  }
});

Deno.test("upgrade: statistics, connection time and counters go on", async () => {
  using client = await service.login({ parameters: { application_name: "counted" } });
  for (let i = 0; i < 5; i++) await client.query("SELECT 1");
  for (let i = 0; i < 3; i++) await client.query(";");
  const rows = async (what: string) => {
    using admin = await service.console();
    const { show } = await import("../reload/support.ts");
    return await show(admin, what);
  };
  const mine = (all: Record<string, string | null>[]) =>
    all.find(({ application_name }) => application_name === "counted")!;
  const before = mine(await rows("CLIENTS"));
  const statsBefore = (await rows("STATS")).find(({ database }) => database === "app")!;
  const [connectionsBefore] = await rows("CONNECTIONS");
  await new Promise((resolve) => setTimeout(resolve, 1100));
  await upgrade();
  const after = mine(await rows("CLIENTS"));
  assert.equal(after.query_count, before.query_count);
  assert.ok(Number(after.age_seconds) > Number(before.age_seconds), "the client grows older");
  const statsAfter = (await rows("STATS")).find(({ database }) => database === "app")!;
  assert.equal(statsAfter.total_query_count, statsBefore.total_query_count);
  assert.equal(statsAfter.total_xact_count, statsBefore.total_xact_count);
  assert.equal(statsAfter.total_check_queries_run, "1");
  assert.equal(statsAfter.total_check_queries_answered, "2");
  const [connectionsAfter] = await rows("CONNECTIONS");
  assert.ok(Number(connectionsAfter!.total) >= Number(connectionsBefore!.total));
});

Deno.test("upgrade: a paused pool stays paused, and those that wait for it go on waiting", async () => {
  using admin = await service.console();
  await admin.query("PAUSE app");
  await admin.terminate();
  using client = await service.login();
  client.send(wire.query("SELECT 'resumed'"));
  await upgrade();
  assert.ok(await client.silent(100));
  using again = await service.console();
  await again.query("RESUME app");
  assert.deepEqual(wire.rowsOf(await client.readUntil("Z")), [["resumed"]]);
});
