/**
 * Clients that take more than their share: slow log-ins, results that nobody reads, requests without end, connections
 * by the hundred. They harm themselves alone, and memory stays bounded.
 */

import assert from "node:assert/strict";
import { Bystander, restingSockets, socketCount } from "../support/bystander.ts";
import { waitFor } from "../support/detached_process.ts";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

const MB = 1024;
/** What a test may add to the resident memory, beside the garbage that a collection has yet to find. */
const ROOM_KB = 60 * MB;

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

async function start(general: Config = {}): Promise<Doorman> {
  const users = [{ username: "postgres", password: "postgres", pool_size: 12 }];
  const doorman = await Doorman.start({
    config: { general, pools: { app: poolOf(postgres, { users }) } },
    allowLog: [
      /login from .* failed: canceling authentication due to timeout/,
      /client disconnected from/,
      /left in a state that can't be reused/,
      /too many clients/,
      /accept: too many open files/,
      /made room/,
    ],
  });
  using client = await login(doorman);
  await client.query("SELECT 1");
  return doorman;
}

async function login(doorman: Doorman): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
}

/** Sends for as long as the other side takes it, at most so much; returns how much that was. */
async function flood(client: WireClient, piece: Uint8Array, mostBytes: number): Promise<number> {
  let sent = 0;
  while (sent < mostBytes) {
    client.send(piece);
    let timer: number | undefined;
    const taken = await Promise.race([
      client.flushed().then(() => true, () => false),
      new Promise((resolve) => timer = setTimeout(resolve, 500)).then(() => false),
    ]);
    clearTimeout(timer);
    if (!taken) break;
    sent += piece.length;
  }
  return sent;
}

function repeated(bytes: Uint8Array, times: number): Uint8Array {
  const all = new Uint8Array(bytes.length * times);
  for (let i = 0; i < times; i++) all.set(bytes, i * bytes.length);
  return all;
}

Deno.test("log-ins that come a byte at a time are cut off at the timeout", async () => {
  await using doorman = await start({ client_login_timeout: "1s" });
  await using _bystander = await Bystander.start(doorman.port, "postgres", "app");
  const before = await restingSockets(doorman);
  const startup = wire.startup({ user: "postgres", database: "app" });
  const started = performance.now();
  const codes = await Promise.all(Array.from({ length: 200 }, async (_, i) => {
    using client = await WireClient.open({ port: doorman.port });
    let at = 0;
    const drip = setInterval(() => {
      if (i % 3 === 1) client.send(startup.subarray(at, ++at));
    }, 30);
    // A third says nothing, a third is never done, a third does not give its password.
    if (i % 3 === 2) client.send(startup);
    const told = await client.readToEnd();
    clearInterval(drip);
    return wire.errorCodes(told).join();
  }));
  const tookMs = performance.now() - started;
  assert.deepEqual(new Set(codes), new Set(["08006"]));
  assert.ok(tookMs > 900 && tookMs < 10_000, `${tookMs} ms`);
  await waitFor("sockets are closed", 5000, () => socketCount(doorman) <= before + 2 || undefined);
});

Deno.test("clients that never read their results harm themselves alone", async () => {
  await using doorman = await start();
  await using bystander = await Bystander.start(doorman.port, "postgres", "app");
  const before = await restingSockets(doorman);
  const memoryKb = doorman.rssKb();
  const greedy: WireClient[] = [];
  for (let i = 0; i < 8; i++) {
    const client = await login(doorman);
    greedy.push(client);
    client.send(wire.query(
      "SELECT repeat('x', 100000) FROM generate_series(1, 2000); SELECT repeat('y', 30000000)",
    ));
  }
  const answered = bystander.answers;
  await new Promise((resolve) => setTimeout(resolve, 2000));
  assert.ok(bystander.answers > answered + 50, `${bystander.answers - answered} answers`);
  const grownKb = doorman.rssKb() - memoryKb;
  assert.ok(grownKb < ROOM_KB, `${grownKb} KB`);
  // One of them comes to its senses: nothing was lost meanwhile.
  const woken = greedy.pop()!;
  const result = await woken.readUntil("Z");
  assert.equal(wire.letters(result), "TD*CTDCZ");
  assert.equal(result.filter(({ type }) => type === "D").length, 2001);
  woken.close();
  for (const client of greedy) client.close();
  // What their servers ran is canceled: those are the next clients'.
  await waitFor("sockets are closed", 8000, () => socketCount(doorman) <= before + 8 || undefined);
});

for (
  const [name, piece] of [
    ["Sync", repeated(wire.SYNC, 13_000)],
    ["tiny queries", repeated(wire.query("SELECT 1"), 4000)],
    [
      "tiny batches",
      repeated(wire.message("P", wire.cstring(""), wire.cstring("SELECT 1"), wire.int16(0)), 2500),
    ],
  ] as const
) {
  Deno.test(`${name} without end from a client that does not read stay in its socket`, async () => {
    await using doorman = await start();
    await using _bystander = await Bystander.start(doorman.port, "postgres", "app");
    const memoryKb = doorman.rssKb();
    using client = await login(doorman);
    const most = 200 * MB * MB;
    const sent = await flood(client, piece, most);
    assert.ok(sent < most, "the pooler has taken everything");
    const grownKb = doorman.rssKb() - memoryKb;
    assert.ok(grownKb < ROOM_KB, `${grownKb} KB after ${sent} bytes`);
  });
}

Deno.test("half a message held back holds one server and not the pooler", async () => {
  await using doorman = await start();
  await using _bystander = await Bystander.start(doorman.port, "postgres", "app");
  using client = await login(doorman);
  const whole = wire.query(`SELECT ${"1 + ".repeat(100_000)} 1`);
  client.send(whole.subarray(0, 200_000));
  assert.ok(await client.silent(300));
  client.send(whole.subarray(200_000));
  // PostgreSQL's parser has had enough of it, or not: it was answered, once.
  assert.match(wire.letters(await client.readUntil("Z")), /^(TDCZ|EZ)$/);
});

Deno.test("connections that come and go leave nothing", async () => {
  await using doorman = await start();
  await using _bystander = await Bystander.start(doorman.port, "postgres", "app");
  const before = await restingSockets(doorman);
  const memoryKb = doorman.rssKb();
  for (let round = 0; round < 20; round++) {
    await Promise.all(Array.from({ length: 50 }, async (_, i) => {
      using client = await WireClient.open({ port: doorman.port });
      if (i % 2 === 0) client.send(wire.startup({ user: "postgres", database: "app" }));
      if (i % 4 === 0) await client.read();
    }));
  }
  await waitFor("sockets are closed", 5000, () => socketCount(doorman) <= before + 2 || undefined);
  assert.ok(doorman.rssKb() - memoryKb < ROOM_KB);
});

Deno.test("more clients than max_connections are sent home, and their places come back", async () => {
  await using doorman = await start({ max_connections: 20 });
  const clients: WireClient[] = [];
  for (let i = 0; i < 20; i++) clients.push(await login(doorman));
  for (let i = 0; i < 30; i++) {
    await assert.rejects(login(doorman), /53300/);
  }
  clients.pop()!.close();
  await waitFor("a free place", 3000, async () => {
    try {
      clients.push(await login(doorman));
      return true;
    } catch (error) {
      assert.match(String(error), /53300/);
      return undefined;
    }
  });
  for (const client of clients) {
    assert.equal(await client.value("SELECT 1"), "1");
    client.close();
  }
});

Deno.test("when descriptors run out, those who are in are served, and new clients wait for a place", async () => {
  await using doorman = await start();
  await using bystander = await Bystander.start(doorman.port, "postgres", "app");
  // A worker that comes later would find no descriptor to begin with.
  await doorman.waitForLog(/Accepting connections/);
  await restingSockets(doorman);
  const limit = doorman.fdCount() + 12;
  const { success } = await new Deno.Command("prlimit", {
    args: [`--pid=${doorman.pid}`, `--nofile=${limit}`],
  }).output();
  assert.ok(success);
  const crowd: WireClient[] = [];
  for (let i = 0; i < 60; i++) crowd.push(await WireClient.open({ port: doorman.port }));
  await doorman.waitForLog(/accept: too many open files/);
  const [answers, cpuMs] = [bystander.answers, doorman.cpuMs()];
  await new Promise((resolve) => setTimeout(resolve, 1000));
  assert.ok(bystander.answers > answers + 20, `${bystander.answers - answers} answers`);
  assert.ok(doorman.cpuMs() - cpuMs < 500, `${doorman.cpuMs() - cpuMs} ms of CPU in a second`);
  for (const client of crowd) client.close();
  using late = await login(doorman);
  assert.equal(await late.value("SELECT 1"), "1");
});
