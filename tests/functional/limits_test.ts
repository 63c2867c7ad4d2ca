/**
 * Limits for clients: how long a query and a transaction take, how long a client is silent, when one that waits is told.
 * Each at all three levels, and what becomes of the server connection.
 */

import assert from "node:assert/strict";
import { ADMIN, type Config, Doorman, poolOf } from "../support/doorman.ts";
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

const TOO_LONG_MS = 800;
const LIMIT = "200ms";

/** A pool of one server for two users: `postgres`, and `own` with settings of its own. */
function pool(rest: Config = {}, own: Config = {}): Config {
  const role = { server_username: "postgres", server_password: "postgres" };
  return poolOf(postgres, {
    users: [
      { username: "postgres", password: "postgres", pool_size: 1 },
      { username: "own", password: "own", pool_size: 1, ...role, ...own },
    ],
    ...rest,
  });
}

async function login(doorman: Doorman, database = "app", user = "postgres"): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user, database });
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** What the client was told at its end: the fields of a FATAL. */
async function lastWords(client: WireClient): Promise<wire.ErrorFields> {
  const fields = wire.errorFields((await client.readToEnd()).at(-1)!);
  assert.equal(fields.S, "FATAL");
  return fields;
}

/** A column of SHOW STATS for one user of one database. */
async function counted(doorman: Doorman, column: string, user = "postgres", database = "app") {
  using admin = await WireClient.login({
    port: doorman.port,
    user: ADMIN.user,
    password: ADMIN.password,
    database: "pgdoorman",
  });
  const messages = await admin.query("SHOW STATS");
  const names: string[] = [];
  for (let at = 2; at < messages[0]!.body.length;) {
    const end = messages[0]!.body.indexOf(0, at);
    names.push(new TextDecoder().decode(messages[0]!.body.subarray(at, end)));
    at = end + 19;
  }
  const rows = wire.rowsOf(messages);
  const row = rows.find((values) => values[0] === database && values[1] === user)!;
  return Number(row[names.indexOf(column)]);
}

/** Does what the limit forbids and returns the SQLSTATE that came of it; `undefined`: nothing came. */
const OFFENCES: Record<string, (client: WireClient) => Promise<string | undefined>> = {
  async query_timeout(client) {
    const answer = await client.query(`SELECT pg_sleep(${TOO_LONG_MS / 1000})`);
    assert.equal(await client.value("SELECT 1"), "1");
    return wire.errorCodes(answer)[0];
  },
  async transaction_timeout(client) {
    await client.query("BEGIN");
    for (let i = 0; i < 8; i++) {
      client.send(wire.query("SELECT 1"));
      let message: wire.Message;
      do {
        message = await client.read();
        if (message.type === "E") return wire.errorFields(message).C;
      } while (message.type !== "Z");
      await sleep(TOO_LONG_MS / 8);
    }
    await client.query("ROLLBACK");
    return undefined;
  },
  async idle_transaction_timeout(client) {
    await client.query("BEGIN; SELECT 1");
    if (!await client.silent(TOO_LONG_MS)) return (await lastWords(client)).C;
    await client.query("ROLLBACK");
    return undefined;
  },
  async client_idle_timeout(client) {
    await client.query("SELECT 1");
    return await client.silent(TOO_LONG_MS) ? undefined : (await lastWords(client)).C;
  },
};

const CODES: Record<string, string> = {
  query_timeout: "57014",
  transaction_timeout: "25P04",
  idle_transaction_timeout: "25P03",
  client_idle_timeout: "57P05",
};

for (const [key, offend] of Object.entries(OFFENCES)) {
  Deno.test(`${key}: of general, of the pool, of the user`, async () => {
    await using doorman = await Doorman.start({
      config: {
        general: { [key]: LIMIT },
        pools: {
          app: pool(),
          off: pool({ [key]: 0 }, { [key]: LIMIT }),
          on: pool({ [key]: LIMIT }),
        },
      },
      allowLog: [new RegExp(key)],
    });
    const outcome = async (database: string, user: string) => {
      using client = await login(doorman, database, user);
      const code = await offend(client);
      assert.match(code ?? CODES[key]!, new RegExp(`^${CODES[key]}$`));
      return code !== undefined;
    };
    const outcomes = await Promise.all([
      outcome("app", "postgres"),
      outcome("off", "postgres"),
      outcome("off", "own"),
      outcome("on", "postgres"),
    ]);
    assert.deepEqual(outcomes, [true, false, true, true]);
    assert.equal(await counted(doorman, `total_${key}s`), 1);
    assert.equal(await counted(doorman, `total_${key}s`, "postgres", "off"), 0);
    assert.match(
      doorman.logs,
      new RegExp(`\\[postgres@app #c\\d+\\] .*${key}.* 200 ms.*after \\d{3} ms`),
    );
  });
}

Deno.test("query_wait_notify: of general, of the pool, of the user", async () => {
  const key = "query_wait_notify";
  await using doorman = await Doorman.start({
    config: {
      general: { [key]: LIMIT },
      pools: { app: pool(), off: pool({ [key]: 0 }, { [key]: LIMIT }), on: pool({ [key]: LIMIT }) },
    },
  });
  const outcome = async (database: string, user: string) => {
    using holder = await login(doorman, database, user);
    using client = await login(doorman, database, user);
    await holder.query("BEGIN; SELECT 1");
    client.send(wire.query("SELECT 1"));
    await sleep(TOO_LONG_MS);
    await holder.query("COMMIT");
    const answer = await client.readUntil("Z");
    if (answer[0]!.type === "N") {
      const { S, C, M } = wire.errorFields(answer[0]!);
      assert.deepEqual([S, C], ["NOTICE", "00000"]);
      assert.match(M!, /no server connection available/);
    }
    return wire.letters(answer);
  };
  const outcomes = await Promise.all([
    outcome("app", "postgres"),
    outcome("off", "postgres"),
    outcome("off", "own"),
    outcome("on", "postgres"),
  ]);
  assert.deepEqual(outcomes, ["NTDCZ", "TDCZ", "NTDCZ", "NTDCZ"]);
});

Deno.test("query_timeout: PostgreSQL's own error with a word of why, by both protocols, in a transaction, too", async () => {
  await using doorman = await Doorman.start({
    config: { pools: { app: pool({ query_timeout: LIMIT }) } },
    allowLog: [/query_timeout of 200 ms reached/],
  });
  using client = await login(doorman);
  const backend = await client.value("SELECT pg_backend_pid()");
  for (
    const parts of [[wire.query("SELECT pg_sleep(9)")], [
      wire.extended("SELECT pg_sleep(9)"),
      wire.SYNC,
    ]]
  ) {
    const answer = await client.ask(...parts);
    const notice = wire.errorFields(answer.find(({ type }) => type === "N")!);
    assert.deepEqual([notice.S, notice.C], ["WARNING", "01000"]);
    assert.match(notice.M!, /query_timeout \(200 ms\)/);
    assert.deepEqual(wire.errorCodes(answer), ["57014"]);
    assert.equal(await client.value("SELECT pg_backend_pid()"), backend);
  }
  await client.query("BEGIN");
  assert.deepEqual(wire.errorCodes(await client.query("SELECT pg_sleep(9)")), ["57014"]);
  assert.deepEqual(wire.errorCodes(await client.query("SELECT 1")), ["25P02"]);
  await client.query("ROLLBACK");
  // Many short ones in one transaction are none of its business.
  await client.query("BEGIN");
  for (let i = 0; i < 6; i++) assert.equal(await client.value("SELECT pg_sleep(0.06)"), "");
  await client.query("COMMIT");
});

Deno.test("query_timeout: what PostgreSQL does not cancel ends with its server, and the next client has another one", async () => {
  await using doorman = await Doorman.start({
    config: { pools: { app: pool({ query_timeout: LIMIT }) } },
    allowLog: [/query_timeout/, /its client left in the middle of a message or a COPY/],
  });
  using client = await login(doorman);
  await client.query("CREATE TEMP TABLE copied (n int)");
  // While it waits for data, PostgreSQL does not look at cancel requests.
  client.send(wire.query("COPY copied FROM STDIN"));
  await client.readUntil("G");
  const started = performance.now();
  const { C, M } = await lastWords(client);
  const tookMs = performance.now() - started;
  assert.equal(C, "57014");
  assert.match(M!, /query_timeout \(200 ms\)/);
  assert.ok(tookMs > 5000 && tookMs < 10_000, `${tookMs} ms`);
  using next = await login(doorman);
  assert.equal(await next.value("SELECT 1"), "1");
});

Deno.test("transaction_timeout: a query that runs is canceled, and nothing of the transaction stays", async () => {
  await using doorman = await Doorman.start({
    config: { pools: { app: pool({ transaction_timeout: LIMIT }) } },
    allowLog: [/transaction_timeout/],
  });
  await postgres.query("CREATE TABLE left_over (n int)");
  using client = await login(doorman);
  const backend = await client.value("SELECT pg_backend_pid()");
  await client.query("BEGIN; INSERT INTO left_over VALUES (1)");
  client.send(wire.query("SELECT pg_sleep(60)"));
  const { M } = await lastWords(client);
  assert.match(M!, /due to transaction timeout \(transaction_timeout, 200 ms\)/);
  using next = await login(doorman);
  assert.equal(await next.value("SELECT count(*) FROM left_over"), "0");
  assert.equal(await next.value("SELECT pg_backend_pid()"), backend);
});

Deno.test("transaction_timeout in session mode: the time between transactions does not count", async () => {
  await using doorman = await Doorman.start({
    config: { pools: { app: pool({ transaction_timeout: LIMIT, pool_mode: "session" }) } },
    allowLog: [/transaction_timeout/],
  });
  using client = await login(doorman);
  for (let i = 0; i < 3; i++) {
    await client.query("BEGIN");
    assert.equal(await client.value("SELECT 1"), "1");
    await client.query("COMMIT");
    await sleep(300);
  }
  await client.query("BEGIN");
  assert.equal((await lastWords(client)).C, "25P04");
});

Deno.test("idle_transaction_timeout: the server is rolled back and serves the next client", async () => {
  await using doorman = await Doorman.start({
    config: { pools: { app: pool({ idle_transaction_timeout: LIMIT }) } },
    allowLog: [/idle_transaction_timeout/],
  });
  await postgres.query("CREATE TABLE forgotten (n int)");
  using client = await login(doorman);
  using waiter = await login(doorman);
  const backend = await client.value("SELECT pg_backend_pid()");
  await client.query("BEGIN");
  // What takes longer is not idleness.
  await client.query("INSERT INTO forgotten SELECT 1 FROM pg_sleep(0.5)");
  waiter.send(wire.query("SELECT count(*), pg_backend_pid() FROM forgotten"));
  const { M } = await lastWords(client);
  assert.match(M!, /idle-in-transaction timeout \(idle_transaction_timeout, 200 ms\)/);
  assert.deepEqual(wire.rowsOf(await waiter.readUntil("Z")), [["0", backend]]);
});

Deno.test("idle_transaction_timeout: a transaction that has done nothing yet", async () => {
  await using doorman = await Doorman.start({
    config: { pools: { app: pool({ idle_transaction_timeout: LIMIT }) } },
    allowLog: [/idle_transaction_timeout/],
  });
  using client = await login(doorman);
  await client.query("BEGIN");
  assert.equal((await lastWords(client)).C, "25P03");
});

Deno.test("idle_transaction_timeout: a batch that no Sync ends holds a server, too", async () => {
  await using doorman = await Doorman.start({
    config: { pools: { app: pool({ idle_transaction_timeout: LIMIT }) } },
    allowLog: [/idle_transaction_timeout/],
  });
  using client = await login(doorman);
  client.send(wire.extended("SELECT 1"), wire.FLUSH);
  await client.readUntil("C");
  assert.equal((await lastWords(client)).C, "25P03");
  using next = await login(doorman);
  assert.equal(await next.value("SELECT 1"), "1");
});

Deno.test("client_idle_timeout: of a client that has said nothing since its login, and in session mode", async () => {
  await using doorman = await Doorman.start({
    config: {
      pools: {
        app: pool({ client_idle_timeout: LIMIT }),
        session: pool({ client_idle_timeout: LIMIT, pool_mode: "session" }),
      },
    },
  });
  using mute = await login(doorman);
  assert.match((await lastWords(mute)).M!, /idle-session timeout \(client_idle_timeout, 200 ms\)/);
  using client = await login(doorman, "session");
  const backend = await client.value("SELECT pg_backend_pid()");
  assert.equal((await lastWords(client)).C, "57P05");
  using next = await login(doorman, "session");
  assert.equal(await next.value("SELECT pg_backend_pid()"), backend);
  // Waiting for an answer or in a transaction, it is not idle.
  await next.query("BEGIN; SELECT 1");
  assert.equal(await next.value("SELECT pg_sleep(0.5)"), "");
  assert.ok(await next.silent(500));
  await next.query("COMMIT");
});

Deno.test("statement mode: one statement after the other, by any protocol, each on the server that is free", async () => {
  await using doorman = await Doorman.start({
    config: { pools: { app: pool({ pool_mode: "statement" }) } },
  });
  using one = await login(doorman);
  using two = await login(doorman);
  const backend = await one.value("SELECT pg_backend_pid()");
  assert.equal(await two.value("SELECT pg_backend_pid()"), backend);
  one.send(wire.parse("s", "SELECT $1::text || 'x'"), wire.SYNC);
  await one.readUntil("Z");
  await two.query("SELECT 1");
  for (const value of ["a", "b"]) {
    const answer = await one.ask(wire.bind("", "s", [value]), wire.execute(), wire.SYNC);
    assert.deepEqual(wire.rowsOf(answer), [[`${value}x`]]);
  }
  // Several in one Query are one for this purpose, and so is a block that ends with it.
  assert.equal(wire.letters(await one.query("SELECT 1; SELECT 2")), "TDCTDCZ");
  assert.equal(wire.letters(await one.query("BEGIN; SELECT 2; COMMIT")), "CTDCCZ");
  assert.equal(await two.value("SELECT pg_backend_pid()"), backend);
});

Deno.test("statement mode: a client that opens a transaction is told so and goes, its server stays", async () => {
  await using doorman = await Doorman.start({
    config: { pools: { app: pool({}, { pool_mode: "statement" }) } },
    allowLog: [/transaction blocks not allowed/],
  });
  await postgres.query("CREATE TABLE never (n int)");
  using first = await login(doorman, "app", "own");
  const backend = await first.value("SELECT pg_backend_pid()");
  for (
    const parts of [
      [wire.query("BEGIN")],
      [wire.query("BEGIN; INSERT INTO never VALUES (1)")],
      [wire.query("BEGIN; SELECT 1/0")],
      [wire.extended("BEGIN"), wire.SYNC],
    ]
  ) {
    using client = await login(doorman, "app", "own");
    client.send(...parts);
    const { C, M } = await lastWords(client);
    assert.equal(C, "0A000");
    assert.equal(M, "transaction blocks not allowed in statement pooling mode");
    assert.equal(await first.value("SELECT pg_backend_pid()"), backend);
  }
  assert.equal(await first.value("SELECT count(*) FROM never"), "0");
  // The pool's other users have the pool's own mode.
  using other = await login(doorman);
  await other.query("BEGIN");
  assert.equal(await other.value("SELECT 1"), "1");
  await other.query("COMMIT");
});
