/**
 * One pool that several users of a database share, as one role: what PgBouncer does with a forced user. Limits hold for
 * all of them together, those for clients for each; nothing of one user's session reaches another's.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { type Config, Doorman } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { Refused, WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { consoleOf, refusal, reload, show } from "../reload/support.ts";

let postgres: Postgres;
let doorman: Doorman;
let config: { general: Config; pools: Record<string, Config> };

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({
    settings: ["listen_addresses = '127.0.0.1'"],
    hba: ["host all owner 127.0.0.1/32 scram-sha-256"],
  });
  await postgres.query("CREATE ROLE owner LOGIN PASSWORD 'owner-secret'");
  config = {
    general: { worker_threads: 2, query_wait_timeout: "20s" },
    pools: {
      app: {
        server_host: "127.0.0.1",
        server_port: postgres.port,
        server_database: "postgres",
        server_username: "owner",
        server_password: "owner-secret",
        shared_pool_size: 2,
        users: [
          { username: "alice", password: "of-alice", max_user_client_connections: 3 },
          { username: "bob", password: "of-bob" },
          { username: "carol", password: "of-carol" },
        ],
      },
    },
  };
  doorman = await Doorman.start({ config, allowLog: [/login from .* failed/] });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

function login(user: string, password = `of-${user}`): Promise<WireClient> {
  return WireClient.login({ port: doorman.port, database: "app", user, password });
}

async function pool(admin: WireClient): Promise<Record<string, string | null>> {
  const rows = (await show(admin, "POOLS")).filter(({ database }) => database === "app");
  assert.equal(rows.length, 1, JSON.stringify(rows));
  return rows[0]!;
}

Deno.test("shared pool: all users have the servers of one, as its role, each by its own password", async () => {
  using alice = await login("alice");
  using bob = await login("bob");
  using admin = await consoleOf(doorman);
  const pids = new Set<string>();
  for (const client of [alice, bob, alice, bob]) {
    assert.deepEqual(await client.rows("SELECT current_user, session_user"), [["owner", "owner"]]);
    pids.add(await client.value("SELECT pg_backend_pid()") as string);
  }
  assert.equal(pids.size, 1);
  assert.equal((await refusal(login("alice", "of-bob"))).C, "28P01");
  // The role is nobody's name to log in by.
  assert.equal((await refusal(login("owner", "owner-secret"))).C, "28P01");
  const row = await pool(admin);
  assert.deepEqual([row.user, row.cl_idle, row.pool_size], ["owner", "2", "2"]);
  const users = await show(admin, "USERS");
  assert.deepEqual(
    users.map((user) => [user.name, user.current_connections, user.current_client_connections]),
    [["owner", "1", "0"], ["alice", "0", "1"], ["bob", "0", "1"], ["carol", "0", "0"]],
  );
  const clients = await show(admin, "CLIENTS");
  assert.deepEqual(
    clients.filter(({ database }) => database === "app").map(({ user }) => user).sort(),
    ["alice", "bob"],
  );
});

Deno.test("shared pool: its size bounds all users together, and clients are counted by user", async () => {
  const clients = await Promise.all(["alice", "bob", "carol"].map((user) => login(user)));
  const [alice, bob, carol] = clients as [WireClient, WireClient, WireClient];
  for (const client of [alice, bob]) {
    await client.query("BEGIN");
    await client.query("SELECT 1");
  }
  carol.send(wire.query("SELECT 'served'"));
  using admin = await consoleOf(doorman);
  await waitFor(
    "carol waits",
    5000,
    async () => (await pool(admin)).cl_waiting === "1" || undefined,
  );
  assert.equal((await pool(admin)).sv_active, "2");
  await alice.query("COMMIT");
  assert.deepEqual(wire.rowsOf(await carol.readUntil("Z")), [["served"]]);
  await bob.query("COMMIT");
  const more = [await login("alice"), await login("alice")];
  assert.equal((await refusal(login("alice"))).C, "53300");
  using other = await login("bob");
  assert.equal(await other.value("SELECT 1"), "1");
  for (const client of [...clients, ...more]) await client.terminate();
});

Deno.test("shared pool: nothing of one user's session is another's", async () => {
  using alice = await login("alice");
  using bob = await login("bob");
  await alice.query("SET timezone = 'Asia/Tokyo'");
  await alice.query("SET search_path = pg_temp");
  await alice.ask(wire.parse("mine", "SELECT 'alice'"), wire.SYNC);
  assert.notEqual(await bob.value("SHOW timezone"), "Asia/Tokyo");
  assert.deepEqual(
    wire.errorCodes(await bob.ask(wire.bind("", "mine", []), wire.execute(), wire.SYNC)),
    ["26000"],
  );
  await bob.query("CREATE TEMP TABLE t AS SELECT 'bob'");
  assert.ok(await alice.rows("SELECT * FROM t").catch((error) => error) instanceof Refused);
  assert.equal(await alice.value("SHOW timezone"), "Asia/Tokyo");
});

Deno.test("shared pool: PAUSE and RECONNECT name it by its database; a reload takes users in and out", async () => {
  using alice = await login("alice");
  using admin = await consoleOf(doorman);
  const pid = await alice.value("SELECT pg_backend_pid()");
  await admin.query("PAUSE app");
  alice.send(wire.query("SELECT pg_backend_pid()"));
  await waitFor(
    "alice waits",
    5000,
    async () => (await pool(admin)).cl_waiting === "1" || undefined,
  );
  await admin.query("RECONNECT app");
  await admin.query("RESUME app");
  assert.notEqual(wire.rowsOf(await alice.readUntil("Z"))[0]![0], pid);
  const other = structuredClone(config);
  (other.pools.app!.users as Config[]).splice(1, 2, { username: "dave", password: "of-dave" });
  assert.match(await reload(doorman, other), /reloaded/);
  using dave = await login("dave");
  assert.equal(await dave.value("SELECT current_user"), "owner");
  assert.equal((await refusal(login("bob"))).C, "28P01");
  assert.equal(await alice.value("SELECT 1"), "1");
  // To pools of their own, as the same role.
  const { shared_pool_size: _, ...own } = config.pools.app!;
  own.users = ["alice", "bob"].map((username) => ({
    username,
    password: `of-${username}`,
    pool_size: 1,
  }));
  assert.match(await reload(doorman, { ...config, pools: { app: own } }), /reloaded/);
  using bob = await login("bob");
  assert.equal(await bob.value("SELECT current_user"), "owner");
  assert.equal(await alice.value("SELECT current_user"), "owner");
});
