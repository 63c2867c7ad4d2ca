/**
 * Drivers with their default settings (prepared statements) in transaction mode: fifty clients of each on the same four
 * servers, mixed with DDL, SETs and errors. Each program checks every answer (programs.ts).
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import pg from "pg";
import { waitFor } from "../support/detached_process.ts";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { available, run } from "./environment.ts";
import { endOfAll, makeSharedTable, readyPrograms, removeCompiled } from "./programs.ts";

let postgres: Postgres;
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  await makeSharedTable(postgres);
  const users: Config[] = [{ username: "postgres", password: "postgres", pool_size: 4 }];
  // Hundreds of clients want four servers at once: they are to wait, not to fail.
  const general = { query_wait_timeout: 60_000 };
  doorman = await Doorman.start({
    config: { general, pools: { app: poolOf(postgres, { users }) } },
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
  await removeCompiled();
});

const programs = await readyPrograms();

Deno.test("shared statements: the drivers' programs at once, on the same servers", async () => {
  await endOfAll(programs.map((program) => ({
    program,
    result: program.run({ port: doorman.port, database: "app" }),
  })));
});

const pgbench = await available("pgbench", ["--version"]);

/** pgbench with a script, on a pool of four servers of a PgDoorman of its own; then what the console shows. */
async function bench(script: string, ...args: string[]): Promise<pg.QueryResultRow[][]> {
  await postgres.query(
    "DROP TABLE IF EXISTS accounts; CREATE TABLE accounts(id int PRIMARY KEY, n int); " +
      "INSERT INTO accounts SELECT n, 0 FROM generate_series(1, 10) n",
  );
  const users: Config[] = [{ username: "postgres", password: "postgres", pool_size: 4 }];
  await using fresh = await Doorman.start({
    config: { pools: { app: poolOf(postgres, { users }) } },
  });
  const file = join(fresh.dir, "script.sql");
  await Deno.writeTextFile(file, script);
  const said = await run("pgbench", [
    ...["-n", "-f", file, ...args],
    fresh.url("app", "postgres"),
  ]);
  assert.match(said, /number of failed transactions: 0 \(/);
  const console = new pg.Client({ connectionString: fresh.adminUrl });
  await console.connect();
  const servers = (await console.query("SHOW SERVERS")).rows;
  const statements = (await console.query("SHOW PREPARED_STATEMENTS")).rows;
  await console.end();
  return [servers, statements];
}

Deno.test({
  name: "shared statements: pgbench's clients have each statement once on each server",
  ignore: !pgbench,
  fn: async () => {
    const script = "UPDATE accounts SET n = n + 1 WHERE id = 1 RETURNING n;\n" +
      "SELECT 1 + :client_id;\n";
    const args = ["-M", "prepared", "-c", "100", "-j", "2", "-t", "20"];
    const [servers, statements] = await bench(script, ...args);
    assert.equal(statements!.length, 2);
    assert.ok(servers!.length > 0);
    // A Parse that nobody has sent for 10 ms is sent, and forgotten where nothing has changed.
    for (const server of servers!) {
      assert.ok(Number(server.prepare_cache_size) <= 2, JSON.stringify(server));
    }
    const misses = servers!.reduce((sum, server) => sum + Number(server.prepare_cache_miss), 0);
    assert.ok(misses < 200, "every client's Parse was sent");
    assert.equal(await postgres.psql("SELECT n FROM accounts WHERE id = 1"), "2000");
  },
});

for (const protocol of ["extended", "prepared"]) {
  Deno.test({
    name: `shared statements: pgbench's pipelines, ${protocol} protocol`,
    ignore: !pgbench,
    fn: async () => {
      const update = "UPDATE accounts SET n = n + 1 WHERE id = :id;\n";
      const script = "\\set id random(1, 10)\n\\startpipeline\nBEGIN;\n" + update +
        "SELECT n FROM accounts WHERE id = :id;\nEND;\nSELECT 1 + :client_id;\n\\endpipeline\n" +
        update;
      // A thread for each client: pgbench waits for the answer to a Parse, and so for clients that hold a server.
      await bench(script, "-M", protocol, "-c", "50", "-j", "50", "-t", "20");
      assert.equal(await postgres.psql("SELECT sum(n) FROM accounts"), "2000");
    },
  });
}

Deno.test("shared statements: every statement on a server is the pooler's", async () => {
  // Clients listened, and the pool keeps its connection for that for some seconds.
  await waitFor("four servers and this question are all that is there", 15_000, async () => {
    const rows = await postgres.query<{ n: number }>(
      "SELECT count(*)::int AS n FROM pg_stat_activity WHERE backend_type = 'client backend'",
    );
    return rows[0]!.n <= 5 || undefined;
  });
  const client = new pg.Client({ connectionString: doorman.url("app", "postgres") });
  await client.connect();
  const { rows: [found] } = await client.query(
    "SELECT count(*)::int AS all, " +
      "count(*) FILTER (WHERE name NOT LIKE 'DOORMAN_%')::int AS foreign " +
      "FROM pg_prepared_statements",
  );
  await client.end();
  assert.ok(found.all > 0);
  assert.equal(found.foreign, 0);
});
