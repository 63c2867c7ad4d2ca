/**
 * A server near the end of its life gets its successor before it is closed, and SHOW POOL_SCALING tells what became of
 * that, through a binary upgrade, too. Lives of less than a minute are left to end, so this takes more than one.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { Postgres } from "../support/postgres.ts";
import type { WireClient } from "../support/wire_client.ts";
import { show } from "../reload/support.ts";
import { poolOf, removeCopies, Service } from "../upgrade/support.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

/** Begun, in time, failed, by database. */
async function counts(service: Service): Promise<Record<string, number[]>> {
  using admin = await service.console();
  const rows = await show(admin, "POOL_SCALING");
  await admin.terminate();
  return Object.fromEntries(
    rows.map(({ database, replace_begun, replace_in_time, replace_failed }) => [
      database,
      [replace_begun, replace_in_time, replace_failed].map(Number),
    ]),
  );
}

/** Keeps a server busy until it is told to stop. */
async function work(client: WireClient, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) assert.equal(await client.value("SELECT 1 FROM pg_sleep(0.2)"), "1");
}

Deno.test("replacement: the next server is there in time, a failure is counted, an upgrade keeps the counts", async () => {
  await postgres.query("CREATE ROLE leaver LOGIN");
  await using service = await Service.start({
    config: {
      // Each life is 20 % shorter or longer: 60 to 90 s.
      general: { server_lifetime: "75s" },
      pools: {
        app: poolOf(postgres),
        doomed: poolOf(postgres, {}, { username: "leaver", password: "leaver" }),
      },
    },
    allowLog: [/server login failed: 28000: role "leaver" is not permitted to log in/],
  });
  const stop = new AbortController();
  const clients = await Promise.all([
    ...[1, 2, 3].map(() => service.login()),
    ...[1, 2, 3].map(() =>
      service.login({ database: "doomed", user: "leaver", password: "leaver" })
    ),
  ]);
  const working = clients.map((client) => work(client, stop.signal));
  try {
    await waitFor("six servers", 10_000, async () => {
      using admin = await service.console();
      return (await show(admin, "SERVERS")).length === 6 || undefined;
    });
    await postgres.query("ALTER ROLE leaver NOLOGIN");
    const before = await waitFor("both replacements", 90_000, async () => {
      await new Promise((resolve) => setTimeout(resolve, 500));
      const { app, doomed } = await counts(service);
      const inTime = app![0]! > 0 && app![1] === app![0];
      return inTime && doomed![2]! > 0 ? { app, doomed } : undefined;
    });
    stop.abort();
    await Promise.all(working);
    assert.equal(before.app![2], 0);
    assert.equal(before.doomed![1], 0);
    // The first three, another, and only then the end of one.
    const lives = [
      ...service.logs.matchAll(/\[postgres@app\].*(new server|closed: server_lifetime)/g),
    ];
    assert.deepEqual(lives.slice(0, 4).map(([, what]) => what), Array(4).fill("new server"));
    const now = await counts(service);
    await service.upgrade();
    assert.deepEqual(await counts(service), now);
  } finally {
    stop.abort();
    for (const client of clients) client.close();
  }
});
