/**
 * A reload that sets a limit over several pools brings them to one worker: with their clients, in whatever state they
 * are, and their server connections.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { consoleOf, reload, show } from "./support.ts";

const USERS = ["alice", "bob", "carol", "dave"];
const CAPPED = /max_db_connections caps it/;

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  for (const user of USERS) await postgres.query(`CREATE ROLE ${user} LOGIN`);
  await postgres.query("CREATE TABLE moved (who text); GRANT ALL ON moved TO PUBLIC");
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

/** Four pools of one database, one on each of four workers unless a limit ties them. */
function configOf(limits: Config, user: Config = {}, general: Config = {}): Config {
  return {
    general: { worker_threads: 4, query_wait_timeout: "10s", ...general },
    pools: {
      app: poolOf(postgres, {
        users: USERS.map((username) => ({ username, password: username, pool_size: 4, ...user })),
        ...limits,
      }),
    },
  };
}

async function login(doorman: Doorman, user: string): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user, password: user, database: "app" });
}

async function coordinator(doorman: Doorman): Promise<Record<string, string | null> | undefined> {
  using admin = await consoleOf(doorman);
  return (await show(admin, "POOL_COORDINATOR"))[0];
}

async function backends(): Promise<number> {
  return Number(
    await postgres.psql(
      "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_doorman'",
    ),
  );
}

const PID = "SELECT pg_backend_pid()";

Deno.test("relocation: clients idle, in a transaction, in the middle of a result and waiting notice nothing", async () => {
  await using doorman = await Doorman.start({
    config: configOf({}, { pool_size: 1 }),
    allowLog: [CAPPED],
  });
  const clients: WireClient[] = [];
  const open = async (user: string) => {
    const client = await login(doorman, user);
    clients.push(client);
    return client;
  };
  try {
    const sleeping = await open("alice");
    const sleepingPid = await sleeping.value(PID);
    const held = await open("bob");
    await held.query("BEGIN; INSERT INTO moved VALUES ('bob')");
    const heldPid = await held.value(PID);
    const waiting = await open("bob");
    waiting.send(wire.query("SELECT 'waited'"));
    const idle = await open("carol");
    const idlePid = await idle.value(PID);
    const prepared = await open("dave");
    prepared.send(wire.parse("mine", "SELECT 'prepared', pg_backend_pid()"), wire.SYNC);
    await prepared.readUntil("Z");
    sleeping.send(wire.query("SELECT 'slept' || pg_sleep(1.5)"));
    const connected = await backends();
    const log = await reload(doorman, configOf({ max_db_connections: 4 }, { pool_size: 1 }));
    assert.match(log, /moves to worker/);
    assert.equal(await held.value(PID), heldPid);
    assert.equal(await idle.value(PID), idlePid, "its server has moved, too");
    prepared.send(wire.bind("", "mine"), wire.execute(), wire.SYNC);
    assert.equal(wire.rowsOf(await prepared.readUntil("Z"))[0]![0], "prepared");
    await held.query("COMMIT");
    assert.deepEqual(wire.rowsOf(await waiting.readUntil("Z")), [["waited"]]);
    assert.deepEqual(wire.rowsOf(await sleeping.readUntil("Z")), [["slept"]]);
    assert.equal(await sleeping.value(PID), sleepingPid);
    assert.equal(await postgres.psql("SELECT who FROM moved"), "bob");
    assert.equal(await backends(), connected, "nothing was reconnected");
    assert.equal((await coordinator(doorman))!.current, String(connected));
    // A cancel request finds its client.
    sleeping.send(wire.query("SELECT pg_sleep(30)"));
    await waitFor(
      "it sleeps",
      5000,
      async () =>
        await postgres.psql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'") ===
          "1" ||
        undefined,
    );
    await sleeping.cancel();
    assert.deepEqual(wire.errorCodes(await sleeping.readUntil("Z")), ["57014"]);
    // And a new client finds the pool.
    assert.equal(await (await open("alice")).value("SELECT 1"), "1");
  } finally {
    for (const client of clients) client.close();
  }
});

Deno.test("relocation: the limit holds for servers that came from four workers", async () => {
  await using doorman = await Doorman.start({ config: configOf({}), allowLog: [CAPPED] });
  const clients: WireClient[] = [];
  try {
    for (const user of [...USERS, ...USERS]) {
      const client = await login(doorman, user);
      clients.push(client);
      await client.query("BEGIN; SELECT 1");
    }
    assert.equal(await backends(), 8);
    await reload(doorman, configOf({ max_db_connections: 3, min_connection_lifetime: 0 }));
    assert.deepEqual((await coordinator(doorman))!.current, "8", "those in use are left alone");
    for (const client of clients) assert.equal(await client.value("SELECT 1"), "1");
    await Promise.all(clients.map((client) => client.query("COMMIT")));
    await waitFor("surplus closed", 5000, async () => await backends() <= 3 || undefined);
    await Promise.all(clients.map((client) => client.value("SELECT 1")));
    assert.ok(Number((await coordinator(doorman))!.current) <= 3);
  } finally {
    for (const client of clients) client.close();
  }
});

Deno.test("relocation: under load, in session and in transaction mode, no query fails", async () => {
  // Three users a database on four workers: no user's pools are together.
  const THREE = USERS.slice(0, 3);
  const base = (max: number, mode: string): Config => ({
    general: { worker_threads: 4, query_wait_timeout: "10s", max_user_connections: max },
    pools: Object.fromEntries(["x", "y", "z"].map((database) => [
      database,
      poolOf(postgres, {
        pool_mode: mode,
        users: THREE.map((username) => ({ username, password: username, pool_size: 2 })),
      }),
    ])),
  });
  for (const mode of ["transaction", "session"]) {
    await using doorman = await Doorman.start({ config: base(0, mode) });
    let running = true;
    let queries = 0;
    const work = ["x", "y", "z"].flatMap((database) =>
      THREE.flatMap((user) =>
        [1, 2].map(async (which) => {
          const client = await WireClient.login({
            port: doorman.port,
            user,
            password: user,
            database,
          });
          try {
            for (let i = 0; running || i < 3; i++) {
              const answer = await client.query(
                `BEGIN; SELECT current_user, ${which}, ${i}; COMMIT`,
              );
              assert.deepEqual(wire.rowsOf(answer), [[user, String(which), String(i)]]);
              queries++;
              if (i % 10 === 9 && mode === "transaction") {
                await new Promise((done) => setTimeout(done, 20));
              }
            }
          } finally {
            await client.terminate();
          }
        })
      )
    );
    await waitFor("load", 5000, () => queries > 200 || undefined);
    await reload(doorman, base(6, mode));
    const before = queries;
    await waitFor("it goes on", 5000, () => queries > before + 200 || undefined);
    running = false;
    await Promise.all(work);
    assert.match(doorman.logs, /moves to worker/);
  }
});

Deno.test("relocation: who listens goes on, nothing is lost or doubled", async () => {
  await using doorman = await Doorman.start({ config: configOf({}), allowLog: [CAPPED] });
  const clients: WireClient[] = [];
  let going = true;
  let sent = 0;
  const notifying = (async () => {
    using notifier = await WireClient.login({
      port: postgres.port,
      user: "postgres",
      database: "postgres",
    });
    while (going) await notifier.query(`NOTIFY moving, '${sent++}'`);
  })();
  const numbers = (messages: wire.Message[]) =>
    messages.filter(({ type }) => type === "A")
      .map(({ body }) => Number(new TextDecoder().decode(body.subarray(4)).split("\0")[1]));
  const heard = new Map<WireClient, number[]>();
  try {
    for (let i = 0; i < 40; i++) {
      const client = await login(doorman, USERS[i % 4]!);
      clients.push(client);
      heard.set(client, numbers(await client.query("LISTEN moving")));
    }
    assert.match(await reload(doorman, configOf({ max_db_connections: 20 })), /moves to worker/);
    for (const client of clients) heard.get(client)!.push(...numbers(await client.query("BEGIN")));
    for (const client of clients) heard.get(client)!.push(...numbers(await client.query("COMMIT")));
  } finally {
    going = false;
    await notifying;
  }
  for (const [client, got] of heard) {
    while (got.at(-1) !== sent - 1) got.push(...numbers([await client.read()]));
    assert.deepEqual(got, Array.from({ length: sent - got[0]! }, (_, n) => got[0]! + n));
    client.close();
  }
});
