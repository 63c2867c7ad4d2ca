/**
 * One server, two clients in turn, in transaction mode: nothing that the first one leaves reaches the second, in whatever
 * way it is left; and the first one has what it would have at a direct connection. docs/session-state.md.
 */

import assert from "node:assert/strict";
import { ADMIN, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  await postgres.query(`
    CREATE ROLE evil; CREATE ROLE app LOGIN PASSWORD 'app'; GRANT evil TO app;
    CREATE SCHEMA own AUTHORIZATION app; GRANT CREATE ON SCHEMA public TO app;
    CREATE FUNCTION hides() RETURNS void LANGUAGE plpgsql AS
      $$BEGIN PERFORM set_config('app.hidden', 'yes', false); PERFORM pg_advisory_lock(7); END$$`);
  const one = {
    users: [
      { username: "postgres", password: "postgres", pool_size: 1 },
      { username: "app", password: "app", pool_size: 1 },
    ],
  };
  doorman = await Doorman.start({
    config: {
      pools: {
        app: poolOf(postgres, one),
        strict: poolOf(postgres, { ...one, session_isolation: "strict" }),
      },
    },
    allowLog: [/parameters refused|cleanup failed|permission denied/],
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

async function login(
  { user = "app", database = "app", parameters = {} }: {
    user?: string;
    database?: string;
    parameters?: Record<string, string>;
  } = {},
): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user, database, parameters });
}

/** Everything of a session that a client could have left. */
const LEFT = `SELECT json_build_object(
  'settings', (SELECT json_object_agg(name, setting) FROM pg_settings WHERE source = 'session'
    AND name NOT IN ('application_name', 'client_encoding')),
  'tenant', NULLIF(current_setting('app.tenant', true), ''),
  'hidden', NULLIF(current_setting('app.hidden', true), ''),
  'local', NULLIF(current_setting('local.tenant', true), ''),
  'last', NULLIF(current_setting('app.n150', true), ''),
  'role', current_setting('role'), 'user', current_user,
  'locks', (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
  'temp', (SELECT count(*) FROM pg_depend WHERE refclassid = 'pg_namespace'::regclass
    AND refobjid = pg_my_temp_schema()),
  'channels', (SELECT count(*) FROM pg_listening_channels()),
  'prepared', (SELECT count(*) FROM pg_prepared_statements WHERE from_sql),
  'cursors', (SELECT count(*) FROM pg_cursors WHERE is_holdable))`;

const CLEAN = {
  settings: null,
  tenant: null,
  hidden: null,
  local: null,
  last: null,
  role: "none",
  user: "app",
  locks: 0,
  temp: 0,
  channels: 0,
  prepared: 0,
  cursors: 0,
};

/** What another client finds, while the first one is still there if it does not keep the server. */
async function foundBySomebodyElse(a: WireClient, database = "app"): Promise<unknown> {
  using b = await login({ database });
  let there = false;
  const found = b.value(LEFT).finally(() => there = true);
  // What it keeps the server for may be known a little later than its answer.
  while (!there) {
    if (await isPinned(database)) await a.terminate();
  }
  return JSON.parse((await found)!);
}

/** Whether a client keeps its server. */
async function isPinned(database: string): Promise<boolean> {
  using admin = await WireClient.login({ port: doorman.port, database: "pgdoorman", ...ADMIN });
  const reason = /PREPARE|LISTEN|cursor|lock|temporary|settings/;
  return (await admin.rows("SHOW CLIENTS")).some((row) =>
    row.includes(database) && row.some((field) => reason.test(field ?? ""))
  );
}

type Way = (a: WireClient) => Promise<unknown>;

const simple = (sql: string): Way => (a) => a.query(sql);
const extended = (sql: string, values: (string | null)[] = []): Way => (a) =>
  a.ask(wire.extended(sql, values), wire.message("S"));

const WAYS: Record<string, Way> = {
  "DO that sets": simple("DO $$begin set app.tenant='42'; end$$"),
  "DO that sets, extended": extended("DO $$begin set app.tenant='42'; end$$"),
  "a quoted name": simple(`set app."tenant"='42'`),
  "blanks in a name": simple("set app . tenant='42'"),
  "a name that begins with local": simple("SET local.tenant = '42'"),
  "set_config of a name that is made": simple("select set_config('app.'||'tenant','42',false)"),
  "set_config of a name that is a value": extended("select set_config($1,$2,false)", [
    "app.tenant",
    "42",
  ]),
  "150 names": simple(Array.from({ length: 151 }, (_, i) => `SET app.n${i} = 'x'`).join(";")),
  "150 names in DO": simple(
    `DO $$begin ${Array.from({ length: 151 }, (_, i) => `SET app.n${i} = 'x'`).join(";")}; end$$`,
  ),
  "SET ROLE and a SET LOCAL that fails": async (a) => {
    a.send(wire.query("SET ROLE evil"), wire.query("SET LOCAL no_such_thing = 1"));
    await a.readUntil("Z");
    await a.readUntil("Z");
  },
  "SET ROLE and a SET LOCAL that is skipped": async (a) => {
    await a.ask(
      wire.parse("", "SET ROLE evil"),
      wire.bind("", ""),
      wire.execute(),
      wire.message("S"),
    );
    a.send(
      wire.parse("", "SET ROLE evil"),
      wire.bind("", ""),
      wire.execute(),
      wire.message("S"),
      wire.parse("", "select 1/0"),
      wire.bind("", ""),
      wire.execute(),
      wire.parse("", "SET LOCAL work_mem = '5MB'"),
      wire.bind("", ""),
      wire.execute(),
      wire.message("S"),
    );
    await a.readUntil("Z");
    await a.readUntil("Z");
  },
  "UPDATE pg_settings": simple("UPDATE pg_settings SET setting = '77' WHERE name = 'work_mem'"),
  "PREPARE, EXECUTE, DEALLOCATE": simple(
    "PREPARE p(text) AS select set_config('app.tenant', $1, false); EXECUTE p('42'); DEALLOCATE p",
  ),
  "PREPARE, then EXECUTE, then DEALLOCATE": async (a) => {
    await a.query("PREPARE p(text) AS select set_config('app.'||'tenant', $1, false)");
    await a.query("EXECUTE p('42')");
    await a.query("DEALLOCATE p");
  },
  "EXECUTE of a lock, then DEALLOCATE": async (a) => {
    await a.query("PREPARE p AS select pg_advisory_lock(9)");
    await a.query("EXECUTE p");
    await a.query("DEALLOCATE ALL");
  },
  "FunctionCall of set_config": (a) => a.ask(wire.functionCall(2078, ["app.tenant", "42", "f"])),
  "FunctionCall of an advisory lock": (a) => a.ask(wire.functionCall(2880, ["12"])),
  "a temporary table behind a comment": simple("CREATE --c\nTEMP TABLE t(x int)"),
  "a table where search_path is pg_temp": async (a) => {
    await a.query("SET search_path = pg_temp");
    await a.query("CREATE TABLE t AS SELECT 'secret' x");
  },
  "the same, pipelined": async (a) => {
    a.send(wire.query("SET search_path = pg_temp"), wire.query("CREATE TABLE t(x int)"));
    await a.readUntil("Z");
    await a.readUntil("Z");
  },
  "a function in pg_temp": simple(
    "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
  ),
  "an enum in pg_temp": simple("CREATE TYPE pg_temp.e AS ENUM ('a')"),
  "a domain in pg_temp": simple("CREATE DOMAIN pg_temp.d AS int"),
  "LISTEN in DO": simple("DO $$begin execute 'LISTEN c'; end$$"),
  "a lock in DO": simple("DO $$begin perform pg_advisory_lock(5); end$$"),
  "a cursor in DO": simple(
    "DO $$begin execute 'DECLARE c CURSOR WITH HOLD FOR SELECT 1'; end$$",
  ),
  "DISCARD ALL, and more behind it": async (a) => {
    a.send(wire.query("DISCARD ALL"), wire.query("select pg_advisory_lock(3)"));
    await a.readUntil("Z");
    await a.readUntil("Z");
  },
  "an operator before PostgreSQL's": async (a) => {
    await a.query(
      "CREATE OR REPLACE FUNCTION own.never(text, text) RETURNS bool " +
        "LANGUAGE sql IMMUTABLE AS 'SELECT false'",
    );
    await a.query("DROP OPERATOR IF EXISTS own.= (text, text)");
    await a.query("CREATE OPERATOR own.= (leftarg = text, rightarg = text, procedure = own.never)");
    await a.query(
      "SET search_path = own, pg_catalog; SET work_mem = '9MB'; " +
        "SELECT pg_advisory_lock(4)",
    );
  },
};

for (const [name, way] of Object.entries(WAYS)) {
  Deno.test(`nothing reaches another client: ${name}`, async () => {
    using a = await login();
    await way(a);
    const found = await foundBySomebodyElse(a);
    assert.deepEqual(found, CLEAN);
  });
}

Deno.test("what can't be followed stays the client's own", async () => {
  for (
    const sql of [
      "DO $$begin set app.tenant='42'; end$$",
      "select set_config('app.'||'tenant','42',false)",
      "DO $$begin perform set_config('app.'||'tenant','42',false); end$$",
      `set app . "tenant"='42'`,
    ]
  ) {
    using a = await login();
    await a.query(sql);
    if (!await isPinned("app")) {
      using b = await login();
      assert.deepEqual(JSON.parse((await b.value(LEFT))!), CLEAN, sql);
    }
    assert.equal(await a.value("SELECT current_setting('app.tenant', true)"), "42", sql);
  }
});

Deno.test("strict: nothing at all reaches another client, what a function hides neither", async () => {
  for (const sql of ["SELECT hides()", "SET TimeZone = 'Asia/Tokyo'", "SELECT 1"]) {
    using a = await login({ database: "strict" });
    await a.query(sql);
    const zone = await a.value("SHOW TimeZone");
    assert.deepEqual(await foundBySomebodyElse(a, "strict"), CLEAN, sql);
    if (sql.startsWith("SET")) assert.equal(zone, "Asia/Tokyo");
  }
});

Deno.test("a DO that puts a statement in the place of the pool's: nobody else runs it", async () => {
  using a = await login();
  using b = await login();
  const prepared = async (client: WireClient) => {
    const sql = "SELECT 'mine' AS mine";
    await client.ask(wire.parse("s", sql), wire.message("S"));
    return wire.rowsOf(
      await client.ask(wire.bind("", "s"), wire.execute(), wire.message("S")),
    );
  };
  assert.deepEqual(await prepared(b), [["mine"]]);
  await a.query(
    "DO $$declare n text; begin for n in select name from pg_prepared_statements loop " +
      "execute format('DEALLOCATE %I', n); " +
      "execute format('PREPARE %I AS SELECT ''others'' AS mine', n); end loop; end$$",
  );
  await a.terminate();
  const run = () => b.ask(wire.bind("", "s"), wire.execute(), wire.message("S"));
  assert.deepEqual(wire.rowsOf(await run()), [["mine"]]);
  using c = await login();
  await c.query("DO $$begin execute 'DEALLOCATE ALL'; end$$");
  assert.deepEqual(wire.rowsOf(await run()), [["mine"]]);
});
