/**
 * Node.js's two drivers with their default settings, many clients at once: every answer is checked. What the programs in
 * other languages do, too (programs.ts).
 */

import assert from "node:assert/strict";
import pg from "pg";
import postgresJs from "postgres";

/** Clients of each program. */
export const CLIENTS = 50;
const ROUNDS = 9;
/** Where they go on until they are told that it is enough. */
const LEAST_ROUNDS = 2;
const ZONES = ["Asia/Tokyo", "Europe/Paris", "America/New_York", "UTC"];

/** Where to, and with TLS whom to trust. */
interface Server {
  url: string;
  ssl?: { ca: string };
}

/** True while a client is to ask further: for some rounds, or a few and then until `isOver`. */
type GoesOn = (round: number) => boolean;

function all(
  client: (number: number, goesOn: GoesOn) => Promise<void>,
  isOver?: () => boolean,
): Promise<unknown> {
  const goesOn: GoesOn = isOver === undefined
    ? (round) => round < ROUNDS
    : (round) => round < LEAST_ROUNDS || !isOver();
  return Promise.all(Array.from({ length: CLIENTS }, (_, number) => client(number, goesOn)));
}

/** What keeps a client at its server until it is gone. */
async function pinned(client: pg.Client, number: number, round: number): Promise<void> {
  await client.query("SELECT pg_advisory_lock($1)", [number]);
  await client.query(`CREATE TEMP TABLE mine AS SELECT ${round} AS x`);
  await client.query(`LISTEN ear_${number}`);
  const heard = new Promise((resolve) => client.once("notification", resolve));
  await client.query("SELECT pg_notify($1, $2)", [`ear_${number}`, String(round)]);
  assert.equal((await heard as pg.Notification).payload, String(round));
  await client.query("UNLISTEN *");
  assert.deepEqual((await client.query("SELECT x FROM mine")).rows, [{ x: round }]);
  await client.query("DROP TABLE mine");
  const released = await client.query("SELECT pg_advisory_unlock($1) AS yes", [number]);
  assert.deepEqual(released.rows, [{ yes: true }]);
}

/** node-postgres. */
export async function runNodePostgres(
  { url, ssl }: Server,
  isOver?: () => boolean,
): Promise<void> {
  await all(async (number, goesOn) => {
    const client = new pg.Client({ connectionString: url, ssl });
    await client.connect();
    await client.query(`CREATE TABLE node_pg_${number}(a int)`);
    await client.query(`SET TimeZone = '${ZONES[number % 4]}'`);
    await client.query(`SET lock_timeout = ${60001 + number}`);
    for (let round = 0; goesOn(round); round++) {
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
      await assert.rejects(client.query("SET TimeZone = 'Nowhere/Here'"), { code: "22023" });
      const zone = await client.query("SELECT current_setting('TimeZone') AS zone");
      assert.equal(zone.rows[0].zone, ZONES[number % 4]);
      const timeout = await client.query("SHOW lock_timeout");
      assert.equal(timeout.rows[0].lock_timeout, `${60001 + number}ms`);
      if (round % 5 === number % 5) await pinned(client, number, round);
      const shared = {
        name: "shared",
        text: "SELECT a FROM drivers_shared WHERE a = $1",
        values: [number],
      };
      assert.equal((await client.query(shared)).rows[0].a, number);
      if (round % 9 === number % 9) {
        await client.query(`ALTER TABLE node_pg_${number} ADD COLUMN c${round} int`);
        await client.query(`ALTER TABLE drivers_shared ALTER b SET DEFAULT ${round}`);
      }
    }
    await client.end();
  }, isOver);
}

/** postgres.js, which pipelines. */
export async function runPostgresJs({ url, ssl }: Server, isOver?: () => boolean): Promise<void> {
  await all(async (number, goesOn) => {
    const sql = postgresJs(url, { max: 1, ssl });
    const table = sql(`postgres_js_${number}`);
    await sql`CREATE TABLE ${table}(a int)`;
    await sql.unsafe(`SET TimeZone = '${ZONES[number % 4]}'`);
    await sql.unsafe(`SET lock_timeout = ${60001 + number}`);
    for (let round = 0; goesOn(round); round++) {
      // Sent together: the driver pipelines.
      const sums = await Promise.all(
        [1, 2, 3, 4].map((i) => sql`SELECT ${round}::int + ${i}::int AS n`),
      );
      assert.deepEqual(sums.map(([row]) => row!.n), [1, 2, 3, 4].map((i) => round + i));
      await assert.rejects(sql`SELECT 1 / ${0}::int`, { code: "22012" });
      await sql.begin(async (transaction) => {
        await transaction.unsafe(`SET LOCAL work_mem = '${64 + number}kB'`);
        await transaction`INSERT INTO ${table} VALUES (${round})`;
        const [row] = await transaction`SELECT count(*)::int AS n, current_setting('work_mem') AS m
          FROM ${table}`;
        assert.deepEqual({ ...row }, { n: round + 1, m: `${64 + number}kB` });
      });
      const [text] = await sql`SELECT ${`${number}-${round}`}::text AS t`;
      assert.equal(text!.t, `${number}-${round}`);
      await assert.rejects(sql`SET TimeZone = 'Nowhere/Here'`, { code: "22023" });
      const [zone] = await sql`SELECT current_setting('TimeZone') AS zone`;
      assert.equal(zone!.zone, ZONES[number % 4]);
      const [timeout] = await sql`SHOW lock_timeout`;
      assert.equal(timeout!.lock_timeout, `${60001 + number}ms`);
      if (round % 5 === number % 5) {
        await sql`SELECT pg_advisory_lock(${number})`;
        await sql.unsafe(`CREATE TEMP TABLE mine AS SELECT ${round} AS x`);
        assert.deepEqual((await sql.unsafe("SELECT x FROM mine")).map(({ x }) => x), [round]);
        await sql.unsafe("DROP TABLE mine");
        const [released] = await sql`SELECT pg_advisory_unlock(${number}) AS yes`;
        assert.deepEqual([released!.yes], [true]);
      }
      const [shared] = await sql`SELECT a FROM drivers_shared WHERE a = ${number}`;
      assert.equal(shared!.a, number);
      if (round % 9 === number % 9) {
        await sql`ALTER TABLE ${table} ADD COLUMN ${sql(`c${round}`)} int`;
        await sql.unsafe(`ALTER TABLE drivers_shared ALTER b SET DEFAULT ${round}`);
      }
    }
    await sql.end();
  }, isOver);
}
