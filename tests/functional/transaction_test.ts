/**
 * BEGIN takes no server: a transaction that does nothing never reaches PostgreSQL, and one that does something is what
 * it would be at a direct connection.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { ADMIN, type Config, Doorman, poolOf } from "../support/doorman.ts";
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

async function start(pool: Config = {}, allowLog: RegExp[] = []): Promise<Doorman> {
  const users = [{ username: "postgres", password: "postgres", pool_size: 1 }];
  return await Doorman.start({
    config: {
      general: { query_wait_timeout: 500 },
      pools: { app: poolOf(postgres, { users, ...pool }) },
    },
    allowLog,
  });
}

async function login(doorman: Doorman): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
}

/** Transaction status of the ReadyForQuery that ends these messages. */
function status(messages: wire.Message[]): string {
  return String.fromCharCode(messages.at(-1)!.body[0]!);
}

function tag(messages: wire.Message[]): string {
  return wire.strings(messages.find(({ type }) => type === "C")!)[0]!;
}

/** Servers that clients hold, by the console. */
async function active(doorman: Doorman): Promise<number> {
  using admin = await WireClient.login({
    port: doorman.port,
    user: ADMIN.user,
    password: ADMIN.password,
    database: "pgdoorman",
  });
  const rows = wire.rowsOf(await admin.query("SHOW SERVERS"));
  await admin.terminate();
  return rows.filter((row) => row.includes("active")).length;
}

/** Statements that PostgreSQL has logged from an index of its log on, up to one that says `last`. */
async function statementsUntil(last: string, from: number): Promise<string[]> {
  await waitFor("the log", 5000, () => postgres.log.slice(from).includes(last) || undefined);
  return postgres.log.slice(from).split("\n")
    .map((line) => /LOG: {2}(?:statement|execute [^:]+): (.*)$/.exec(line)?.[1])
    .filter((statement) => statement !== undefined);
}

for (const pool_mode of ["transaction", "session"]) {
  Deno.test(`a BEGIN takes no server, the next message does, ${pool_mode} mode`, async () => {
    await using doorman = await start({ pool_mode });
    using other = await login(doorman);
    using client = await login(doorman);
    const from = postgres.log.length;
    const begun = await client.query("begin;");
    assert.deepEqual([tag(begun), status(begun)], ["BEGIN", "T"]);
    assert.equal(await active(doorman), 0);
    if (pool_mode === "transaction") {
      // The only server is free for another meanwhile.
      assert.equal(await other.value("SELECT 'other'"), "other");
    }
    const now = await client.query("SELECT now()");
    assert.equal(status(now), "T");
    assert.equal(await active(doorman), 1);
    assert.deepEqual(wire.rowsOf(await client.query("SELECT now()")), wire.rowsOf(now));
    const committed = await client.query("COMMIT");
    assert.deepEqual([tag(committed), status(committed)], ["COMMIT", "I"]);
    const statements = await statementsUntil("statement: COMMIT", from);
    assert.deepEqual(statements.filter((text) => !text.includes("other")), [
      "BEGIN",
      "SELECT now()",
      "SELECT now()",
      "COMMIT",
    ]);
  });
}

Deno.test("a transaction in which nothing is done never reaches PostgreSQL", async () => {
  await using doorman = await start();
  using client = await login(doorman);
  const from = postgres.log.length;
  for (
    const [begin, end, wanted] of [
      ["BEGIN", "COMMIT;", "COMMIT"],
      ["begin transaction;", "rollback", "ROLLBACK"],
      [" Begin ; ", "END", "COMMIT"],
    ]
  ) {
    assert.equal(status(await client.query(begin!)), "T");
    assert.equal(status(await client.ask(wire.SYNC)), "T");
    const ended = await client.query(end!);
    assert.deepEqual([tag(ended), status(ended)], [wanted, "I"]);
  }
  // Terminate: the same.
  using leaver = await login(doorman);
  await leaver.query("BEGIN");
  await leaver.terminate();
  assert.equal(await client.value("SELECT 'after'"), "after");
  assert.deepEqual(await statementsUntil("'after'", from), ["SELECT 'after'"]);
});

Deno.test("whatever is no plain BEGIN is PostgreSQL's, and so is a second one", async () => {
  await using doorman = await start();
  using client = await login(doorman);
  assert.equal(await client.value("SELECT 1"), "1");
  for (const begin of ["BEGIN READ ONLY", "START TRANSACTION", "BEGIN; SELECT 1", "begin -- now"]) {
    assert.equal(status(await client.query(begin)), "T");
    assert.equal(await active(doorman), 1, begin);
    await client.query("ROLLBACK");
  }
  await client.query("BEGIN");
  const second = await client.query("BEGIN");
  assert.equal(second.map(({ type }) => type).join(""), "NCZ");
  assert.equal(wire.errorFields(second[0]!).C, "25001");
  await client.query("ROLLBACK");
});

Deno.test("BEGIN with a batch of the extended protocol, rolled back", async () => {
  await using doorman = await start();
  await postgres.query("CREATE TABLE undone (x int)");
  using client = await login(doorman);
  await client.query("BEGIN");
  client.send(wire.extended("INSERT INTO undone VALUES (1)"), wire.SYNC);
  assert.equal(status(await client.readUntil("Z")), "T");
  client.send(wire.extended("SELECT 1/0"), wire.SYNC);
  assert.equal(status(await client.readUntil("Z")), "E");
  const ended = await client.query("COMMIT");
  assert.deepEqual([tag(ended), status(ended)], ["ROLLBACK", "I"]);
  assert.equal(await client.value("SELECT count(*) FROM undone"), "0");
});

Deno.test("an empty transaction leaves nothing for the next client", async () => {
  await using doorman = await start();
  for (let i = 0; i < 3; i++) {
    using client = await login(doorman);
    await client.query("BEGIN");
    await client.query(i === 1 ? "SELECT 1/0" : "SELECT 1");
    if (i === 2) client.close();
    else await client.query("ROLLBACK");
  }
  using next = await login(doorman);
  assert.equal(status(await next.query("SELECT 1")), "I");
});

Deno.test("a server that dies below a pending BEGIN costs an error or nothing, never a statement outside", async () => {
  await using doorman = await start({}, [/server connection closed/, /client lost its server/]);
  await postgres.query("CREATE TABLE outside (x int)");
  using client = await login(doorman);
  const pid = await client.value("SELECT pg_backend_pid()");
  await client.query("BEGIN");
  await postgres.query(`SELECT pg_terminate_backend(${pid})`);
  let outcome: string;
  try {
    const messages = await client.query("INSERT INTO outside VALUES (1)");
    outcome = messages.some(({ type }) => type === "E") ? "error" : status(messages);
  } catch {
    outcome = "closed";
  }
  // A new server took the transaction, or the client was told: never committed.
  assert.match(outcome, /^(T|error|closed)$/);
  client.close();
  assert.deepEqual(await postgres.query("SELECT * FROM outside"), []);
});

Deno.test("who gets no server for a transaction that has begun is told by FATAL", async () => {
  await using doorman = await start({}, [/checkout timeout/]);
  using holder = await login(doorman);
  using client = await login(doorman);
  await holder.query("BEGIN");
  await holder.query("SELECT 1");
  await client.query("BEGIN");
  client.send(wire.query("SELECT 1"), wire.query("SELECT 2"));
  const messages = await client.readToEnd();
  assert.equal(messages.map(({ type }) => type).join(""), "E");
  const { S, C, M } = wire.errorFields(messages[0]!);
  assert.deepEqual([S, C], ["FATAL", "53300"]);
  assert.match(M!, /query_wait_timeout/);
  // Without a transaction it is an ERROR, and the client goes on.
  using patient = await login(doorman);
  const refused = await patient.query("SELECT 1");
  assert.equal(refused.map(({ type }) => type).join(""), "EZ");
  await holder.query("ROLLBACK");
  assert.equal(await patient.value("SELECT 1"), "1");
});

Deno.test("a shutdown lets a transaction that has begun come to its end", async () => {
  await using doorman = await start();
  using client = await login(doorman);
  using idle = await login(doorman);
  await client.query("BEGIN");
  using admin = await WireClient.login({
    port: doorman.port,
    user: ADMIN.user,
    password: ADMIN.password,
    database: "pgdoorman",
  });
  await admin.query("SHUTDOWN");
  const [told] = await idle.readToEnd();
  assert.equal(wire.errorFields(told!).C, "58006");
  assert.equal(await client.value("SELECT 'in time'"), "in time");
  assert.equal(tag(await client.query("COMMIT")), "COMMIT");
  // A transaction that begins now is too late.
  client.send(wire.query("BEGIN"));
  const [late] = await client.readToEnd();
  assert.equal(wire.errorFields(late!).C, "58006");
  assert.equal(await doorman.waitForExit(), 0);
});

Deno.test("a transaction that has failed, has savepoints, or calls functions keeps its server to its end", async () => {
  await using doorman = await start({}, [/checkout timeout/]);
  using client = await login(doorman);
  using other = await login(doorman);
  const oid = Number(await client.value("SELECT 'int4pl(int,int)'::regprocedure::oid"));
  const steps: [what: Uint8Array, status: string][] = [
    [wire.query("START TRANSACTION"), "T"],
    [wire.functionCall(oid, ["1", "2"]), "T"],
    [wire.query("SAVEPOINT s"), "T"],
    [wire.query("SELECT 1/0"), "E"],
    [wire.functionCall(oid, ["1", "2"]), "E"],
    [wire.query("ROLLBACK TO s"), "T"],
    [wire.query("RELEASE s"), "T"],
    [wire.query("SELECT 1/0"), "E"],
    [wire.query("SELECT 'ignored'"), "E"],
  ];
  for (const [what, wanted] of steps) {
    assert.equal(status(await client.ask(what)), wanted);
    other.send(wire.query("SELECT 'other'"));
    assert.ok(await other.silent(20), "the server was given to somebody else");
    await other.cancel();
    assert.deepEqual(wire.errorCodes(await other.readUntil("Z")), ["57014"]);
  }
  const ended = await client.query("COMMIT");
  assert.deepEqual([tag(ended), status(ended)], ["ROLLBACK", "I"]);
  assert.equal(await other.value("SELECT 'other'"), "other");
});
