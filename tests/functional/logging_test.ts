/**
 * What the log tells of clients and servers, that nobody outside can forge a line of it, and that no secret is in it.
 */

import assert from "node:assert/strict";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { WireServer } from "../support/wire_server.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

async function start(general: Config = {}, args: string[] = []): Promise<Doorman> {
  return await Doorman.start({
    args,
    config: { general, pools: { app: poolOf(postgres) } },
    allowLog: [/login from/],
  });
}

async function session(doorman: Doorman): Promise<void> {
  using client = await WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
  await client.value("SELECT 1");
  await client.query('SELECT 1/0 AS "of the client\'s own"');
  await client.terminate();
}

Deno.test("a session leaves two lines: connected, and disconnected with its duration, with user, database and address", async () => {
  await using doorman = await start({
    log_client_connections: true,
    log_client_disconnections: true,
  });
  await session(doorman);
  await doorman.waitForLog(/client disconnected/);
  const lines = doorman.logs.split("\n").filter((line) => line.includes("[postgres@app #c"));
  assert.equal(lines.length, 2, lines.join("\n"));
  assert.match(
    lines[0]!,
    / INFO .*\[postgres@app #c\d+\] client connected from 127\.0\.0\.1:\d+ \(plain\), application_name="pg_doorman"$/,
  );
  assert.match(
    lines[1]!,
    / INFO .*client disconnected from 127\.0\.0\.1:\d+: client said goodbye, session=\d+\.\d{3}s queries=2 transactions=2 errors=1 received=\d{2,3} sent=\d{3}$/,
  );
  assert.match(
    doorman.logs,
    /\[postgres@app\] new server connection pid=\d+ to 127\.0\.0\.1:\d+, size=1\/10/,
  );
});

Deno.test("a client that is sent home leaves the same line, with why", async () => {
  await using doorman = await start({
    log_client_disconnections: true,
    client_idle_timeout: "1ms",
  });
  using client = await WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
  await client.readToEnd();
  await doorman.waitForLog(
    / INFO .*\[postgres@app #c\d+\] client disconnected from \S+ .*idle.* session=\S+ queries=0 transactions=0 errors=0 received=\d+ sent=\d+/,
  );
});

Deno.test("log_min_duration: slow queries, with their texts only where these are asked for", async () => {
  const slow = (text: number) => ({
    ...poolOf(postgres),
    log_min_duration: "20ms",
    log_min_duration_text: text,
  });
  await using doorman = await Doorman.start({
    config: { pools: { app: slow(0), texts: slow(40), quick: poolOf(postgres) } },
  });
  for (const database of ["app", "texts", "quick"]) {
    using client = await WireClient.login({ port: doorman.port, user: "postgres", database });
    await client.query("SELECT 1, 'quick'");
    await client.query("SELECT pg_sleep(0.03), 'slow'");
    await client.ask(wire.extended("SELECT pg_sleep(0.03), $1::text", ["a-secret"]), wire.SYNC);
    await client.terminate();
  }
  await doorman.stop();
  const lines = doorman.logs.split("\n").filter((line) => line.includes(" slow query: "));
  // More may be slow here.
  const told = (database: string) =>
    lines.filter((line) => line.includes(`[postgres@${database} `))
      .map((line) => /text=(.*)$/.exec(line)?.[1]);
  assert.deepEqual(told("quick"), []);
  assert.ok(told("app").length >= 2 && told("app").every((text) => text === undefined));
  for (const text of ["SELECT pg_sleep(0.03), 'slow'", "SELECT pg_sleep(0.03), $1::text"]) {
    assert.equal(told("texts").filter((other) => other === `"${text}"`).length, 1, text);
  }
  const [line] = lines;
  assert.match(
    line!,
    / INFO client\/slow_query:0: .*: duration=\d+\.\d{3}ms pid=\d+ address=127\.0\.0\.1:\d+ application_name="/,
  );
  assert.ok(!doorman.logs.includes("a-secret"));
});

Deno.test("log_client_connections and log_client_disconnections = false leave these lines out", async () => {
  await using doorman = await start({
    log_client_connections: false,
    log_client_disconnections: false,
  });
  await session(doorman);
  await doorman.stop();
  assert.ok(!/client (dis)?connected/.test(doorman.logs), doorman.logs);
});

Deno.test("a refused login is always told, with the address and what was asked for", async () => {
  await using doorman = await start({ log_client_connections: false });
  await assert.rejects(
    WireClient.login({ port: doorman.port, user: "postgres", database: "app", password: "wrong" }),
  );
  await doorman.waitForLog(
    / WARN .*login from 127\.0\.0\.1:\d+ as "postgres" to "app" failed: password authentication failed/,
  );
});

Deno.test("a user's name can't forge a line of the log, in either format", async () => {
  const forged = "x\n2026-01-01T00:00:00.000Z ERROR forged\x1b[31m\r\u2028";
  for (const format of ["text", "structured"]) {
    await using doorman = await start({}, ["--log-format", format]);
    using client = await WireClient.open({ port: doorman.port });
    client.send(wire.startup({ user: forged, database: forged, application_name: forged }));
    client.send(wire.TERMINATE);
    await client.readToEnd();
    await doorman.waitForLog(/login from/);
    for (const line of doorman.logs.trimEnd().split("\n")) {
      assert.match(line, format === "text" ? /^\d{4}-.* (INFO|WARN) \S+:\d+: / : /^\{"timestamp":/);
      for (const control of ["\x1b", "\r", ...format === "text" ? ["\u2028"] : []]) {
        assert.ok(!line.includes(control), JSON.stringify(line));
      }
    }
  }
});

Deno.test("queries and their parameters are in no line, at any level", async () => {
  await using doorman = await start({}, ["-l", "trace"]);
  using client = await WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
  await client.query("SELECT 'a-secret-of-the-query'");
  await client.ask(wire.extended("SELECT $1::text", ["a-secret-parameter"]), wire.SYNC);
  await client.query("ALTER ROLE postgres PASSWORD 'postgres'; SELECT nonsense");
  await client.terminate();
  await doorman.waitForLog(/client disconnected/);
  await doorman.stop();
  assert.match(doorman.logs, /DEBUG|TRACE/);
  assert.ok(!/a-secret/.test(doorman.logs), doorman.logs);
});

Deno.test("a server's errors can't forge a line of the log, at the login or in the middle of a query", async () => {
  const forged = "no\n2026-01-01T00:00:00.000Z ERROR forged:1: by the server\r\nand more";
  const error = wire.message("E", wire.text(`SFATAL\0VFATAL\0C57P01\0M${forged}\0\0`));
  await using server = new WireServer(async (peer, nth) => {
    if (nth === 0) {
      await peer.startup();
      await peer.send(error);
      peer.hangUp();
    }
    await peer.welcome();
    await peer.read();
    await peer.send(error);
    peer.hangUp();
  });
  await using doorman = await Doorman.start({
    config: { pools: { app: { ...poolOf(postgres), server_port: server.port } } },
    allowLog: [/server login failed/, /server connection closed/, /client lost its server/],
  });
  using client = await WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
  client.send(wire.query("SELECT 1"));
  const [told] = await client.readToEnd();
  assert.equal(wire.errorFields(told!).M, forged);
  await doorman.stop();
  assert.match(doorman.logs, /server login failed: 57P01: no /);
  for (const line of doorman.logs.trimEnd().split("\n")) {
    assert.match(line, /^\d{4}-\S+ +(INFO|WARN|ERROR) \S+:\d+: /);
    assert.doesNotMatch(line, / forged:1: by the server$/);
    assert.ok(!line.includes("\r"));
  }
});

Deno.test("names as long as a StartupMessage may be are cut to 63 bytes, in the log and in what the client is told", async () => {
  await using doorman = await start({
    pg_hba: "host app all 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n",
  });
  const long = `✓${"n".repeat(3000)}`;
  const cut = `✓${"n".repeat(60)}…`;
  // pg_hba knows no longer ones.
  const shorter = long.slice(0, 200);
  const startups: Record<string, string>[] = [
    { user: long, database: "app" },
    { user: shorter, database: shorter, application_name: long },
    { user: "postgres", database: "app", replication: long },
  ];
  for (const fields of startups) {
    using client = await WireClient.open({ port: doorman.port });
    client.send(wire.startup(fields));
    const [first] = await client.readToEnd();
    const told = wire.errorFields(first!).M!;
    assert.ok(told.length < 300, told);
    assert.ok(told.includes(cut), told);
  }
  await doorman.waitForLog(/login from .* failed: .*replication/);
  await doorman.stop();
  assert.ok(doorman.logs.includes(`[${cut}@${cut} #c`), doorman.logs);
  for (const line of doorman.logs.split("\n")) assert.ok(line.length < 600, line);
});

Deno.test("refused log-ins of one kind from one address: the first at once, the others in one line", async () => {
  // Each wrong password more is looked at later.
  await using doorman = await start({ worker_threads: 1, auth_failure_delay: 0 });
  const refuse = async (user: string, database: string) => {
    await assert.rejects(WireClient.login({ port: doorman.port, user, database }), /28P01/);
  };
  for (let i = 0; i < 200; i++) await refuse(`user${i}`, "nowhere");
  // Another kind is news.
  using client = await WireClient.open({ port: doorman.port });
  client.send(Uint8Array.of(0, 0, 0, 5, 0));
  await client.readToEnd();
  await doorman.waitForLog(/invalid length of startup packet/);
  const told = (text: string) => doorman.logs.split("\n").filter((line) => line.includes(text));
  assert.equal(told("no pool configured").length, 1);
  assert.match(told("no pool configured")[0]!, /as "user0" to "nowhere" failed/);
  await doorman.waitForLog(
    / WARN .*no_pool: … and 199 more of these in the last 10 s from 127\.0\.0\.1, the last one: \[user199@/,
    15_000,
  );
  assert.equal(told("no pool configured").length, 2);
});
