/** Upgrades under load, in a short form; `./denow task soak:upgrade` has the long one. */

import assert from "node:assert/strict";
import { Postgres } from "../support/postgres.ts";
import { say } from "../../tools/say.ts";
import { available } from "../drivers/environment.ts";
import { bench, connectLoop, crowd, longTransfers } from "./load.ts";
import { poolOf, removeCopies, Service } from "./support.ts";

const pgbench = await available("pgbench", ["--version"]);
const CLIENTS = 50;
const POOL_SIZE = 10;

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({ settings: ["max_connections = 100"] });
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
});

function start(): Promise<Service> {
  return Service.start({
    config: {
      general: { max_connections: 8192, query_wait_timeout: "30s" },
      pools: {
        app: poolOf(postgres, {}, { pool_size: POOL_SIZE, min_pool_size: POOL_SIZE }),
        session: poolOf(postgres, { pool_mode: "session" }, { pool_size: CLIENTS }),
      },
    },
  });
}

for (
  const [database, protocol, poolSize] of [
    ["app", "simple", POOL_SIZE],
    ["app", "extended", POOL_SIZE],
    ["app", "prepared", POOL_SIZE],
    ["session", "prepared", CLIENTS],
  ] as const
) {
  Deno.test({
    name:
      `upgrade: pgbench, ${protocol} protocol, database ${database}: no transaction fails, no server too many`,
    ignore: !pgbench,
    fn: async () => {
      await using service = await start();
      // Only one of the pools is in use, the other one's servers count, too.
      const others = database === "app" ? 0 : POOL_SIZE;
      const { transactions, mostBackends, longestMs } = await bench(service, postgres, {
        database,
        protocol,
        clients: CLIENTS,
        seconds: 4,
        upgrades: 2,
        poolSize: poolSize + others,
      });
      say(`${transactions} transactions, ${mostBackends} servers at most, longest ${longestMs} ms`);
      assert.ok(transactions > 100);
    },
  });
}

Deno.test("upgrade: new connections never fail", async () => {
  await using service = await start();
  const connections = await connectLoop(service, 10);
  say(`${connections} connections through ten upgrades`);
  assert.ok(connections > 50);
});

async function nobodyNotices(): Promise<void> {
  await using service = await start();
  const seen = await crowd(service, 1000, 50);
  say(JSON.stringify(seen));
  assert.equal(seen.clients, 1050);
  assert.ok(seen.longestMs < 1000, `a client waited ${seen.longestMs} ms`);
  assert.ok(seen.goneMs < 2000, `the old process was there for ${seen.goneMs} ms`);
  assert.ok(seen.descriptorsMost <= 2 * seen.descriptorsBefore + 64);
  assert.ok(seen.descriptorsAfter <= seen.descriptorsBefore + 8);
}

Deno.test({
  name: "upgrade: with a thousand idle clients nobody notices",
  ignore: !pgbench,
  fn: nobodyNotices,
});

Deno.test("upgrade: copies and results of a hundred megabytes arrive byte-exact", async () => {
  await using service = await start();
  await longTransfers(service, postgres, 100, 3);
});
