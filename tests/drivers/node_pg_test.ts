/**
 * node-postgres (`pg`): queries with and without parameters, types, transactions, its own pool, errors, large results, and notifications in session mode.
 */

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import pg from "pg";
import { Environment, MODES } from "./environment.ts";

type Row = Record<string, string>;
const nameOf = (field: { name: string }) => field.name;

const environment = new Environment();

Deno.test.beforeAll(() => environment.start());
Deno.test.afterAll(() => environment.stop());

async function withClient(url: string, use: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await use(client);
  } finally {
    await client.end();
  }
}

for (const mode of MODES) {
  Deno.test(`pg in ${mode} mode: values of many types come back as they were`, () =>
    withClient(environment.doorman.url(mode, "postgres"), async (client) => {
      const bytes = randomBytes(100_000);
      const { rows } = await client.query(
        "SELECT $1::int AS i, $2::text AS t, $3::jsonb AS j, $4::bytea AS b, $5::timestamptz AS at, " +
          "$6::int[] AS list, $7::text AS nothing",
        [42, "ünï'cödé", { a: [1] }, bytes, new Date(0), [1, 2], null],
      );
      assert.deepEqual(rows, [{
        i: 42,
        t: "ünï'cödé",
        j: { a: [1] },
        b: bytes,
        at: new Date(0),
        list: [1, 2],
        nothing: null,
      }]);
    }));

  Deno.test(`pg in ${mode} mode: transactions, an error inside, the client goes on`, () =>
    withClient(environment.doorman.url(mode, "postgres"), async (client) => {
      await client.query("CREATE TEMP TABLE gone (x int)");
      await client.query("BEGIN");
      await client.query("CREATE TABLE pg_items (x int)");
      await client.query("INSERT INTO pg_items SELECT generate_series(1, $1)", [10]);
      await assert.rejects(client.query("SELECT 1 / $1", [0]), { code: "22012" });
      await assert.rejects(client.query("SELECT 1"), { code: "25P02" });
      await client.query("ROLLBACK");
      const { rows } = await client.query("SELECT to_regclass('pg_items') AS it");
      assert.equal(rows[0].it, null);
    }));

  Deno.test(`pg in ${mode} mode: its pool with more clients than connections`, async () => {
    const pool = new pg.Pool({
      connectionString: environment.doorman.url(mode, "postgres"),
      max: 15,
    });
    try {
      const numbers = Array.from({ length: 300 }, (_, i) => i);
      const answers = await Promise.all(
        numbers.map(async (i) => (await pool.query("SELECT $1::int AS i", [i])).rows[0].i),
      );
      assert.deepEqual(answers, numbers);
    } finally {
      await pool.end();
    }
  });

  Deno.test(`pg in ${mode} mode: 100,000 rows, and several statements in one query`, () =>
    withClient(environment.doorman.url(mode, "postgres"), async (client) => {
      const { rows } = await client.query(
        "SELECT i, md5(i::text) FROM generate_series(1, 100000) i",
      );
      assert.equal(rows.length, 100_000);
      const results = await client.query(
        "SELECT 1 AS a; SELECT 2 AS b",
      ) as unknown as pg.QueryResult[];
      assert.deepEqual(results.map(({ rows }) => rows), [[{ a: 1 }], [{ b: 2 }]]);
    }));
}

Deno.test("pg in session mode: named statements", () =>
  withClient(environment.doorman.url("session", "postgres"), async (client) => {
    for (let i = 0; i < 3; i++) {
      const { rows } = await client.query({
        name: "twice",
        text: "SELECT $1::int * 2 AS x",
        values: [i],
      });
      assert.equal(rows[0].x, i * 2);
    }
  }));

for (const mode of MODES) {
  Deno.test(`pg in ${mode} mode: notifications`, () =>
    withClient(environment.doorman.url(mode, "postgres"), async (client) => {
      const heard = new Promise<string | undefined>((resolve) =>
        client.once("notification", (note: { payload?: string }) => resolve(note.payload))
      );
      await client.query("LISTEN pg_news");
      await environment.postgres.query("NOTIFY pg_news, 'hello'");
      assert.equal(await heard, "hello");
    }));
}

Deno.test("pg in transaction mode: a server that dies is an error of that client alone", async () => {
  const { doorman, postgres } = environment;
  doorman.allowLog(/server connection closed/, /client lost its server/);
  const url = doorman.url("transaction", "postgres");
  const client = new pg.Client({ connectionString: url });
  client.on("error", () => {});
  await client.connect();
  await client.query("BEGIN");
  const { rows } = await client.query("SELECT pg_backend_pid() AS pid");
  const ended = new Promise((resolve) => client.once("end", resolve));
  await postgres.query(`SELECT pg_terminate_backend(${rows[0].pid})`);
  await ended;
  await client.end();
  await withClient(url, async (next) => {
    assert.deepEqual((await next.query("SELECT 1 AS one")).rows, [{ one: 1 }]);
  });
});

Deno.test("pg at the admin console: SHOW by both protocols, an error goes on", () =>
  withClient(environment.doorman.adminUrl, async (client) => {
    const simple = await client.query("SHOW POOLS");
    assert.deepEqual(simple.rows.map((row: Row) => row.database).sort(), [...MODES].sort());
    const extended = await client.query(
      { text: "SHOW POOLS", values: [], queryMode: "extended" } as pg.QueryConfig,
    );
    assert.deepEqual(
      extended.fields.map(nameOf),
      simple.fields.map(nameOf),
    );
    await assert.rejects(client.query("PAUSE nowhere"), { code: "3D000" });
    assert.match((await client.query("SHOW VERSION")).rows[0].version, /^PgDoorman/);
  }));
