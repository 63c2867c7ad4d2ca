/** An end of the new process or of the old one at each point of an upgrade: nobody is lost who need not be. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { isRunning, waitFor } from "../support/detached_process.ts";
import { Postgres } from "../support/postgres.ts";
import type { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { BackendWatch, poolOf, removeCopies, Service } from "./support.ts";

const FAKE = fileURLToPath(new URL("fake_successor.ts", import.meta.url));
const FAILURES = [/BINARY UPGRADE (ABORTED|FAILED)/];

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({ settings: ["max_connections = 60"] });
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

function start(more: { shutdown_timeout?: string } = {}): Promise<Service> {
  return Service.start({
    config: {
      general: {
        unix_socket_dir: "{dir}",
        shutdown_timeout: "5s",
        query_wait_timeout: "30s",
        ...more,
      },
      pools: {
        app: poolOf(postgres, {}, { pool_size: 6, min_pool_size: 6 }),
        one: poolOf(postgres, {}, { pool_size: 1, min_pool_size: 1 }),
        session: poolOf(postgres, { pool_mode: "session" }, { pool_size: 3, min_pool_size: 3 }),
      },
    },
    allowLog: [...FAILURES],
  });
}

/** Puts the successor that fails into the program's place. */
function pretend(service: Service, mode: string): Promise<void> {
  const pools = ["app", "one", "session"].map((database) => ({ database, user: "postgres" }));
  return service.replaceByScript(
    `#!/bin/sh\nexport MODE='${mode}' POOLS='${JSON.stringify(pools)}'\n` +
      `exec '${Deno.execPath()}' run --no-lock -A --no-check '${FAKE}' "$@"\n`,
  );
}

/** A client in each state, and what each expects afterwards. */
class Crowd {
  readonly #service: Service;
  readonly clients: WireClient[] = [];
  readonly #checks: (() => Promise<void>)[] = [];

  constructor(service: Service) {
    this.#service = service;
  }

  async #login(database = "app"): Promise<WireClient> {
    const client = await this.#service.login({ database });
    this.clients.push(client);
    return client;
  }

  async gather(idle: number, asleepMs = 1500): Promise<void> {
    for (let i = 0; i < idle; i++) {
      const client = await this.#login();
      this.#checks.push(async () => assert.equal(await client.value("SELECT 1"), "1"));
    }
    const inTransaction = await this.#login();
    await inTransaction.query("START TRANSACTION");
    const backend = await inTransaction.value("SELECT pg_backend_pid()");
    this.#checks.push(async () => {
      assert.equal(await inTransaction.value("SELECT pg_backend_pid()"), backend);
      assert.equal((await inTransaction.query("COMMIT")).at(-1)!.body[0], 0x49);
    });
    const asleep = await this.#login();
    asleep.send(wire.query(`SELECT pg_sleep(${asleepMs / 1000}), 'slept'`));
    this.#checks.push(async () =>
      assert.deepEqual(wire.rowsOf(await asleep.readUntil("Z")), [["", "slept"]])
    );
    const holder = await this.#login("one");
    await holder.query("START TRANSACTION");
    const waiting = await this.#login("one");
    waiting.send(wire.query("SELECT 'served'"));
    this.#checks.push(async () => {
      await holder.query("COMMIT");
      assert.deepEqual(wire.rowsOf(await waiting.readUntil("Z")), [["served"]]);
    });
    const session = await this.#login("session");
    await session.query("CREATE TEMP TABLE mine AS SELECT 3 AS n");
    this.#checks.push(async () => assert.equal(await session.value("SELECT n FROM mine"), "3"));
    const slow = await this.#login();
    slow.send(wire.query("SELECT repeat('z', 50000) FROM generate_series(1, 300)"));
    await slow.read();
    this.#checks.push(async () => assert.equal(wire.rowsOf(await slow.readUntil("Z")).length, 300));
  }

  async check(): Promise<void> {
    for (const check of this.#checks) await check();
  }

  [Symbol.dispose](): void {
    for (const client of this.clients) client.close();
  }
}

for (
  const mode of [
    "dies when ready",
    "dies at the beginning",
    "dies with the first batch",
    "has no room",
    "talks nonsense",
  ]
) {
  Deno.test(`upgrade: a new process that ${mode} leaves everybody on the old one`, async () => {
    await using service = await start();
    using crowd = new Crowd(service);
    await crowd.gather(120);
    const descriptors = [...service.descriptors().values()].length;
    const watch = new BackendWatch(postgres);
    await pretend(service, mode);
    await service.failedUpgrade();
    await crowd.check();
    // 6 + 1 + 3 and the watch itself, which is connected to another database.
    assert.ok(await watch.stop() <= 10, `${watch.most} server connections`);
    assert.deepEqual(service.children(), []);
    await waitFor(
      "the descriptors are as many as before",
      2000,
      () => service.descriptors().size <= descriptors || undefined,
    );
    using another = await service.login();
    assert.equal(await another.value("SELECT 1"), "1");
    await service.replaceProgram();
    const { left } = await service.upgrade();
    assert.equal(left, 0);
    assert.equal(await another.value("SELECT 1"), "1");
    using unix = await service.login();
    assert.equal(await unix.value("SELECT 1"), "1");
  });
}

Deno.test("upgrade: a new process that takes nothing for five seconds is killed, and its clients go on", async () => {
  await using service = await start({ shutdown_timeout: "30s" });
  service.allowLog(/has taken nothing for 5000 ms: killing it/);
  using crowd = new Crowd(service);
  await crowd.gather(3, 300);
  await pretend(service, "takes nothing");
  await service.failedUpgrade(20_000);
  await crowd.check();
  assert.deepEqual(service.children(), []);
});

Deno.test("upgrade: a new process that takes nothing costs nobody, however short shutdown_timeout is", async () => {
  await using service = await start({ shutdown_timeout: "1s" });
  service.allowLog(/has taken nothing for 5000 ms: killing it/);
  using crowd = new Crowd(service);
  await crowd.gather(3, 300);
  await pretend(service, "takes nothing");
  await service.failedUpgrade(20_000);
  await crowd.check();
});

Deno.test("upgrade: a new process that does not know the snapshots: clients go on until shutdown_timeout", async () => {
  await using service = await start({ shutdown_timeout: "2s" });
  service.allowLog(
    /does not know snapshots of version/,
    /shutdown_timeout is over, left behind and closed: 2 clients/,
  );
  using client = await service.login();
  using other = await service.login({ database: "session" });
  await pretend(service, "another version");
  service.signal("SIGUSR2");
  const from = performance.now();
  await service.waitForLog(/does not know snapshots/);
  assert.equal(await client.value("SELECT 1"), "1");
  assert.equal(await other.value("SELECT 1"), "1");
  for (const one of [client, other]) {
    assert.deepEqual(wire.errorCodes(await one.readToEnd()), ["57P01"]);
  }
  assert.ok(performance.now() - from > 1900, "not before its time");
  await service.waitForEnd(service.pid);
  service.endExpected = true;
});

Deno.test("upgrade: kill -9 of the new process before it is ready", async () => {
  await using service = await start();
  using crowd = new Crowd(service);
  await crowd.gather(10);
  await service.replaceProgram();
  const failed = service.failedUpgrade();
  const [, pid] = await service.waitForLog(/process (\d+) started/);
  Deno.kill(Number(pid), "SIGKILL");
  await failed;
  await crowd.check();
  assert.deepEqual(service.children(), []);
  await service.upgrade();
});

Deno.test("upgrade: kill -9 of the new process as soon as it is ready: who was not taken goes on", async () => {
  await using service = await start();
  // A client that has moved dies with the new process, and with it the servers that it had.
  service.allowLog(/client lost its server/, /server login failed/);
  const clients: WireClient[] = [];
  for (let i = 0; i < 300; i++) clients.push(await service.login());
  await service.replaceProgram();
  const old = service.pid;
  service.signal("SIGUSR2");
  const [, pid] = await service.waitForLog(/process (\d+) ready after/);
  Deno.kill(Number(pid), "SIGKILL");
  await service.waitForLog(/BINARY UPGRADE FAILED: this process serves on|done after/);
  if (!isRunning(old)) throw new Error("it was too fast for this test");
  const told = service.logs.match(/serves on with the clients it has/);
  assert.ok(told !== null);
  let alive = 0;
  for (const client of clients) {
    try {
      assert.equal(await client.value("SELECT 1"), "1");
      alive++;
    } catch (error) {
      // Taken by the process that was killed: a reset or the end of the stream, and no wrong answer.
      assert.ok(!(error instanceof assert.AssertionError), String(error));
    }
    client.close();
  }
  using another = await service.login();
  assert.equal(await another.value("SELECT 1"), "1");
  assert.ok(alive <= clients.length);
  await service.upgrade();
});

Deno.test("upgrade: kill -9 of the old process leaves those that have moved with the new one", async () => {
  await using service = await start();
  using crowd = new Crowd(service);
  await crowd.gather(50, 2500);
  // A console does not move: the old process stays for it.
  using admin = await service.console();
  const { old } = await service.begin();
  // A busy machine takes its time: who has not moved dies with the old process.
  await service.waitForLog(
    /binary upgrade: moved 56 clients.*; waiting for .* 1 consoles, 0 servers and batches/,
    10_000,
  );
  Deno.kill(old, "SIGKILL");
  await service.waitForLog(/the old process ended in the middle: took 56 clients/);
  service.allowLog(/the old process ended in the middle/);
  assert.equal((await admin.readToEnd()).length, 0);
  await crowd.check();
  await service.started(2);
  await service.upgrade();
});

Deno.test("upgrade: kill -9 of the old process as soon as the new one is ready: that one serves", async () => {
  await using service = await start();
  // The slow reader hangs up in the middle of its result.
  service.allowLog(/the old process ended/, /client connection failed/, /can't be reused/);
  using crowd = new Crowd(service);
  await crowd.gather(100);
  const { old } = await service.begin();
  Deno.kill(old, "SIGKILL");
  await service.waitForEnd(old);
  await waitFor("a new client is served", 5000, async () => {
    using client = await service.login();
    return await client.value("SELECT 1") === "1" || undefined;
  });
  await service.started(2);
  await service.upgrade();
});
