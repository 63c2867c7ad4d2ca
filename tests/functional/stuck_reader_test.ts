/**
 * A client that stops taking a large row: `proxy_copy_data_timeout` gives its server back to the others. One that is
 * slow but takes something is left alone, and so is one that rests between small rows.
 */

import assert from "node:assert/strict";
import { Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

const BIG_ROW = wire.query("SELECT repeat('x', 60000000)");
const MANY_ROWS = wire.query("SELECT repeat('x', 1000) FROM generate_series(1, 60000)");

let postgres: Postgres;
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  doorman = await Doorman.start({
    config: {
      general: { proxy_copy_data_timeout: 1000, query_wait_timeout: "30s", connect_timeout: 2000 },
      pools: {
        app: poolOf(postgres, {
          users: [{ username: "postgres", password: "postgres", pool_size: 1 }],
        }),
      },
    },
    allowLog: [/client took none of its result for 1000 ms/, /nobody waits/],
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

async function login(): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
}

Deno.test("a client that stops in a large row loses its server to the next one", async () => {
  using stuck = await login();
  stuck.send(BIG_ROW);
  await stuck.flushed();
  using next = await login();
  assert.equal(await next.value("SELECT 1"), "1");
  await doorman.waitForLog(/client took none of its result for 1000 ms/, 5000);
});

Deno.test("a client that rests between small rows keeps its server", async () => {
  using resting = await login();
  resting.send(MANY_ROWS);
  await resting.flushed();
  await new Promise((resolve) => setTimeout(resolve, 2500));
  const rows = (await resting.readUntil("Z")).filter(({ type }) => type === "D");
  assert.equal(rows.length, 60000);
});

Deno.test("a client that stops in a long piece of COPY loses its server to the next one", async () => {
  const from = doorman.logs.length;
  using stuck = await login();
  stuck.send(wire.query("COPY (SELECT repeat('x', 60000000)) TO STDOUT"));
  await stuck.flushed();
  using next = await login();
  assert.equal(await next.value("SELECT 1"), "1");
  await doorman.waitForLog(/client took none of its result for 1000 ms/, 5000, from);
});
