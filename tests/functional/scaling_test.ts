/**
 * When server connections are opened: a burst on a warm pool makes do with those that there are, one on a cold pool does
 * not wait, and SHOW POOL_SCALING tells what happened.
 */

import assert from "node:assert/strict";
import { ADMIN, type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

async function start(pool: Config, general: Config = {}): Promise<Doorman> {
  const users = [{ username: "postgres", password: "postgres", pool_size: 20 }];
  return await Doorman.start({
    config: { general, pools: { app: poolOf(postgres, { users, ...pool }) } },
  });
}

async function logins(doorman: Doorman, count: number): Promise<WireClient[]> {
  const one = () => WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
  return await Promise.all(Array.from({ length: count }, one));
}

const COLUMNS = [
  "inflight",
  "creates",
  "gate_waits",
  "gate_budget_ex",
  "antic_notify",
  "antic_timeout",
  "create_fallback",
  "replenish_def",
] as const;

async function scaling(doorman: Doorman): Promise<Record<typeof COLUMNS[number], number>> {
  using admin = await WireClient.login({
    port: doorman.port,
    user: ADMIN.user,
    password: ADMIN.password,
    database: "pgdoorman",
  });
  const [row] = wire.rowsOf(await admin.query("SHOW POOL_SCALING"));
  await admin.terminate();
  assert.deepEqual(row!.slice(0, 2), ["postgres", "app"]);
  return Object.fromEntries(
    COLUMNS.map((name, i) => [name, Number(row![i + 2])]),
  ) as Record<typeof COLUMNS[number], number>;
}

/** All clients hold a server at the same time, then none does. */
async function holdTogether(clients: WireClient[]): Promise<void> {
  for (const client of clients) await client.query("START TRANSACTION");
  await Promise.all(clients.map((client) => client.query("COMMIT")));
}

async function burst(clients: WireClient[], sql: string): Promise<void> {
  await Promise.all(clients.map((client) => client.query(sql)));
}

Deno.test("a burst on a warm pool under a shared limit is served by the servers that there are", async () => {
  await using doorman = await start({ scaling_warm_pool_ratio: 20, max_db_connections: 20 });
  const clients = await logins(doorman, 16);
  await holdTogether(clients.slice(0, 4));
  // The chance is as long as transactions take: these are long ones.
  await burst(clients.slice(0, 4), "SELECT pg_sleep(0.6)");
  const before = await scaling(doorman);
  assert.equal(before.creates, 4);
  await burst(clients, "SELECT pg_sleep(0.01)");
  const after = await scaling(doorman);
  // 16 times 10 ms on 4 servers: over before a client's chance is.
  assert.equal(after.creates, 4);
  assert.ok(after.antic_notify >= 12 - before.antic_notify, JSON.stringify(after));
  for (const client of clients) client.close();
});

Deno.test("the same burst opens connections at once where the pool counts as cold, or nobody is to wait", async () => {
  const pools: Config[] = [{ scaling_warm_pool_ratio: 100 }, { scaling_fast_retries: 0 }];
  for (const pool of pools) {
    await using doorman = await start(pool);
    const clients = await logins(doorman, 16);
    await holdTogether(clients.slice(0, 4));
    await burst(clients, "SELECT pg_sleep(0.1)");
    const after = await scaling(doorman);
    assert.ok(after.creates > 6, JSON.stringify(after));
    assert.equal(after.antic_timeout, 0);
    for (const client of clients) client.close();
  }
});

Deno.test("a burst that lasts opens connections when the clients have had their chance", async () => {
  await using doorman = await start({});
  const clients = await logins(doorman, 8);
  await holdTogether(clients.slice(0, 4));
  await burst(clients, "SELECT pg_sleep(1)");
  const after = await scaling(doorman);
  // Nobody waited for one of the first four to be through.
  assert.equal(after.creates, 8);
  assert.equal(after.antic_timeout, 4);
  for (const client of clients) client.close();
});

for (const most of [1, 6]) {
  Deno.test(`scaling_max_parallel_creates = ${most} is how many are opened at the same time`, async () => {
    await using doorman = await start(
      { scaling_warm_pool_ratio: 100 },
      { scaling_max_parallel_creates: most, max_concurrent_creates: 10 },
    );
    const clients = await logins(doorman, 13);
    await burst(clients, "SELECT pg_sleep(0.3)");
    const { gate_waits, creates } = await scaling(doorman);
    assert.equal(creates, 13);
    assert.ok(most === 1 ? gate_waits >= 10 : gate_waits <= 10, `${gate_waits} waits`);
    for (const client of clients) client.close();
  });
}
