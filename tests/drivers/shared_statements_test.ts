/**
 * Drivers with their default settings (prepared statements) in transaction mode: fifty clients on four servers, mixed
 * with DDL, SETs and errors. Each program checks every answer.
 *
 * `PG_DOORMAN_TEST_PYTHON` names a Python that has the drivers which Debian's lacks (psycopg 3), `PG_DOORMAN_TEST_PGJDBC`
 * pgjdbc's jar file if it is not where Debian has it.
 */

import assert from "node:assert/strict";
import pg from "pg";
import postgresJs from "postgres";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { available, PYTHON as DEBIAN_PYTHON, run } from "./environment.ts";

const PYTHON = Deno.env.get("PG_DOORMAN_TEST_PYTHON") ?? DEBIAN_PYTHON;
const CLIENTS = 50;
const ROUNDS = 20;

let postgres: Postgres;
let doorman: Doorman;
let url: string;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  const users: Config[] = [{ username: "postgres", password: "postgres", pool_size: 4 }];
  // Fifty clients want four servers at once: they are to wait, not to fail.
  const general = { query_wait_timeout: 60_000 };
  doorman = await Doorman.start({
    config: { general, pools: { app: poolOf(postgres, { users }) } },
  });
  url = doorman.url("app", "postgres");
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

/** psycopg 3.1 takes a statement for prepared that an aborted pipeline was to prepare, on direct connections, too. */
const SOUND: Record<string, string> = {
  psycopg: "; assert psycopg.__version__ >= '3.2'",
};

for (const driver of ["asyncpg", "psycopg", "psycopg2"]) {
  const there = await available(PYTHON, ["-c", `import ${driver}${SOUND[driver] ?? ""}`]);
  Deno.test({
    name: `shared statements: ${driver}`,
    ignore: !there,
    fn: async () => {
      assert.equal(await run(PYTHON, ["shared_statements.py", url, driver]), "all right\n");
    },
  });
}

const go = await available("go", ["version"]);

Deno.test({
  name: "shared statements: pgx in all of its query modes",
  ignore: !go,
  fn: async () => {
    assert.equal(await run("go", ["run", "-C", "pgx", ".", url]), "all right\n");
  },
});

const pgjdbc = Deno.env.get("PG_DOORMAN_TEST_PGJDBC") ?? "/usr/share/java/postgresql.jar";
const java = await available("java", ["-version"]) && await available("test", ["-r", pgjdbc]);

Deno.test({
  name: "shared statements: pgjdbc",
  ignore: !java,
  fn: async () => {
    const jdbc = `jdbc:postgresql://127.0.0.1:${doorman.port}/app?user=postgres&password=postgres`;
    assert.equal(await run("java", ["-cp", pgjdbc, "Jdbc.java", jdbc]), "all right\n");
  },
});

Deno.test("shared statements: node-postgres", async () => {
  await Promise.all(Array.from({ length: CLIENTS }, async (_, number) => {
    const client = new pg.Client({ connectionString: url });
    await client.connect();
    await client.query(`CREATE TABLE node_pg_${number}(a int)`);
    for (let round = 0; round < ROUNDS; round++) {
      const sum = await client.query("SELECT $1::int + 1 AS n", [round]);
      assert.equal(sum.rows[0].n, round + 1);
      // One name, another text for every fifth client.
      const named = { name: "named", text: `SELECT ${number % 5} + $1::int AS n`, values: [round] };
      assert.equal((await client.query(named)).rows[0].n, number % 5 + round);
      await assert.rejects(client.query("SELECT 1 / $1::int", [0]), { code: "22012" });
      await client.query("BEGIN");
      await client.query(`SET LOCAL work_mem = '${64 + number}kB'`);
      await client.query(`INSERT INTO node_pg_${number} VALUES ($1)`, [round]);
      assert.equal((await client.query("SHOW work_mem")).rows[0].work_mem, `${64 + number}kB`);
      await client.query("COMMIT");
      const count = { name: "count", text: `SELECT count(*)::int AS n FROM node_pg_${number}` };
      assert.equal((await client.query(count)).rows[0].n, round + 1);
      if (round === 10) await client.query(`ALTER TABLE node_pg_${number} ADD COLUMN b int`);
    }
    await client.end();
  }));
});

Deno.test("shared statements: postgres.js", async () => {
  await Promise.all(Array.from({ length: CLIENTS }, async (_, number) => {
    const sql = postgresJs(url, { max: 1 });
    await sql.unsafe(`CREATE TABLE postgres_js_${number}(a int)`);
    for (let round = 0; round < ROUNDS; round++) {
      // Sent together: the driver pipelines.
      const sums = await Promise.all(
        [1, 2, 3, 4].map((i) => sql`SELECT ${round}::int + ${i}::int AS n`),
      );
      assert.deepEqual(sums.map(([row]) => row!.n), [1, 2, 3, 4].map((i) => round + i));
      await assert.rejects(sql`SELECT 1 / ${0}::int`, { code: "22012" });
      await sql.begin(async (transaction) => {
        await transaction`INSERT INTO ${sql(`postgres_js_${number}`)} VALUES (${round})`;
        const [row] = await transaction`SELECT count(*)::int AS n FROM ${
          sql(`postgres_js_${number}`)
        }`;
        assert.equal(row!.n, round + 1);
      });
      const [text] = await sql`SELECT ${`${number}-${round}`}::text AS t`;
      assert.equal(text!.t, `${number}-${round}`);
    }
    await sql.end();
  }));
});

Deno.test("shared statements: pgbench has each statement parsed once by each server", async () => {
  await postgres.query(
    "CREATE TABLE accounts(id int PRIMARY KEY, n int); INSERT INTO accounts VALUES (1, 0)",
  );
  const script = await Deno.makeTempFile();
  const sql = "UPDATE accounts SET n = n + 1 WHERE id = 1 RETURNING n;\nSELECT 1 + :client_id;\n";
  await Deno.writeTextFile(script, sql);
  const fresh = await Doorman.start({
    config: {
      pools: {
        app: poolOf(postgres, {
          users: [{ username: "postgres", password: "postgres", pool_size: 4 }],
        }),
      },
    },
  });
  await using stopped = fresh;
  const bench = ["-n", "-M", "prepared", "-c", "100", "-j", "2", "-t", "20", "-f", script];
  const place = ["-h", "127.0.0.1", "-p", String(stopped.port), "-U", "postgres", "app"];
  const said = await run("env", ["PGPASSWORD=postgres", "pgbench", ...bench, ...place]);
  assert.match(said, /processed: 2000\/2000/);
  const console = new pg.Client({ connectionString: stopped.adminUrl });
  await console.connect();
  const servers = (await console.query("SHOW SERVERS")).rows;
  const statements = (await console.query("SHOW PREPARED_STATEMENTS")).rows;
  await console.end();
  await Deno.remove(script);
  assert.equal(statements.length, 2);
  for (const server of servers) {
    assert.ok(Number(server.prepare_cache_miss) <= 2, JSON.stringify(server));
    assert.ok(Number(server.prepare_cache_size) <= 2);
  }
});

Deno.test("shared statements: every statement on a server is the pooler's", async () => {
  const rows = await postgres.query<{ n: number }>(
    "SELECT count(*)::int AS n FROM pg_stat_activity WHERE backend_type = 'client backend'",
  );
  assert.ok(rows[0]!.n <= 5);
  const client = new pg.Client({ connectionString: url });
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
