/**
 * "What reloads": each bullet of the operators' page has its test here, named after it. TLS files, Talos and JWT keys
 * and auth_query have theirs with their features.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { type Config, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import {
  configOf,
  consoleOf,
  login,
  refusal,
  reload,
  show,
  startDoorman,
  userOf,
} from "./support.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({ settings: ["max_connections = 60"] });
  await postgres.query("CREATE DATABASE other");
  await postgres.query("CREATE ROLE alice LOGIN PASSWORD 'a1'");
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

async function servers(): Promise<number> {
  const [row] = await postgres.query<{ n: number }>(
    "SELECT count(*)::int n FROM pg_stat_activity WHERE application_name = 'pg_doorman'",
  );
  return row!.n;
}

Deno.test("what reloads: pool definitions: added", async () => {
  await using doorman = await startDoorman(configOf(postgres), { allowLog: [/login from/] });
  assert.equal((await refusal(login(doorman, { database: "fresh" }))).C, "28P01");
  const { pools } = configOf(postgres);
  const log = await reload(doorman, { pools: { ...pools as Config, fresh: poolOf(postgres) } });
  assert.match(log, /configuration reloaded in \d+ ms: 1 pool added; pools\.fresh \(added\)/);
  using client = await login(doorman, { database: "fresh" });
  assert.equal(await client.value("SELECT 1"), "1");
});

Deno.test("what reloads: pool definitions: clients are accepted whichever threads have a pool", async () => {
  const general = { worker_threads: 3 };
  const one = poolOf(postgres);
  const steps: Record<string, Config>[] = [
    { first: one, second: one },
    { second: one },
    {},
    { third: one, fourth: one },
    { fourth: one },
  ];
  await using doorman = await startDoorman({ general, pools: { first: one } }, {
    allowLog: [/./],
  });
  for (const pools of steps) {
    await reload(doorman, { general, pools });
    for (const database of Object.keys(pools)) {
      for (let i = 0; i < 5; i++) {
        using client = await login(doorman, { database });
        assert.equal(await client.value("SELECT 1"), "1", database);
      }
    }
    using admin = await consoleOf(doorman);
    const shown = await show(admin, "DATABASES");
    assert.equal(shown.length, Object.keys(pools).length);
  }
});

Deno.test("what reloads: pool definitions: removed pools go on for their clients, as retired", async () => {
  const both: Config = { pools: { app: poolOf(postgres), gone: poolOf(postgres) } };
  await using doorman = await startDoorman(both, { allowLog: [/login from/] });
  using client = await login(doorman, { database: "gone" });
  await client.query("START TRANSACTION");
  const log = await reload(doorman, { pools: { app: poolOf(postgres) } });
  assert.match(log, /\[postgres@gone\] removed from the configuration: retired, 1 clients go on/);
  assert.equal(await client.value("SELECT 7"), "7");
  await client.query("COMMIT");
  assert.equal(await client.value("SELECT 8"), "8", "its next checkout works, too");
  assert.equal((await refusal(login(doorman, { database: "gone" }))).C, "28P01");
  using admin = await consoleOf(doorman);
  const shown = await show(admin, "POOLS");
  assert.deepEqual(
    shown.map(({ database, retired }) => `${database} ${retired}`).sort(),
    ["app 0", "gone 1"],
    "visible as retired while it lives",
  );
  const before = await servers();
  await client.terminate();
  await doorman.waitForLog(/\[postgres@gone\] retired pool ended/);
  await waitFor(
    "server of the retired pool closed",
    2000,
    async () => await servers() < before || undefined,
  );
  assert.ok(!(await show(admin, "POOLS")).some(({ database }) => database === "gone"));
});

Deno.test("what reloads: pool definitions: a removed pool that comes back is the same pool", async () => {
  const both: Config = { pools: { app: poolOf(postgres), gone: poolOf(postgres) } };
  await using doorman = await startDoorman(both);
  using client = await login(doorman, { database: "gone" });
  const pid = await client.value("SELECT pg_backend_pid()");
  await reload(doorman, { pools: { app: poolOf(postgres) } });
  await reload(doorman, both);
  assert.match(doorman.logs, /\[postgres@gone\] back in the configuration/);
  using other = await login(doorman, { database: "gone" });
  assert.equal(await other.value("SELECT pg_backend_pid()"), pid, "both share its servers");
});

Deno.test("what reloads: pool definitions: KILL ends a retired pool at once with 57P01", async () => {
  const both: Config = { pools: { app: poolOf(postgres), gone: poolOf(postgres) } };
  await using doorman = await startDoorman(both);
  using idle = await login(doorman, { database: "gone" });
  using busy = await login(doorman, { database: "gone" });
  using unharmed = await login(doorman);
  busy.send(wire.query("SELECT pg_sleep(30)"));
  await waitFor(
    "the query runs",
    2000,
    async () =>
      (await postgres.query(
          "SELECT FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' " +
            "AND state = 'active' AND pid <> pg_backend_pid()",
        )).length > 0 || undefined,
  );
  await reload(doorman, { pools: { app: poolOf(postgres) } });
  using admin = await consoleOf(doorman);
  await admin.query("KILL gone");
  for (const client of [idle, busy]) {
    const said = await client.readToEnd();
    assert.equal(wire.errorFields(said.find(({ type }) => type === "E")!).C, "57P01");
  }
  await doorman.waitForLog(/\[postgres@gone\] retired pool ended/);
  await waitFor(
    "the query is canceled",
    3000,
    async () =>
      (await postgres.query(
          "SELECT FROM pg_stat_activity WHERE query LIKE '%pg_sleep(30)%' " +
            "AND state = 'active' AND pid <> pg_backend_pid()",
        )).length === 0 || undefined,
  );
  assert.equal(await unharmed.value("SELECT 1"), "1");
});

Deno.test("what reloads: pool definitions: resized pools grow at once for waiters", async () => {
  await using doorman = await startDoorman(configOf(postgres, { user: { pool_size: 1 } }));
  using holder = await login(doorman);
  using waiter = await login(doorman);
  await holder.query("START TRANSACTION");
  waiter.send(wire.query("SELECT 5"));
  assert.ok(await waiter.silent(100), "the only server is taken");
  await reload(doorman, configOf(postgres, { user: { pool_size: 2 } }));
  assert.equal(wire.letters(await waiter.readUntil("Z")), "TDCZ");
});

Deno.test("what reloads: pool definitions: resized pools shrink as servers come back", async () => {
  await using doorman = await startDoorman(configOf(postgres, { user: { pool_size: 3 } }));
  const clients: WireClient[] = [];
  const before = await servers();
  for (let i = 0; i < 3; i++) {
    clients.push(await login(doorman));
    await clients[i]!.query("START TRANSACTION");
  }
  await clients[2]!.query("COMMIT");
  assert.equal(await servers() - before, 3);
  await reload(doorman, configOf(postgres, { user: { pool_size: 1 } }));
  await waitFor(
    "the idle one is closed",
    2000,
    async () => await servers() - before === 2 || undefined,
  );
  assert.equal(await clients[0]!.value("SELECT 1"), "1", "those in a transaction go on");
  await clients[0]!.query("COMMIT");
  await waitFor(
    "one is closed at check-in",
    2000,
    async () => await servers() - before === 1 || undefined,
  );
  await clients[1]!.query("COMMIT");
  assert.equal(await clients[0]!.value("SELECT 1"), "1");
  assert.equal(await servers() - before, 1);
  for (const client of clients) client.close();
});

Deno.test("what reloads: changed server address: idle servers are replaced, busy ones after their transaction", async () => {
  await using doorman = await startDoorman(configOf(postgres));
  using busy = await login(doorman);
  using idle = await login(doorman);
  await busy.query("START TRANSACTION");
  assert.equal(await busy.value("SELECT current_database()"), "postgres");
  assert.equal(await idle.value("SELECT current_database()"), "postgres");
  await reload(doorman, configOf(postgres, { pool: { server_database: "other" } }));
  assert.equal(await busy.value("SELECT current_database()"), "postgres", "until its COMMIT");
  assert.equal(await idle.value("SELECT current_database()"), "other", "an existing client's next");
  await busy.query("COMMIT");
  assert.equal(await busy.value("SELECT current_database()"), "other");
});

Deno.test("what reloads: a client that waits gets a server of the new address", async () => {
  await using doorman = await startDoorman(configOf(postgres, { user: { pool_size: 1 } }));
  using holder = await login(doorman);
  using waiter = await login(doorman);
  await holder.query("START TRANSACTION");
  waiter.send(wire.query("SELECT current_database()"));
  assert.ok(await waiter.silent(100));
  await reload(
    doorman,
    configOf(postgres, { user: { pool_size: 1 }, pool: { server_database: "other" } }),
  );
  assert.ok(await waiter.silent(100));
  await holder.query("COMMIT");
  assert.deepEqual(wire.rowsOf(await waiter.readUntil("Z")), [["other"]]);
});

Deno.test("what reloads: every timeout, for existing clients and those that wait", async () => {
  const config = (query_wait_timeout: number) =>
    configOf(postgres, { general: { query_wait_timeout }, user: { pool_size: 1 } });
  await using doorman = await startDoorman(config(60_000), { allowLog: [/checkout timeout/] });
  using holder = await login(doorman);
  using waiter = await login(doorman);
  await holder.query("START TRANSACTION");
  waiter.send(wire.query("SELECT 1"));
  assert.ok(await waiter.silent(100));
  await reload(doorman, config(200));
  const [error] = await waiter.readUntil("Z");
  assert.equal(wire.errorFields(error!).C, "53300");
  assert.match(wire.errorFields(error!).M!, /query_wait_timeout \(200 ms\)/);
});

Deno.test("what reloads: limits for clients, at once and for what is under way, at each level", async () => {
  const limits = {
    idle_transaction_timeout: "25P03",
    transaction_timeout: "25P04",
    client_idle_timeout: "57P05",
  };
  await using doorman = await startDoorman(configOf(postgres), {
    allowLog: [/_timeout of \d+ ms reached/, /client disconnected .*\(\w+_timeout, 100 ms\)/],
  });
  for (const [key, code] of Object.entries(limits)) {
    for (const level of ["general", "pool", "user"]) {
      await reload(doorman, configOf(postgres));
      using client = await login(doorman);
      await client.query(key === "client_idle_timeout" ? "SELECT 1" : "BEGIN; SELECT 1");
      assert.ok(await client.silent(150));
      await reload(doorman, configOf(postgres, { [level]: { [key]: 100 } }));
      const [error] = await client.readUntil("E");
      assert.equal(wire.errorFields(error!).C, code);
    }
  }
  await reload(doorman, configOf(postgres));
  using client = await login(doorman);
  client.send(wire.query("SELECT pg_sleep(60)"));
  assert.ok(await client.silent(150));
  await reload(doorman, configOf(postgres, { user: { query_timeout: 100 } }));
  assert.deepEqual(wire.errorCodes(await client.readUntil("Z")), ["57014"]);
});

Deno.test("what reloads: pool_mode: from the next checkout on; a held server stays held", async () => {
  const config = (pool_mode: string) => configOf(postgres, { pool: { pool_mode } });
  await using doorman = await startDoorman(config("session"));
  using old = await login(doorman);
  using idle = await login(doorman);
  await old.query("CREATE TEMP TABLE mine AS SELECT 42 AS n");
  await reload(doorman, config("transaction"));
  assert.equal(await old.value("SELECT n FROM mine"), "42", "its checkout was one for the session");
  assert.equal(await idle.value("SELECT 1"), "1");
  using admin = await consoleOf(doorman);
  const [shown] = await show(admin, "POOLS");
  assert.equal(shown!.pool_mode, "transaction");
  assert.equal(shown!.cl_active, "1", "the new checkout ended with its transaction");
  await reload(doorman, config("session"));
  const pid = await idle.value("SELECT pg_backend_pid()");
  assert.equal(await idle.value("SELECT pg_backend_pid()"), pid);
  assert.equal((await show(admin, "POOLS"))[0]!.cl_active, "2");
  await old.terminate();
  await waitFor(
    "the server is cleaned and back",
    2000,
    async () => (await show(admin, "POOLS"))[0]!.sv_idle === "1" || undefined,
  );
  using next = await login(doorman);
  assert.match(
    (await refusal(next.rows("SELECT n FROM mine"))).C!,
    /42P01/,
    "cleaned of the session",
  );
});

Deno.test("what reloads: user lists: a user added, a user removed", async () => {
  const config = (...users: Config[]) => ({ pools: { app: poolOf(postgres, { users }) } });
  const alice = userOf({ username: "alice", password: "a1" });
  await using doorman = await startDoorman(config(userOf()), { allowLog: [/login from/] });
  assert.equal(
    (await refusal(login(doorman, { user: "alice", password: "a1" }))).C,
    "28P01",
  );
  await reload(doorman, config(userOf(), alice));
  using client = await login(doorman, { user: "alice", password: "a1" });
  assert.equal(await client.value("SELECT current_user"), "alice");
  await reload(doorman, config(userOf()));
  assert.equal(await client.value("SELECT current_user"), "alice", "who is in stays in");
  assert.equal((await refusal(login(doorman, { user: "alice", password: "a1" }))).C, "28P01");
});

Deno.test("what reloads: passwords: for new logins and new server connections", async () => {
  const config = (password: string) => ({
    pools: {
      app: poolOf(postgres, { users: [userOf({ username: "alice", password })] }),
    },
  });
  await using doorman = await startDoorman(config("a1"), { allowLog: [/login from/] });
  using old = await login(doorman, { user: "alice", password: "a1" });
  const pid = await old.value("SELECT pg_backend_pid()");
  await reload(doorman, config("a2"));
  await using fresh = {
    client: await login(doorman, { user: "alice", password: "a2" }),
    async [Symbol.asyncDispose]() {
      await this.client.terminate();
    },
  };
  assert.equal((await refusal(login(doorman, { user: "alice", password: "a1" }))).C, "28P01");
  const now = await old.value("SELECT pg_backend_pid()");
  assert.notEqual(now, pid, "its servers log in anew");
  assert.equal(await fresh.client.value("SELECT 1"), "1");
});

Deno.test("what reloads: pg_hba.conf rules, inline: for new connections only", async () => {
  const config = (pg_hba: string) => configOf(postgres, { general: { pg_hba } });
  await using doorman = await startDoorman(config("host all all 127.0.0.1/32 trust\n"), {
    allowLog: [/login from/],
  });
  using client = await login(doorman);
  await reload(doorman, config("host all all 127.0.0.1/32 reject\n"));
  assert.equal((await refusal(login(doorman))).C, "28000");
  assert.equal(await client.value("SELECT 1"), "1", "existing clients are not judged again");
});

Deno.test("what reloads: pg_hba.conf rules, file: its content counts, not its name", async () => {
  const config = configOf(postgres, { general: { pg_hba: { path: "${DIR}/pg_hba.conf" } } });
  await using doorman = await startDoorman(configOf(postgres), { allowLog: [/login from/] });
  const path = `${doorman.dir}/pg_hba.conf`;
  (config.general as Config).pg_hba = { path };
  await Deno.writeTextFile(path, "host all all 127.0.0.1/32 trust\n");
  assert.match(await reload(doorman, config), /general\.pg_hba/);
  using client = await login(doorman);
  await Deno.writeTextFile(path, "host all all 127.0.0.1/32 reject\n");
  assert.match(await reload(doorman), /general\.pg_hba/);
  assert.equal((await refusal(login(doorman))).C, "28000");
  assert.equal(await client.value("SELECT 1"), "1");
  assert.match(await reload(doorman), /nothing has changed/);
});

Deno.test("what reloads: log level and format", async () => {
  const config = (general: Config) => configOf(postgres, { general });
  await using doorman = await startDoorman(config({ log_level: "info" }));
  await reload(doorman, config({ log_level: "debug" }));
  const from = doorman.logs.length;
  (await login(doorman)).close();
  await doorman.waitForLog(/DEBUG.*client disconnected/, 2000, from);
  await reload(doorman, config({ log_level: "debug", log_format: "structured" }));
  const lines = doorman.logs.trimEnd().split("\n");
  assert.match(
    JSON.parse(lines[lines.length - 1]!).message ?? lines.at(-1),
    /configuration reloaded/,
  );
});

Deno.test("what reloads: log level, but what the command line says", async () => {
  const config = (log_level: string) => configOf(postgres, { general: { log_level } });
  await using doorman = await startDoorman(config("info"), {
    args: ["--log-level", "info"],
    allowLog: [/the command line beats it/],
  });
  assert.match(
    await reload(doorman, config("trace")),
    /general\.log_level has changed and is not applied: the command line beats it/,
  );
  using admin = await consoleOf(doorman);
  assert.equal(await admin.value("SHOW log_level"), "info");
  await admin.query("SET log_level = 'warn,pg_doorman::pool=debug'");
  assert.equal(await admin.value("SHOW log_level"), "warn,pg_doorman::pool=debug");
  await admin.query("SET log_level = 'default'");
  assert.equal(await admin.value("SHOW log_level"), "info");
});

Deno.test("what reloads: startup_parameters of general: servers of every pool are replaced", async () => {
  const config = (work_mem: string): Config => ({
    general: { startup_parameters: { work_mem } },
    pools: {
      app: poolOf(postgres),
      own: poolOf(postgres, { startup_parameters: { work_mem: "9MB" } }),
    },
  });
  await using doorman = await startDoorman(config("5MB"));
  using client = await login(doorman);
  using own = await login(doorman, { database: "own" });
  const pid = () => client.value("SELECT pg_backend_pid()");
  const before = await pid();
  const ownPid = await own.value("SELECT pg_backend_pid()");
  assert.equal(await client.value("SHOW work_mem"), "5MB");
  await client.query("START TRANSACTION");
  await client.query("SELECT 1");
  await reload(doorman, config("6MB"));
  // Not in the middle of a transaction.
  assert.equal(await client.value("SHOW work_mem"), "5MB");
  await client.query("COMMIT");
  assert.equal(await client.value("SHOW work_mem"), "6MB");
  assert.notEqual(await pid(), before);
  // A pool that has its own value has nothing to replace.
  assert.equal(await own.value("SHOW work_mem"), "9MB");
  assert.equal(await own.value("SELECT pg_backend_pid()"), ownPid);
});
