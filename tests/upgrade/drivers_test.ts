/**
 * The drivers' programs (tests/drivers/programs.ts) through five binary upgrades, all at once: for each driver fifty
 * clients on four servers, all of whom are moved five times, and every answer is the right one.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { say } from "../../tools/say.ts";
import { CLIENTS } from "../drivers/node_programs.ts";
import {
  endOfAll,
  makeSharedTable,
  type Program,
  readyPrograms,
  removeCompiled,
} from "../drivers/programs.ts";
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

/** A program that runs. */
class Running {
  readonly program: Program;
  readonly result: Promise<void>;
  #ended = false;

  constructor(program: Program, result: Promise<void>) {
    this.program = program;
    this.result = result;
    // Its failure is told at the end.
    result.finally(() => this.#ended = true).catch(() => {});
  }

  async begun(): Promise<void> {
    const { name, tables } = this.program;
    await waitFor(`all clients of ${name} have begun`, 120_000, async () => {
      if (this.#ended) await this.result;
      return await tablesOf(tables) === CLIENTS || undefined;
    });
  }
}

const programs = await readyPrograms();

Deno.test("upgrade: the drivers' programs through five of them", async () => {
  // Each has its own servers.
  const pools = programs.map(({ tables }) => [tables, poolOf(postgres, {}, { pool_size: 4 })]);
  await using service = await Service.start({
    config: { general: { query_wait_timeout: "60s" }, pools: Object.fromEntries(pools) },
  });
  const file = join(service.dir, "enough");
  const running = programs.map((program) =>
    new Running(program, program.run({ port: service.port, database: program.tables, file }))
  );
  try {
    for (const one of running) await one.begun();
    let moved = 0;
    for (let i = 0; i < UPGRADES; i++) {
      const { clients, left } = await service.upgrade();
      assert.equal(left, 0);
      moved += clients;
      await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS));
    }
    say(`${moved} clients moved`);
    assert.equal(moved, UPGRADES * CLIENTS * programs.length);
  } finally {
    // An answer that was wrong is told before what has come of it.
    await Deno.writeTextFile(file, "");
    await endOfAll(running);
  }
});
