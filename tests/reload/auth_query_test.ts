/** What a reload does with users who are looked up: those of an unchanged auth_query notice nothing. */

import assert from "node:assert/strict";
import { askedFor, lookupOf, makeLookup } from "../support/auth_query.ts";
import { type Config, type Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import { consoleOf, refusal, reload, show, startDoorman, userOf } from "./support.ts";

const PID = "SELECT pg_backend_pid()";
const WHO = "SELECT current_user";
const STATIC = ["a", "b", "c"];

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({ auth: "scram-sha-256" });
  await makeLookup(postgres, ["alice", "bob", "carol", ...STATIC]);
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

function configOf(pool: Config): Config {
  return configWithout({ users: [], auth_query: lookupOf(), ...pool });
}

function configWithout(pool: Config): Config {
  return { general: { worker_threads: 2 }, pools: { app: poolOf(postgres, pool) } };
}

function login(doorman: Doorman, user: string): Promise<WireClient> {
  return WireClient.login({ port: doorman.port, database: "app", user, password: user });
}

async function counts(doorman: Doorman): Promise<Record<string, string | null>> {
  using admin = await consoleOf(doorman);
  return (await show(admin, "AUTH_QUERY"))[0]!;
}

Deno.test("reload: an auth_query as it was keeps what it knows, a changed one asks anew, without one nobody gets in", async () => {
  await using doorman = await startDoorman(configOf({}), {
    allowLog: [/login from .*failed/],
  });
  using alice = await login(doorman, "alice");
  const pid = await alice.value(PID);
  const before = await counts(doorman);
  await reload(doorman, configOf({ users: [userOf()] }));
  assert.deepEqual(await counts(doorman), before);
  (await login(doorman, "alice")).close();
  assert.equal(await alice.value(PID), pid);
  assert.equal(await askedFor(postgres, "alice"), 1);

  await reload(doorman, configOf({ auth_query: lookupOf({ cache_ttl: "2h", pool_size: 2 }) }));
  assert.equal((await counts(doorman)).cache_entries, "0");
  assert.equal(await alice.value(PID), pid, "it is the same pool");
  (await login(doorman, "alice")).close();
  assert.equal(await askedFor(postgres, "alice"), 2);

  // From one for each to one for all, and back.
  const shared = lookupOf({ server_user: "shared", server_password: "shared" });
  await reload(doorman, configOf({ auth_query: shared }));
  using other = await login(doorman, "alice");
  assert.deepEqual([await alice.value(WHO), await other.value(WHO)], ["alice", "shared"]);

  await reload(doorman, configWithout({ users: [userOf()] }));
  assert.equal((await refusal(login(doorman, "alice"))).C, "28P01");
  assert.deepEqual([await alice.value(WHO), await other.value(WHO)], ["alice", "shared"]);
  await reload(doorman, configOf({}));
  (await login(doorman, "alice")).close();
});

Deno.test("reload: a user who is listed now is what the list says", async () => {
  await using doorman = await startDoorman(configOf({}), { allowLog: [/login from .*failed/] });
  using before = await login(doorman, "bob");
  const listed = userOf({
    username: "bob",
    password: "listed",
    server_username: "carol",
    server_password: "carol",
  });
  await reload(doorman, configOf({ users: [listed] }));
  assert.equal((await refusal(login(doorman, "bob"))).C, "28P01");
  using after = await WireClient.login({
    port: doorman.port,
    database: "app",
    user: "bob",
    password: "listed",
  });
  assert.equal(await after.value(WHO), "carol");
  assert.equal(await before.value(WHO), "carol");
  await reload(doorman, configOf({}));
  using again = await login(doorman, "bob");
  assert.equal(await again.value(WHO), "bob");
});

Deno.test("reload: a limit brings the pools of who was looked up to where the others are", async () => {
  const users = STATIC.map((username) => userOf({ username, password: username }));
  await using doorman = await startDoorman(configOf({ users }), { allowLog: [/caps it/] });
  const clients = await Promise.all(
    ["alice", "bob", ...STATIC].map((user) => login(doorman, user)),
  );
  for (const client of clients) await client.query("BEGIN");
  const pids = await Promise.all(clients.map((client) => client.value(PID)));
  await reload(doorman, configOf({ users, max_db_connections: 7 }));
  assert.match(doorman.logs, /moves to worker/);
  assert.deepEqual(await Promise.all(clients.map((client) => client.value(PID))), pids);
  for (const client of clients) await client.query("COMMIT");
  for (const user of ["alice", "carol"]) {
    using client = await login(doorman, user);
    assert.equal(await client.value(WHO), user);
  }
  for (const client of clients) client.close();
});
