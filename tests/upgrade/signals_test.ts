/** An upgrade and whatever else an operator does at the same time; what can't move; daemon mode; long chains. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { isRunning, readIfThere, waitFor } from "../support/detached_process.ts";
import type { Config } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { poolOf, removeCopies, Service, type ServiceOptions } from "./support.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({ settings: ["max_connections = 60"] });
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

function configOf(general: Config = {}, pools: Config = {}): Config {
  return {
    general: { unix_socket_dir: "{dir}", shutdown_timeout: "20s", ...general },
    pools: { app: poolOf(postgres), ...pools },
  };
}

function start(general: Config = {}, more: Partial<ServiceOptions> = {}): Promise<Service> {
  return Service.start({ config: configOf(general), ...more });
}

function overUnixSocket(service: Service): Promise<WireClient> {
  return WireClient.login({
    path: join(service.dir, `.s.PGSQL.${service.port}`),
    user: "postgres",
    database: "app",
  });
}

/** An upgrade whose old process stays, since a console is open; its clients have moved. */
async function beginAndHold(service: Service): Promise<{ old: number; admin: WireClient }> {
  const admin = await service.console();
  const from = service.logs.length;
  const { old } = await service.begin();
  await service.waitForLog(/binary upgrade: moved \d+ clients.*; waiting for/, 5000, from);
  return { old, admin };
}

Deno.test("upgrade: twenty in a row, the next as soon as one is done, with a transaction through all", async () => {
  await using service = await start();
  using client = await service.login();
  await client.query("START TRANSACTION");
  const backend = await client.value("SELECT pg_backend_pid()");
  const started = service.descriptors().size;
  for (let i = 0; i < 20; i++) {
    const { clients, servers, left } = await service.upgrade();
    assert.deepEqual([clients, servers, left], [1, 1, 0]);
    await service.started(i + 2);
    assert.equal(await client.value("SELECT pg_backend_pid()"), backend);
  }
  assert.deepEqual(service.processes(), [service.pid]);
  const ended = service.descriptors().size;
  assert.ok(ended <= started + 2, `${started} descriptors at first, ${ended} in the end`);
  assert.equal((await client.query("COMMIT")).at(-1)!.body[0], 0x49);
});

Deno.test("upgrade: asked for twice, the second is refused while the first is under way", async () => {
  await using service = await start({}, {
    allowLog: [
      /SIGUSR2 received: refused, a binary upgrade is under way \((validating|starting)\)/,
    ],
  });
  using client = await service.login();
  const upgraded = service.upgrade();
  await service.waitForLog(/validating/);
  service.signal("SIGUSR2");
  await service.waitForLog(/refused, a binary upgrade is under way/);
  await upgraded;
  assert.equal(await client.value("SELECT 1"), "1");
  // While the old process has something left, both refuse.
  const { old, admin } = await beginAndHold(service);
  service.allowLog(/refused, a binary upgrade is under way \(moving\)/);
  service.allowLog(/refused, the last binary upgrade is under way/);
  service.signal("SIGUSR2", old);
  await service.waitForLog(/refused, a binary upgrade is under way \(moving\)/);
  service.signal("SIGUSR2");
  await service.waitForLog(/refused, the last binary upgrade is under way/);
  await admin.terminate();
  await service.waitForEnd(old);
});

Deno.test("upgrade: UPGRADE on the console; the console stays until shutdown_timeout and is told the end", async () => {
  await using service = await start({ shutdown_timeout: "2s" }, {
    allowLog: [/shutdown_timeout is over, left behind and closed: .* 1 consoles/],
  });
  using client = await service.login();
  using admin = await service.console();
  await service.replaceProgram();
  const old = service.pid;
  await admin.query("UPGRADE");
  const [, pid] = await service.waitForLog(/process (\d+) ready/);
  service.pid = Number(pid);
  assert.equal(await client.value("SELECT 1"), "1");
  // It still answers, for the old process.
  assert.equal(wire.letters(await admin.query("SHOW VERSION")), "TDCZ");
  assert.deepEqual(wire.errorCodes(await admin.readToEnd()), ["57P01"]);
  await service.waitForEnd(old);
  assert.match(service.logs, /done after .* left behind 1\n/);
  assert.equal(await client.value("SELECT 1"), "1");
});

Deno.test("upgrade: clients of a pool that the new configuration lacks go on until shutdown_timeout", async () => {
  await using service = await Service.start({
    config: configOf({ shutdown_timeout: "3s" }, { gone: poolOf(postgres) }),
    allowLog: [
      /shutdown_timeout is over, left behind and closed: 2 clients of pools that the new process/,
      /no pool configured for database "gone"/,
    ],
  });
  using stays = await service.login();
  using goes = await service.login({ database: "gone" });
  using active = await service.login({ database: "gone" });
  await active.query("START TRANSACTION");
  await service.writeConfig(configOf({ shutdown_timeout: "3s" }));
  const { old } = await service.begin();
  await service.waitForLog(/waiting for 2 clients of pools that the new process does not have/);
  assert.equal(await goes.value("SELECT 1"), "1");
  assert.equal(await active.value("SELECT 1"), "1");
  assert.equal(await stays.value("SELECT 1"), "1");
  await assert.rejects(service.login({ database: "gone" }), /28P01/);
  for (const client of [goes, active]) {
    assert.deepEqual(wire.errorCodes(await client.readToEnd()), ["57P01"]);
  }
  await service.waitForEnd(old);
  assert.equal(await stays.value("SELECT 1"), "1");
});

Deno.test("upgrade: SIGTERM while it starts ends both processes", async () => {
  await using service = await start({}, { allowLog: [/BINARY UPGRADE ABORTED/] });
  await service.replaceByScript('#!/bin/sh\n[ "$1" = -t ] || exec sleep 60\n');
  service.signal("SIGUSR2");
  const [, child] = await service.waitForLog(/process (\d+) started/);
  service.signal("SIGTERM");
  await service.waitForEnd(service.pid);
  await waitFor("the end of the new process", 2000, () => !isRunning(Number(child)) || undefined);
  service.endExpected = true;
  assert.equal(readIfThere(join(service.dir, `.s.PGSQL.${service.port}`)), undefined);
});

Deno.test("upgrade: SIGTERM while the program is checked ends the check, too", async () => {
  await using service = await start({}, { allowLog: [/BINARY UPGRADE ABORTED/] });
  await service.replaceByScript(`#!/bin/sh\necho $$ > ${service.dir}/checking; exec sleep 60\n`);
  service.signal("SIGUSR2");
  const checking = await waitFor(
    "the check",
    5000,
    () => Number(readIfThere(join(service.dir, "checking"))) || undefined,
  );
  service.signal("SIGTERM");
  await service.waitForEnd(service.pid);
  await waitFor("the end of the check", 2000, () => !isRunning(checking) || undefined);
  service.endExpected = true;
});

Deno.test("upgrade: a SIGHUP before the new process is ready counts for both", async () => {
  await using service = await start();
  using client = await service.login();
  // A new process that is not ready yet: whether it reads the configuration of before is chance.
  const held = join(service.dir, "held");
  await service.replaceProgram(`${service.program}.real`);
  await service.replaceByScript(
    `#!/bin/sh\n[ "$1" = -t ] && exit 0\n` +
      `touch ${held}; while [ -e ${held} ]; do sleep 0.05; done\n` +
      `exec ${service.program}.real "$@"\n`,
  );
  const from = service.logs.length;
  const old = service.pid;
  service.signal("SIGUSR2");
  await waitFor("a new process that waits", 5000, () => readIfThere(held) === "" || undefined);
  await service.writeConfig(configOf({}, { added: poolOf(postgres) }));
  service.signal("SIGHUP");
  await service.waitForLog(/configuration reloaded/, 5000, from);
  using added = await service.login({ database: "added" });
  await added.query("SELECT 1");
  await added.terminate();
  await Deno.remove(held);
  const [, pid] = await service.waitForLog(/process (\d+) ready/, 5000, from);
  service.pid = Number(pid);
  await service.waitForEnd(old);
  await waitFor(
    "a reload in the new process, too",
    5000,
    () => service.logs.slice(from).split("configuration reloaded").length > 2 || undefined,
  );
  using another = await service.login({ database: "added" });
  assert.equal(await another.value("SELECT 1"), "1");
  assert.equal(await client.value("SELECT 1"), "1");
});

Deno.test("upgrade: SIGTERM to the old process while clients move leaves the new one serving", async () => {
  await using service = await start({}, { allowLog: [/the old process ended in the middle/] });
  using client = await service.login();
  const { old, admin } = await beginAndHold(service);
  service.signal("SIGTERM", old);
  await service.waitForEnd(old);
  assert.equal((await admin.readToEnd()).length, 0);
  admin.close();
  assert.equal(await client.value("SELECT 1"), "1");
  // The file of the unix socket is the new process's.
  using unix = await overUnixSocket(service);
  assert.equal(await unix.value("SELECT 1"), "1");
  await service.started(2);
  await service.upgrade();
});

Deno.test("upgrade: SIGTERM to the new process while clients move leaves the old one serving", async () => {
  await using service = await start({}, { allowLog: [/BINARY UPGRADE FAILED/] });
  const { old, admin } = await beginAndHold(service);
  const { pid } = service;
  service.signal("SIGTERM", pid);
  await service.waitForEnd(pid);
  service.pid = old;
  await service.waitForLog(/this process serves on with the clients it has/);
  assert.equal(wire.letters(await admin.query("SHOW VERSION")), "TDCZ");
  using tcp = await service.login();
  assert.equal(await tcp.value("SELECT 1"), "1");
  using unix = await overUnixSocket(service);
  assert.equal(await unix.value("SELECT 1"), "1");
  admin.close();
  await service.upgrade();
});

Deno.test("upgrade: a SIGHUP meanwhile is for the new process", async () => {
  await using service = await start();
  const { old, admin } = await beginAndHold(service);
  await service.writeConfig(configOf({}, { added: poolOf(postgres) }));
  service.signal("SIGHUP", old);
  await service.waitForLog(/SIGHUP received during a binary upgrade: for the new process/);
  await admin.terminate();
  await service.waitForEnd(old);
  await service.waitForLog(/configuration reloaded/);
  using client = await service.login({ database: "added" });
  assert.equal(await client.value("SELECT 1"), "1");
});

Deno.test("upgrade: a removed socket file and another number of workers are no obstacle", async () => {
  await using service = await start();
  using unix = await overUnixSocket(service);
  await unix.query("START TRANSACTION");
  using tcp = await service.login();
  await Deno.remove(join(service.dir, `.s.PGSQL.${service.port}`));
  await service.writeConfig(configOf({ worker_threads: 3 }, { another: poolOf(postgres) }));
  assert.equal((await service.upgrade()).clients, 2);
  assert.equal((await unix.query("COMMIT")).at(-1)!.body[0], 0x49);
  assert.equal(await tcp.value("SELECT 1"), "1");
  using another = await service.login({ database: "another" });
  assert.equal(await another.value("SELECT 1"), "1");
  await service.writeConfig(configOf({ worker_threads: 1 }));
  const { clients, left } = await Promise.resolve(another.terminate()).then(() =>
    service.upgrade()
  );
  assert.deepEqual([clients, left], [2, 0]);
  assert.equal(await unix.value("SELECT 1"), "1");
});

Deno.test("upgrade: SIGINT without a terminal is one, too", async () => {
  await using service = await start();
  using client = await service.login();
  await service.replaceProgram();
  const old = service.pid;
  service.signal("SIGINT");
  const [, pid] = await service.waitForLog(/process (\d+) ready/);
  service.pid = Number(pid);
  await service.waitForEnd(old);
  assert.equal(await client.value("SELECT 1"), "1");
});

Deno.test("upgrade: a daemon's clients move, and its PID file names the new process", async () => {
  await using service = await Service.create({
    config: configOf({ daemon_pid_file: "{dir}/daemon.pid" }),
    args: ["--daemon", "pg_doorman.toml"],
    call: ["./bin/pg_doorman"],
  });
  await service.start();
  const pidFile = () => Number(readIfThere(join(service.dir, "daemon.pid")));
  await waitFor("the PID file", 5000, () => pidFile() > 0 || undefined);
  service.pid = pidFile();
  using client = await service.login();
  await client.query("START TRANSACTION");
  const backend = await client.value("SELECT pg_backend_pid()");
  for (let i = 0; i < 3; i++) {
    const old = service.pid;
    await service.replaceProgram();
    service.signal("SIGUSR2");
    await waitFor("a new process in the PID file", 10_000, () => pidFile() !== old || undefined);
    service.pid = pidFile();
    await service.waitForEnd(old);
    assert.equal(Deno.readLinkSync(`/proc/${service.pid}/exe`), service.program);
    assert.equal(await client.value("SELECT pg_backend_pid()"), backend);
    // Its start is through when it takes the next one.
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  service.signal("SIGTERM");
  await service.waitForEnd(service.pid);
  service.endExpected = true;
  assert.equal(readIfThere(join(service.dir, "daemon.pid")), undefined);
});
