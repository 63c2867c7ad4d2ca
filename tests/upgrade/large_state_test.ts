/** Upgrades with more state than a frame, a string or a moment has room for: nothing of it is lost, nor anybody beside it. */

import assert from "node:assert/strict";
import { Postgres } from "../support/postgres.ts";
import type { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { poolOf, removeCopies, Service } from "./support.ts";

const MEGABYTE = 1_000_000;

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

function start(general: Record<string, string | number> = {}): Promise<Service> {
  return Service.start({
    config: {
      general: {
        worker_threads: 2,
        query_wait_timeout: "30s",
        shutdown_timeout: "60s",
        ...general,
      },
      pools: { app: poolOf(postgres, {}, { pool_size: 3 }) },
    },
  });
}

/** `SELECT 'n'` with a long comment. */
function longQuery(n: number, megabytes: number): string {
  return `SELECT '${n}' --${"x".repeat(megabytes * MEGABYTE)}`;
}

async function bound(client: WireClient, name: string): Promise<(string | null)[][]> {
  return wire.rowsOf(await client.ask(wire.bind("", name), wire.execute(), wire.SYNC));
}

Deno.test("upgrade: clients with 60 MB of statements each move, and so does everybody else", async () => {
  await using service = await start();
  const clients: WireClient[] = [];
  try {
    for (let n = 0; n < 8; n++) {
      const client = await service.login();
      clients.push(client);
      client.patienceMs = 120_000;
      await client.ask(wire.parse("mine", longQuery(n, 60)), wire.SYNC);
    }
    using inTransaction = await service.login();
    await inTransaction.query("START TRANSACTION");
    const backend = await inTransaction.value("SELECT pg_backend_pid()");
    for (let i = 0; i < 2; i++) {
      const { clients: moved, left } = await service.upgrade();
      assert.deepEqual([moved, left], [9, 0]);
      assert.equal(await inTransaction.value("SELECT pg_backend_pid()"), backend);
    }
    for (const [n, client] of clients.entries()) {
      assert.deepEqual(await bound(client, "mine"), [[String(n)]]);
    }
  } finally {
    for (const client of clients) client.close();
  }
});

Deno.test("upgrade: 5,000 statements that many clients share", async () => {
  await using service = await start();
  using client = await service.login();
  using other = await service.login();
  for (const one of [client, other]) {
    for (let n = 0; n < 5000; n += 500) {
      const messages = Array.from(
        { length: 500 },
        (_, i) => wire.parse(`s${n + i}`, `SELECT '${n + i}' --${"y".repeat(4000)}`),
      );
      await one.ask(...messages, wire.SYNC);
    }
  }
  const { clients, left } = await service.upgrade();
  assert.deepEqual([clients, left], [2, 0]);
  for (const one of [client, other]) {
    for (const n of [0, 2500, 4999]) assert.deepEqual(await bound(one, `s${n}`), [[String(n)]]);
  }
});

Deno.test("upgrade: a message of 200 MB that is half there is whole afterwards", async () => {
  await using service = await start({
    max_memory_usage: "1GB",
    max_client_prepared_memory: "512MB",
    client_login_timeout: "60s",
  });
  using inTransaction = await service.login();
  await inTransaction.query("START TRANSACTION");
  const backend = await inTransaction.value("SELECT pg_backend_pid()");
  using sending = await service.login();
  // Such a text takes the pooler and PostgreSQL a while, upgrade or not.
  sending.patienceMs = 120_000;
  const message = wire.parse("long", longQuery(7, 200));
  const half = message.length - 5 * MEGABYTE;
  for (let at = 0; at < half; at += MEGABYTE) {
    sending.send(message.subarray(at, Math.min(half, at + MEGABYTE)));
  }
  await sending.flushed();
  const { clients, left } = await service.upgrade();
  assert.deepEqual([clients, left], [2, 0]);
  assert.equal(await inTransaction.value("SELECT pg_backend_pid()"), backend);
  await sending.ask(message.subarray(half), wire.SYNC);
  assert.deepEqual(await bound(sending, "long"), [["7"]]);
});
