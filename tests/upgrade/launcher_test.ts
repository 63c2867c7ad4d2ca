/**
 * Under a service manager a launcher starts the new process of an upgrade: when it is ready it is nobody's child but the
 * manager's, and until then its end is noticed and brought about as that of a child.
 */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { isRunning, readIfThere, waitFor } from "../support/detached_process.ts";
import { doormanExecutable } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { poolOf, removeCopies, Service } from "./support.ts";

const FAKE = fileURLToPath(new URL("fake_successor.ts", import.meta.url));

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

function start(): Promise<Service> {
  return Service.start({
    config: {
      general: { shutdown_timeout: "5s" },
      pools: { app: poolOf(postgres, {}, { pool_size: 2, min_pool_size: 2 }) },
    },
    // Nobody listens there: what is told is in the log.
    env: { NOTIFY_SOCKET: "{dir}/notify" },
    allowLog: [/notify [A-Z]+=/, /BINARY UPGRADE (ABORTED|FAILED)/],
  });
}

/** Puts a program into the place that is itself as a launcher, and `script` as what it starts. */
async function replaceBy(service: Service, script: string): Promise<void> {
  const real = await doormanExecutable();
  await service.replaceByScript(
    `#!/bin/sh\ncase "$*$PG_DOORMAN_UPGRADE" in\n` +
      `-t*|*'"launch":'*) exec '${real}' "$@" ;;\nesac\n${script}\n`,
  );
}

function parentOf(pid: number): number {
  return Number(/^PPid:\s*(\d+)$/m.exec(readIfThere(`/proc/${pid}/status`) ?? "")?.[1]);
}

/** Nothing runs but the process that has run before, and it serves. */
async function assertServesOn(service: Service): Promise<void> {
  await waitFor("nothing else", 3000, () => service.processes().length === 1 || undefined);
  assert.deepEqual(service.children(), []);
  using client = await service.login();
  assert.equal(await client.value("SELECT 1"), "1");
}

Deno.test("launcher: a new process is no child of the old one, before that has gone", async () => {
  await using service = await start();
  for (let i = 0; i < 3; i++) {
    using client = await service.login();
    await client.query("BEGIN");
    const backend = await client.value("SELECT pg_backend_pid()");
    // It does not move, so the old process stays.
    using admin = await service.console();
    const descriptors = service.descriptors().size;
    const { old } = await service.begin();
    assert.notEqual(service.pid, old);
    assert.notEqual(parentOf(service.pid), old);
    assert.deepEqual(service.children(old), []);
    assert.deepEqual(service.processes().sort(), [old, service.pid].sort());
    assert.equal(await client.value("SELECT pg_backend_pid()"), backend);
    await admin.terminate();
    await service.waitForEnd(old);
    await service.started(i + 2);
    assert.ok(service.descriptors().size <= descriptors, "none is left over from the launcher");
    await client.query("COMMIT");
  }
});

Deno.test("launcher: the status of a new process that ends before it is ready", async () => {
  await using service = await start();
  await replaceBy(service, "exit 3");
  assert.match(await service.failedUpgrade(), /ended before it was ready \(status 3\)/);
  await assertServesOn(service);
});

Deno.test("launcher: a new process that is not ready in time is killed with it", async () => {
  await using service = await start();
  await replaceBy(service, `echo $$ >'${service.dir}/stuck.pid'; exec sleep 60`);
  assert.match(await service.failedUpgrade(20_000), /was not ready within 10000 ms: killed/);
  const pid = Number(readIfThere(`${service.dir}/stuck.pid`));
  assert.ok(pid > 0);
  await service.waitForEnd(pid, 2000);
  await assertServesOn(service);
});

Deno.test("launcher: SIGTERM before it is ready ends them all", async () => {
  await using service = await start();
  service.endExpected = true;
  await replaceBy(service, `echo $$ >'${service.dir}/stuck.pid'; exec sleep 60`);
  service.signal("SIGUSR2");
  const pid = await waitFor(
    "the new process",
    10_000,
    () => Number(readIfThere(`${service.dir}/stuck.pid`)) || undefined,
  );
  service.signal("SIGTERM");
  await service.waitForEnd(service.pid);
  await service.waitForEnd(pid, 2000);
});

Deno.test("launcher: a new process that dies while clients move is missed", async () => {
  await using service = await start();
  const client = await service.login();
  service.allowLog(/client lost its server/);
  const pools = JSON.stringify([{ database: "app", user: "postgres" }]);
  await replaceBy(
    service,
    `export MODE='dies with the first batch' POOLS='${pools}'\n` +
      `exec '${Deno.execPath()}' run --no-lock -A --no-check '${FAKE}' "$@"`,
  );
  const log = await service.failedUpgrade();
  assert.match(log, /the new process ended while clients were moving/);
  const ready = Number(/process (\d+) ready after/.exec(log)![1]);
  assert.ok(!isRunning(ready));
  assert.equal(await client.value("SELECT 1"), "1");
  client.close();
  await assertServesOn(service);
  await service.upgrade();
});
