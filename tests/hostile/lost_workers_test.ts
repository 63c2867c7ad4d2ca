/**
 * A worker that hangs or dies costs the clients that it has, once, and nothing else: those of the other workers notice
 * nothing, and new clients of its pools get in when another thread has taken its place.
 */

import assert from "node:assert/strict";
import { Bystander, restingSockets } from "../support/bystander.ts";
import { readIfThere, waitFor } from "../support/detached_process.ts";
import { ADMIN, Doorman, poolOf } from "../support/doorman.ts";
import { Misbehaving } from "../support/misbehaving.ts";
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

const POOLS = ["a", "b", "c", "d"];
const MOST_CLIENTS = 12;

interface Scene extends AsyncDisposable {
  doorman: Doorman;
  program: Misbehaving;
  threads: number[];
}

async function scene(allowLog: RegExp[]): Promise<Scene> {
  const program = Misbehaving.make();
  const pools = Object.fromEntries(POOLS.map((name) => [name, poolOf(postgres)]));
  const doorman = await Doorman.start({
    program: program.program,
    config: { general: { worker_threads: 2, max_connections: MOST_CLIENTS }, pools },
    allowLog: [/another thread now and takes clients/, ...allowLog],
  });
  await waitFor("workers", 20_000, () => /Accepting connections/.test(doorman.logs) || undefined);
  return {
    doorman,
    program,
    threads: program.workers(doorman.pid),
    async [Symbol.asyncDispose]() {
      await doorman[Symbol.asyncDispose]();
      program[Symbol.dispose]();
    },
  };
}

/** Sends and receives with a client that may have been disconnected. */
async function isConnected(client: WireClient): Promise<boolean> {
  try {
    return await client.value("SELECT 1") === "1";
  } catch {
    return false;
  }
}

function logIn(doorman: Doorman, database: string): Promise<WireClient> {
  return WireClient.login({ port: doorman.port, user: "postgres", database });
}

async function onConsole(
  doorman: Doorman,
  command: string,
): Promise<Record<string, string | null>[]> {
  const { port } = doorman;
  const login = { port, user: ADMIN.user, password: ADMIN.password, database: "pgdoorman" };
  using admin = await WireClient.login(login);
  return wire.recordsOf(await admin.query(command));
}

async function listed(doorman: Doorman, name: string): Promise<string | null | undefined> {
  return (await onConsole(doorman, "SHOW LISTS")).find(({ list }) => list === name)?.items;
}

/** What is where: the clients of the first thread's pools, and those of the other's. */
interface Crowd {
  lost: WireClient[];
  lostPools: string[];
  others: WireClient[];
}

/** Waits until the worker is replaced, and sees who is still there. */
async function afterLoss(doorman: Doorman, clients: Map<string, WireClient>): Promise<Crowd> {
  await waitFor(
    "another thread",
    30_000,
    () => /another thread now/.test(doorman.logs) || undefined,
  );
  const crowd: Crowd = { lost: [], lostPools: [], others: [] };
  for (const [pool, client] of clients) {
    if (await isConnected(client)) crowd.others.push(client);
    else {
      crowd.lost.push(client);
      crowd.lostPools.push(pool);
    }
  }
  return crowd;
}

async function everyPool(doorman: Doorman): Promise<Map<string, WireClient>> {
  const clients = new Map<string, WireClient>();
  for (const pool of POOLS) {
    const client = await logIn(doorman, pool);
    assert.equal(await client.value("SELECT 1"), "1");
    clients.set(pool, client);
  }
  return clients;
}

Deno.test("a worker that hangs costs its own clients, and its pools are served by another thread", async () => {
  await using here = await scene([
    /worker 0 is given up with its \d connections, .*: it has not answered for 10000 ms/,
    /the lost thread of worker 0 does not end/,
  ]);
  const { doorman, program, threads: [first] } = here;
  const sockets = await restingSockets(doorman);
  const clients = await everyPool(doorman);
  program.tell(first!, "hang");
  // Whoever comes meanwhile waits, or is sent home: nobody hangs for ever.
  const late = await Promise.all(POOLS.map((pool) => logIn(doorman, pool).catch(() => undefined)));
  const { lost, lostPools, others } = await afterLoss(doorman, clients);
  assert.equal(lost.length, 2);
  assert.equal(others.length, 2);
  for (const client of lost) assert.deepEqual(await client.readToEnd().catch(() => []), []);
  for (const pool of lostPools) {
    using client = await logIn(doorman, pool);
    assert.equal(await client.value("SELECT 2"), "2");
  }
  assert.equal(await listed(doorman, "lost_workers"), "1");
  assert.equal(await listed(doorman, "workers"), "2");
  // The places of those who are gone are free.
  const more: WireClient[] = [];
  const inside = others.length + late.filter((client) => client !== undefined).length;
  for (let i = inside; i < MOST_CLIENTS; i++) more.push(await logIn(doorman, lostPools[0]!));
  for (const client of [...more, ...late, ...clients.values()]) client?.close();
  // The thread comes round, and what it had is closed.
  program.relent(first!);
  await waitFor(
    "the end of the thread",
    20_000,
    () => !program.workers(doorman.pid).includes(first!) || undefined,
  );
  for (const pool of POOLS) {
    using client = await logIn(doorman, pool);
    assert.equal(await client.value("SELECT 3"), "3");
  }
  await onConsole(doorman, "KILL");
  await waitFor(
    "sockets as before",
    20_000,
    async () => await restingSockets(doorman) <= sockets || undefined,
  );
});

Deno.test("a worker that throws is replaced at once; PAUSE is not forgotten", async () => {
  await using here = await scene([
    /worker 0 is given up with its \d connections, .*: it ended by an exception: Error: told to/,
  ]);
  const { doorman, program, threads: [first] } = here;
  const clients = await everyPool(doorman);
  await using _other = await Bystander.start(doorman.port, "postgres", "b");
  await onConsole(doorman, "PAUSE a");
  program.tell(first!, "throw");
  const { lost, lostPools, others } = await afterLoss(doorman, clients);
  assert.deepEqual([lost.length, others.length, lostPools[0]], [2, 2, "a"]);
  const paused = (await onConsole(doorman, "SHOW DATABASES")).filter((row) => row.paused === "1");
  assert.deepEqual(paused.map(({ name }) => name), ["a"]);
  await onConsole(doorman, "RESUME a");
  for (const pool of lostPools) {
    using client = await logIn(doorman, pool);
    assert.equal(await client.value("SELECT 2"), "2");
  }
  for (const client of clients.values()) client.close();
});

Deno.test("a worker that throws while clients move costs its own at most, and the upgrade goes on", async () => {
  await using here = await scene([
    /worker 0 is given up with its \d+ connections, .*: it ended by an exception: Error: told to/,
  ]);
  const { doorman, program, threads: [first] } = here;
  const clients = await everyPool(doorman);
  // It gets its orders with all others, and does not come round before it throws.
  program.tell(first!, "hang");
  doorman.signal("SIGUSR2");
  const ready = /binary upgrade: process (\d+) ready/;
  const [, next] = await waitFor(
    "a new process",
    30_000,
    () => ready.exec(doorman.logs) ?? undefined,
  );
  try {
    program.tell(first!, "throw");
    assert.equal(await doorman.waitForExit(), 0);
    assert.match(doorman.logs, /worker 0 is given up/);
    assert.match(doorman.logs, /binary upgrade: done after \d+ ms, moved \d+ clients/);
    let others = 0;
    for (const client of clients.values()) if (await isConnected(client)) others++;
    assert.ok(others >= 2, `${others} are left`);
    for (const pool of POOLS) {
      using client = await logIn(doorman, pool);
      assert.equal(await client.value("SELECT 2"), "2");
    }
  } finally {
    for (const client of clients.values()) client.close();
    Deno.kill(Number(next), "SIGTERM");
    await waitFor(
      "its end",
      20_000,
      () => readIfThere(`/proc/${next}/stat`) === undefined || undefined,
    );
  }
});
