/** Pools of users who are in no configuration move in a binary upgrade with their clients, their connections and keys. */

import assert from "node:assert/strict";
import { askedFor, lookupOf, makeLookup } from "../support/auth_query.ts";
import { Postgres } from "../support/postgres.ts";
import { poolOf, removeCopies, Service } from "./support.ts";

const PID = "SELECT pg_backend_pid()";
const WHO = "SELECT current_user";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({ auth: "scram-sha-256" });
  await makeLookup(postgres, ["alice", "bob", "carol", "dave", "erin"]);
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

Deno.test("upgrade: clients of users who were looked up go on, in a transaction and at rest", async () => {
  const shared = { server_user: "shared", server_password: "shared" };
  const { server_database: _, ...any } = poolOf(postgres, { users: [] });
  await using service = await Service.start({
    config: {
      general: { worker_threads: 2 },
      pools: {
        app: poolOf(postgres, { users: [], auth_query: lookupOf() }),
        shared: poolOf(postgres, { users: [], auth_query: lookupOf(shared) }),
        "*": { ...any, auth_query: lookupOf() },
      },
    },
    allowLog: [/\[alice@app\] .*57P01/, /login from .*"alice"/],
  });
  const login = (user: string, database: string) =>
    service.login({ user, password: user, database });
  using alice = await login("alice", "app");
  using bob = await login("bob", "app");
  using carol = await login("carol", "shared");
  using dave = await login("dave", "shared");
  using erin = await login("erin", "postgres");
  await bob.query("BEGIN");
  await dave.query("BEGIN");
  await erin.query("BEGIN");
  const pids = await Promise.all([bob, dave, erin].map((client) => client.value(PID)));

  for (let generation = 1; generation <= 2; generation++) {
    const { left, clients } = await service.upgrade();
    assert.deepEqual([left, clients], [0, 5]);
  }
  assert.deepEqual(
    await Promise.all([bob, dave, erin].map((client) => client.value(PID))),
    pids,
    "in the middle of their transactions",
  );
  const clients = [alice, bob, carol, dave, erin];
  assert.deepEqual(await Promise.all(clients.map((client) => client.value(WHO))), [
    "alice",
    "bob",
    "shared",
    "shared",
    "erin",
  ]);
  await postgres.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'alice'",
  );
  await service.waitForLog(/\[alice@app\] .*57P01/);
  assert.equal(await alice.value(WHO), "alice", "a new connection by the key that has moved, too");
  assert.equal(await askedFor(postgres, "alice"), 1);
  using again = await login("alice", "app");
  assert.equal(await again.value(WHO), "alice");
  await assert.rejects(service.login({ user: "alice", password: "no", database: "app" }), /28P01/);
});
