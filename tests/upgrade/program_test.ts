/** Which file an upgrade starts, how, and what happens when that file or the configuration is no good. */

import assert from "node:assert/strict";
import { Postgres } from "../support/postgres.ts";
import { poolOf, removeCopies, Service } from "./support.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

Deno.test("upgrade: the file that was renamed over the running program is started", async () => {
  await using service = await Service.start({ config: { pools: { app: poolOf(postgres) } } });
  using client = await service.login();
  const backend = await client.value("SELECT pg_backend_pid()");
  const first = service.pid;
  const { clients, servers } = await service.upgrade();
  assert.equal(clients, 1);
  assert.equal(servers, 1);
  assert.notEqual(service.pid, first);
  assert.equal(await client.value("SELECT pg_backend_pid()"), backend);
  // Started by the same name, which is now another file.
  assert.equal(Deno.readLinkSync(`/proc/${service.pid}/exe`), service.program);
});
