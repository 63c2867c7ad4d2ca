/** SIGUSR2, and SIGINT without a terminal: both begin a binary upgrade; what that does is tests/upgrade's matter. */

import assert from "node:assert/strict";
import { Postgres } from "../support/postgres.ts";
import { poolOf, removeCopies, Service } from "../upgrade/support.ts";

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

for (
  const [signal, cause] of [
    ["SIGUSR2", /SIGUSR2 received/],
    ["SIGINT", /SIGINT received without a terminal/],
  ] as const
) {
  Deno.test(`${signal} without a terminal: binary upgrade, clients move`, async () => {
    await using service = await Service.start({ config: { pools: { app: poolOf(postgres) } } });
    await service.waitForLog(/Accepting connections/);
    using client = await service.login({ user: "postgres", database: "app" });
    await client.query("START TRANSACTION");
    const before = service.pid;
    service.signal(signal);
    const [, pid] = await service.waitForLog(/binary upgrade: done .* to process (\d+)/);
    await service.waitForEnd(before);
    service.pid = Number(pid);
    assert.match(service.logs, cause);
    assert.equal(await client.value("SELECT 1"), "1");
    await client.query("COMMIT");
  });
}
