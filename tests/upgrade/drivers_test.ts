/**
 * The drivers' programs (tests/drivers/programs.ts) through five binary upgrades each: fifty clients on four servers, all
 * of whom are moved five times, and every answer is the right one.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { say } from "../../tools/say.ts";
import { CLIENTS } from "../drivers/node_programs.ts";
import { findPrograms, makeSharedTable, removeCompiled } from "../drivers/programs.ts";
import { waitFor } from "../support/detached_process.ts";
import { Postgres } from "../support/postgres.ts";
import { poolOf, removeCopies, Service } from "./support.ts";

const UPGRADES = 5;
/** From one upgrade to the next, so that the programs go on a while in each process. */
const BETWEEN_MS = 200;

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  await makeSharedTable(postgres);
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
  await removeCopies();
  await removeCompiled();
});

async function tablesOf(prefix: string): Promise<number> {
  const tables = await postgres.psql(
    `SELECT count(*) FROM pg_class WHERE relname ~ '^${prefix}_[0-9]+$'`,
  );
  return Number(tables);
}

for (const program of await findPrograms()) {
  Deno.test({
    name: `upgrade: ${program.name} through five of them`,
    ignore: !program.ready,
    fn: async () => {
      await using service = await Service.start({
        config: {
          general: { query_wait_timeout: "60s" },
          pools: { app: poolOf(postgres, {}, { pool_size: 4 }) },
        },
      });
      const file = join(service.dir, "enough");
      const running = program.run({ port: service.port, database: "app", file });
      let ended = false;
      // Its failure is told at the end.
      running.finally(() => ended = true).catch(() => {});
      try {
        await waitFor("all clients have begun", 30_000, async () => {
          if (ended) await running;
          return await tablesOf(program.tables) === CLIENTS || undefined;
        });
        let moved = 0;
        for (let i = 0; i < UPGRADES; i++) {
          const { clients, left } = await service.upgrade();
          assert.equal(left, 0);
          moved += clients;
          await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS));
        }
        say(`${moved} clients moved`);
        assert.equal(moved, UPGRADES * CLIENTS);
      } finally {
        // An answer that was wrong is told before what has come of it.
        await Deno.writeTextFile(file, "");
        await running;
      }
    },
  });
}
