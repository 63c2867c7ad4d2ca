/**
 * Session state in transaction mode, docs/session-state.md: what a client set is what it has at its next transaction,
 * whatever server it meets, and no other client ever sees it; what can't be taken along keeps the client at its server.
 */

import assert from "node:assert/strict";
import { ADMIN, Doorman, poolOf } from "../support/doorman.ts";
import { waitFor } from "../support/detached_process.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({ settings: ["log_statement = all", "log_line_prefix = '%p '"] });
  await postgres.query("CREATE SCHEMA one; CREATE SCHEMA two");
  doorman = await Doorman.start({
    config: {
      general: { server_round_robin: true },
      pools: {
        kept: poolOf(postgres, { pool_mode: "session" }),
        app: poolOf(postgres, {
          users: [{ username: "postgres", password: "postgres", pool_size: 2, min_pool_size: 2 }],
        }),
      },
    },
  });
  const count = "SELECT count(*)::int n FROM pg_stat_activity WHERE usename = 'postgres' AND " +
    "application_name = 'pg_doorman'";
  await waitFor("both servers", 10_000, async () => {
    const [row] = await postgres.query<{ n: number }>(count);
    return row!.n === 2 || undefined;
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

async function login(
  parameters: Record<string, string> = {},
  database: string = "app",
): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user: "postgres", database, parameters });
}

/** The client's answer on each of the two servers: idle ones are taken in turn. */
async function onBothServers(client: WireClient, sql: string): Promise<unknown[]> {
  const values = new Map<unknown, unknown>();
  for (let i = 0; i < 10 && values.size < 2; i++) {
    const [[value, pid]] = await client.rows(`SELECT (${sql}), pg_backend_pid()`) as string[][];
    values.set(pid, value);
  }
  assert.equal(values.size, 2, "the client met one server only");
  return [...values.values()];
}

const show = (name: string) => `SELECT current_setting('${name}', true)`;

async function nobodyElseHas(name: string, value: string): Promise<void> {
  using other = await login();
  for (const each of await onBothServers(other, show(name))) assert.notEqual(each, value, name);
}

Deno.test("SET of parameters that PostgreSQL does not report: the client has them on any server, nobody else has", async () => {
  using client = await login();
  const wanted: [name: string, sql: string, value: string][] = [
    ["work_mem", "SET work_mem = '7MB'", "7MB"],
    ["statement_timeout", "SET SESSION statement_timeout TO 77000", "77s"],
    ["app.tenant", "SET app.tenant = 'it''s \\ me'", "it's \\ me"],
    ["app.odd$$name", "SET app.odd$$name = 'odd'", "odd"],
    ["search_path", `SET search_path TO two, "Odd, one", public`, `two, "Odd, one", public`],
    ["lock_timeout", "SELECT set_config('lock_timeout', '88s', false)", "88s"],
    [
      "idle_session_timeout",
      "DO $$ BEGIN PERFORM set_config('idle_session_timeout', '99s', false); END $$",
      "99s",
    ],
    [
      "default_transaction_isolation",
      "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
      "serializable",
    ],
  ];
  for (const [name, sql, value] of wanted) {
    await client.query(sql);
    assert.deepEqual(await onBothServers(client, show(name)), [value, value], sql);
  }
  for (const [name, , value] of wanted) {
    assert.deepEqual(await onBothServers(client, show(name)), [value, value], name);
    await nobodyElseHas(name, value);
  }
});

Deno.test("RESET, SET TO DEFAULT, ROLLBACK: the client has what it would have at a direct connection", async () => {
  using client = await login({ lock_timeout: "66s" });
  await client.query("SET work_mem = '7MB'; SET lock_timeout = '5s'; SET app.a = 'x'");
  await client.query("RESET work_mem");
  assert.deepEqual(await onBothServers(client, show("work_mem")), ["4MB", "4MB"]);
  assert.deepEqual(await onBothServers(client, show("app.a")), ["x", "x"]);
  await client.query("SET lock_timeout TO DEFAULT");
  assert.deepEqual(await onBothServers(client, show("lock_timeout")), ["66s", "66s"]);
  await client.query("START TRANSACTION");
  await client.query("SET app.a = 'y'");
  await client.query("ROLLBACK");
  assert.deepEqual(await onBothServers(client, show("app.a")), ["x", "x"]);
  await client.query("RESET ALL");
  assert.deepEqual(await onBothServers(client, show("lock_timeout")), ["66s", "66s"]);
  assert.equal((await client.value(show("app.a"))) ?? "", "");
});

Deno.test("SET a; SET b; RESET a: b stays the client's and nobody else's", async () => {
  using client = await login();
  await client.query("SET work_mem = '9MB'; SET lock_timeout = '99s'; RESET work_mem");
  assert.deepEqual(await onBothServers(client, show("lock_timeout")), ["99s", "99s"]);
  await nobodyElseHas("lock_timeout", "99s");
});

Deno.test("SET ROLE goes with the client, and what it may not set as that role, too", async () => {
  await postgres.query("CREATE ROLE weak; GRANT ALL ON SCHEMA public TO weak");
  using client = await login();
  await client.query("SET log_min_duration_statement = 12345");
  await client.query("SET ROLE weak");
  assert.deepEqual(await onBothServers(client, "SELECT current_user"), ["weak", "weak"]);
  assert.deepEqual(await onBothServers(client, "SELECT session_user"), ["postgres", "postgres"]);
  using other = await login();
  assert.deepEqual(await onBothServers(other, "SELECT current_user"), ["postgres", "postgres"]);
  await client.query("RESET ROLE");
  assert.deepEqual(await onBothServers(client, show("log_min_duration_statement")), [
    "12345ms",
    "12345ms",
  ]);
});

Deno.test("a SET that ends with its transaction is not asked about, nor is a set_config", async () => {
  using client = await login();
  await onBothServers(client, "SELECT 1");
  const from = postgres.log.length;
  await client.query("START TRANSACTION");
  await client.query("SET LOCAL work_mem = '3MB'");
  assert.equal(await client.value("SHOW work_mem"), "3MB");
  await client.query("SELECT set_config('app.local', 'here', true)");
  await client.ask(wire.extended("SET LOCAL lock_timeout = '3s'"), wire.SYNC);
  await client.query("COMMIT");
  assert.equal(await client.value("SELECT 'the end'"), "the end");
  await waitFor("the log", 5000, () => postgres.log.slice(from).includes("the end") || undefined);
  const log = postgres.log.slice(from);
  assert.ok(!log.includes("json_build_object"), log);
  assert.ok(!log.includes("RESET"), log);
});

Deno.test("no message to PostgreSQL when a client meets the server that has its parameters", async () => {
  using client = await login();
  await client.query("SET app.quiet = '1'");
  await onBothServers(client, "SELECT 1");
  const from = postgres.log.length;
  for (let i = 0; i < 5; i++) await client.value(`SELECT ${i}`);
  await client.value("SELECT 'quiet end'");
  await waitFor("the log", 5000, () => postgres.log.slice(from).includes("quiet end") || undefined);
  const lines = postgres.log.slice(from).split("\n").filter((line) => line.includes("statement:"));
  assert.equal(lines.length, 6, lines.join("\n"));
});

const PINS: [what: string, make: string, see: string, end: string][] = [
  [
    "advisory lock",
    "SELECT pg_advisory_lock(4711)",
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    "SELECT pg_advisory_unlock(4711)",
  ],
  [
    "temporary table",
    "CREATE TEMP TABLE mine AS SELECT 1 AS x",
    "SELECT count(*) FROM mine",
    "DROP TABLE mine",
  ],
  [
    "WITH HOLD cursor",
    "DECLARE held CURSOR WITH HOLD FOR SELECT 1",
    "SELECT count(*) FROM pg_cursors",
    "CLOSE held",
  ],
  [
    "PREPARE",
    "PREPARE mine AS SELECT 1",
    "SELECT count(*) FROM pg_prepared_statements WHERE name = 'mine'",
    "DEALLOCATE mine",
  ],
];

for (const [what, make, see, end] of PINS) {
  Deno.test(`${what}: the client keeps its server until it is gone, others go on`, async () => {
    using client = await login();
    using other = await login();
    await client.query(make);
    const pid = await client.value("SELECT pg_backend_pid()");
    for (let i = 0; i < 3; i++) {
      assert.notEqual(await other.value("SELECT pg_backend_pid()"), pid);
      assert.equal(await client.value(see), "1");
      assert.equal(await client.value("SELECT pg_backend_pid()"), pid);
    }
    await doorman.waitForLog(new RegExp(`keeps server pid=${pid} after its transactions: ${what}`));
    using operator = await WireClient.login({
      port: doorman.port,
      user: ADMIN.user,
      password: ADMIN.password,
      database: "pgdoorman",
    });
    const pinned = (await operator.rows("SHOW CLIENTS")).map((row) => row[13]);
    assert.deepEqual(pinned.sort().reverse(), [what, "", ""]);
    await client.query(end);
    await doorman.waitForLog(new RegExp(`needs server pid=${pid} no more`));
    await onBothServers(client, "SELECT 1");
  });

  Deno.test(`${what}: nobody finds it when its client has left`, async () => {
    {
      using client = await login();
      await client.query(make);
      assert.equal(await client.value(see), "1");
    }
    using other = await login();
    const without = see.replace("FROM mine", "FROM pg_class WHERE relname = 'mine'");
    assert.deepEqual(await onBothServers(other, without), ["0", "0"]);
  });
}

Deno.test("what a client does while PostgreSQL is asked is asked about in its turn", async () => {
  using client = await login();
  using other = await login();
  for (let i = 0; i < 20; i++) {
    client.send(
      wire.query(`SET app.n = '${i}'`),
      wire.query("SELECT pg_advisory_lock(1)"),
      wire.query(`SET app.m = '${i}'`),
      wire.query("SELECT pg_advisory_unlock_all()"),
    );
    for (let n = 0; n < 4; n++) await client.readUntil("Z");
    await other.value("SELECT 1");
    assert.equal(await client.value(show("app.n")), `${i}`);
    assert.equal(await client.value(show("app.m")), `${i}`);
  }
  await onBothServers(client, "SELECT 1");
});

Deno.test("by the extended protocol: named and unnamed statements, and a text that comes in pieces", async () => {
  using client = await login();
  await client.ask(wire.parse("s", "SELECT set_config($1, $2, false)"), wire.SYNC);
  await client.ask(wire.bind("", "s", ["app.named", "yes"]), wire.execute(), wire.SYNC);
  assert.deepEqual(await onBothServers(client, show("app.named")), ["yes", "yes"]);
  await client.ask(wire.extended("SET app.unnamed = 'yes'"), wire.SYNC);
  assert.deepEqual(await onBothServers(client, show("app.unnamed")), ["yes", "yes"]);
  const long = `SELECT '${"x".repeat(200_000)}', set_config('app.long', 'yes', false)`;
  await client.query(long);
  assert.deepEqual(await onBothServers(client, show("app.long")), ["yes", "yes"]);
  for (let cut = 1; cut < 12; cut++) {
    const bytes = wire.query(`SELECT set_config('app.cut', '${cut}', false)`);
    client.send(bytes.subarray(0, 12 + cut));
    await client.flushed();
    await client.silent(5);
    client.send(bytes.subarray(12 + cut));
    await client.readUntil("Z");
    assert.deepEqual(await onBothServers(client, show("app.cut")), [`${cut}`, `${cut}`]);
  }
});

Deno.test("a client whose statement_timeout is a few milliseconds is followed, too", async () => {
  using client = await login();
  await client.query("SET statement_timeout = 5; SET app.hasty = 'yes'");
  await client.query("SET statement_timeout = 0");
  assert.deepEqual(await onBothServers(client, show("app.hasty")), ["yes", "yes"]);
});

/** Runs `sql`, and has PostgreSQL's answer to the question behind it fail the first time. */
async function askedTwice(client: WireClient, sql: string, fails: "timeout" | "cancel") {
  using locker = await login({}, "kept");
  const from = postgres.log.length;
  const logged = (text: string) =>
    waitFor(text, 10_000, () => postgres.log.slice(from).includes(text) || undefined);
  await locker.query("BEGIN; LOCK TABLE pg_catalog.pg_settings IN ACCESS EXCLUSIVE MODE");
  assert.deepEqual(wire.errorCodes(await client.query(sql)), [], sql);
  if (fails === "cancel") {
    const pid = await waitFor("the question waits", 5000, async () => {
      const rows = await postgres.query(
        "SELECT pid FROM pg_locks WHERE NOT granted AND relation = 'pg_settings'::regclass",
      );
      return rows[0]?.pid;
    });
    await postgres.query(`SELECT pg_cancel_backend(${pid})`);
  }
  await logged("canceling statement due to");
  await logged("SET LOCAL statement_timeout = 0");
  await locker.query("ROLLBACK");
}

Deno.test("a question that is asked again: statement_timeout stays what the client has set it to", async () => {
  using client = await login();
  await client.query("SET statement_timeout = '200ms'");
  await askedTwice(client, "SET app.slow = 'yes'", "timeout");
  assert.deepEqual(await onBothServers(client, show("app.slow")), ["yes", "yes"]);
  assert.deepEqual(await onBothServers(client, show("statement_timeout")), ["200ms", "200ms"]);
  await nobodyElseHas("statement_timeout", "200ms");
});

for (const database of ["kept", "app"]) {
  Deno.test(`a question that is asked again: RESET leads back to the StartupMessage, pool "${database}"`, async () => {
    const parameters = { lock_timeout: "66s", TimeZone: "Europe/Paris", "app.tenant": "me" };
    using client = await login(parameters, database);
    await client.query("SET lock_timeout = '5s'; SET TimeZone = 'America/Lima'");
    await client.query("SET app.tenant = 'you'; SET statement_timeout = '200ms'");
    const reset = "RESET lock_timeout; RESET TimeZone; RESET app.tenant";
    await askedTwice(client, reset, "timeout");
    assert.equal(await client.value(show("lock_timeout")), "66s");
    assert.equal(await client.value(show("TimeZone")), "Europe/Paris");
    assert.equal(client.parameters.get("TimeZone"), "Europe/Paris");
    assert.equal(await client.value(show("app.tenant")), "me");
    assert.equal(await client.value(show("statement_timeout")), "200ms");
    await nobodyElseHas("lock_timeout", "66s");
  });

  Deno.test(`a question that is asked again: the StartupMessage's statement_timeout, pool "${database}"`, async () => {
    using client = await login({ statement_timeout: "66s" }, database);
    await client.query("SET statement_timeout = '77s'");
    await askedTwice(client, "RESET work_mem", "cancel");
    assert.equal(await client.value(show("statement_timeout")), "77s");
    await askedTwice(client, "RESET statement_timeout", "cancel");
    assert.equal(await client.value(show("statement_timeout")), "66s");
    await askedTwice(client, "RESET work_mem", "cancel");
    assert.equal(await client.value(show("statement_timeout")), "66s");
    await nobodyElseHas("statement_timeout", "66s");
  });
}

Deno.test("a question that is asked again: a statement_timeout that the client has switched off stays off", async () => {
  using client = await login({ statement_timeout: "66s" });
  await askedTwice(client, "SET statement_timeout = 0", "cancel");
  assert.deepEqual(await onBothServers(client, show("statement_timeout")), ["0", "0"]);
});

Deno.test("RESET of something leaves the client's SET ROLE alone", async () => {
  for (const database of ["kept", "app"]) {
    using client = await login({ role: "pg_monitor" }, database);
    await client.query("SET ROLE pg_signal_backend");
    await client.query("RESET work_mem");
    assert.equal(await client.value("SELECT current_user"), "pg_signal_backend", database);
    await client.query("RESET ROLE");
    assert.equal(await client.value("SELECT current_user"), "pg_monitor", database);
  }
});

Deno.test("DISCARD ALL of a client with a pin: nobody else gets what its StartupMessage asked for", async () => {
  using client = await login({ lock_timeout: "66s" });
  await client.query("CREATE TEMP TABLE mine AS SELECT 1 AS x");
  await client.query("DISCARD ALL");
  assert.deepEqual(await onBothServers(client, show("lock_timeout")), ["66s", "66s"]);
  await nobodyElseHas("lock_timeout", "66s");
  await client.query("CREATE TEMP TABLE mine AS SELECT 1 AS x");
  await client.query("DISCARD ALL");
  await nobodyElseHas("lock_timeout", "66s");
});

Deno.test("session mode: RESET and DISCARD ALL lead back to what the StartupMessage asked for", async () => {
  using client = await login({ lock_timeout: "66s", TimeZone: "Europe/Paris" }, "kept");
  for (const back of ["RESET ALL", "RESET lock_timeout; RESET TimeZone", "DISCARD ALL"]) {
    await client.query(
      "SET lock_timeout = '5s'; SET TimeZone = 'America/Lima'; SET work_mem = '7MB'",
    );
    await client.query(back);
    assert.equal(await client.value(show("lock_timeout")), "66s", back);
    assert.equal(await client.value(show("TimeZone")), "Europe/Paris", back);
    assert.equal(client.parameters.get("TimeZone"), "Europe/Paris", back);
    assert.equal(await client.value(show("work_mem")), back.includes(" ALL") ? "4MB" : "7MB");
  }
});

Deno.test("DISCARD ALL takes from a client what it has set, role and unreported parameters, too, but not what it began with", async () => {
  for (const lock of ["0", "5s"]) {
    const parameters: Record<string, string> = lock === "0"
      ? {}
      : { options: `-c lock_timeout=${lock}` };
    for (const set of ["enable_seqscan = off", "lock_timeout = '6s'", "ROLE pg_monitor"]) {
      using client = await login(parameters);
      await client.query(`SET ${set}`);
      assert.deepEqual(wire.errorCodes(await client.query("DISCARD ALL")), []);
      assert.deepEqual(await onBothServers(client, show("enable_seqscan")), ["on", "on"], set);
      assert.deepEqual(await onBothServers(client, show("lock_timeout")), [lock, lock], set);
      assert.deepEqual(await onBothServers(client, show("role")), ["none", "none"], set);
    }
  }
});

Deno.test("a client with more parameters than can be taken along keeps its server", async () => {
  using client = await login();
  for (let round = 0; round < 20; round++) {
    await client.query(
      Array.from({ length: 20 }, (_, i) => `SET app.n${round}_${i} = '${round}'`).join("; "),
    );
  }
  await doorman.waitForLog(/keeps server pid=\d+ .* settings that can't be followed/);
  const pids = new Set<string | null>();
  for (let i = 0; i < 4; i++) pids.add(await client.value("SELECT pg_backend_pid()"));
  assert.equal(pids.size, 1);
  assert.equal(await client.value("SHOW app.n0_7"), "0");
  assert.equal(await client.value("SHOW app.n19_9"), "19");
  using other = await login();
  assert.equal(await other.value("SELECT COALESCE(current_setting('app.n0_7', true), '')"), "");
  await client.query("RESET ALL");
  await doorman.waitForLog(/needs server pid=\d+ no more/);
});
