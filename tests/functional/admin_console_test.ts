/**
 * The admin console: what SHOW tells of clients and servers on all workers, and what PAUSE, RESUME and RECONNECT do.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { ADMIN, type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  const pool = (size: number, rest: Config = {}) =>
    poolOf(postgres, {
      users: [{ username: "postgres", password: "postgres", pool_size: size }],
      ...rest,
    });
  doorman = await Doorman.start({
    config: {
      general: { worker_threads: 3, query_wait_timeout: "1s" },
      pools: { one: pool(2), two: pool(3, { pool_mode: "session" }), three: pool(1) },
    },
    allowLog: [/checkout timeout/, /no pool/i, /unsupported/],
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

async function login(database: string, parameters: Record<string, string> = {}) {
  return await WireClient.login({ port: doorman.port, user: "postgres", database, parameters });
}

async function admin(): Promise<WireClient> {
  return await WireClient.login({
    port: doorman.port,
    user: ADMIN.user,
    password: ADMIN.password,
    database: "pgdoorman",
  });
}

type Shown = Record<string, string | null>;

/** Rows of a SHOW by their columns' names. */
async function show(client: WireClient, sql: string): Promise<Shown[]> {
  const messages = await client.query(sql);
  assert.deepEqual(wire.errorCodes(messages), [], sql);
  return wire.recordsOf(messages);
}

Deno.test("SHOW POOLS, CLIENTS and SERVERS count active, idle and waiting ones of all workers", async () => {
  using operator = await admin();
  using active = await login("one", { application_name: "busy app" });
  using idle = await login("one");
  using holder = await login("three");
  using waiting = await login("three");
  await active.query("START TRANSACTION");
  await idle.query("SELECT 1");
  await holder.query("START TRANSACTION");
  waiting.send(wire.query("SELECT 1"));
  await waitFor(
    "one waits",
    5000,
    async () =>
      (await show(operator, "SHOW POOLS")).some((pool) => pool.cl_waiting === "1") || undefined,
  );
  const pools = new Map((await show(operator, "SHOW POOLS")).map((pool) => [pool.database, pool]));
  assert.deepEqual([...pools.keys()].sort(), ["one", "three", "two"]);
  const counts = ({ cl_active, cl_idle, cl_waiting, sv_active, sv_idle }: Shown) =>
    [cl_active, cl_idle, cl_waiting, sv_active, sv_idle].join(" ");
  assert.equal(counts(pools.get("one")!), "1 1 0 1 1");
  assert.equal(counts(pools.get("three")!), "1 0 1 1 0");
  assert.equal(counts(pools.get("two")!), "0 0 0 0 0");
  assert.equal(pools.get("two")!.pool_mode, "session");

  const clients = await show(operator, "SHOW CLIENTS");
  const busy = clients.find((client) => client.application_name === "busy app")!;
  assert.deepEqual([busy.database, busy.user, busy.state], ["one", "postgres", "active"]);
  // Not what BackendKeyData says, which nobody can guess.
  assert.match(busy.client_id!, /^#c[1-9]\d{0,2}$/);
  assert.ok(active.pid >= 2 ** 22);
  assert.equal(new Set(clients.map(({ client_id }) => client_id)).size, clients.length);
  assert.equal(clients.filter(({ state }) => state === "waiting").length, 1);
  assert.equal(clients.filter(({ database }) => database === "pgdoorman").length, 1);

  const servers = await show(operator, "SHOW SERVERS");
  const pid = await active.value("SELECT pg_backend_pid()");
  const server = servers.find((each) => each.server_process_id === pid)!;
  assert.deepEqual(
    [server.database_name, server.state, server.application_name],
    ["one", "active", "busy app"],
  );
  await holder.query("COMMIT");
  await waiting.readUntil("Z");
  await active.query("COMMIT");
});

Deno.test("SHOW STATS counts queries, transactions, bytes and errors", async () => {
  using operator = await admin();
  const stats = async () =>
    (await show(operator, "SHOW STATS")).find(({ database }) => database === "two")!;
  using client = await login("two");
  await client.query("SELECT 1");
  const before = await stats();
  for (let i = 0; i < 5; i++) await client.query("SELECT repeat('x', 1000)");
  await client.query("START TRANSACTION");
  await client.query("SELECT 1/0");
  await client.query("ROLLBACK");
  const after = await stats();
  const grown = (name: string) => Number(after[name]) - Number(before[name]);
  assert.equal(grown("total_query_count"), 8);
  assert.equal(grown("total_xact_count"), 6);
  assert.equal(grown("total_errors"), 1);
  assert.ok(grown("total_received") > 5000);
  assert.ok(grown("total_sent") > 100);
  assert.ok(grown("total_query_time") > 0);
});

Deno.test("SHOW DATABASES, USERS, LISTS, CONFIG, VERSION, HELP and CONNECTIONS answer, without passwords", async () => {
  using operator = await admin();
  assert.deepEqual(
    (await show(operator, "SHOW DATABASES")).map(({ name, pool_size }) => [name, pool_size]).sort(),
    [["one", "2"], ["three", "1"], ["two", "3"]],
  );
  assert.equal((await show(operator, "SHOW USERS")).length, 3);
  const lists = new Map(
    (await show(operator, "show lists;")).map(({ list, items }) => [list, items]),
  );
  assert.equal(lists.get("pools"), "4");
  const config = await show(operator, "SHOW CONFIG");
  assert.ok(
    config.some(({ key, value }) => key?.endsWith("port") && value === String(doorman.port)),
  );
  assert.ok(!JSON.stringify(config).includes(ADMIN.password), "the admin's password is shown");
  assert.match((await show(operator, "SHOW VERSION"))[0]!.version!, /^PgDoorman/);
  const connections = (await show(operator, "SHOW CONNECTIONS"))[0]!;
  assert.ok(Number(connections.total) >= 1);
  assert.equal((await operator.query("SHOW HELP")).at(-1)!.type, "Z");
});

Deno.test("PAUSE holds new requests back, lets transactions end, and RESUME serves at once", async () => {
  using operator = await admin();
  using inside = await login("one");
  using outside = await login("one");
  await inside.query("START TRANSACTION");
  assert.equal(wire.letters(await operator.query("PAUSE one")), "CZ");
  assert.equal(
    (await show(operator, "SHOW POOLS")).find(({ database }) => database === "one")!.paused,
    "1",
  );
  assert.equal(await inside.value("SELECT 1"), "1");
  outside.send(wire.query("SELECT 2"));
  assert.ok(await outside.silent(100));
  await inside.query("COMMIT");
  assert.ok(await outside.silent(50), "the server that came back was given away");
  // Other pools do not notice.
  using other = await login("two");
  assert.equal(await other.value("SELECT 3"), "3");
  const started = performance.now();
  assert.equal(wire.letters(await operator.query("RESUME one")), "CZ");
  assert.deepEqual(wire.rowsOf(await outside.readUntil("Z")), [["2"]]);
  assert.ok(performance.now() - started < 3000);
  assert.equal(
    (await show(operator, "SHOW POOLS")).find(({ database }) => database === "one")!.paused,
    "0",
  );
});

Deno.test("PAUSE of all pools: waiting longer than query_wait_timeout is an ERROR that names it; RESUME ends it", async () => {
  using operator = await admin();
  using client = await login("one");
  await client.query("SELECT 1");
  await operator.query("PAUSE");
  await operator.query("PAUSE");
  try {
    const answer = await client.query("SELECT 1");
    assert.equal(wire.letters(answer), "EZ");
    assert.equal(wire.errorFields(answer[0]!).C, "53300");
    assert.match(wire.errorFields(answer[0]!).M!, /query_wait_timeout.*paused/);
  } finally {
    await operator.query("RESUME");
  }
  await operator.query("RESUME");
  assert.equal(await client.value("SELECT 2"), "2");
});

Deno.test("RECONNECT replaces idle servers at once and busy ones after their transaction", async () => {
  using operator = await admin();
  using busy = await login("one");
  using idle = await login("one");
  await busy.query("START TRANSACTION");
  const busyPid = await busy.value("SELECT pg_backend_pid()");
  const idlePid = await idle.value("SELECT pg_backend_pid()");
  assert.notEqual(busyPid, idlePid);
  assert.equal(wire.letters(await operator.query("RECONNECT one")), "CZ");
  await waitFor(
    "the idle server is gone",
    5000,
    async () =>
      await postgres.psql(`SELECT count(*) FROM pg_stat_activity WHERE pid = ${idlePid}`) === "0" ||
      undefined,
  );
  assert.notEqual(await idle.value("SELECT pg_backend_pid()"), idlePid);
  assert.equal(await busy.value("SELECT pg_backend_pid()"), busyPid);
  await busy.query("COMMIT");
  await waitFor(
    "the busy server is gone",
    5000,
    async () =>
      await postgres.psql(`SELECT count(*) FROM pg_stat_activity WHERE pid = ${busyPid}`) === "0" ||
      undefined,
  );
  assert.equal(await busy.value("SELECT 1"), "1");
});

Deno.test("PAUSE, RESUME and RECONNECT of an unknown database: ERROR 3D000, and the console goes on", async () => {
  using operator = await admin();
  for (const verb of ["PAUSE", "RESUME", "RECONNECT"]) {
    const answer = await operator.query(`${verb} nowhere`);
    assert.equal(wire.letters(answer), "EZ");
    const { S, C, M } = wire.errorFields(answer[0]!);
    assert.deepEqual([S, C], ["ERROR", "3D000"]);
    assert.match(M!, /No pool for database "nowhere"/);
  }
});

Deno.test("what the console does not know is an ERROR that tells of SHOW HELP, and an empty query is answered", async () => {
  using operator = await admin();
  for (const sql of ["SHOW", "SHOW NONSENSE", "DROP TABLE x"]) {
    const answer = await operator.query(sql);
    assert.equal(wire.letters(answer), "EZ", sql);
    assert.match(wire.errorFields(answer[0]!).M!, /SHOW HELP|unsupported/i);
  }
  for (const sql of ["", ";", "  ;; "]) {
    assert.equal((await operator.query(sql)).at(-1)!.type, "Z");
  }
  assert.equal(
    wire.letters(await operator.ask(wire.extended("SHOW VERSION"), wire.SYNC)),
    "12TDCZ",
  );
  assert.match((await operator.value("SHOW VERSION"))!, /PgDoorman/);
});
