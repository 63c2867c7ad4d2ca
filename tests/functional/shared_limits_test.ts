/**
 * Limits over several pools: max_db_connections with its reserve, the guaranteed minimum and eviction, and
 * max_user_connections. Numbers are those of the coordinator's regressions.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { ADMIN, type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { reload, show } from "../reload/support.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  await postgres.query("CREATE ROLE alice LOGIN; CREATE ROLE bob LOGIN; CREATE ROLE carol LOGIN");
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

type Users = Record<string, Config>;

const PLENTY: Users = { alice: {}, bob: {}, carol: {} };

/** A pool of several users that may have five servers each, if the limit lets them. */
function pool(limits: Config, users: Users = PLENTY): Config {
  return poolOf(postgres, {
    users: Object.entries(users).map(([username, user]) => ({
      username,
      password: username,
      pool_size: 5,
      ...user,
    })),
    ...limits,
  });
}

const WAITS: Config = { query_wait_timeout: "3s", retain_connections_time: "300ms" };

/** Every user might have more than all together: the pooler says so. */
const CAPPED = /max_db_connections(?: and reserve_pool_size)? caps? it/;

function start(pools: Record<string, Config>, ...allowLog: RegExp[]): Promise<Doorman> {
  return Doorman.start({ config: { general: WAITS, pools }, allowLog: [CAPPED, ...allowLog] });
}

async function login(doorman: Doorman, user: string, database = "app"): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user, password: user, database });
}

/** A client whose transaction holds a server. */
async function holder(doorman: Doorman, user: string, database?: string): Promise<WireClient> {
  const client = await login(doorman, user, database);
  assert.deepEqual(wire.errorCodes(await client.query("BEGIN; SELECT 1")), []);
  return client;
}

/** A client that had a server and has given it back. */
async function rester(doorman: Doorman, user: string, database?: string): Promise<WireClient> {
  const client = await login(doorman, user, database);
  assert.equal(await client.value("SELECT 1"), "1");
  return client;
}

async function rows(doorman: Doorman, what: string): Promise<Record<string, string | null>[]> {
  using admin = await WireClient.login({
    port: doorman.port,
    user: ADMIN.user,
    password: ADMIN.password,
    database: "pgdoorman",
  });
  return await show(admin, what);
}

/** `current, reserve_used, evictions, reserve_acq, exhaustions` of a database. */
async function counts(doorman: Doorman, database = "app"): Promise<number[]> {
  const row = (await rows(doorman, "POOL_COORDINATOR")).find((row) => row.database === database)!;
  const { current, reserve_used, evictions, reserve_acq, exhaustions } = row;
  return [current, reserve_used, evictions, reserve_acq, exhaustions].map(Number);
}

/** Server connections that PostgreSQL sees, by user. */
async function backends(): Promise<Record<string, number>> {
  const found = await postgres.query<{ usename: string; n: number }>(
    "SELECT usename, count(*)::int n FROM pg_stat_activity " +
      "WHERE application_name = 'pg_doorman' GROUP BY usename",
  );
  return Object.fromEntries(found.map(({ usename, n }) => [usename, n]));
}

async function eventually(what: string, check: () => Promise<boolean>): Promise<void> {
  await waitFor(what, 5000, async () => await check() || undefined);
}

function closeAll(clients: WireClient[]): void {
  for (const client of clients) client.close();
}

Deno.test("max_db_connections: all users of a database together, and what one more is told", async () => {
  await using doorman = await start(
    {
      app: pool({ max_db_connections: 2, reserve_pool_timeout: 600 }),
      other: pool({}),
    },
    /checkout timeout/,
    /login from/,
  );
  const clients = [await holder(doorman, "alice"), await holder(doorman, "bob")];
  try {
    const started = performance.now();
    const refused = await login(doorman, "carol").then(() => undefined, (error) => error);
    const took = performance.now() - started;
    assert.equal(refused?.fields.C, "53300");
    assert.match(
      refused.fields.M,
      /all server connections to database "app" are in use \(max_db_connections=2, user="carol"\)/,
    );
    // No server of its own: reserve_pool_timeout decides.
    assert.ok(took > 550 && took < 4000, `${took} ms`);
    await doorman.waitForLog(
      /carol@app\] checkout timeout.*EXHAUSTED, active=2\/2 reserve=0\/0 total=2/,
    );
    assert.deepEqual(await counts(doorman), [2, 0, 0, 0, 1]);
    assert.deepEqual(await backends(), { alice: 1, bob: 1 });
    // A database of another name has nothing to do with it.
    clients.push(await holder(doorman, "carol", "other"));
    // Has a server, which may come back: query_wait_timeout decides. The client goes on.
    const second = await login(doorman, "alice");
    clients.push(second);
    const answer = await second.query("SELECT 1");
    assert.deepEqual(wire.errorCodes(answer), ["53300"]);
    await clients[0]!.query("COMMIT");
    assert.equal(await second.value("SELECT 2"), "2");
  } finally {
    closeAll(clients);
  }
});

Deno.test("118, 123, 124, 127: idle servers of another user are closed once they are old enough", async () => {
  await using doorman = await start({
    app: pool({ max_db_connections: 2, min_connection_lifetime: 1500 }),
  });
  const busy = [await holder(doorman, "alice"), await holder(doorman, "alice")];
  const waiting = [login(doorman, "bob"), login(doorman, "carol")];
  try {
    for (const client of busy) await client.query("COMMIT");
    assert.deepEqual(await backends(), { alice: 2 }, "younger than min_connection_lifetime");
    const clients = await Promise.all(waiting);
    busy.push(...clients);
    await Promise.all(clients.map((client) => client.value("SELECT 1")));
    assert.deepEqual(await backends(), { bob: 1, carol: 1 });
    assert.deepEqual((await counts(doorman)).slice(0, 3), [2, 0, 2]);
    await doorman.waitForLog(
      /alice@app\].*server connection closed: makes room for (bob|carol)@app/,
    );
  } finally {
    closeAll(busy);
  }
});

Deno.test("125, 126: the guaranteed minimum and servers in use stay; the reserve helps, and is given back", async () => {
  await using doorman = await start(
    {
      app: pool({
        max_db_connections: 2,
        min_connection_lifetime: 2000,
        query_wait_timeout: 500,
        reserve_pool_timeout: 500,
        reserve_pool_size: 1,
        min_guaranteed_pool_size: 1,
      }),
    },
    /checkout timeout/,
    /login from/,
  );
  const clients = [await rester(doorman, "alice"), await holder(doorman, "bob")];
  try {
    clients.push(await holder(doorman, "carol"));
    assert.deepEqual(await counts(doorman), [3, 1, 0, 1, 0]);
    await doorman.waitForLog(/\[pool: app\] reserve connection for carol@app, reserve=1\/1/);
    // alice's idle one is her minimum; the others are in use.
    const more = await login(doorman, "bob");
    clients.push(more);
    assert.match(
      wire.errorFields((await more.query("SELECT 1"))[0]!).M!,
      /all server connections to database "app".*max_db_connections=2, user="bob", reserve 1\/1/,
    );
    // 120, 121: what is beyond max goes when nobody needs it.
    await clients[2]!.query("COMMIT");
    await eventually("the reserve is empty", async () => (await counts(doorman))[1] === 0);
    assert.equal((await counts(doorman))[0], 2);
  } finally {
    closeAll(clients);
  }
});

Deno.test("129: min_pool_size is warmed within max_db_connections, and refilled", async () => {
  await using doorman = await start({
    app: pool({ max_db_connections: 3 }, {
      alice: { min_pool_size: 2 },
      bob: { min_pool_size: 1 },
    }),
  }, /server connection closed/);
  await eventually("warm", async () => (await counts(doorman))[0] === 3);
  assert.deepEqual(await backends(), { alice: 2, bob: 1 });
  const clients = [await holder(doorman, "alice"), await holder(doorman, "alice")];
  try {
    await postgres.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'bob'",
    );
    const third = login(doorman, "alice");
    clients.push(await third);
    await eventually("bob's is back", async () => (await backends()).bob === 1);
    assert.equal((await counts(doorman))[0], 3);
  } finally {
    closeAll(clients);
  }
});

Deno.test("max_db_connections holds under load from many users, and all are served", async () => {
  const users = Object.fromEntries(["alice", "bob", "carol"].map((name) => [name, {}]));
  await using doorman = await start({
    app: pool({ max_db_connections: 3, reserve_pool_size: 1, min_connection_lifetime: 0 }, users),
  });
  let most = 0;
  let watching = true;
  const watch = (async () => {
    while (watching) {
      const all = Object.values(await backends());
      most = Math.max(most, all.reduce((sum, n) => sum + n, 0));
    }
  })();
  const clients: WireClient[] = [];
  try {
    await Promise.all(
      Object.keys(users).flatMap((user) =>
        Array.from({ length: 8 }, async () => {
          const client = await login(doorman, user);
          clients.push(client);
          for (let i = 0; i < 15; i++) {
            assert.equal(await client.value(`SELECT current_user || pg_sleep(0.002)`), user);
          }
        })
      ),
    );
  } finally {
    watching = false;
    await watch;
    closeAll(clients);
  }
  // One that is being closed may still be seen beside its successor.
  assert.ok(most >= 3 && most <= 4 + 2, `${most} server connections`);
  assert.ok((await counts(doorman))[0]! <= 4);
});

Deno.test("max_user_connections: one user in all databases", async () => {
  await using doorman = await Doorman.start({
    config: {
      general: { ...WAITS, query_wait_timeout: "600ms", max_user_connections: 2 },
      pools: {
        app: pool({}, { alice: {}, bob: {} }),
        other: pool({}, { alice: {}, bob: { max_user_connections: 3 } }),
      },
    },
    allowLog: [/checkout timeout/, /login from/],
  });
  const clients = [await holder(doorman, "alice", "app"), await holder(doorman, "alice", "other")];
  try {
    const third = await login(doorman, "alice", "app");
    clients.push(third);
    const error = wire.errorFields((await third.query("SELECT 1"))[0]!);
    assert.equal(error.C, "53300");
    assert.match(
      error.M!,
      /all server connections of user "alice" are in use \(max_user_connections=2\)/,
    );
    for (const database of ["app", "other", "app"]) {
      clients.push(await holder(doorman, "bob", database));
    }
    assert.deepEqual(await backends(), { alice: 2, bob: 3 });
    const shown = (await rows(doorman, "USERS")).map((row) =>
      `${row.name} ${row.max_user_connections} ${row.current_connections}`
    );
    assert.deepEqual(shown.sort(), ["alice 2 2", "alice 2 2", "bob 3 3", "bob 3 3"]);
    // Its own idle server in the other database makes room, whatever its age.
    await clients[1]!.query("COMMIT");
    const fourth = await login(doorman, "alice", "app");
    clients.push(fourth);
    assert.equal(await fourth.value("SELECT 4"), "4");
    await doorman.waitForLog(/alice@other\].*server connection closed: makes room for alice@app/);
  } finally {
    closeAll(clients);
  }
});

Deno.test("128: a reload without a change keeps all, with one changes the limit for all that is there", async () => {
  const configOf = (limits: Config): Config => ({ general: WAITS, pools: { app: pool(limits) } });
  await using doorman = await Doorman.start({
    config: configOf({ max_db_connections: 3, min_connection_lifetime: 0 }),
    allowLog: [CAPPED],
  });
  const clients = [
    await rester(doorman, "alice"),
    await rester(doorman, "bob"),
    await holder(doorman, "carol"),
  ];
  try {
    const row = async () => (await rows(doorman, "POOL_COORDINATOR"))[0];
    await reload(doorman, configOf({ max_db_connections: 3, min_connection_lifetime: 0 }));
    assert.deepEqual(await counts(doorman), [3, 0, 0, 0, 0]);
    await reload(doorman, configOf({ max_db_connections: 1, min_connection_lifetime: 0 }));
    assert.equal((await row())!.max_db_conn, "1");
    await eventually("idle ones are closed", async () => (await counts(doorman))[0] === 1);
    assert.deepEqual(await backends(), { carol: 1 });
    await reload(doorman, configOf({}));
    assert.equal(await row(), undefined);
    clients.push(await holder(doorman, "alice"), await holder(doorman, "alice"));
    await reload(doorman, configOf({ max_db_connections: 4, reserve_pool_size: 2 }));
    assert.deepEqual([(await row())!.current, (await row())!.reserve_size], ["3", "2"]);
  } finally {
    closeAll(clients);
  }
});

Deno.test("122: a place is given back when no connection comes of it, one of the reserve, too", async () => {
  const users = { alice: {}, bob: {}, ghost: { server_username: "nobody_there" } };
  await using doorman = await start(
    {
      app: pool({
        max_db_connections: 1,
        reserve_pool_size: 1,
        reserve_pool_timeout: 400,
        query_wait_timeout: 400,
      }, users),
    },
    /server login failed/,
    /checkout timeout/,
    /login from/,
  );
  const refused = async () => {
    const error = await login(doorman, "ghost").then(() => undefined, (error) => error);
    assert.equal(error?.fields.C, "28000");
  };
  const clients: WireClient[] = [];
  try {
    for (let i = 0; i < 3; i++) await refused();
    assert.deepEqual((await counts(doorman)).slice(0, 2), [0, 0]);
    clients.push(await holder(doorman, "alice"));
    // From here on it would be the reserve's.
    for (let i = 0; i < 3; i++) await refused();
    assert.deepEqual((await counts(doorman)).slice(0, 2), [1, 0]);
    clients.push(await holder(doorman, "bob"));
    assert.deepEqual((await counts(doorman)).slice(0, 2), [2, 1]);
    assert.deepEqual(await backends(), { alice: 1, bob: 1 });
  } finally {
    closeAll(clients);
  }
});
