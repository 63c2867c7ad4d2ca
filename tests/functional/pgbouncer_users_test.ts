/**
 * What those who come from PgBouncer rely on: its commands in the admin console, its limits and keys, and that its
 * exporter reads the console.
 */

import assert from "node:assert/strict";
import { say } from "../../tools/say.ts";
import { waitFor } from "../support/detached_process.ts";
import { ADMIN, type Config, Doorman, poolOf } from "../support/doorman.ts";
import { freePort } from "../support/ports.ts";
import { Postgres } from "../support/postgres.ts";
import { Refused, WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

const EXPORTER = "/usr/bin/prometheus-pgbouncer-exporter";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

const user = (rest: Config = {}) => ({
  username: "postgres",
  password: "postgres",
  pool_size: 2,
  ...rest,
});

async function start(general: Config, pools: Config, allowLog: RegExp[] = []): Promise<Doorman> {
  return await Doorman.start({
    config: { general: { worker_threads: 2, ...general }, pools },
    allowLog,
  });
}

function login(doorman: Doorman, database = "app", user = "postgres"): Promise<WireClient> {
  return WireClient.login({ port: doorman.port, user, database });
}

function admin(doorman: Doorman, database = "pgdoorman"): Promise<WireClient> {
  const { user, password } = ADMIN;
  return WireClient.login({ port: doorman.port, user, password, database });
}

/** The SQLSTATE that a log-in is refused with, or nothing. */
async function refusal(doorman: Doorman, database = "app"): Promise<string> {
  using client = await WireClient.open({ port: doorman.port });
  try {
    await client.logIn({ user: "postgres", database });
    return "";
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    return error.fields.C!;
  }
}

type Shown = Record<string, string | null>;

/** Rows of a SHOW by their columns' names. */
async function show(console: WireClient, sql: string): Promise<Shown[]> {
  const messages = await console.query(sql);
  assert.deepEqual(wire.errorCodes(messages), [], sql);
  return wire.recordsOf(messages);
}

Deno.test("KILL_CLIENT ends one client and what it runs, and nobody else", async () => {
  await using doorman = await start({}, { app: poolOf(postgres, { users: [user()] }) });
  using operator = await admin(doorman);
  using victim = await login(doorman);
  using other = await login(doorman);
  await other.query("SELECT 1");
  victim.send(wire.query("SELECT pg_sleep(600)"));
  const clients = await waitFor("it runs", 5000, async () => {
    const rows = await show(operator, "SHOW CLIENTS");
    return rows.some(({ state }) => state === "active") ? rows : undefined;
  });
  const id = clients.find(({ state }) => state === "active")!.client_id!;
  assert.equal(wire.letters(await operator.query(`KILL_CLIENT ${id}`)), "CZ");
  assert.deepEqual(wire.errorCodes(await victim.readToEnd()), ["57P01"]);
  await waitFor("its query is canceled", 10_000, async () => {
    const running =
      "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(600)%'" +
      " AND state = 'active'";
    return await postgres.psql(running) === "0" || undefined;
  });
  assert.equal(await other.value("SELECT 2"), "2");
  assert.deepEqual(wire.errorCodes(await operator.query(`KILL_CLIENT ${id}`)), ["42704"]);
});

Deno.test("DISABLE lets nobody in and those who are in go on, through a reload; ENABLE ends it", async () => {
  const pools = { app: poolOf(postgres, { users: [user()] }) };
  await using doorman = await start({}, pools, [/not currently accepting/]);
  using operator = await admin(doorman);
  using inside = await login(doorman);
  assert.equal(wire.letters(await operator.query("DISABLE app")), "CZ");
  assert.equal(await refusal(doorman), "55000");
  assert.equal(await inside.value("SELECT 1"), "1");
  assert.deepEqual((await show(operator, "SHOW DATABASES")).map((row) => row.disabled), ["1"]);
  await operator.query("RELOAD");
  assert.equal(await refusal(doorman), "55000");
  assert.equal(wire.letters(await operator.query("ENABLE app")), "CZ");
  assert.equal(await refusal(doorman), "");
});

Deno.test("WAIT_CLOSE after RECONNECT waits for the transaction that has an old server", async () => {
  await using doorman = await start({}, { app: poolOf(postgres, { users: [user()] }) });
  using operator = await admin(doorman);
  using busy = await login(doorman);
  await busy.query("START TRANSACTION");
  await busy.query("SELECT 1");
  await operator.query("RECONNECT app");
  operator.send(wire.query("WAIT_CLOSE app"));
  assert.ok(await operator.silent(300));
  await busy.query("COMMIT");
  assert.equal(wire.letters(await operator.readUntil("Z")), "CZ");
});

Deno.test("SHUTDOWN WAIT_FOR_CLIENTS takes no new clients, lets old ones work, and ends with the last", async () => {
  const pools = { app: poolOf(postgres, { users: [user()] }) };
  await using doorman = await start({ shutdown_timeout: 0 }, pools);
  using operator = await admin(doorman);
  const client = await login(doorman);
  assert.equal(wire.letters(await operator.query("SHUTDOWN WAIT_FOR_CLIENTS")), "TDCZ");
  await waitFor("nobody is let in", 5000, async () => {
    try {
      using late = await WireClient.open({ port: doorman.port });
      await late.logIn({ user: "postgres", database: "app" });
      return undefined;
    } catch {
      return true;
    }
  });
  assert.equal(await client.value("SELECT 1"), "1");
  assert.ok(doorman.running);
  await client.terminate();
  client[Symbol.dispose]();
  assert.equal(await doorman.waitForExit(), 0);
});

Deno.test("max_db_client_connections and max_user_client_connections bound clients that have logged in", async () => {
  const pools = {
    app: poolOf(postgres, { max_db_client_connections: 2, users: [user()] }),
    other: poolOf(postgres, { users: [user({ max_user_client_connections: 3 })] }),
  };
  await using doorman = await start({}, pools, [/too many connections/]);
  using operator = await admin(doorman, "pgbouncer");
  using _one = await login(doorman);
  const two = await login(doorman);
  assert.equal(await refusal(doorman), "53300");
  using _three = await login(doorman, "other");
  assert.equal(await refusal(doorman, "other"), "53300");
  const [database] = await show(operator, "SHOW DATABASES");
  assert.equal(database!.current_client_connections, "2");
  assert.equal(database!.max_client_connections, "2");
  const [shown] = await show(operator, "SHOW USERS");
  assert.equal(shown!.max_user_client_connections, "3");
  assert.equal(shown!.current_client_connections, "3");
  await two.terminate();
  two[Symbol.dispose]();
  await waitFor("there is room", 5000, async () => await refusal(doorman) === "" || undefined);
});

Deno.test("connect_query runs once on each server, its error is a line in the log; login_notify_message is a NOTICE", async () => {
  await postgres.psql("CREATE TABLE greeted (pid int)");
  const greets = (connect_query: string) => poolOf(postgres, { connect_query, users: [user()] });
  const pools = {
    app: greets("INSERT INTO greeted VALUES (pg_backend_pid())"),
    broken: greets("SELECT 1/0"),
    open: greets("BEGIN"),
  };
  const general = { login_notify_message: "maintenance at noon" };
  await using doorman = await start(general, pools, [/connect_query failed: 22012/]);
  using client = await WireClient.open({ port: doorman.port });
  const answer = await client.logIn({ user: "postgres", database: "app" });
  const notice = answer.find(({ type }) => type === "N")!;
  assert.equal(wire.errorFields(notice).M, "maintenance at noon");
  const pid = await client.value("SELECT pg_backend_pid()");
  await client.query("SELECT 1");
  const [greeted] = await postgres.query<{ pids: string[] }>(
    "SELECT array_agg(pid::text) AS pids FROM greeted",
  );
  assert.ok(greeted!.pids.includes(pid!));
  assert.equal(new Set(greeted!.pids).size, greeted!.pids.length, "a server is greeted twice");
  for (const database of ["broken", "open"]) {
    using served = await login(doorman, database);
    assert.equal(await served.value("SELECT 1"), "1", database);
    assert.deepEqual(await served.rows("SELECT now() = statement_timestamp()"), [["t"]]);
  }
});

Deno.test("server_fast_close: a session-mode client is sent home after RECONNECT, when its transaction has ended", async () => {
  const pools = { app: poolOf(postgres, { pool_mode: "session", users: [user()] }) };
  await using doorman = await start({ server_fast_close: true }, pools);
  using operator = await admin(doorman);
  using idle = await login(doorman);
  using busy = await login(doorman);
  await idle.query("SELECT 1");
  await busy.query("BEGIN; SELECT 1");
  await operator.query("RECONNECT");
  assert.deepEqual(wire.errorCodes(await idle.readToEnd()), ["57P01"]);
  assert.equal(await busy.value("SELECT 2"), "2");
  await busy.query("COMMIT");
  assert.deepEqual(wire.errorCodes(await busy.readToEnd()), ["57P01"]);
});

Deno.test("an md5 hash is a password of a forced server user; a user has a query_wait_timeout of its own", async () => {
  await postgres.psql(
    "SET password_encryption = 'md5'; CREATE ROLE forced LOGIN PASSWORD 'secret'",
  );
  const hash = await postgres.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'forced'");
  const forced = user({
    pool_size: 1,
    server_username: "forced",
    server_password: hash,
    query_wait_timeout: 100,
  });
  await using doorman = await start(
    { query_wait_timeout: "1h" },
    { app: poolOf(postgres, { users: [forced] }) },
    [/checkout timeout after 100ms/],
  );
  using client = await login(doorman);
  assert.equal(await client.value("SELECT current_user"), "forced");
  await client.query("START TRANSACTION");
  await client.query("SELECT 1");
  using late = await login(doorman);
  assert.deepEqual(wire.errorCodes(await late.query("SELECT 1")), ["53300"]);
});

Deno.test("SHOW STATS counts assignments, Parse and Bind; POOLS_EXTENDED, SOCKETS and anonymous statements", async () => {
  const pools = {
    app: poolOf(postgres, { startup_parameters: { work_mem: "5MB" }, users: [user()] }),
  };
  await using doorman = await start({}, pools);
  using operator = await admin(doorman);
  using client = await login(doorman);
  const batch = (name: string) => [
    ...name === "" ? [] : [wire.parse(name, "SELECT 5")],
    wire.parse("", "SELECT pg_sleep(0.01)"),
    wire.bind("", ""),
    wire.execute(""),
    wire.SYNC,
  ];
  await client.ask(...batch("named"));
  await client.ask(...batch("again"));
  await client.ask(...batch(""));
  const [stats] = await show(operator, "SHOW STATS");
  assert.equal(stats!.total_client_parse_count, "5");
  // Those without a name and the first named one; the second one need not be.
  assert.ok(["4", "5"].includes(stats!.total_server_parse_count!));
  assert.equal(stats!.total_bind_count, "3");
  assert.ok(Number(stats!.total_server_assignment_count) >= 3);
  assert.equal(stats!.total_requests, stats!.total_query_count);
  const [pool] = await show(operator, "SHOW POOLS_EXTENDED");
  const half = Number(pool!["query_0.5"]);
  assert.ok(half >= 9_000 && half <= Number(pool!["query_0.99"]), String(half));
  const [sockets] = await show(operator, "SHOW SOCKETS");
  assert.ok(Number(sockets!.tcp_listen) >= 1);
  assert.ok(Number(sockets!.tcp_established) >= 2);
  const statements = await show(operator, "SHOW PREPARED_STATEMENTS");
  assert.deepEqual(statements.map(({ kind, query }) => `${kind} ${query}`), [
    "named SELECT 5",
    "anonymous SELECT pg_sleep(0.01)",
  ]);
  assert.deepEqual(
    (await show(operator, "SHOW STARTUP_PARAMETERS")).map((row) => Object.values(row).join(" ")),
    ["postgres app work_mem 5MB pool applied"],
  );
});

Deno.test("prometheus-pgbouncer-exporter reads the console", async () => {
  try {
    await Deno.stat(EXPORTER);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    say(`skipped: ${EXPORTER} is not installed (Debian: prometheus-pgbouncer-exporter)`);
    return;
  }
  const two = [user(), { username: "second", password: "second", pool_size: 4 }];
  await using doorman = await start({}, { app: poolOf(postgres, { users: two }) });
  using client = await login(doorman);
  await client.query("SELECT 1");
  const port = freePort();
  const exporter = new Deno.Command(EXPORTER, {
    args: ["--host", "127.0.0.1", "--port", String(port)].concat(
      ["--pgbouncer-host", "127.0.0.1", "--pgbouncer-port", String(doorman.port)],
      ["--pgbouncer-user", ADMIN.user],
    ),
    env: { PGPASSWORD: ADMIN.password },
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    const text = await waitFor("it exports", 20_000, async () => {
      try {
        const response = await fetch(`http://127.0.0.1:${port}/metrics`);
        const body = await response.text();
        return response.ok ? body : undefined;
      } catch {
        return undefined;
      }
    });
    const samples = text.split("\n").filter((line) => /^pgbouncer_.*\{/.test(line));
    const value = (name: string) =>
      samples.filter((line) => line.startsWith(`pgbouncer_${name}{`)).map((line) =>
        line.slice(line.indexOf("{"))
      );
    // One sample a database, though it has two users.
    assert.deepEqual(value("requests_total"), ['{database="app"} 1.0']);
    assert.deepEqual(value("pool_size"), ['{database="postgres"} 4.0']);
    assert.equal(value("active_clients").length, 2);
    assert.match(text, /^pgbouncer_databases 2\.0$/m);
    const names = samples.map((line) => line.slice(0, line.indexOf("}") + 1));
    assert.equal(new Set(names).size, names.length, "a sample comes twice");
  } finally {
    exporter.kill();
    await exporter.status;
  }
});
