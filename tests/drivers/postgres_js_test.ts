/**
 * postgres.js (`postgres`): it pipelines, uses the extended protocol throughout, and asks for types by itself. In
 * transaction mode with `prepare: false`.
 */

import assert from "node:assert/strict";
import postgres from "postgres";
import { Environment, MODES } from "./environment.ts";

const environment = new Environment();

Deno.test.beforeAll(() => environment.start());
Deno.test.afterAll(() => environment.stop());

type Sql = ReturnType<typeof postgres>;

async function withSql(mode: string, use: (sql: Sql) => Promise<void>): Promise<void> {
  const sql = postgres(environment.doorman.url(mode, "postgres"), {
    max: 5,
    prepare: mode === "session",
    onnotice: () => {},
  });
  try {
    await use(sql);
  } finally {
    await sql.end();
  }
}

for (const mode of MODES) {
  Deno.test(`postgres.js in ${mode} mode: pipelined queries get their own answers`, () =>
    withSql(mode, async (sql) => {
      const answers = await Promise.all(
        Array.from({ length: 500 }, (_, i) => sql`SELECT ${i}::int AS i, ${"w" + i} AS w`),
      );
      assert.deepEqual(
        answers.map(([row]) => ({ ...row })),
        answers.map((_, i) => ({ i, w: `w${i}` })),
      );
    }));

  Deno.test(`postgres.js in ${mode} mode: transactions, savepoints, failures, roll back`, () =>
    withSql(mode, async (sql) => {
      const table = sql(`pjs_${mode}`);
      await sql`CREATE TABLE ${table} (id int PRIMARY KEY)`;
      await sql.begin(async (tx) => {
        await tx`INSERT INTO ${table} ${tx([{ id: 1 }, { id: 2 }])}`;
        await tx.savepoint(async (inner) => {
          await inner`INSERT INTO ${table} VALUES (1)`;
        }).catch((error) => assert.equal(error.code, "23505"));
      });
      await assert.rejects(
        sql.begin(async (tx) => {
          await tx`INSERT INTO ${table} VALUES (3)`;
          throw new Error("changed my mind");
        }),
        /changed my mind/,
      );
      assert.deepEqual((await sql`SELECT id FROM ${table} ORDER BY id`).map(({ id }) => id), [
        1,
        2,
      ]);
      await sql`DROP TABLE ${table}`;
    }));

  Deno.test(`postgres.js in ${mode} mode: cursors, COPY both ways, cancel`, () =>
    withSql(mode, async (sql) => {
      let sum = 0;
      await sql`SELECT i FROM generate_series(1, 1000) i`.cursor(100, (rows) => {
        sum += rows.reduce((total, { i }) => total + i, 0);
      });
      assert.equal(sum, 500_500);

      const readable = await sql`COPY (SELECT generate_series(1, 1000)) TO STDOUT`.readable();
      let text = "";
      for await (const chunk of readable) text += chunk;
      assert.equal(text.split("\n").length, 1001);

      const table = sql(`pjs_copy_${mode}`);
      await sql`CREATE TABLE ${table} (id int)`;
      const writable = await sql`COPY ${table} FROM STDIN`.writable();
      await new Promise<void>((resolve, reject) => {
        writable.on("finish", resolve).on("error", reject);
        writable.end("1\n2\n3\n");
      });
      const [counted] = await sql`SELECT count(*)::int AS n FROM ${table}`;
      assert.equal(counted!.n, 3);
      await sql`DROP TABLE ${table}`;

      const slow = sql`SELECT pg_sleep(30)`.execute();
      setTimeout(() => slow.cancel(), 200);
      await assert.rejects(slow, { code: "57014" });
      assert.deepEqual([...await sql`SELECT 'well' AS x`], [{ x: "well" }]);
    }));
}

for (const mode of MODES) {
  Deno.test(`postgres.js in ${mode} mode: listen hears what is notified`, () =>
    withSql(mode, async (sql) => {
      let heard: (payload: string) => void;
      const payload = new Promise<string>((resolve) => heard = resolve);
      const { unlisten } = await sql.listen("pjs_news", (text) => heard(text));
      await sql.notify("pjs_news", "hello");
      assert.equal(await payload, "hello");
      await unlisten();
    }));
}
