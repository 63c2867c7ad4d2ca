/**
 * Thousands of users with plain passwords: their verifiers take longer to make than a new process has, so it gets them
 * from the old one.
 */

import assert from "node:assert/strict";
import { say } from "../../tools/say.ts";
import type { Config } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { poolOf, removeCopies, Service, userOf } from "./support.ts";

const USERS = 5000;

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

function configOf(passwordOf: (n: number) => string, users: number): Config {
  const many = Array.from({ length: users }, (_, n) => ({
    username: `user${n}`,
    password: passwordOf(n),
    server_username: "postgres",
    server_password: "postgres",
    pool_size: 1,
  }));
  return { pools: { app: { ...poolOf(postgres), users: [userOf(), ...many] } } };
}

const login = (service: Service, n: number, password: string) =>
  service.login({ user: `user${n}`, password });

Deno.test("upgrade: with 5,000 plain passwords the new process is ready at once, and knows those that are new", async () => {
  const began = performance.now();
  await using service = await Service.start({
    config: configOf((n) => `secret ${n}`, USERS),
    startMs: 60_000,
    allowLog: [/login from .*"user4711"|login from .*user4711@app/],
  });
  const startMs = performance.now() - began;
  using client = await login(service, 17, "secret 17");
  assert.equal(await client.value("SELECT 1"), "1");
  await service.writeConfig(configOf((n) => n === 4711 ? "changed" : `secret ${n}`, USERS));
  for (let generation = 1; generation <= 2; generation++) {
    const { readyMs, left } = await service.upgrade();
    say(`first start ${Math.round(startMs)} ms, successor ${generation} ready after ${readyMs} ms`);
    assert.equal(left, 0);
    assert.ok(
      readyMs < startMs / 2,
      `ready after ${readyMs} ms, the first start took ${startMs} ms`,
    );
    await service.started(generation + 1);
    assert.equal(await client.value("SELECT 1"), "1");
    for (const [n, password] of [[4999, "secret 4999"], [4711, "changed"]] as const) {
      using another = await login(service, n, password);
      assert.equal(await another.value("SELECT 1"), "1");
    }
    await assert.rejects(login(service, 4711, "secret 4711"), /28P01/);
    for (const name of ["environ", "cmdline"]) {
      const text = Deno.readTextFileSync(`/proc/${service.pid}/${name}`);
      assert.doesNotMatch(text, /SCRAM|secret/, name);
    }
  }
  assert.doesNotMatch(service.logs, /SCRAM-SHA-256\$|secret \d/);
});

Deno.test("upgrade: a new process that does not even read what it is told is killed when its time is over", async () => {
  // More than the socket takes.
  await using service = await Service.start({
    config: configOf((n) => `secret ${n}`, 2000),
    allowLog: [/BINARY UPGRADE ABORTED/],
    startMs: 60_000,
  });
  using client = await service.login();
  await service.replaceByScript('#!/bin/sh\n[ "$1" = -t ] || exec sleep 60\n');
  assert.match(await service.failedUpgrade(), /was not ready within 10000 ms: killed/);
  assert.deepEqual(service.children(), []);
  assert.equal(await client.value("SELECT 1"), "1");
  await service.upgrade();
  assert.equal(await client.value("SELECT 1"), "1");
});
