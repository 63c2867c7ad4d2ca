/** Ways to leave objects: in the temporary schema, cursors, prepared statements. */

import * as wire from "../../support/wire_messages.ts";
import { statements, type Ways } from "./way.ts";

/** A table that is temporary by what a value of a Bind says. */
function pathByValue(statement: string, path: string): Uint8Array[] {
  return [
    wire.join([
      wire.extended("BEGIN"),
      wire.parse(statement, "SELECT set_config('search_path', $1, true)"),
      wire.bind("", statement, [path]),
      wire.execute(),
      wire.extended("CREATE TABLE mine AS SELECT 'A' AS x"),
      wire.extended("COMMIT"),
      wire.SYNC,
    ]),
  ];
}

/** Temporary relations. */
export const RELATIONS: Ways = {
  ...statements([
    "CREATE TEMP TABLE mine (x text)",
    "CREATE TEMPORARY TABLE mine (x text) ON COMMIT DELETE ROWS",
    "CREATE LOCAL TEMP TABLE IF NOT EXISTS mine (x text)",
    "CREATE GLOBAL TEMPORARY TABLE mine (x text)",
    "CREATE TEMP TABLE mine AS SELECT 1 AS x",
    "CREATE TEMP TABLE mine AS TABLE leak.t WITH NO DATA",
    "CREATE TEMP TABLE mine (LIKE leak.t)",
    "CREATE TEMP TABLE mine () INHERITS (leak.t)",
    "CREATE TEMP TABLE mine (x int) PARTITION BY LIST (x)",
    "CREATE /**/ TEMP /* /* */ */ TABLE mine ()",
    "CREATE --c\n TEMP TABLE mine ()",
    "CREATE\tTEMP\r\nTABLE mine ()",
    "create/**/temp/**/table mine()",
    "SELECT 1 AS x INTO TEMP mine",
    "SELECT 1 AS x INTO TEMPORARY TABLE mine",
    "SELECT 1 AS x INTO LOCAL TEMP mine",
    "SELECT 1 AS x INTO pg_temp.mine",
    "CREATE TABLE pg_temp.mine (x int)",
    "CREATE TABLE pg_temp . mine AS SELECT 1",
    `CREATE TABLE "pg_temp"."mine" ()`,
    `CREATE TABLE U&"pg\\005ftemp".mine ()`,
    `CREATE TABLE U&"pg!005ftemp" UESCAPE '!' .mine ()`,
    "CREATE TABLE PG_Temp.mine ()",
    "CREATE FOREIGN TABLE pg_temp.mine (x int) SERVER nowhere",
    "CREATE TEMP VIEW mine AS SELECT 1",
    "CREATE OR REPLACE TEMPORARY VIEW mine AS SELECT 1",
    "CREATE TEMP RECURSIVE VIEW mine (n) AS SELECT 1",
    "CREATE VIEW pg_temp.mine AS SELECT 1",
    "CREATE TEMP SEQUENCE mine",
    "CREATE SEQUENCE pg_temp.mine",
    "EXPLAIN ANALYZE CREATE TEMP TABLE mine AS SELECT 1",
  ]),
  "search_path = pg_temp and CREATE TABLE": {
    sql: ["SET search_path = pg_temp", "CREATE TABLE mine AS SELECT 'A' AS x"],
  },
  "SET LOCAL search_path = pg_temp and CREATE TABLE": {
    sql: ["SET LOCAL search_path = pg_temp", "CREATE TABLE mine AS SELECT 'A' AS x"],
    only: ["block", "multi", "do", "burst", "pipelined", "chain", "procedure", "hidden", "open"],
  },
  "set_config of search_path and CREATE TABLE": {
    sql: [
      "SELECT set_config('search_path', 'pg_' || 'temp', true)",
      "CREATE TABLE mine AS SELECT 'A' AS x",
    ],
    only: ["block", "multi", "do", "burst", "pipelined", "chain", "procedure", "hidden", "open"],
  },
  "a value for search_path and CREATE TABLE": { bytes: () => pathByValue("", "pg_temp") },
  "a value for search_path, of a named statement, and CREATE TABLE": {
    bytes: () => pathByValue("path", ' "pg_temp", public'),
  },
  "search_path of a function and CREATE TABLE": {
    sql: ["SELECT leak.run_in_temp('CREATE TABLE mine ()')"],
    only: ["run"],
  },
  "a table that is dropped": {
    nothing: true,
    sql: ["CREATE TEMP TABLE mine (x text)", "DROP TABLE mine"],
  },
  "two tables, one of them dropped": {
    sql: ["CREATE TEMP TABLE mine ()", "CREATE TEMP TABLE other ()", "DROP TABLE other"],
  },
  "a view of a temporary table": {
    sql: ["CREATE TEMP TABLE mine (x text)", "CREATE VIEW seen AS SELECT x FROM mine"],
  },
  "the schema by its number": {
    sql: [
      "CREATE TEMP TABLE gone ()",
      "DROP TABLE gone",
      "DO $$begin execute format('create table %s.mine ()', pg_my_temp_schema()::regnamespace); end$$",
    ],
  },
};

/** Temporary objects that are no relations. */
export const OTHERS: Ways = {
  ...statements([
    "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE OR REPLACE FUNCTION pg_temp.mine(x int = 1) RETURNS int LANGUAGE sql RETURN x",
    "CREATE PROCEDURE pg_temp.mine() LANGUAGE sql AS 'SELECT 1'",
    "CREATE AGGREGATE pg_temp.mine (int) (SFUNC = int4pl, STYPE = int)",
    "CREATE TYPE pg_temp.mine AS ENUM ('a', 'b')",
    "CREATE TYPE pg_temp.mine AS (x int)",
    "CREATE TYPE pg_temp.mine AS RANGE (SUBTYPE = int)",
    "CREATE TYPE pg_temp.mine",
    "CREATE DOMAIN pg_temp.mine AS int CHECK (VALUE > 0)",
    "CREATE OPERATOR pg_temp.@@@ (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl)",
    "CREATE OPERATOR FAMILY pg_temp.mine USING btree",
    "CREATE OPERATOR CLASS pg_temp.mine FOR TYPE int USING btree AS OPERATOR 1 <, FUNCTION 1 btint4cmp(int, int)",
    `CREATE COLLATION pg_temp.mine FROM "C"`,
    "CREATE CONVERSION pg_temp.mine FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
    "CREATE TEXT SEARCH DICTIONARY pg_temp.mine (TEMPLATE = simple)",
    "CREATE TEXT SEARCH CONFIGURATION pg_temp.mine (COPY = simple)",
    "CREATE TEXT SEARCH TEMPLATE pg_temp.mine (LEXIZE = dsimple_lexize)",
    "CREATE TEXT SEARCH PARSER pg_temp.mine (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype)",
    "CREATE STATISTICS pg_temp.mine ON x, z FROM leak.wide",
    `CREATE DOMAIN "pg_temp".mine AS int`,
    `CREATE DOMAIN U&"pg\\005ftemp".mine AS int`,
  ]),
  "search_path = pg_temp and CREATE DOMAIN": {
    sql: ["SET LOCAL search_path = pg_temp", "CREATE DOMAIN mine AS int"],
    only: ["block", "multi", "do", "burst", "pipelined", "chain", "procedure", "open"],
  },
  "search_path = pg_temp and CREATE FUNCTION": {
    sql: [
      "SET LOCAL search_path = pg_temp",
      "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ],
    only: ["block", "multi", "do", "burst", "pipelined", "chain", "procedure", "open"],
  },
};

/** Cursors. */
export const CURSORS: Ways = {
  ...statements([
    "DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 5)",
    "DECLARE held BINARY INSENSITIVE SCROLL CURSOR WITH HOLD FOR SELECT 1",
    "DECLARE held ASENSITIVE NO SCROLL CURSOR WITH HOLD FOR VALUES (1)",
    `DECLARE "he ld" CURSOR/**/WITH--\nHOLD FOR SELECT 1`,
  ]),
  "two, one of them closed": {
    sql: [
      "DECLARE held CURSOR WITH HOLD FOR SELECT 1",
      "DECLARE gone CURSOR WITH HOLD FOR SELECT 1",
      "CLOSE gone",
    ],
  },
  "one that is closed": {
    nothing: true,
    sql: ["DECLARE held CURSOR WITH HOLD FOR SELECT 1", "CLOSE held"],
  },
};

/** Redefines what PgDoorman has prepared on the server, under its own names. */
const REPLACE = "DO $$declare n text; begin for n in select name from pg_prepared_statements " +
  "loop execute format('deallocate %1$I', n); execute format('prepare %1$I as select ''of A'' AS x', n); " +
  "end loop; end$$";

/** Prepared statements. */
export const STATEMENTS: Ways = {
  ...statements([
    "PREPARE mine AS SELECT 1",
    "PREPARE mine (int) AS SELECT $1",
    `PREPARE "mi ne" AS VALUES (1)`,
    "PREPARE/**/mine--\nAS SELECT 1",
    `PREPARE "DOORMAN_100000" AS SELECT 1`,
  ]),
  // A direct connection has none.
  ...statements([REPLACE], { nothing: true }),
  "two, one of them deallocated": {
    sql: ["PREPARE mine AS SELECT 1", "PREPARE gone AS SELECT 1", "DEALLOCATE gone"],
  },
  "one that is deallocated": {
    nothing: true,
    sql: ["PREPARE mine AS SELECT 1", "DEALLOCATE mine"],
  },
  "PREPARE, EXECUTE and DEALLOCATE of set_config": {
    sql: [
      "PREPARE mine AS SELECT set_config('work_mem', '7MB', false)",
      "EXECUTE mine",
      "DEALLOCATE mine",
    ],
  },
  "EXECUTE of set_config with a value": {
    sql: [
      "PREPARE mine (text) AS SELECT set_config('app.' || $1, '42', false)",
      "EXECUTE mine ('tenant')",
      "DEALLOCATE mine",
    ],
  },
  "CREATE TABLE AS EXECUTE": {
    sql: [
      "PREPARE mine AS SELECT set_config('work_mem', '7MB', false) AS x",
      "CREATE TEMP TABLE mine AS EXECUTE mine",
      "DEALLOCATE mine",
    ],
  },
  "EXPLAIN ANALYZE EXECUTE": {
    sql: [
      "PREPARE mine AS SELECT set_config('work_mem', '7MB', false) AS x",
      "EXPLAIN ANALYZE EXECUTE mine",
      "DEALLOCATE ALL",
    ],
  },
  "a statement of the protocol": {
    nothing: true,
    bytes: () => [
      wire.join([wire.parse("kept", "SELECT 'kept by A'"), wire.SYNC]),
      wire.join([wire.bind("", "kept"), wire.execute(), wire.SYNC]),
    ],
  },
  "set_config prepared in one transaction, run in another": {
    bytes: () => [
      wire.join([wire.parse("kept", "SELECT set_config($1, '42', false)"), wire.SYNC]),
      wire.join([wire.bind("", "kept", ["app.tenant"]), wire.execute(), wire.SYNC]),
    ],
  },
  "a lock prepared in one transaction, run in another": {
    bytes: () => [
      wire.join([wire.parse("", "SELECT pg_advisory_lock(1)"), wire.SYNC]),
      wire.join([wire.bind("", ""), wire.execute(), wire.SYNC]),
    ],
  },
  "a portal whose rows are not all fetched": {
    bytes: () => [
      wire.join([
        wire.parse("", "SELECT set_config('work_mem', '7MB', false) FROM generate_series(1, 3)"),
        wire.bind("half", ""),
        wire.execute("half", 1),
        wire.SYNC,
      ]),
    ],
  },
  "replaced statements, by PREPARE in a text": {
    sql: ["DEALLOCATE ALL", "PREPARE mine AS SELECT 1"],
  },
};
