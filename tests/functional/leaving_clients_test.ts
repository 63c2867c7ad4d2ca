/**
 * Clients that leave without a word: reset in the middle of what they had sent or were to receive. Nothing of theirs
 * reaches the next client, nothing of it is committed, and every count goes back to where it was.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { consoleOf, show } from "../reload/support.ts";

let postgres: Postgres;
/** `one` has a single server that keeps two statements; `many` has eight servers. */
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  await postgres.query("CREATE TABLE kept (x int)");
  const pool = (pool_size: number, rest: Config = {}) =>
    poolOf(postgres, {
      users: [{ username: "postgres", password: "postgres", pool_size }],
      ...rest,
    });
  doorman = await Doorman.start({
    config: {
      pools: {
        one: pool(1, { server_prepared_statements_cache_size: 2 }),
        many: pool(8),
        session: pool(1, { pool_mode: "session" }),
      },
    },
    allowLog: [/left in a state that can't be reused/, /client connection failed/],
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

function login(database: string): Promise<WireClient> {
  return WireClient.login({ port: doorman.port, user: "postgres", database });
}

const P = wire.parse;
const B = wire.bind;
const E = wire.execute();
const S = wire.SYNC;
const H = wire.FLUSH;
const LONG_ROW = "SELECT repeat('x', 50000000)";
const LONG_RESULT = "SELECT repeat('x', 1000) FROM generate_series(1, 200000)";

/** No client but those at the console, and no server in use. */
async function allAtRest(): Promise<void> {
  using admin = await consoleOf(doorman);
  await waitFor("counts are zero", 5000, async () => {
    const pools = await show(admin, "POOLS");
    const counts = pools.flatMap(({ cl_active, cl_idle, cl_waiting, sv_active, sv_login }) => [
      cl_active,
      cl_idle,
      cl_waiting,
      sv_active,
      sv_login ?? "0",
    ]);
    return counts.every((count) => count === "0") || undefined;
  });
}

/** Waits until something has come that is not read: closing now resets the connection. */
async function closeUnread(client: WireClient): Promise<void> {
  await client.flushed();
  await new Promise((resolve) => setTimeout(resolve, 20));
  client.close();
}

Deno.test("leaving: a batch without Sync and without Flush: nothing of it is committed, the next client is clean", async () => {
  for (
    const parts of [
      [P("", "INSERT INTO kept VALUES (1)"), B("", ""), E],
      [P("s", "INSERT INTO kept VALUES (1)"), B("", "s"), E, B("", "s")],
      [P("s", "SELEKT"), B("", "s"), E],
    ]
  ) {
    using client = await login("one");
    client.send(...parts);
    await closeUnread(client);
    using next = await login("one");
    assert.equal(await next.value("SELECT count(*) FROM kept"), "0");
    assert.deepEqual(wire.rowsOf(await next.ask(P("s", "SELECT 'mine'"), B("", "s"), E, S)), [[
      "mine",
    ]]);
  }
  await allAtRest();
});

Deno.test("leaving: statements that were parsed and never synced are there for the next client, or parsed anew", async () => {
  const texts = ["SELECT 'a'", "SELECT 'b'", "SELECT 'c'", "SELECT 'd'"];
  for (let cycle = 0; cycle < 12; cycle++) {
    using client = await login("one");
    // By Sync before, by Flush, by neither; more of them than the server keeps.
    if (cycle % 3 === 0) await client.ask(P("before", texts[cycle % 4]!), S);
    client.send(...texts.map((text, i) => P(`s${i}`, text)), B("", "s0"), E, B("", "s3"));
    if (cycle % 2 === 0) client.send(H);
    if (cycle % 4 === 3) client.send(P("bad", "SELEKT"), H);
    await closeUnread(client);
    using next = await login("one");
    const mine = [
      ...texts.map((text, i) => P(`n${i}`, text)),
      ...texts.flatMap((_, i) => [
        B("", `n${i}`),
        E,
      ]),
    ];
    const answer = await next.ask(...mine, S);
    assert.deepEqual(wire.rowsOf(answer), [["a"], ["b"], ["c"], ["d"]], `cycle ${cycle}`);
    assert.deepEqual(wire.errorCodes(answer), []);
    await next.terminate();
  }
  await allAtRest();
});

Deno.test("leaving: an error in a batch by Flush, never synced: the next client has a server that works", async () => {
  for (const database of ["one", "session"]) {
    using client = await login(database);
    client.send(P("", "SELECT 1/0"), B("", ""), E, H);
    await client.readUntil("E");
    client.close();
    using next = await login(database);
    assert.equal(await next.value("SELECT 'mine'"), "mine");
    const answer = await next.ask(wire.extended("SELECT 'mine, too'"), S);
    assert.deepEqual(wire.rowsOf(answer), [["mine, too"]]);
    await next.terminate();
  }
  await allAtRest();
});

Deno.test("leaving: in the middle of a row, of rows, of a COPY, in and out of a transaction", async () => {
  const ways: [name: string, before: string, parts: Uint8Array[]][] = [
    ["a long row", "SELECT 1", [wire.query(LONG_ROW)]],
    ["a long row of a transaction", "START TRANSACTION", [wire.query(LONG_ROW)]],
    ["rows of a transaction", "START TRANSACTION", [wire.query(LONG_RESULT)]],
    ["rows of a batch", "SELECT 1", [P("", LONG_RESULT), B("", ""), E, S]],
    ["a long row by Flush", "SELECT 1", [P("", LONG_ROW), B("", ""), E, H]],
    ["COPY", "SELECT 1", [wire.query(`COPY (${LONG_RESULT}) TO STDOUT`)]],
    ["rows, and more was asked", "SELECT 1", [wire.query(LONG_RESULT), wire.query(LONG_ROW)]],
  ];
  for (const [name, before, parts] of ways) {
    using client = await login("one");
    await client.query("INSERT INTO kept VALUES (2); DELETE FROM kept");
    await client.query(before);
    if (before !== "SELECT 1") await client.query("INSERT INTO kept VALUES (2)");
    client.send(...parts);
    await closeUnread(client);
    using next = await login("one");
    assert.deepEqual(await next.rows("SELECT 'mine', count(*) FROM kept"), [["mine", "0"]], name);
    assert.equal((await next.query("SELECT 1")).at(-1)!.body[0], 0x49, name);
    await next.terminate();
  }
  await allAtRest();
});

Deno.test("leaving: forty clients at once in the middle of large results, three times", async () => {
  for (let round = 0; round < 3; round++) {
    const clients = await Promise.all(Array.from({ length: 40 }, () => login("many")));
    clients.forEach((client, i) => {
      client.send(
        ...i % 3 === 0
          ? [wire.query(LONG_ROW)]
          : i % 3 === 1
          ? [P("s", LONG_RESULT), B("", "s"), E, i % 2 === 0 ? H : S]
          : [wire.query("START TRANSACTION"), wire.query(LONG_RESULT)],
      );
    });
    await Promise.all(clients.map((client) => client.flushed()));
    await new Promise((resolve) => setTimeout(resolve, 100));
    for (const client of clients) client.close();
  }
  await allAtRest();
  const fresh = await Promise.all(Array.from({ length: 16 }, () => login("many")));
  const answers = await Promise.all(fresh.map((client, i) => client.value(`SELECT ${i}`)));
  assert.deepEqual(answers, fresh.map((_, i) => String(i)));
  for (const client of fresh) client.close();
  await allAtRest();
  const count = await postgres.psql(
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_doorman'",
  );
  // One for each of the two other pools at most.
  assert.ok(Number(count) <= 10, `${count} servers`);
});

Deno.test("leaving: a client that is reset is out of SHOW CLIENTS within two seconds, at the console, too", async () => {
  using admin = await consoleOf(doorman);
  for (let round = 0; round < 5; round++) {
    using idle = await login("many");
    using busy = await login("many");
    using inside = await login("many");
    using operator = await consoleOf(doorman);
    idle.send(wire.query("SELECT 1"));
    busy.send(wire.query(LONG_RESULT));
    await inside.query("START TRANSACTION");
    inside.send(wire.query("SELECT 1"));
    operator.send(wire.query("SHOW CONFIG"));
    await new Promise((resolve) => setTimeout(resolve, 20));
    const shown = await show(admin, "CLIENTS");
    assert.equal(shown.length, 5, JSON.stringify(shown));
    for (const client of [idle, busy, inside, operator]) client.close();
    await waitFor(
      "only this console is left",
      2000,
      async () => (await show(admin, "CLIENTS")).length === 1 || undefined,
    );
  }
});

Deno.test("leaving: what runs is canceled, and the server is the next client's at once; a last write is done first", async () => {
  const sleeping = async () =>
    await postgres.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
  const long = wire.query("SELECT pg_sleep(60)");
  const extended = [P("", "SELECT pg_sleep(60)"), B("", ""), E, S];
  for (const before of ["SELECT 1", "START TRANSACTION"]) {
    for (const [parts, last] of [[[long], []], [extended, []], [[long], [wire.TERMINATE]]]) {
      using client = await login("one");
      await client.query(before);
      client.send(...parts!);
      await waitFor("it runs", 5000, async () => await sleeping() === "1" || undefined);
      const pid = await postgres.psql(
        "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
      );
      client.send(...last!);
      await client.flushed();
      client.close();
      using next = await login("one");
      // The same connection: nothing was closed.
      assert.equal(await next.value("SELECT pg_backend_pid()"), pid, before);
      assert.equal(await sleeping(), "0");
      await next.terminate();
    }
  }
  using client = await login("one");
  client.send(wire.query("INSERT INTO kept SELECT 7 FROM pg_sleep(0.2)"), wire.TERMINATE);
  await client.flushed();
  client.close();
  using next = await login("one");
  assert.equal(await next.value("SELECT count(*) FROM kept WHERE x = 7"), "1");
  await next.query("DELETE FROM kept");
});

Deno.test("leaving: who only says no more still reads the answer, and then the end, as directly", async () => {
  const direct = { port: postgres.port, database: "postgres", user: "postgres" };
  const sleep = "SELECT pg_sleep(0.2)::text || 'done'";
  const ways: [name: string, parts: Uint8Array[]][] = [
    ["a query", [wire.query(sleep)]],
    ["a batch", [P("", sleep), B("", ""), E, S]],
    ["in a transaction", [wire.query("START TRANSACTION"), wire.query(sleep)]],
    ["two queries", [wire.query(sleep), wire.query("SELECT 'more'")]],
    ["a long result", [wire.query("SELECT repeat('x', 1000) FROM generate_series(1, 5000)")]],
    ["COPY that needs more", [wire.query("COPY kept FROM STDIN")]],
    ["a batch without its end", [P("", sleep), B("", ""), E]],
  ];
  for (const [name, parts] of ways) {
    const ends: string[] = [];
    for (const place of [direct, { ...direct, port: doorman.port, database: "one" }]) {
      using client = await WireClient.login(place);
      client.send(...parts);
      await client.closeWrite();
      const said = await client.readToEnd();
      ends.push(said.map(({ type }) => type).filter((type) => !"SNE".includes(type)).join(""));
    }
    assert.equal(ends[1], ends[0], name);
  }
  await allAtRest();
});

Deno.test("leaving: who waits for a server and only says no more gets it, and who is gone does not", async () => {
  using holder = await login("one");
  await holder.query("START TRANSACTION");
  await holder.query("SELECT 1");
  using half = await login("one");
  half.send(wire.query("SELECT 'mine'"));
  await half.closeWrite();
  using gone = await login("one");
  gone.send(wire.query("INSERT INTO kept VALUES (9)"));
  await gone.flushed();
  gone.close();
  using admin = await consoleOf(doorman);
  await waitFor("only the half-closed one waits", 5000, async () => {
    const [pool] = (await show(admin, "POOLS")).filter(({ database }) => database === "one");
    return pool!.cl_waiting === "1" || undefined;
  });
  await holder.query("COMMIT");
  assert.deepEqual(wire.rowsOf(await half.readToEnd()), [["mine"]]);
  assert.equal(await holder.value("SELECT count(*) FROM kept WHERE x = 9"), "0");
  await holder.terminate();
  await allAtRest();
});
