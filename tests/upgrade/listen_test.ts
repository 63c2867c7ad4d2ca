/**
 * Clients that listen in transaction mode, through binary upgrades: the connection that listens moves with them, and no
 * notification is lost, doubled or out of its order, whatever its client is doing.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import type * as wire from "../support/wire_messages.ts";
import { poolOf, removeCopies, Service } from "./support.ts";

let postgres: Postgres;
let service: Service;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({ settings: ["max_connections = 60"] });
  service = await Service.start({
    config: {
      general: { shutdown_timeout: "5s" },
      pools: { app: poolOf(postgres, {}, { pool_size: 3 }) },
    },
  });
});

Deno.test.afterAll(async () => {
  await service[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

/** Waits until so many channels are listened to by the pool's listener. */
async function listening(total: number): Promise<void> {
  using admin = await service.console();
  await waitFor(`${total} channels are listened to`, 8000, async () => {
    const rows = await admin.rows("SHOW CLIENTS");
    return rows.reduce((sum, row) => sum + Number(row[14]), 0) === total || undefined;
  });
}

function payload({ type, body }: wire.Message): string {
  assert.equal(type, "A");
  return new TextDecoder().decode(body.subarray(4)).split("\0")[1]!;
}

Deno.test("numbered notifications through five upgrades reach each of twenty clients once and in order", async () => {
  const clients: WireClient[] = [];
  let going = true;
  let sent = 0;
  const notifying = (async () => {
    using notifier = await WireClient.login({
      port: postgres.port,
      user: "postgres",
      database: "postgres",
    });
    while (going) {
      await notifier.query(`NOTIFY numbers, '${sent++}'`);
      if (sent % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  let upgraded = false;
  const received = new Map<WireClient, string[]>();
  try {
    for (let i = 0; i < 20; i++) {
      const client = await service.login();
      clients.push(client);
      const answer = await client.query("LISTEN numbers");
      received.set(client, answer.filter(({ type }) => type === "A").map(payload));
    }
    await listening(20);
    const backend = await postgres.psql(
      "SELECT pid, backend_start FROM pg_stat_activity WHERE query LIKE 'LISTEN \"numbers\"%' " +
        "OR query LIKE '%idle_session_timeout%LISTEN%'",
    );
    // Half of them work meanwhile, in transactions and outside of them.
    const working = clients.slice(0, 10).map(async (client, i) => {
      const got = received.get(client)!;
      while (!upgraded) {
        for (const sql of i % 2 === 0 ? ["SELECT 1"] : ["BEGIN", "SELECT 1", "COMMIT"]) {
          const answer = await client.query(sql);
          got.push(...answer.filter(({ type }) => type === "A").map(payload));
        }
        await new Promise((resolve) => setTimeout(resolve, 3));
      }
    });
    for (let i = 0; i < 5; i++) {
      const { left } = await service.upgrade();
      assert.equal(left, 0);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    upgraded = true;
    await Promise.all(working);
    assert.match(backend, /^\d+\|/);
    const [pid] = backend.split("|");
    assert.equal(
      await postgres.psql(`SELECT count(*) FROM pg_stat_activity WHERE pid = ${pid}`),
      "1",
      "the connection that listens is another one",
    );
  } finally {
    upgraded = true;
    going = false;
    await notifying;
  }
  for (const [client, got] of received) {
    while (got.at(-1) !== `${sent - 1}`) got.push(payload(await client.read()));
    const first = Number(got[0]);
    assert.deepEqual(got, Array.from({ length: sent - first }, (_, n) => `${first + n}`));
    assert.ok(await client.silent(20));
    client.close();
  }
  assert.ok(sent > 200, `${sent} notifications`);
});

Deno.test("what waits for the end of a transaction moves, and so does an UNLISTEN that is not committed", async () => {
  using client = await service.login();
  await client.query("LISTEN a; LISTEN b; LISTEN c");
  await listening(3);
  await client.query("BEGIN");
  await client.query("UNLISTEN a");
  await client.query("LISTEN d");
  await postgres.query("NOTIFY b, '1'");
  assert.ok(await client.silent(50));
  await service.upgrade();
  await postgres.query("NOTIFY b, '2'");
  assert.ok(await client.silent(50));
  await client.query("COMMIT");
  assert.equal(payload(await client.read()), "1");
  assert.equal(payload(await client.read()), "2");
  await listening(3);
  await postgres.query("NOTIFY a, 'a'; NOTIFY c, 'c'; NOTIFY d, 'd'");
  assert.deepEqual([payload(await client.read()), payload(await client.read())], ["c", "d"]);
  assert.ok(await client.silent(50));
});

Deno.test("clients that begin to listen while an upgrade runs have all from their LISTEN on", async () => {
  let going = true;
  let sent = 0;
  const notifying = (async () => {
    using notifier = await WireClient.login({
      port: postgres.port,
      user: "postgres",
      database: "postgres",
    });
    while (going) {
      await notifier.query(`NOTIFY late, '${sent++}'`);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  const received = new Map<WireClient, string[]>();
  try {
    const clients = await Promise.all(Array.from({ length: 30 }, () => service.login()));
    const begun = service.begin();
    for (const client of clients) {
      const answer = await client.query("LISTEN late");
      received.set(client, answer.filter(({ type }) => type === "A").map(payload));
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const { old } = await begun;
    await service.waitForEnd(old, 10_000);
    await listening(30);
  } finally {
    going = false;
    await notifying;
  }
  for (const [client, got] of received) {
    while (got.at(-1) !== `${sent - 1}`) got.push(payload(await client.read()));
    const first = Number(got[0]);
    assert.deepEqual(got, Array.from({ length: sent - first }, (_, n) => `${first + n}`));
    client.close();
  }
});

Deno.test("more clients than move in one go: nothing is read for any before all are there", async () => {
  const clients: WireClient[] = [];
  for (let i = 0; i < 400; i++) {
    const client = await service.login();
    clients.push(client);
    await client.query("LISTEN many");
  }
  await listening(400);
  let going = true;
  let sent = 0;
  const notifying = (async () => {
    using notifier = await WireClient.login({
      port: postgres.port,
      user: "postgres",
      database: "postgres",
    });
    while (going) {
      await notifier.query(`NOTIFY many, '${sent++}'`);
      // 400 clients get each: more of them are a busy worker's test.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  })();
  try {
    for (let i = 0; i < 3; i++) await service.upgrade();
  } finally {
    going = false;
    await notifying;
  }
  for (const client of clients) {
    for (let n = 0; n < sent; n++) assert.equal(payload(await client.read()), `${n}`);
    assert.ok(await client.silent(1));
    client.close();
  }
});
