/** The first process of a container, with which the kernel ends all others, and the child of an init that leaves with it. */

import assert from "node:assert/strict";
import { isRunning, waitFor } from "../support/detached_process.ts";
import { Postgres } from "../support/postgres.ts";
import { poolOf, removeCopies, Service, type ServiceOptions } from "./support.ts";

/** A namespace of processes as a container has it; the program becomes its PID 1. */
const CONTAINER = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"];
const DONE = /binary upgrade: done after \d+ ms, moved \d+ clients .* left behind 0/;

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

/** Resolves when the first process is known by its number out here, which `pid` is from then on. */
async function start(call: string[], more: Partial<ServiceOptions> = {}): Promise<Service> {
  const service = await Service.start({
    config: { pools: { app: poolOf(postgres) } },
    call: [...CONTAINER, ...call],
    ...more,
  });
  service.pid = service.children()[0]!;
  return service;
}

async function upgraded(service: Service, ask: () => Promise<void> | void): Promise<void> {
  const from = service.logs.length;
  await ask();
  await service.waitForLog(DONE, 20_000, from);
  await service.waitForLog(/Accepting connections/, 10_000, from);
}

Deno.test("container: PID 1 stays through upgrades by signal and console, reaps, and ends with the last", async () => {
  await using service = await start(["{path}"]);
  const first = service.pid;
  using client = await service.login();
  await client.query("START TRANSACTION");
  const backend = await client.value("SELECT pg_backend_pid()");
  const [before] = service.children();
  await upgraded(service, () => service.signal("SIGUSR2"));
  await waitFor("the old one is reaped", 5000, () => {
    const children = service.children();
    return children.length === 1 && children[0] !== before || undefined;
  });
  // Without a terminal it asks for the same.
  await upgraded(service, () => service.signal("SIGINT"));
  await upgraded(service, async () => {
    using admin = await service.console();
    await admin.query("UPGRADE");
  });
  assert.equal(await client.value("SELECT pg_backend_pid()"), backend);
  assert.ok(isRunning(first));
  await waitFor("only one serves", 5000, () => service.children().length === 1 || undefined);
  service.signal("SIGTERM");
  await service.waitForEnd(first);
  service.endExpected = true;
});

Deno.test("container: PID 1 stays where the engine is told who serves, and a launcher starts the new one", async () => {
  await using service = await start(["{path}"], {
    // Nobody listens there: what is told is in the log.
    env: { NOTIFY_SOCKET: "{dir}/notify" },
    allowLog: [/notify [A-Z]+=/],
  });
  using client = await service.login();
  for (let i = 0; i < 2; i++) await upgraded(service, () => service.signal("SIGUSR2"));
  assert.equal(await client.value("SELECT 1"), "1");
  const first = service.pid;
  service.signal("SIGTERM");
  await service.waitForEnd(first);
  service.endExpected = true;
});

Deno.test("container: what kills the one that serves ends the container, with its status", async () => {
  await using service = await start(["{path}"]);
  service.endExpected = true;
  const [serving] = service.children();
  service.signal("SIGKILL", serving);
  const status = await waitFor("unshare's status", 5000, () => service.launchedStatus);
  assert.equal(status, 137);
});

Deno.test("container: an init that leaves when its child does keeps it", async () => {
  // As tini does: it waits for its one child, and ends with it.
  await using service = await start([
    "sh",
    "-c",
    'trap : TERM; "$@" & wait $!; wait $!',
    "sh",
    "{path}",
  ]);
  using client = await service.login();
  const [staying] = service.children();
  await upgraded(service, () => service.signal("SIGUSR2", staying));
  assert.equal(await client.value("SELECT 1"), "1");
  assert.deepEqual(service.children(), [staying]);
  service.signal("SIGTERM", staying);
  await service.waitForEnd(service.pid);
  service.endExpected = true;
});
