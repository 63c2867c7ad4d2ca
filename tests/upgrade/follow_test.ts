/** What an operator can follow of an upgrade: SHOW UPGRADE, whose totals go on from process to process, and the log. */

import assert from "node:assert/strict";
import { Postgres } from "../support/postgres.ts";
import type { WireClient } from "../support/wire_client.ts";
import { poolOf, removeCopies, Service } from "./support.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

function start(allowLog: RegExp[] = []): Promise<Service> {
  return Service.start({
    config: {
      general: { shutdown_timeout: "2s" },
      pools: { app: poolOf(postgres), gone: poolOf(postgres) },
    },
    allowLog,
  });
}

async function upgrades(admin: WireClient): Promise<Record<string, string>> {
  return Object.fromEntries(await admin.rows("SHOW UPGRADE"));
}

/** By a console of its own, which does not stay. */
async function ask(service: Service): Promise<Record<string, string>> {
  using admin = await service.console();
  const items = await upgrades(admin);
  await admin.terminate();
  return items;
}

Deno.test("upgrade: SHOW UPGRADE counts what failed and what moved, through a chain of processes", async () => {
  await using service = await start([/BINARY UPGRADE (ABORTED|FAILED)/]);
  const first = service.pid;
  const fresh = await ask(service);
  assert.equal(fresh.phase, "idle");
  assert.equal(fresh.pid, String(first));
  assert.equal(fresh.predecessor_pid, "none");
  assert.equal(fresh.generation, "0");
  assert.equal(fresh.attempts, "0");
  assert.equal(fresh.last_result, "none");
  using client = await service.login();
  await client.query("START TRANSACTION");
  using idle = await service.login();

  await service.replaceByScript('#!/bin/sh\n[ "$1" = -t ] && exit 3\n');
  const before = Date.now();
  await service.failedUpgrade();
  const refusing = await ask(service);
  assert.equal(refusing.attempts, "1");
  assert.equal(refusing.failed_validation, "1");
  assert.equal(refusing.last_result, "validation");
  const began = Date.parse(refusing.last_began_at!);
  assert.ok(began >= before - 1 && began <= Date.now());
  await service.replaceByScript('#!/bin/sh\n[ "$1" = -t ] || exit 4\n');
  await service.failedUpgrade();
  const dying = await ask(service);
  assert.equal(dying.failed_died, "1");
  assert.equal(dying.last_result, "died");
  await service.replaceByScript("this is no program\n");
  await service.failedUpgrade();
  assert.equal((await ask(service)).failed_validation, "2");

  for (let generation = 1; generation <= 3; generation++) {
    const old = service.pid;
    const { readyMs, doneMs } = await service.upgrade();
    await service.started(generation + 1);
    const items = await ask(service);
    assert.equal(items.phase, "idle");
    assert.equal(items.pid, String(service.pid));
    assert.equal(items.predecessor_pid, String(old));
    assert.equal(items.generation, String(generation));
    assert.equal(items.attempts, String(3 + generation));
    assert.equal(items.completed, String(generation));
    assert.equal(items.failed_validation, "2");
    assert.equal(items.failed_died, "1");
    assert.equal(items.clients_moved, String(2 * generation));
    assert.equal(items.servers_moved, String(generation));
    assert.equal(items.last_result, "completed");
    assert.equal(items.last_clients_moved, "2");
    assert.equal(items.last_servers_moved, "1");
    assert.equal(items.last_ready_ms, String(readyMs));
    assert.equal(items.last_moving_ms, String(doneMs));
    assert.equal(items.last_left, "0");
    assert.ok(Number(items.last_bytes_moved) > 500, items.last_bytes_moved);
    assert.ok(Number(items.bytes_moved) >= generation * 500);
  }
  assert.equal(await idle.value("SELECT 1"), "1");
});

Deno.test("upgrade: SHOW UPGRADE tells what is under way, what was refused and what was left behind", async () => {
  await using service = await start([
    /refused, (a|the last) binary upgrade is under way/,
    /shutdown_timeout is over, left behind and closed: 1 clients of pools .* 1 consoles/,
    /no pool configured for database "gone"/,
  ]);
  using admin = await service.console();
  using goes = await service.login({ database: "gone" });
  using stays = await service.login();
  await service.writeConfig({
    general: { shutdown_timeout: "2s" },
    pools: { app: poolOf(postgres) },
  });
  const { old } = await service.begin();
  await service.waitForLog(/moved 1 clients .*; waiting for 1 clients of pools/);
  const there = await upgrades(admin);
  assert.equal(there.pid, String(old));
  assert.equal(there.phase, "moving");
  assert.equal(there.last_result, "under_way");
  service.signal("SIGUSR2", old);
  await service.waitForLog(/refused, a binary upgrade is under way \(moving\)/);
  assert.equal((await upgrades(admin)).refused, "1");
  const here = await ask(service);
  assert.equal(here.pid, String(service.pid));
  assert.equal(here.phase, "taking_over");
  assert.equal(here.last_result, "under_way");
  service.signal("SIGUSR2");
  await service.waitForLog(/refused, the last binary upgrade is under way/);
  await goes.readToEnd();
  await service.waitForEnd(old);
  await service.started(2);
  const items = await ask(service);
  assert.equal(items.phase, "idle");
  assert.equal(items.refused, "2");
  assert.equal(items.completed, "1");
  assert.equal(items.left_unknown_pool, "1");
  assert.equal(items.left_console, "1");
  assert.equal(items.left_login, "0");
  assert.equal(items.last_left, "2");
  assert.equal(await stays.value("SELECT 1"), "1");
});

Deno.test("upgrade: when the old process is killed in the middle, the new one's totals say so", async () => {
  await using service = await start([/the old process ended in the middle/]);
  using admin = await service.console();
  using client = await service.login();
  const { old } = await service.begin();
  await service.waitForLog(/moved 1 clients .*; waiting for/);
  Deno.kill(old, "SIGKILL");
  await service.waitForLog(/the old process ended in the middle/);
  await service.started(2);
  const items = await ask(service);
  assert.equal(items.attempts, "1");
  assert.equal(items.completed, "0");
  assert.equal(items.failed_old_process_ended, "1");
  assert.equal(items.last_result, "old_process_ended");
  assert.equal(items.last_clients_moved, "1");
  assert.equal(items.clients_moved, "1");
  assert.equal(items.predecessor_pid, String(old));
  assert.equal(await client.value("SELECT 1"), "1");
  admin.close();
});

Deno.test("upgrade: the clients that die with a new process are counted and named in the log", async () => {
  await using service = await start([/BINARY UPGRADE FAILED/, /client lost its server/]);
  using admin = await service.console();
  using lost = await service.login();
  const { old } = await service.begin();
  await service.waitForLog(/moved 1 clients .*; waiting for/);
  const child = service.pid;
  Deno.kill(child, "SIGKILL");
  await service.waitForLog(
    /serves on with the clients it has; lost with the new one: 1 clients and 1 servers/,
  );
  service.pid = old;
  const items = await upgrades(admin);
  assert.equal(items.phase, "idle");
  assert.equal(items.failed_died, "1");
  assert.equal(items.clients_lost, "1");
  assert.equal(items.last_result, "died");
  assert.equal((await lost.readToEnd()).length, 0);
});

Deno.test("upgrade: the log has each step, in both processes, in this order", async () => {
  await using service = await start();
  using client = await service.login();
  await client.query("START TRANSACTION");
  const from = service.logs.length;
  const old = service.pid;
  await service.upgrade();
  await service.started(2);
  const log = service.logs.slice(from);
  let at = 0;
  for (
    const step of [
      `SIGUSR2 received: binary upgrade, validating ${service.program} -t ${service.configPath}`,
      "binary upgrade: validation ok, starting the new process",
      `binary upgrade: process ${service.pid} started`,
      `taking over from process ${old}`,
      /binary upgrade: process \d+ ready after \d+ ms/,
      "accepting new connections",
      /binary upgrade: done after \d+ ms, moved 1 clients and 1 servers to process \d+, left behind 0/,
      `hand-over from process ${old} complete: took 1 clients, 1 servers`,
      "Accepting connections: pools=2",
    ]
  ) {
    const rest = log.slice(at);
    const found = typeof step === "string" ? rest.indexOf(step) : rest.search(step);
    assert.ok(found >= 0, `${step}: not in the log, or not in this order:\n${log}`);
    at += found;
  }
});
