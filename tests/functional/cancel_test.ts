/**
 * CancelRequest: reaches the query of the client whose key it carries, on any worker, in any state, and never a query of
 * anybody else.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireServer } from "../support/wire_server.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({ settings: ["max_connections = 50"] });
  const pool = (size: number, rest: Config = {}) =>
    poolOf(postgres, {
      users: [{ username: "postgres", password: "postgres", pool_size: size }],
      ...rest,
    });
  doorman = await Doorman.start({
    config: {
      general: { worker_threads: 4, query_wait_timeout: "20s" },
      pools: {
        one: pool(1),
        many: pool(8),
        session: pool(8, { pool_mode: "session" }),
        // Pools spread over the workers: whoever asks for cancel arrives at any of them.
        a: pool(2),
        b: pool(2),
        c: pool(2),
        d: pool(2),
      },
    },
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

async function login(database: string): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user: "postgres", database });
}

async function sleeping(count: number): Promise<void> {
  await waitFor("the queries run", 5000, async () =>
    await postgres.psql(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
      ) === String(count) || undefined);
}

const LONG = wire.query("SELECT pg_sleep(60)");

Deno.test("an active query is canceled with 57014, by simple and extended protocol, and the session goes on", async () => {
  for (const database of ["many", "session"]) {
    using client = await login(database);
    for (const parts of [[LONG], [wire.extended("SELECT pg_sleep(60)"), wire.SYNC]]) {
      client.send(...parts);
      await sleeping(1);
      await client.cancel();
      const answer = await client.readUntil("Z");
      assert.deepEqual(wire.errorCodes(answer), ["57014"]);
      assert.equal(await client.value("SELECT 1"), "1");
    }
  }
});

Deno.test("a cancel in a transaction fails the transaction and keeps it with its client", async () => {
  using client = await login("many");
  await client.query("START TRANSACTION");
  client.send(LONG);
  await sleeping(1);
  await client.cancel();
  const answer = await client.readUntil("Z");
  assert.deepEqual(wire.errorCodes(answer), ["57014"]);
  assert.deepEqual(wire.errorCodes(await client.query("SELECT 1")), ["25P02"]);
  await client.query("ROLLBACK");
});

Deno.test("a large result and a COPY are canceled in the middle", async () => {
  using client = await login("many");
  for (
    const sql of [
      "SELECT repeat('x', 1000), generate_series(1, 100000000)",
      "COPY (SELECT repeat('x', 1000), generate_series(1, 100000000)) TO STDOUT",
    ]
  ) {
    client.send(wire.query(sql));
    await client.readUntil(sql.startsWith("COPY") ? "d" : "D");
    await client.cancel();
    let last: wire.Message;
    do last = await client.read(); while (last.type === "D" || last.type === "d");
    assert.deepEqual(wire.errorCodes([last]), ["57014"]);
    await client.readUntil("Z");
    assert.equal(await client.value("SELECT 1"), "1");
  }
});

Deno.test("every worker finds the client, wherever the CancelRequest arrives", async () => {
  const clients: WireClient[] = [];
  try {
    for (const database of ["a", "b", "c", "d"]) {
      clients.push(await login(database), await login(database));
    }
    for (let round = 0; round < 4; round++) {
      for (const client of clients) client.send(LONG);
      await sleeping(clients.length);
      await Promise.all(clients.map((client) => client.cancel()));
      for (const client of clients) {
        assert.deepEqual(wire.errorCodes(await client.readUntil("Z")), ["57014"]);
      }
    }
  } finally {
    for (const client of clients) client.close();
  }
});

Deno.test("a client that waits for a server: its request ends with 57014 and never runs", async () => {
  using holder = await login("one");
  using client = await login("one");
  await postgres.query("CREATE TABLE IF NOT EXISTS ran (x int)");
  await holder.query("START TRANSACTION");
  client.send(wire.query("INSERT INTO ran VALUES (1)"));
  assert.ok(await client.silent(50));
  await client.cancel();
  const answer = await client.readUntil("Z");
  assert.deepEqual(wire.errorCodes(answer), ["57014"]);
  assert.equal(wire.letters(answer), "EZ");
  client.send(wire.extended("INSERT INTO ran VALUES (2)"), wire.SYNC);
  assert.ok(await client.silent(50));
  await client.cancel();
  assert.equal(wire.letters(await client.readUntil("Z")), "EZ");
  await holder.query("COMMIT");
  assert.equal(await client.value("SELECT count(*) FROM ran"), "0");
});

Deno.test("a cancel while the parameters are being set: the request ends with 57014 and never reaches the server", async () => {
  const { promise: setting, resolve: sets } = Promise.withResolvers<void>();
  const { promise: canceled, resolve: goOn } = Promise.withResolvers<void>();
  const asked: string[] = [];
  await using server = new WireServer(async (peer) => {
    await peer.welcome({ application_name: "pg_doorman" });
    for (;;) {
      const sql = wire.strings(await peer.read())[0]!;
      asked.push(sql);
      if (!sql.startsWith("SET") && !sql.includes("set_config")) {
        await peer.answer("1");
        continue;
      }
      sets();
      await canceled;
      await peer.send(
        wire.message("S", wire.cstring("application_name"), wire.cstring("mine")),
        wire.message("C", wire.cstring("SET")),
        wire.message("Z", wire.text("I")),
      );
    }
  });
  await using own = await Doorman.start({
    config: {
      pools: {
        app: {
          server_host: "127.0.0.1",
          server_port: server.port,
          users: [{ username: "postgres", password: "postgres", pool_size: 1 }],
        },
      },
    },
  });
  using client = await WireClient.login({
    port: own.port,
    user: "postgres",
    database: "app",
    parameters: { application_name: "mine" },
  });
  client.send(wire.query("DELETE FROM everything"));
  await setting;
  await client.cancel();
  assert.ok(await client.silent(50));
  goOn();
  const answer = await client.readUntil("Z");
  assert.deepEqual(wire.errorCodes(answer), ["57014"]);
  assert.equal(await client.value("SELECT 1"), "1");
  assert.ok(!asked.some((sql) => sql.startsWith("DELETE")), asked.join("; "));
});

Deno.test("an idle client, also one in a transaction: nothing happens, nothing is canceled later", async () => {
  using client = await login("many");
  await client.cancel();
  assert.equal(await client.value("SELECT 1"), "1");
  await client.cancel();
  await client.query("START TRANSACTION");
  await client.cancel();
  assert.equal(await client.value("SELECT pg_sleep(0.05)"), "");
  await client.query("COMMIT");
});

Deno.test("a wrong secret, an unknown client and a key of a wrong length cancel nothing and are told nothing", async () => {
  using client = await login("many");
  client.send(LONG);
  await sleeping(1);
  const wrong = client.secret.slice();
  wrong[3]! ^= 1;
  await client.cancel(wrong);
  await client.cancel(client.secret, client.pid + 100_000);
  await client.cancel(new Uint8Array(client.secret.length * 8));
  await client.cancel(client.secret.slice(0, 4).fill(0));
  assert.ok(await client.silent(200));
  await sleeping(1);
  await client.cancel();
  await client.readUntil("Z");
});

Deno.test("keys are the pooler's own: PostgreSQL's backend ids are not shown and two clients never share one", async () => {
  const clients = await Promise.all(Array.from({ length: 50 }, () => login("many")));
  try {
    assert.equal(new Set(clients.map(({ pid }) => pid)).size, 50);
    assert.equal(new Set(clients.map(({ secret }) => secret.join(" "))).size, 50);
    for (const { secret } of clients) assert.equal(secret.length, 4);
  } finally {
    for (const client of clients) client.close();
  }
});

Deno.test("the next client of the same server is never hit by a cancel that came too late", async () => {
  // One server for all: whatever hits it late hits somebody else's query.
  using victim = await login("one");
  using canceler = await login("one");
  let running = true;
  let victimQueries = 0;
  const wrong: string[] = [];
  const victims = (async () => {
    while (running) {
      const answer = await victim.query("SELECT count(*) FROM generate_series(1, 3000)");
      victimQueries++;
      wrong.push(...wire.errorCodes(answer));
      const [row] = wire.rowsOf(answer);
      if (row?.[0] !== "3000") wrong.push(`rows: ${JSON.stringify(row)}`);
    }
  })();
  let canceled = 0;
  let missed = 0;
  let sleepMs = 1.5;
  try {
    for (let i = 0; i < 600 || victimQueries <= 100 && i < 6000; i++) {
      // It ends about when the cancel arrives, before or after: this finds the time by itself, on any machine.
      canceler.send(wire.query(`SELECT pg_sleep(${(sleepMs / 1000).toFixed(5)})`));
      const cancels = [canceler.cancel()];
      if (i % 3 === 0) cancels.push(canceler.cancel());
      const codes = wire.errorCodes(await canceler.readUntil("Z"));
      if (codes.length === 0) {
        missed++;
        sleepMs = Math.min(50, sleepMs * 1.05);
      } else {
        assert.deepEqual(codes, ["57014"]);
        canceled++;
        sleepMs = Math.max(0.05, sleepMs * 0.95);
      }
      await Promise.all(cancels);
    }
  } finally {
    running = false;
    await victims;
  }
  assert.deepEqual(wrong, []);
  assert.ok(victimQueries > 100, `${victimQueries} queries of the victim`);
  assert.ok(canceled > 20 && missed > 20, `canceled ${canceled}, too late ${missed}: no race`);
});

Deno.test("psql's Ctrl+C (SIGINT) cancels the query and psql goes on", async () => {
  const child = new Deno.Command("psql", {
    args: ["-X", "-At", doorman.url("many", "postgres")],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const stdin = child.stdin.getWriter();
  await stdin.write(new TextEncoder().encode("SELECT pg_sleep(60);\n"));
  await sleeping(1);
  child.kill("SIGINT");
  await waitFor(
    "the end of the query",
    5000,
    async () =>
      await postgres.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") ===
        "0" || undefined,
  );
  await stdin.close();
  const { stderr } = await child.output();
  assert.match(new TextDecoder().decode(stderr), /canceling statement due to user request/);
});

Deno.test("the connection of a CancelRequest ends without a reset, whomever it is for; two in a row are one error", async () => {
  using client = await login("many");
  const cancelNow = async (secret: Uint8Array) => {
    const connection = await Deno.connect({ hostname: "127.0.0.1", port: doorman.port });
    try {
      await connection.write(wire.cancelRequest(client.pid, secret));
      assert.equal(await connection.read(new Uint8Array(10)), null);
    } finally {
      connection.close();
    }
  };
  client.send(LONG);
  await sleeping(1);
  await cancelNow(client.secret.slice().fill(7));
  await cancelNow(client.secret);
  await cancelNow(client.secret);
  assert.deepEqual(wire.errorCodes(await client.readUntil("Z")), ["57014"]);
  await cancelNow(client.secret);
  assert.equal(await client.value("SELECT pg_sleep(0.1)"), "");
});

Deno.test("the key of a client that has gone cancels nobody, whoever has its server now", async () => {
  using gone = await login("one");
  assert.equal(await gone.value("SELECT 1"), "1");
  const { pid, secret } = gone;
  await gone.terminate();
  using next = await login("one");
  assert.notEqual(next.pid, pid);
  next.send(wire.query("SELECT pg_sleep(0.4), 'mine'"));
  await sleeping(1);
  await next.cancel(secret, pid);
  assert.deepEqual(wire.rowsOf(await next.readUntil("Z")), [["", "mine"]]);
});

/** A race of statements and cancels for one client: the SQLSTATEs of the statements that were sent behind. */
async function late(
  client: WireClient,
  { rounds, before }: { rounds: number; before: string },
): Promise<{ wrong: string[]; canceled: number; missed: number }> {
  const wrong: string[] = [];
  let canceled = 0;
  let missed = 0;
  let sleepMs = 1.5;
  for (let i = 0; i < rounds; i++) {
    await client.query(before);
    // It ends about when the cancel arrives, before or after.
    client.send(wire.query(`SELECT pg_sleep(${(sleepMs / 1000).toFixed(5)})`));
    const cancels = [client.cancel()];
    if (i % 3 === 0) cancels.push(client.cancel());
    const codes = wire.errorCodes(await client.readUntil("Z"));
    if (codes.length === 0) {
      missed++;
      sleepMs = Math.min(50, sleepMs * 1.05);
    } else {
      canceled++;
      sleepMs = Math.max(0.05, sleepMs * 0.95);
      if (before !== "SELECT 1") await client.query("ROLLBACK");
    }
    await Promise.all(cancels);
    const answer = await client.query("SELECT count(*) FROM generate_series(1, 20000)");
    wrong.push(...wire.errorCodes(answer));
    if (before !== "SELECT 1") await client.query("ROLLBACK");
  }
  return { wrong, canceled, missed };
}

Deno.test("a cancel that came too late never hits the client's next statement: in every mode, on any worker", async () => {
  for (const database of ["one", "many", "session", "a", "b", "c", "d"]) {
    for (const before of ["SELECT 1", "START TRANSACTION"]) {
      using client = await login(database);
      const { wrong, canceled, missed } = await late(client, { rounds: 100, before });
      const where = `${database}, ${before}`;
      assert.deepEqual(wrong, [], where);
      assert.ok(canceled > 2 && missed > 2, `${where}: canceled ${canceled}, missed ${missed}`);
      await client.terminate();
    }
  }
});

Deno.test("the connection of a CancelRequest ends when PostgreSQL has hung up, and not before", async () => {
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
  const { promise: mayEnd, resolve: end } = Promise.withResolvers<void>();
  let ran = 0;
  await using server = new WireServer(async (peer, nth) => {
    if (nth > 0) {
      await peer.startup();
      ask();
      await mayEnd;
      peer.hangUp();
    }
    await peer.welcome({ application_name: "pg_doorman" });
    for (;;) {
      await peer.read();
      if (++ran === 1) await asked;
      await peer.answer("1");
    }
  });
  await using own = await Doorman.start({
    config: {
      general: { worker_threads: 2 },
      pools: {
        app: {
          server_host: "127.0.0.1",
          server_port: server.port,
          users: [{ username: "postgres", password: "postgres", pool_size: 1 }],
        },
      },
    },
  });
  using client = await WireClient.login({ port: own.port, user: "postgres", database: "app" });
  client.send(wire.query("SELECT 1"));
  let ended = false;
  const canceling = client.cancel().then(() => void (ended = true));
  try {
    await client.readUntil("Z");
    // It is done, and the request that was meant for it is still under way: nothing new may be sent to that server.
    client.send(wire.query("SELECT 2"));
    assert.ok(await client.silent(300));
    assert.ok(!ended);
    assert.equal(ran, 1);
  } finally {
    end();
  }
  await canceling;
  await client.readUntil("Z");
  assert.equal(ran, 2);
});

Deno.test("a client's process id is none that a process can have, and random", async () => {
  const clients = await Promise.all(Array.from({ length: 8 }, () => login("many")));
  try {
    const ids = clients.map(({ pid }) => pid);
    assert.equal(new Set(ids).size, 8);
    for (const id of ids) assert.ok(id >= 2 ** 22 && id < 2 ** 31, String(id));
    const sorted = ids.toSorted((a, b) => a - b);
    assert.ok(sorted.some((id, i) => i > 0 && id - sorted[i - 1]! > 1000), String(sorted));
  } finally {
    for (const client of clients) client.close();
  }
});
