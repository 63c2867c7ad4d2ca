/**
 * How clients get a server: in the order of their asking, never more than pool_size, within query_wait_timeout; and what
 * they are told when there is none.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { ADMIN, type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { Refused, WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

/** A pool of one user, `size` servers. */
function pool(size: number, rest: Config = {}, user: Config = {}): Config {
  return poolOf(postgres, {
    users: [{ username: "postgres", password: "postgres", pool_size: size, ...user }],
    ...rest,
  });
}

async function login(doorman: Doorman, database: string = "app"): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user: "postgres", database });
}

async function logins(doorman: Doorman, count: number): Promise<WireClient[]> {
  return await Promise.all(Array.from({ length: count }, () => login(doorman)));
}

/** One value of SHOW POOLS. */
async function shown(doorman: Doorman, column: string): Promise<number> {
  using admin = await WireClient.login({
    port: doorman.port,
    user: ADMIN.user,
    password: ADMIN.password,
    database: "pgdoorman",
  });
  const messages = await admin.query("SHOW POOLS");
  const columns = columnNames(messages[0]!);
  const row = wire.rowsOf(messages)[0]!;
  await admin.terminate();
  return Number(row[columns.indexOf(column)]);
}

function columnNames({ body }: wire.Message): string[] {
  const names: string[] = [];
  for (let at = 2; at < body.length;) {
    const end = body.indexOf(0, at);
    names.push(new TextDecoder().decode(body.subarray(at, end)));
    at = end + 1 + 18;
  }
  return names;
}

async function backends(): Promise<number> {
  return Number(
    await postgres.psql(
      "SELECT count(*) FROM pg_stat_activity " +
        "WHERE backend_type = 'client backend' AND application_name = 'pg_doorman'",
    ),
  );
}

Deno.test("waiting clients are served in the order in which they asked", async () => {
  await using doorman = await Doorman.start({ config: { pools: { app: pool(1) } } });
  const [holder, ...waiting] = await logins(doorman, 13);
  try {
    await holder!.query("BEGIN; CREATE TABLE IF NOT EXISTS arrivals (at serial, who int)");
    for (const [i, client] of waiting.entries()) {
      client.send(wire.query(`INSERT INTO arrivals (who) VALUES (${i})`));
      await waitFor(
        "the client waits",
        5000,
        async () => await shown(doorman, "cl_waiting") === i + 1 || undefined,
      );
    }
    await holder!.query("COMMIT");
    await Promise.all(waiting.map((client) => client.readUntil("Z")));
    const order = (await postgres.query<{ who: number }>("SELECT who FROM arrivals ORDER BY at"))
      .map(({ who }) => who);
    assert.deepEqual(order, waiting.map((_, i) => i));
  } finally {
    for (const client of [holder!, ...waiting]) client.close();
  }
});

Deno.test("a client that leaves the queue does not cost the others their turn", async () => {
  await using doorman = await Doorman.start({ config: { pools: { app: pool(1) } } });
  const [holder, first, leaving, last] = await logins(doorman, 4);
  try {
    await holder!.query("START TRANSACTION");
    for (const [i, client] of [first!, leaving!, last!].entries()) {
      client.send(wire.query(`SELECT ${i}`));
      await waitFor(
        "the client waits",
        5000,
        async () => await shown(doorman, "cl_waiting") === i + 1 || undefined,
      );
    }
    leaving!.close();
    await waitFor(
      "it has left",
      5000,
      async () => await shown(doorman, "cl_waiting") === 2 || undefined,
    );
    await holder!.query("COMMIT");
    assert.deepEqual(wire.rowsOf(await first!.readUntil("Z")), [["0"]]);
    assert.deepEqual(wire.rowsOf(await last!.readUntil("Z")), [["2"]]);
    assert.equal(await shown(doorman, "sv_active"), 0);
  } finally {
    for (const client of [holder!, first!, leaving!, last!]) client.close();
  }
});

Deno.test("pool_size is never exceeded, and every client gets its own rows", async () => {
  await using doorman = await Doorman.start({ config: { pools: { app: pool(4) } } });
  const clients = await logins(doorman, 40);
  let most = 0;
  let watching = true;
  const watch = (async () => {
    while (watching) most = Math.max(most, await backends());
  })();
  try {
    await Promise.all(clients.map(async (client, who) => {
      for (let i = 0; i < 25; i++) {
        const rows = await client.rows(`SELECT ${who}, ${i}, pg_sleep(0.001)`);
        assert.deepEqual(rows.map((row) => row.slice(0, 2)), [[String(who), String(i)]]);
      }
    }));
  } finally {
    watching = false;
    await watch;
    for (const client of clients) client.close();
  }
  assert.equal(most, 4);
});

Deno.test("min_pool_size servers are there before the first client, and again after they were killed", async () => {
  await using doorman = await Doorman.start({
    config: {
      general: { retain_connections_time: "200ms" },
      pools: { app: pool(5, {}, { min_pool_size: 3 }) },
    },
    allowLog: [/server connection closed/],
  });
  await waitFor("three servers", 5000, async () => await backends() === 3 || undefined);
  await postgres.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pg_doorman'",
  );
  await waitFor("three again", 5000, async () => await backends() === 3 || undefined);
  assert.equal(await shown(doorman, "sv_idle"), 3);
});

Deno.test("query_wait_timeout: simple protocol gets ERROR 53300 and ReadyForQuery, and the session goes on", async () => {
  await using doorman = await Doorman.start({
    config: { general: { query_wait_timeout: "300ms" }, pools: { app: pool(1) } },
    allowLog: [/checkout timeout/],
  });
  const [holder, client] = await logins(doorman, 2);
  try {
    await holder!.query("START TRANSACTION");
    const started = performance.now();
    const answer = await client!.query("SELECT 1; SELECT 2");
    const took = performance.now() - started;
    assert.ok(took > 280 && took < 4000, `${took} ms`);
    assert.equal(wire.letters(answer), "EZ");
    const fields = wire.errorFields(answer[0]!);
    assert.deepEqual([fields.S, fields.V, fields.C], ["ERROR", "ERROR", "53300"]);
    assert.match(fields.M!, /query_wait_timeout.*timeout/);
    assert.equal(new TextDecoder().decode(answer[1]!.body), "I");
    await holder!.query("COMMIT");
    assert.equal(await client!.value("SELECT 3"), "3");
  } finally {
    holder!.close();
    client!.close();
  }
});

Deno.test("query_wait_timeout: extended protocol gets one ERROR, nothing up to its Sync runs, then it goes on", async () => {
  await using doorman = await Doorman.start({
    config: { general: { query_wait_timeout: "300ms" }, pools: { app: pool(1) } },
    allowLog: [/checkout timeout/],
  });
  await postgres.query("CREATE TABLE IF NOT EXISTS ran (what int)");
  const [holder, client] = await logins(doorman, 2);
  try {
    await holder!.query("START TRANSACTION");
    client!.send(
      wire.extended("INSERT INTO ran VALUES (1)"),
      wire.extended("INSERT INTO ran VALUES (2)"),
      wire.SYNC,
    );
    assert.equal(wire.letters(await client!.readUntil("Z")), "EZ");
    // A pipeline of two Syncs: the first part fails, the second waits anew.
    client!.send(
      wire.extended("INSERT INTO ran VALUES (3)"),
      wire.SYNC,
      wire.extended("INSERT INTO ran VALUES (4)"),
      wire.SYNC,
    );
    assert.equal(wire.letters(await client!.readUntil("Z")), "EZ");
    await holder!.query("COMMIT");
    assert.equal(wire.letters(await client!.readUntil("Z")), "12nCZ");
    assert.equal(await postgres.psql("SELECT string_agg(what::text, ' ') FROM ran"), "4");
  } finally {
    holder!.close();
    client!.close();
  }
});

Deno.test("query_wait_timeout: a large query that was refused is dropped to its last byte", async () => {
  await using doorman = await Doorman.start({
    config: { general: { query_wait_timeout: "200ms" }, pools: { app: pool(1) } },
    allowLog: [/checkout timeout/],
  });
  const [holder, client] = await logins(doorman, 2);
  try {
    await holder!.query("START TRANSACTION");
    const padding = "x".repeat(1_000_000);
    assert.equal(wire.letters(await client!.query(`SELECT '${padding}'`)), "EZ");
    client!.send(
      wire.parse("", `SELECT '${padding}'`),
      wire.bind("", ""),
      wire.execute(),
      wire.SYNC,
    );
    assert.equal(wire.letters(await client!.readUntil("Z")), "EZ");
    await holder!.query("COMMIT");
    assert.equal(await client!.value("SELECT 'all right'"), "all right");
  } finally {
    holder!.close();
    client!.close();
  }
});

Deno.test("PostgreSQL down: known pools log in and get ERROR 53300, and work again when it is back", async () => {
  await using server = await Postgres.start();
  await using doorman = await Doorman.start({
    config: { general: { query_wait_timeout: "400ms" }, pools: { app: poolOf(server) } },
    allowLog: [/server login failed/, /checkout timeout/, /server connection closed/, /login from/],
  });
  using client = await login(doorman);
  const before = await client.value("SELECT pg_backend_pid()");
  await server.stop();
  const answer = await client.query("SELECT 1");
  assert.equal(wire.letters(answer), "EZ");
  assert.deepEqual(
    [wire.errorFields(answer[0]!).S, wire.errorFields(answer[0]!).C],
    ["ERROR", "53300"],
  );
  assert.match(wire.errorFields(answer[0]!).M!, /^could not connect to PostgreSQL: .*refused/i);
  // Its parameters are known: a login needs no server.
  using second = await login(doorman);
  assert.deepEqual(wire.errorCodes(await second.query("SELECT 1")), ["53300"]);
  await server.start();
  await waitFor(
    "a server",
    10_000,
    async () => wire.letters(await client.query("SELECT 1")) === "TDCZ" || undefined,
  );
  assert.notEqual(await client.value("SELECT pg_backend_pid()"), before);
  assert.equal(await second.value("SELECT 2"), "2");
});

Deno.test("PostgreSQL down from the start: the login waits for it, within query_wait_timeout", async () => {
  await using server = await Postgres.create();
  await using doorman = await Doorman.start({
    config: { general: { query_wait_timeout: "1s" }, pools: { app: poolOf(server) } },
    allowLog: [/server login failed/, /checkout timeout/, /login from/],
  });
  await assert.rejects(login(doorman), (error) => {
    assert.ok(error instanceof Refused);
    assert.deepEqual([error.fields.S, error.fields.C], ["FATAL", "53300"]);
    return true;
  });
  const waiting = login(doorman);
  await server.start();
  using client = await waiting;
  assert.equal(await client.value("SELECT 1"), "1");
});

Deno.test("a restart of PostgreSQL is survived by idle sessions and told to busy ones", async () => {
  await using server = await Postgres.start();
  await using doorman = await Doorman.start({
    config: { pools: { app: poolOf(server) } },
    allowLog: [/server login failed/, /server connection closed/, /client lost its server/],
  });
  const [idle, busy, inTransaction] = await logins(doorman, 3);
  try {
    assert.equal(await idle!.value("SELECT 1"), "1");
    await inTransaction!.query("START TRANSACTION");
    busy!.send(wire.query("SELECT pg_sleep(60)"));
    await waitFor(
      "it runs",
      5000,
      async () =>
        await server.psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") ===
          "1" || undefined,
    );
    await server.restart("fast");
    for (const client of [busy!, inTransaction!]) {
      const answer = await client.readToEnd();
      const error = wire.errorFields(answer.find(({ type }) => type === "E")!);
      assert.deepEqual([error.S, error.C], ["FATAL", "57P01"]);
    }
    // Waits for the new server instead of failing.
    assert.equal(await idle!.value("SELECT 2"), "2");
  } finally {
    for (const client of [idle!, busy!, inTransaction!]) client.close();
  }
});

Deno.test("PostgreSQL lets in fewer servers than pool_size: the clients share those that there are", async () => {
  await postgres.query("CREATE ROLE limited LOGIN CONNECTION LIMIT 2");
  await using doorman = await Doorman.start({
    config: { pools: { app: pool(6, {}, { server_username: "limited" }) } },
    allowLog: [/server login failed: 53300/],
  });
  const clients = await logins(doorman, 20);
  try {
    for (let round = 0; round < 5; round++) {
      const users = await Promise.all(
        clients.map((client) => client.value("SELECT current_user || pg_sleep(0.005)")),
      );
      assert.deepEqual(users, clients.map(() => "limited"));
    }
  } finally {
    for (const client of clients) client.close();
  }
});

Deno.test("300 clients on 3 servers and one worker all get their answers", async () => {
  await using doorman = await Doorman.start({
    config: { general: { worker_threads: 1 }, pools: { app: pool(3) } },
  });
  const clients = await logins(doorman, 300);
  try {
    const answers = await Promise.all(clients.map((client, i) => client.value(`SELECT ${i}`)));
    assert.deepEqual(answers, clients.map((_, i) => String(i)));
    // One may be enough for all of them: each has had its chance.
    assert.ok(await backends() <= 3);
  } finally {
    for (const client of clients) client.close();
  }
  await waitFor(
    "nobody is left",
    5000,
    async () => await shown(doorman, "cl_idle") === 0 || undefined,
  );
});

Deno.test("server_round_robin = true rotates the idle servers, false stays with the last", async () => {
  for (const [server_round_robin, expected] of [[true, 3], [false, 1]] as const) {
    await using doorman = await Doorman.start({
      config: {
        general: { server_round_robin },
        pools: { app: pool(3, {}, { min_pool_size: 3 }) },
      },
    });
    await waitFor(
      "all servers",
      5000,
      async () => await shown(doorman, "sv_idle") === 3 || undefined,
    );
    using client = await login(doorman);
    const pids = new Set<string | null>();
    for (let i = 0; i < 9; i++) pids.add(await client.value("SELECT pg_backend_pid()"));
    assert.equal(pids.size, expected);
  }
});
