/**
 * What is not as it should be yet, by its reason: ways, with their forms. An entry is struck when none of its forms shows it
 * any more.
 */

import type { Known } from "./crossing.ts";

/** Forms in which what is done is committed. */
const COMMITTED = "simple block multi last burst commented case large extended named pipelined " +
  "extended_block do do_extended do_commits_fails procedure chain unsynced";
const IN_DO = "do do_extended do_commits_fails procedure";

/** What of one client reaches another one. */
export const KNOWN_LEAKS: Known = {
  "dotted names that are neither in the text nor among the values": {
    "set_config of half a value": "extended named pipelined extended_block unsynced",
    "EXECUTE of set_config with a value": COMMITTED,
    "SET U&\"\\0061pp\".tenant = '42'": COMMITTED,
    "SET U&\"!0061pp\" UESCAPE '!' . tenant = '42'": COMMITTED,
    "SET app.größe = '42'":
      "simple block multi last burst commented large extended named pipelined extended_block do do_extended do_commits_fails procedure chain unsynced",
    "SET app.nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn = '42'": COMMITTED,
    "SELECT set_config('app.' || 'tenant', '42', false)":
      "simple block multi last burst commented case large extended named pipelined extended_block do do_extended do_commits_fails procedure chain execute explain copy cursor portal unsynced",
    "SELECT set_config(format('%s.%s', 'app', 'tenant'), '42', false)":
      "simple block multi last burst commented case large extended named pipelined extended_block do do_extended do_commits_fails procedure chain execute explain copy cursor portal unsynced",
    "SELECT set_config(reverse('tnanet.ppa'), '42', false)":
      "simple block multi last burst commented case large extended named pipelined extended_block do do_extended do_commits_fails procedure chain execute explain copy cursor portal unsynced",
    "SELECT set_config(E'app\\056tenant', '42', false)":
      "simple block multi last burst commented case large extended named pipelined extended_block do do_extended do_commits_fails procedure chain execute explain copy cursor portal unsynced",
    "SELECT set_config(U&'app\\002etenant', '42', false)":
      "simple block multi last burst commented case large extended named pipelined extended_block do do_extended do_commits_fails procedure chain execute explain copy cursor portal unsynced",
    "SELECT set_config('app.'\n'tenant', '42', false)":
      "simple block multi last burst commented case large extended named pipelined extended_block do do_extended do_commits_fails procedure chain execute explain copy cursor portal unsynced",
    "SELECT set_config(chr(97) || 'pp.' || chr(116) || 'enant', '42', false)":
      "simple block multi last burst commented case large extended named pipelined extended_block do do_extended do_commits_fails procedure chain execute explain copy cursor portal unsynced",
    "SELECT set_config(x, '42', false) FROM leak.names":
      "simple block multi last burst commented case large extended named pipelined extended_block do do_extended do_commits_fails procedure chain gone execute explain copy cursor portal unsynced",
    "SELECT set_config('app.n' || n, 'many', false) FROM generate_series(1, 150) n":
      "simple block multi last burst commented case large extended named pipelined extended_block do do_extended do_commits_fails procedure chain execute explain copy cursor portal unsynced",
    "DO E'begin set app\\x2etenant = 42; end'": COMMITTED,
    "DO $$begin execute 'se' || 't app.ten' || 'ant = 42'; end$$": COMMITTED,
    "DO $$begin execute convert_from('\\x736574206170702e74656e616e74203d203432', 'UTF8'); end$$":
      COMMITTED,
    "DO $$declare r record; begin for r in select x from leak.names loop perform set_config(r.x, '42', false); end loop; end$$":
      COMMITTED,
  },
  "what is not a function, and has set_config in it: nothing is noticed": {
    "SELECT * FROM leak.setting_view": "simple block extended named pipelined",
    "TABLE leak.setting_view": "simple block extended named pipelined",
    "UPDATE leak.settings SET setting = '7MB' WHERE name = 'work_mem'":
      "simple block extended named pipelined",
    "INSERT INTO leak.defaulting DEFAULT VALUES": "simple block extended named pipelined",
    "INSERT INTO leak.checked VALUES (1)": "simple block extended named pipelined",
    "INSERT INTO leak.triggered VALUES (1)": "simple block extended named pipelined",
    "INSERT INTO leak.ruled VALUES (1)": "simple block extended named pipelined",
    "SELECT 1::leak.checked_domain": "simple block extended named pipelined",
    "SELECT 1 OPERATOR(leak.@@@) 2": "simple block extended named pipelined",
    "SELECT leak.aggregating(1)": "simple block extended named pipelined",
    "SELECT leak.sql_setting()": "simple block extended named pipelined",
  },
  "a SET LOCAL that failed or was skipped makes the next SET look like one": {
    "SET ROLE, a Sync, and a SET LOCAL that fails": "raw",
  },
  "CREATE behind search_path = pg_temp": {
    "search_path = pg_temp and CREATE TABLE": COMMITTED,
    "set_config of search_path and CREATE TABLE": COMMITTED,
    "search_path = pg_temp and CREATE DOMAIN": "block multi burst pipelined do procedure chain",
    "search_path = pg_temp and CREATE FUNCTION": "block multi burst pipelined do procedure chain",
  },
  "temporary objects that are no relations: pg_class alone is asked": {
    "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'": COMMITTED,
    "CREATE OR REPLACE FUNCTION pg_temp.mine(x int = 1) RETURNS int LANGUAGE sql RETURN x":
      COMMITTED,
    "CREATE PROCEDURE pg_temp.mine() LANGUAGE sql AS 'SELECT 1'": COMMITTED,
    "CREATE AGGREGATE pg_temp.mine (int) (SFUNC = int4pl, STYPE = int)": COMMITTED,
    "CREATE TYPE pg_temp.mine AS ENUM ('a', 'b')": COMMITTED,
    "CREATE TYPE pg_temp.mine AS RANGE (SUBTYPE = int)": COMMITTED,
    "CREATE TYPE pg_temp.mine": COMMITTED,
    "CREATE DOMAIN pg_temp.mine AS int CHECK (VALUE > 0)": COMMITTED,
    "CREATE OPERATOR pg_temp.@@@ (LEFTARG = int, RIGHTARG = int, FUNCTION = int4pl)": COMMITTED,
    "CREATE OPERATOR FAMILY pg_temp.mine USING btree": COMMITTED,
    "CREATE OPERATOR CLASS pg_temp.mine FOR TYPE int USING btree AS OPERATOR 1 <, FUNCTION 1 btint4cmp(int, int)":
      COMMITTED,
    'CREATE COLLATION pg_temp.mine FROM "C"': COMMITTED,
    "CREATE CONVERSION pg_temp.mine FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8": COMMITTED,
    "CREATE TEXT SEARCH DICTIONARY pg_temp.mine (TEMPLATE = simple)": COMMITTED,
    "CREATE TEXT SEARCH CONFIGURATION pg_temp.mine (COPY = simple)": COMMITTED,
    "CREATE TEXT SEARCH TEMPLATE pg_temp.mine (LEXIZE = dsimple_lexize)": COMMITTED,
    "CREATE TEXT SEARCH PARSER pg_temp.mine (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype)":
      COMMITTED,
    "CREATE STATISTICS pg_temp.mine ON x, z FROM leak.wide": COMMITTED,
    'CREATE DOMAIN "pg_temp".mine AS int': COMMITTED,
    'CREATE DOMAIN U&"pg\\005ftemp".mine AS int': COMMITTED,
  },
  "cursors, statements and channels made in DO and CALL": {
    "DECLARE held ASENSITIVE NO SCROLL CURSOR WITH HOLD FOR VALUES (1)": IN_DO,
    'DECLARE "he ld" CURSOR/**/WITH--\nHOLD FOR SELECT 1': IN_DO,
    "two, one of them deallocated": `${IN_DO} do_caught do_fails`,
    'LISTEN U&"ch\\0061nnel"': IN_DO,
    "LISTEN/**/channel": IN_DO,
    "DO $$begin listen channel; end$$": COMMITTED,
    "DO $$begin execute 'lis' || 'ten channel'; end$$": COMMITTED,
    "DO $$begin execute format('listen %I', x) from leak.names; end$$": COMMITTED,
    "LISTEN and SET": IN_DO,
    "DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 5)": IN_DO,
    "DECLARE held BINARY INSENSITIVE SCROLL CURSOR WITH HOLD FOR SELECT 1": IN_DO,
    "two, one of them closed": IN_DO,
    "LISTEN channel": IN_DO,
    'LISTEN "Chan nel"': IN_DO,
    "LISTEN --\nchannel": IN_DO,
    "LISTEN and NOTIFY": IN_DO,
    "two channels, one of them no more": IN_DO,
    "a channel and all others no more": IN_DO,
    "SET ROLE and LISTEN": IN_DO,
    "PREPARE mine AS SELECT 1": `${IN_DO} do_caught do_fails`,
    "PREPARE mine (int) AS SELECT $1": `${IN_DO} do_caught do_fails`,
    'PREPARE "mi ne" AS VALUES (1)': `${IN_DO} do_caught do_fails`,
    "PREPARE/**/mine--\nAS SELECT 1": `${IN_DO} do_caught do_fails`,
    'PREPARE "DOORMAN_100000" AS SELECT 1': `${IN_DO} do_caught do_fails`,
  },
  "statements of the protocol that DO and CALL deallocate": {
    "DO $$declare n text; begin for n in select name from pg_prepared_statements loop execute format('deallocate %1$I', n); execute format('prepare %1$I as select ''of A'' AS x', n); end loop; end$$":
      `${COMMITTED} multi_fails do_fails failed skipped savepoint`,
    "DEALLOCATE ALL": `${IN_DO} do_fails do_caught`,
    "replaced statements, by PREPARE in a text": `${IN_DO} do_fails do_caught`,
    "EXPLAIN ANALYZE EXECUTE": `${IN_DO} do_fails do_caught`,
  },
  "FunctionCall is not looked at": {
    "FunctionCall of set_config": "raw",
    "FunctionCall of set_config with a dotted name": "raw",
    "FunctionCall of set_config of role": "raw",
    "FunctionCall of pg_advisory_lock": "raw",
    "FunctionCall of pg_advisory_lock_shared": "raw",
    "FunctionCall of pg_try_advisory_lock": "raw",
    "FunctionCall in a transaction": "raw",
    "FunctionCall of pg_try_advisory_lock with two keys": "raw",
  },
  "docs/session-state.md: currval and lastval belong to the server connection": {
    "nextval, then lastval": "simple block extended do",
    "nextval, then currval": "simple block extended do",
    "setval, then currval": "simple extended",
  },
  "PostgreSQL has nothing to undo it, nor has DISCARD ALL": {
    "SELECT setseed(0.5)": "simple block extended do failed",
    "SET seed TO 0.5": "simple block extended do failed",
    "SELECT set_config('seed', '0.5', false)": "simple block extended do failed",
    "the origin of a replication": "simple extended do",
    "a temporary replication slot": "simple extended do",
  },
  "dotted names in what DO and CALL execute, or behind 64 kB": {
    "SET app.tenant = '42'": "large procedure",
    "SET SESSION app.tenant TO 42": "large procedure",
    'SET "app"."tenant" = \'42\'': "large do do_extended do_commits_fails procedure",
    "SET app.\"tenant\"='42'": "large do do_extended do_commits_fails procedure",
    "SET \"app.tenant\" = '42'": "large procedure",
    'SET "App"."Tenant" = \'42\'': "large do do_extended do_commits_fails procedure",
    "SET APP.TENANT = on": "large procedure",
    "SET app . tenant = -1": "large do do_extended do_commits_fails procedure",
    "SET app/**/./* /* x */ */tenant/**/=/**/'42'":
      "large do do_extended do_commits_fails procedure",
    "SET app--\n.--\ntenant='42'": "large do do_extended do_commits_fails procedure",
    "SET app.one.two.three = '42'": "large procedure",
    "SET app.x$y = '42'": "large procedure",
    "SET _app._tenant = '42'": "large procedure",
    "SELECT set_config('app.tenant', '42', false)": "procedure",
    "DO $$begin set app.tenant='42'; end$$": "procedure",
    "DO 'begin perform set_config(''app.tenant'', ''42'', false); end'": "procedure",
    "DO LANGUAGE plpgsql $a$begin execute $b$set app.tenant = '42'$b$; end$a$": "procedure",
    "two names, one of them reset": "large procedure",
  },
  "more than 100 names": {
    "150 names in a transaction": "block multi pipelined do",
  },
  "the pooler's questions use the operators of the client's search_path": {
    "behind an operator that lies": COMMITTED,
    "a lock behind an operator that lies": COMMITTED,
  },
};

/** Where a client sees other things than at a direct connection. */
export const KNOWN_DIFFERENCES: Known = {
  "SET ROLE is lost behind LISTEN in the same text or burst": {
    "SET ROLE and LISTEN": "last burst multi",
  },
};
