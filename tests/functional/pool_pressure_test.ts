/**
 * Pools under pressure: far more clients than servers, servers that end all the while, logins that are slow or refused.
 * Nobody starves, nobody fails, no more server connections are made than are needed, and all is as before afterwards.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { WireServer } from "../support/wire_server.ts";
import { consoleOf, show } from "../reload/support.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

function start(
  pool_size: number,
  { general = {}, pool = {}, user = {}, allowLog = [] }: {
    general?: Config;
    pool?: Config;
    user?: Config;
    allowLog?: RegExp[];
  } = {},
): Promise<Doorman> {
  const users = [{ username: "postgres", password: "postgres", pool_size, ...user }];
  return Doorman.start({
    config: { general, pools: { app: poolOf(postgres, { users, ...pool }) } },
    allowLog,
  });
}

function login(doorman: Doorman): Promise<WireClient> {
  return WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
}

async function poolRow(doorman: Doorman): Promise<Record<string, string | null>> {
  using admin = await consoleOf(doorman);
  return (await show(admin, "POOLS"))[0]!;
}

function created(doorman: Doorman): number {
  return doorman.logs.match(/new server connection/g)?.length ?? 0;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Clients that ask again and again for some time: how long each answer took, by client. */
async function load(clients: WireClient[], sql: string, forMs: number): Promise<number[][]> {
  const until = performance.now() + forMs;
  return await Promise.all(clients.map(async (client) => {
    const took: number[] = [];
    while (performance.now() < until) {
      const started = performance.now();
      await client.rows(sql);
      took.push(performance.now() - started);
    }
    return took;
  }));
}

Deno.test("pressure: 300 clients on ten servers: nobody fails or starves, ten connections are made, a newcomer is served at once", async () => {
  await using doorman = await start(10);
  const clients = await Promise.all(Array.from({ length: 300 }, () => login(doorman)));
  try {
    const byClient = await load(clients, "SELECT pg_sleep(0.01)", 3000);
    const all = byClient.flat().sort((a, b) => a - b);
    const [p50, p99, most] = [0.5, 0.99, 1].map((part) => all[Math.ceil(part * all.length) - 1]!);
    const told = `p50 ${p50} ms, p99 ${p99} ms, most ${most} ms`;
    assert.ok(most! <= 20 * p50!, told);
    // In turn, each waits for 30 others on its server: 300 ms and what the machine adds.
    assert.ok(p99! < Math.max(1000, 3 * p50!), told);
    assert.ok(Math.min(...byClient.map((took) => took.length)) >= 1);
    assert.equal(created(doorman), 10);
    const started = performance.now();
    assert.equal(await clients[0]!.value("SELECT 1"), "1");
    assert.ok(performance.now() - started < 2000, `${performance.now() - started} ms`);
    const { sv_idle, sv_active, cl_waiting } = await poolRow(doorman);
    assert.deepEqual([sv_idle, sv_active, cl_waiting], ["10", "0", "0"]);
  } finally {
    for (const client of clients) client.close();
  }
});

Deno.test("pressure: server_lifetime and idle_timeout replace no server while clients wait, and do so afterwards", async () => {
  await using doorman = await start(2, {
    general: { retain_connections_time: "100ms" },
    pool: { server_lifetime: 300, idle_timeout: 300 },
  });
  const clients = await Promise.all(Array.from({ length: 20 }, () => login(doorman)));
  try {
    await load(clients, "SELECT pg_sleep(0.01)", 2000);
    const before = created(doorman);
    // The first queries find few waiters; from then on there is always one.
    assert.ok(before <= 6, `${before} connections in ${2000 / 300} lifetimes of two servers`);
    await doorman.waitForLog(/server_lifetime reached[^]*server_lifetime reached/, 3000);
    assert.equal(await clients[0]!.value("SELECT 1"), "1");
  } finally {
    for (const client of clients) client.close();
  }
});

Deno.test("pressure: a server that comes back when all who waited have given up goes to the idle ones", async () => {
  await using doorman = await start(1, {
    general: { query_wait_timeout: "250ms" },
    allowLog: [/checkout timeout/],
  });
  const clients = await Promise.all(Array.from({ length: 6 }, () => login(doorman)));
  const [holder, ...others] = clients;
  try {
    await holder!.query("START TRANSACTION");
    const answers = await Promise.all(others.map((client) => client.query("SELECT 1")));
    for (const answer of answers) assert.deepEqual(wire.errorCodes(answer), ["53300"]);
    await holder!.query("COMMIT");
    const { sv_idle, sv_active, cl_waiting, cl_active } = await poolRow(doorman);
    assert.deepEqual([sv_idle, sv_active, cl_waiting, cl_active], ["1", "0", "0", "0"]);
    for (const client of others) {
      assert.ok(await client.silent(1));
      assert.equal(await client.value("SELECT 2"), "2");
    }
    assert.equal(created(doorman), 1);
  } finally {
    for (const client of clients) client.close();
  }
});

Deno.test("pressure: a crowd has scaling_max_parallel_creates logins under way at once, and no more", async () => {
  for (const limit of [1, 3]) {
    let underWay = 0;
    let most = 0;
    await using server = new WireServer(async (peer) => {
      most = Math.max(most, ++underWay);
      await pause(60);
      underWay--;
      await peer.welcome();
      for (;;) {
        if ((await peer.read()).type === "Q") await peer.answer("well");
      }
    });
    await using doorman = await Doorman.start({
      config: {
        general: { scaling_max_parallel_creates: limit },
        pools: {
          app: {
            ...poolOf(postgres, {
              users: [{ username: "postgres", password: "postgres", pool_size: 6 }],
            }),
            server_port: server.port,
          },
        },
      },
    });
    const clients = await Promise.all(Array.from({ length: 30 }, () => login(doorman)));
    try {
      await load(clients, "SELECT 1", 300);
      assert.equal(most, limit);
      assert.ok(server.accepted <= 6);
    } finally {
      for (const client of clients) client.close();
    }
  }
});

Deno.test("pressure: a server that refuses is asked again at growing intervals, and leaves no trace in SHOW SERVERS", async () => {
  await using server = new WireServer(async (peer) => {
    await peer.startup();
    peer.hangUp();
  });
  await using doorman = await Doorman.start({
    config: {
      general: { retain_connections_time: "50ms", query_wait_timeout: "800ms" },
      pools: {
        app: {
          ...poolOf(postgres, {
            users: [{ username: "postgres", password: "postgres", pool_size: 5, min_pool_size: 5 }],
          }),
          server_port: server.port,
        },
      },
    },
    allowLog: [/server login failed/, /checkout timeout/, /login from/],
  });
  await Promise.all(Array.from({ length: 10 }, () =>
    login(doorman).then(
      () => assert.fail("there is no server"),
      (error) => assert.match(error.fields?.C, /^(53300|08006)$/),
    )));
  await pause(700);
  // Two at a time, after 50, 100, 200, 400, 800 ms.
  assert.ok(server.accepted <= 16, `${server.accepted} logins in 1.5 s`);
  using admin = await consoleOf(doorman);
  await waitFor("no login is under way", 3000, async () => {
    const [pool] = await show(admin, "POOLS");
    return pool!.sv_login === "0" && (await show(admin, "SERVERS")).length === 0 || undefined;
  });
});

Deno.test("pressure: a server that starts up is waited for; its 57P03 is no refusal of startup_parameters", async () => {
  await using server = new WireServer(async (peer, nth) => {
    if (nth < 2) {
      await peer.startup();
      const fields = "SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0";
      await peer.send(wire.message("E", wire.text(fields)));
      peer.hangUp();
    }
    await peer.welcome();
    await peer.read();
    await peer.answer("well");
  });
  await using doorman = await Doorman.start({
    config: {
      pools: {
        app: {
          ...poolOf(postgres, { startup_parameters: { work_mem: "5MB" } }),
          server_port: server.port,
        },
      },
    },
    allowLog: [/server login failed: 57P03/],
  });
  using client = await login(doorman);
  assert.equal(await client.value("SELECT 1"), "well");
});

Deno.test("pressure: times of SHOW STATS are those of each query and of each transaction, without what lies between", async () => {
  await using doorman = await start(1);
  using admin = await consoleOf(doorman);
  using client = await login(doorman);
  await client.query("SELECT 1");
  const before = (await show(admin, "STATS"))[0]!;
  await client.query("START TRANSACTION");
  for (let i = 0; i < 3; i++) {
    await client.query("SELECT pg_sleep(0.1)");
    await pause(200);
  }
  await client.query("COMMIT");
  await pause(300);
  await client.query("SELECT 1");
  const after = (await show(admin, "STATS"))[0]!;
  const grown = (name: string) => (Number(after[name]) - Number(before[name])) / 1000;
  const [query, transaction] = [grown("total_query_time"), grown("total_xact_time")];
  // Five quick queries and three of 100 ms; the transaction is as long as they and the pauses in it.
  assert.ok(query >= 300 && query < 550, `${query} ms in queries`);
  assert.ok(transaction >= 900 && transaction < 1180, `${transaction} ms in transactions`);
  assert.equal(grown("total_query_count") * 1000, 6);
  assert.equal(grown("total_xact_count") * 1000, 2);
});
