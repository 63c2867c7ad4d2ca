/**
 * What the next client finds: nothing of the one before it. Checked by what PostgreSQL has in its log (all statements),
 * and by what is left on the server.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

const RESET_SETTINGS = "RESET ROLE;RESET SESSION AUTHORIZATION;RESET ALL;";

let postgres: Postgres;
/** Pools of one server each: `transaction`, `session`, and `careless`, which is not cleaned. */
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({ settings: ["log_statement = all"] });
  const pool = (rest: Config) =>
    poolOf(postgres, {
      users: [{ username: "postgres", password: "postgres", pool_size: 1 }],
      ...rest,
    });
  doorman = await Doorman.start({
    config: {
      pools: {
        transaction: pool({ pool_mode: "transaction" }),
        session: pool({ pool_mode: "session" }),
        careless: pool({ cleanup_server_connections: false }),
      },
    },
    allowLog: [/left in a state that can't be reused/, /client connection failed/],
  });
  await postgres.query("CREATE TABLE kept (x int)");
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

type Pool = "transaction" | "session" | "careless";

async function login(database: Pool = "transaction"): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user: "postgres", database });
}

/** Statements that a backend has logged from an index of the log on. */
function statements(pid: string, from: number): string[] {
  return postgres.log.slice(from).split("\n")
    .filter((line) => line.includes(` [${pid}] `))
    .map((line) => /LOG: {2}(?:statement|execute [^:]+): (.*)$/.exec(line)?.[1])
    .filter((statement) => statement !== undefined);
}

/** Has a client run `sql` statement by statement, and tells what else PostgreSQL was sent before the next client's query. */
async function sentAfter(
  sql: string[],
  { database = "transaction", stayMs = 0 }: { database?: Pool; stayMs?: number } = {},
): Promise<string[]> {
  using client = await login(database);
  const pid = (await client.value("SELECT pg_backend_pid()"))!;
  const from = postgres.log.length;
  for (const each of sql) await client.rows(each);
  // What was left is asked about behind the last answer: who leaves before that is told has all of it discarded.
  if (stayMs > 0) await new Promise((resolve) => setTimeout(resolve, stayMs));
  await client.terminate();
  using next = await login(database);
  assert.equal(await next.value("SELECT pg_backend_pid()"), pid, "the server was not kept");
  await waitFor(
    "the log",
    5000,
    () => postgres.log.slice(from).includes("SELECT pg_backend_pid()") || undefined,
  );
  const all = statements(pid, from);
  assert.equal(all.pop(), "SELECT pg_backend_pid()");
  assert.deepEqual(all.filter((each) => sql.includes(each)), sql);
  return all.filter((each) => !sql.includes(each));
}

Deno.test("a client that changed nothing costs PostgreSQL not one statement more", async () => {
  assert.deepEqual(
    await sentAfter(["SELECT 1", "BEGIN", "INSERT INTO kept VALUES (1)", "COMMIT", "SELECT 2"]),
    [],
  );
});

/** Without what the pooler asks when it can't know whether something stayed. */
function undone(all: string[]): string[] {
  return all.filter((each) => !each.startsWith("SELECT pg_catalog.encode("));
}

Deno.test("what was changed is undone, and no more: SET, PREPARE, DECLARE, LISTEN", async () => {
  assert.deepEqual(undone(await sentAfter(["SET work_mem = '99kB'", "SELECT 0"])), [
    'RESET "work_mem"',
  ]);
  for (
    const sql of [
      ["PREPARE p AS SELECT 1"],
      ["BEGIN", "DECLARE c CURSOR WITH HOLD FOR SELECT 1", "COMMIT"],
      ["CREATE TEMP TABLE gone (x int)"],
      ["SELECT pg_advisory_lock(1)"],
    ]
  ) assert.deepEqual(undone(await sentAfter([...sql, "SELECT 0"])), ["DISCARD ALL"], sql[0]);
  // By then the pool's listener may have taken over, or be about to.
  const listened = undone(await sentAfter(["LISTEN news", "SELECT 0"]));
  assert.match(listened.at(-1)!, /^(?:DISCARD ALL|UNLISTEN \*;)$/);
});

Deno.test("a client that has cleaned up by itself is not cleaned up after", async () => {
  assert.deepEqual(await sentAfter(["DISCARD ALL"]), []);
  assert.deepEqual(
    await sentAfter(["BEGIN", "PREPARE q AS SELECT 1", "DEALLOCATE ALL", "COMMIT"]),
    [],
  );
  assert.deepEqual(
    await sentAfter(["BEGIN", "DECLARE c CURSOR FOR SELECT 1", "CLOSE ALL", "COMMIT"]),
    [],
  );
  assert.deepEqual(
    undone(
      await sentAfter([
        "SELECT pg_advisory_lock(1)",
        "SELECT pg_advisory_unlock(1)",
        "CREATE TEMP TABLE dropped (x int)",
        "DROP TABLE dropped",
        "PREPARE r AS SELECT 1",
        "DEALLOCATE r",
        "SELECT 0",
      ], { stayMs: 300 }),
    ),
    [],
  );
});

Deno.test("SET SESSION AUTHORIZATION does not make the next client somebody else", async () => {
  using client = await login();
  using next = await login();
  await client.query("SET SESSION AUTHORIZATION pg_monitor");
  await client.terminate();
  assert.deepEqual(await next.rows("SELECT session_user, current_user"), [[
    "postgres",
    "postgres",
  ]]);
});

Deno.test("a named statement of the extended protocol is nothing that the next client finds under its name", async () => {
  using client = await login();
  using next = await login();
  assert.equal(wire.letters(await client.ask(wire.parse("mine", "SELECT 1"), wire.SYNC)), "1Z");
  const sql = "SELECT count(*) FROM pg_prepared_statements WHERE name NOT LIKE 'DOORMAN_%'";
  assert.equal(await next.value(sql), "0");
  const bound = await next.ask(wire.bind("", "mine"), wire.SYNC);
  assert.deepEqual(wire.errorCodes(bound), ["26000"]);
});

Deno.test("session mode: everything is kept up to the end of the session, and discarded then", async () => {
  using client = await login("session");
  const pid = await client.value("SELECT pg_backend_pid()");
  await client.query("SET work_mem = '99kB'");
  await client.query("CREATE TEMP TABLE mine (x int)");
  await client.query("PREPARE p AS SELECT 1");
  await client.query("SELECT pg_advisory_lock(7), set_config('statement_timeout', '55s', false)");
  assert.equal(await client.value("SHOW work_mem"), "99kB");
  assert.equal(await client.value("SELECT count(*) FROM mine"), "0");
  assert.equal(await client.value("EXECUTE p"), "1");
  assert.equal(await client.value("SELECT pg_backend_pid()"), pid);
  await client.terminate();
  using next = await login("session");
  assert.equal(await next.value("SELECT pg_backend_pid()"), pid);
  assert.notEqual(await next.value("SHOW work_mem"), "99kB");
  assert.notEqual(await next.value("SHOW statement_timeout"), "55s");
  assert.equal(await next.value("SELECT to_regclass('mine')"), null);
  assert.equal(await next.value("SELECT count(*) FROM pg_prepared_statements"), "0");
  assert.equal(await next.value("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), "0");
});

Deno.test("cleanup_server_connections = false leaves settings, but never a transaction", async () => {
  assert.deepEqual(
    await sentAfter(["SET work_mem = '99kB'", "PREPARE z AS SELECT 1"], { database: "careless" }),
    [],
  );
  assert.deepEqual(
    await sentAfter(["BEGIN", "INSERT INTO kept VALUES (13)"], { database: "careless" }),
    ["ROLLBACK"],
  );
  assert.equal(await postgres.psql("SELECT count(*) FROM kept WHERE x = 13"), "0");
});

Deno.test("a client that leaves in a transaction: ROLLBACK, nothing is committed, the server is kept", async () => {
  assert.deepEqual(await sentAfter(["BEGIN", "INSERT INTO kept VALUES (14)"]), ["ROLLBACK"]);
  assert.deepEqual(
    await sentAfter(["BEGIN", "SET work_mem = '99kB'"]),
    ["ROLLBACK", RESET_SETTINGS],
  );
  assert.equal(await postgres.psql("SELECT count(*) FROM kept WHERE x = 14"), "0");
});

Deno.test("a client that leaves in a failed transaction, without Terminate: ROLLBACK, the server is kept", async () => {
  using client = await login();
  const pid = await client.value("SELECT pg_backend_pid()");
  await client.query("START TRANSACTION");
  assert.deepEqual(wire.errorCodes(await client.query("SELECT 1 / 0")), ["22012"]);
  client.close();
  using next = await login();
  assert.equal(await next.value("SELECT pg_backend_pid()"), pid);
  assert.equal(await next.value("SELECT 1"), "1");
});

Deno.test("a client that leaves an extended sequence without Sync: nothing of it is committed, the server is clean", async () => {
  using client = await login();
  const pid = await client.value("SELECT pg_backend_pid()");
  client.send(wire.extended("INSERT INTO kept VALUES (15)"), wire.FLUSH);
  await client.readUntil("C");
  client.close();
  using next = await login();
  assert.equal(await next.value("SELECT pg_backend_pid()"), pid);
  // A Sync of the pooler's would have committed it; a direct connection that vanishes has not.
  assert.equal(await next.value("SELECT count(*) FROM kept WHERE x = 15"), "0");
});

Deno.test("a client that is gone while its query runs: the next client waits for the server and gets only its own rows", async () => {
  using client = await login();
  await client.value("SELECT 1");
  client.send(wire.query("SELECT 'not yours', pg_sleep(0.5) FROM generate_series(1, 2)"));
  await client.flushed();
  await waitFor(
    "the query runs",
    5000,
    async () =>
      await postgres.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") ===
        "1" || undefined,
  );
  client.close();
  using next = await login();
  assert.deepEqual(await next.rows("SELECT 'mine'"), [["mine"]]);
});

Deno.test("a client that is gone in the middle of a large result: the server is recovered or replaced", async () => {
  for (const rows of [1000, 1_000_000]) {
    using client = await login();
    client.send(wire.query(`SELECT repeat('z', 100) FROM generate_series(1, ${rows})`));
    await client.readUntil("D");
    client.close();
    using next = await login();
    assert.deepEqual(await next.rows("SELECT 'mine'"), [["mine"]]);
  }
});

Deno.test("a client that is gone in the middle of a COPY or of a message: nothing of it is committed", async () => {
  for (
    const parts of [
      [wire.query("COPY kept FROM STDIN"), wire.copyData("77\n")],
      [wire.query("INSERT INTO kept VALUES (77)").subarray(0, 20)],
      [
        wire.parse("", "COPY kept FROM STDIN"),
        wire.bind("", ""),
        wire.execute(),
        wire.FLUSH,
        wire.copyData("77\n"),
      ],
    ]
  ) {
    using client = await login();
    await client.query("START TRANSACTION");
    client.send(...parts);
    await client.flushed();
    await client.silent(30);
    client.close();
    using next = await login();
    assert.deepEqual(await next.rows("SELECT 'mine'"), [["mine"]]);
  }
  assert.equal(await postgres.psql("SELECT count(*) FROM kept WHERE x = 77"), "0");
});

Deno.test("a temporary table of a transaction is not seen by the next client", async () => {
  using client = await login();
  using next = await login();
  await client.query("BEGIN; CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 1; COMMIT");
  assert.equal(await next.value("SELECT to_regclass('t')"), null);
});

Deno.test("a client's own reset, as drivers send it, is the last word; DISCARD ALL after an error, too", async () => {
  for (
    const reset of [
      "RESET ALL; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all();",
      "DISCARD ALL",
    ]
  ) {
    const sent = await sentAfter(["SET work_mem = '99kB'", reset, "SELECT 0"]);
    assert.deepEqual(undone(sent).filter((each) => !reset.includes(each)), [], reset);
  }
  using client = await login();
  const pid = (await client.value("SELECT pg_backend_pid()"))!;
  const from = postgres.log.length;
  await client.query("SET work_mem = '99kB'; SELECT 1/0");
  await client.query("DISCARD ALL");
  await client.terminate();
  using next = await login();
  assert.equal(await next.value("SHOW work_mem"), "4MB");
  const last = () => postgres.log.slice(from).includes("SHOW work_mem") || undefined;
  await waitFor("the log", 5000, last);
  const afterwards = statements(pid, from);
  assert.deepEqual(afterwards.slice(afterwards.indexOf("DISCARD ALL")), [
    "DISCARD ALL",
    "SHOW work_mem",
  ]);
});

Deno.test("cursors: CLOSE ALL in the query that declared one leaves nothing to do; closing one of two does", async () => {
  const closed = "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; CLOSE ALL; COMMIT";
  const sent = await sentAfter([closed]);
  assert.deepEqual(sent.filter((each) => /^(DISCARD|CLOSE|DEALLOCATE|RESET)/.test(each)), []);
  using client = await login();
  await client.query(
    "BEGIN; DECLARE a CURSOR WITH HOLD FOR SELECT 1; DECLARE b CURSOR WITH HOLD FOR SELECT 2; " +
      "CLOSE a; COMMIT",
  );
  await client.terminate();
  using next = await login();
  assert.equal(await next.value("SELECT count(*) FROM pg_cursors"), "0");
});

Deno.test("session mode: errors cost no server, and what was set is gone with the session", async () => {
  using client = await login("session");
  const pid = await client.value("SELECT pg_backend_pid()");
  await client.query("SET work_mem = '99kB'");
  for (const sql of ["SELECT 1/0", "nonsense", "SELECT * FROM not_there", "BEGIN; SELECT 1/0"]) {
    assert.equal(wire.errorCodes(await client.query(sql)).length, 1, sql);
  }
  await client.query("ROLLBACK");
  await client.ask(wire.extended("SELECT 1/0"), wire.SYNC);
  client.send(wire.extended("SELECT 1/0"), wire.FLUSH);
  await client.readUntil("E");
  await client.ask(wire.SYNC);
  assert.equal(await client.value("SELECT pg_backend_pid()"), pid);
  assert.equal(await client.value("SHOW work_mem"), "99kB");
  await client.terminate();
  using next = await login("session");
  assert.equal(await next.value("SELECT pg_backend_pid()"), pid);
  assert.equal(await next.value("SHOW work_mem"), "4MB");
});
