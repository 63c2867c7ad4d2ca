/** Ways to leave parameters, roles and the session's user. */

import * as wire from "../../support/wire_messages.ts";
import { statements, type Ways } from "./way.ts";

const SET_CONFIG = "set_config('work_mem', '7MB', false)";
/** One form is enough for what differs in the value alone. */
const BRIEF = ["simple", "block", "extended", "do", "pipelined", "multi_fails"];

/** SET and RESET in their spellings. */
export const SPELLINGS: Ways = {
  ...statements([
    "SET work_mem = '7MB'",
    "SET SESSION work_mem TO 7168",
    `SET "work_mem" TO '7MB'`,
    `SET U&"work\\005fmem" = '7MB'`,
    `SET U&"work!005fmem" UESCAPE '!' = '7MB'`,
    "SET work_mem = E'\\x37MB'",
    "SET TIME ZONE 'Asia/Tokyo'",
    "SET TIME ZONE 7",
    "SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE",
    "SET SESSION TimeZone TO 'Asia/Tokyo'",
    "SET NAMES 'LATIN1'",
    "SET client_encoding TO 'WIN1252'",
    "SET SCHEMA 'two'",
    'SET search_path TO two, "Odd, one", public',
    "SET XML OPTION DOCUMENT",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE",
  ]),
  "several, one of them reset": {
    sql: ["SET work_mem = '9MB'", "SET lock_timeout = '99s'", "RESET work_mem"],
  },
  "SET and SET LOCAL of the same": {
    sql: ["SET work_mem = '9MB'", "SET LOCAL work_mem = '8MB'"],
  },
  "SET LOCAL and SET of the same": {
    sql: ["SET LOCAL work_mem = '9MB'", "SET work_mem = '8MB'"],
  },
  "a value with quotes and a backslash": { sql: ["SET app.x = 'it''s \\ me'"] },
  "a value read as escapes": {
    sql: ["SET standard_conforming_strings = off", "SET app.x = 'it\\'s; SET me'"],
    only: ["simple", "extended", "block", "pipelined"],
  },
  "a long value": { sql: [`SET app.x = '${"long ".repeat(20_000)}'`] },
};

/** What leaves nothing, and has to cost nobody anything either. */
export const PASSING: Ways = statements([
  "SET LOCAL work_mem = '7MB'",
  "SET LOCAL app.tenant = '42'",
  "SET LOCAL ROLE weak",
  "SET LOCAL SESSION AUTHORIZATION weak",
  "SET LOCAL TIME ZONE 'Asia/Tokyo'",
  "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
  "SELECT set_config('work_mem', '7MB', true)",
  "SELECT set_config('app.tenant', '42', true)",
  "SET work_mem TO DEFAULT",
  "SET TIME ZONE LOCAL",
  "SET TIME ZONE DEFAULT",
  "SET NAMES DEFAULT",
  "SET ROLE NONE",
  "SET SESSION AUTHORIZATION DEFAULT",
  "RESET work_mem",
  "RESET ALL",
  "RESET ROLE",
  "RESET SESSION AUTHORIZATION",
  "RESET TIME ZONE",
  "SELECT set_config('work_mem', NULL, false)",
  "SELECT leak.with_parameter()",
  "SET CONSTRAINTS ALL DEFERRED",
  "LOCK TABLE leak.t",
  "SELECT pg_export_snapshot()",
  "SELECT pg_advisory_xact_lock(1)",
  "SELECT pg_try_advisory_xact_lock_shared(1, 2)",
  "SELECT lo_open(lo_create(0), 262144)",
  "CREATE TEMP TABLE gone () ON COMMIT DROP",
  "DECLARE c CURSOR FOR SELECT 1",
  "NOTIFY channel, 'payload'",
  "DISCARD PLANS",
  "DISCARD TEMP",
  "DISCARD SEQUENCES",
  "DISCARD ALL",
  "DEALLOCATE ALL",
  "CLOSE ALL",
  "UNLISTEN *",
], { nothing: true });

/** Parameters that differ in what PostgreSQL does with them. */
export const PARAMETERS: Ways = statements([
  "SET statement_timeout = '77s'",
  "SET lock_timeout = '77s'",
  "SET idle_session_timeout = '1h'",
  "SET idle_in_transaction_session_timeout = '1h'",
  "SET transaction_timeout = '1h'",
  "SET session_replication_role = replica",
  "SET row_security = off",
  "SET default_transaction_read_only = on",
  "SET default_transaction_deferrable = on",
  "SET default_transaction_isolation = 'repeatable read'",
  "SET application_name = 'it is A'",
  "SET DateStyle = 'SQL, DMY'",
  "SET IntervalStyle = 'iso_8601'",
  "SET bytea_output = escape",
  "SET standard_conforming_strings = off",
  "SET extra_float_digits = -1",
  "SET backslash_quote = on",
  "SET transform_null_equals = on",
  "SET plan_cache_mode = force_generic_plan",
  "SET enable_seqscan = off",
  "SET client_min_messages = error",
  "SET log_min_duration_statement = 4711",
  "SET check_function_bodies = off",
  "SET password_encryption = md5",
  "SET default_table_access_method = heap2",
  "SET gin_fuzzy_search_limit = 7",
  "SET createrole_self_grant = 'set'",
  "SET restrict_nonsystem_relation_kind = 'view'",
  "SET event_triggers = off",
  "SET zero_damaged_pages = on",
  "SET synchronous_commit = remote_write",
  "SET quote_all_identifiers = on",
  "SET geqo_seed = 0.5",
  "SET plpgsql.variable_conflict = use_column",
  "SET xmlbinary = hex",
  "SET array_nulls = off",
], { only: BRIEF });

/** `set_config` wherever an expression may stand. */
export const SET_CONFIGS: Ways = {
  ...statements([
    `SELECT ${SET_CONFIG}`,
    "SELECT pg_catalog.set_config('work_mem', '7MB', false)",
    `SELECT "set_config"('work_mem', '7MB', false)`,
    `SELECT "pg_catalog" . "set_config" ( 'work_mem', '7MB', false)`,
    `SELECT U&"set\\005fconfig"('work_mem', '7MB', false)`,
    `SELECT U&"set!005fconfig" UESCAPE '!' ('work_mem', '7MB', false)`,
    "SELECT Set_Config('WORK_MEM', $$7MB$$, 'f')",
    "SELECT set_config(E'work\\137mem', U&'7\\004dB', false)",
    "SELECT set_config('work' || '_mem', '7MB', 1 > 2)",
    `SELECT * FROM ${SET_CONFIG}`,
    `SELECT 1 FROM LATERAL ${SET_CONFIG} x, LATERAL (SELECT 2) y`,
    `VALUES (1, ${SET_CONFIG})`,
    `SELECT 1 WHERE ${SET_CONFIG} <> ''`,
    `SELECT 1 ORDER BY ${SET_CONFIG}`,
    `SELECT 1 LIMIT length(${SET_CONFIG})`,
    `SELECT 1 GROUP BY ${SET_CONFIG} HAVING ${SET_CONFIG} <> ''`,
    `SELECT CASE WHEN ${SET_CONFIG} IS NULL THEN 1 END`,
    `SELECT string_agg(set_config(n, v, false), ',') FROM (VALUES ('work_mem', '7MB'), ('app.x', 'y')) _ (n, v)`,
    `SELECT set_config(name, '7MB', false) FROM pg_settings WHERE name LIKE 'work_m%'`,
    `SELECT (SELECT ${SET_CONFIG}) IN ('7MB')`,
    `WITH x AS MATERIALIZED (SELECT ${SET_CONFIG} AS v) SELECT v FROM x`,
    `INSERT INTO leak.t VALUES (${SET_CONFIG})`,
    `INSERT INTO leak.t VALUES ('x') RETURNING ${SET_CONFIG}`,
    `UPDATE leak.t SET x = ${SET_CONFIG}`,
    `DELETE FROM leak.t WHERE ${SET_CONFIG} = ''`,
    `MERGE INTO leak.t USING (VALUES (1)) v ON false WHEN NOT MATCHED THEN INSERT VALUES (${SET_CONFIG})`,
    `COPY (SELECT ${SET_CONFIG}) TO STDOUT`,
    `EXPLAIN ANALYZE SELECT ${SET_CONFIG}`,
    "UPDATE pg_settings SET setting = '7MB' WHERE name = 'work_mem'",
    `UPDATE pg_catalog . "pg_settings" AS p SET setting = '7MB' WHERE p.name = 'work_mem'`,
    `UPDATE U&"pg\\005fsettings" SET setting = '7MB' WHERE name = 'work_mem'`,
  ]),
  ...statements([
    `CREATE TABLE leak.made AS SELECT ${SET_CONFIG} AS x`,
    `SELECT ${SET_CONFIG} AS x INTO leak.made`,
  ], { after: "DROP TABLE IF EXISTS leak.made" }),
  ...statements([`ALTER TABLE leak.t ADD COLUMN y text DEFAULT ${SET_CONFIG}`], {
    after: "ALTER TABLE leak.t DROP COLUMN IF EXISTS y",
  }),
  "set_config of a parameter's value": {
    sql: ["SELECT set_config($1, $2, $3)"],
    values: ["work_mem", "7MB", "f"],
  },
  "set_config of a dotted parameter's value": {
    sql: ["SELECT set_config($1, $2, false)"],
    values: ["app.tenant", "42"],
  },
  "set_config of half a value": {
    sql: ["SELECT set_config('app.' || $1, $2, false)"],
    values: ["tenant", "42"],
  },
};

const PUT_TOGETHER = "'select to_tsvector(se' || 't_config(''work_mem'', ''7MB'', false))'";

/** Functions of PostgreSQL's that run a text. */
export const TEXTS: Ways = statements([
  `SELECT query_to_xml(${PUT_TOGETHER}, true, true, '')`,
  `SELECT query_to_xml_and_xmlschema(${PUT_TOGETHER}, true, true, '')`,
  `SELECT * FROM ts_stat(${PUT_TOGETHER})`,
  "SELECT ts_rewrite('a', 'select null::tsquery, null::tsquery where se' || " +
  "'t_config(''work_mem'', ''7MB'', false) = ''''')",
]);

/** What runs `set_config` without a word of it. */
export const UNSEEN: Ways = statements([
  "SELECT * FROM leak.setting_view",
  "TABLE leak.setting_view",
  "UPDATE leak.settings SET setting = '7MB' WHERE name = 'work_mem'",
  "INSERT INTO leak.defaulting DEFAULT VALUES",
  "INSERT INTO leak.checked VALUES (1)",
  "INSERT INTO leak.triggered VALUES (1)",
  "INSERT INTO leak.ruled VALUES (1)",
  "SELECT 1::leak.checked_domain",
  "SELECT 1 OPERATOR(leak.@@@) 2",
  "SELECT leak.aggregating(1)",
  "SELECT leak.sql_setting()",
], { only: ["simple", "block", "extended", "named", "pipelined"] });

/** Names with a dot, which PostgreSQL lists nowhere. */
export const CUSTOM: Ways = {
  ...statements([
    "SET app.tenant = '42'",
    "SET SESSION app.tenant TO 42",
    `SET "app"."tenant" = '42'`,
    `SET app."tenant"='42'`,
    `SET "app.tenant" = '42'`,
    `SET "App"."Tenant" = '42'`,
    "SET APP.TENANT = on",
    "SET app . tenant = -1",
    "SET app/**/./* /* x */ */tenant/**/=/**/'42'",
    "SET app--\n.--\ntenant='42'",
    `SET U&"\\0061pp".tenant = '42'`,
    `SET U&"!0061pp" UESCAPE '!' . tenant = '42'`,
    "SET app.one.two.three = '42'",
    "SET app.x$y = '42'",
    "SET app.größe = '42'",
    "SET _app._tenant = '42'",
    `SET app.${"n".repeat(60)} = '42'`,
    "SELECT set_config('app.tenant', '42', false)",
    "SELECT set_config('app.' || 'tenant', '42', false)",
    "SELECT set_config(format('%s.%s', 'app', 'tenant'), '42', false)",
    "SELECT set_config(reverse('tnanet.ppa'), '42', false)",
    "SELECT set_config(E'app\\056tenant', '42', false)",
    "SELECT set_config(U&'app\\002etenant', '42', false)",
    "SELECT set_config('app.'\n'tenant', '42', false)",
    "SELECT set_config(chr(97) || 'pp.' || chr(116) || 'enant', '42', false)",
    "SELECT set_config(x, '42', false) FROM leak.names",
    "SELECT set_config('app.n' || n, 'many', false) FROM generate_series(1, 150) n",
    "DO $$begin set app.tenant='42'; end$$",
    "DO 'begin perform set_config(''app.tenant'', ''42'', false); end'",
    "DO E'begin set app\\x2etenant = 42; end'",
    "DO LANGUAGE plpgsql $a$begin execute $b$set app.tenant = '42'$b$; end$a$",
    "DO $$begin execute 'se' || 't app.ten' || 'ant = 42'; end$$",
    "DO $$begin execute convert_from('\\x736574206170702e74656e616e74203d203432', 'UTF8'); end$$",
    "DO $$declare r record; begin for r in select x from leak.names loop perform set_config(r.x, '42', false); end loop; end$$",
  ]),
  "150 names in a transaction": {
    sql: Array.from({ length: 150 }, (_, i) => `SET app.n${i + 1} = 'many'`),
    only: ["block", "multi", "pipelined", "do"],
  },
  "two names, one of them reset": {
    sql: ["SET app.tenant = '42'", "SET app.x = 'y'", "RESET app.x"],
  },
  "behind an operator that lies": {
    sql: ["SET search_path = evil, pg_catalog", "SET app.tenant = '42'", "SET work_mem = '7MB'"],
  },
  "a lock behind an operator that lies": {
    sql: ["SET search_path = evil, pg_catalog", "SELECT pg_advisory_lock(1)"],
  },
};

const skippedRole = (last: string) =>
  wire.join([
    wire.extended("SET ROLE weak"),
    wire.extended(last),
    wire.SYNC,
  ]);

/** SET ROLE and SET SESSION AUTHORIZATION. */
export const ROLES: Ways = {
  ...statements([
    "SET ROLE weak",
    "SET SESSION ROLE 'weak'",
    `SET "role" = "weak"`,
    "SET role TO 'weak'",
    "SELECT set_config('role', 'weak', false)",
    "SET SESSION AUTHORIZATION weak",
    "SET SESSION SESSION AUTHORIZATION 'weak'",
    "SET session_authorization = weak",
    "SELECT set_config('session_authorization', 'weak', false)",
  ]),
  "SET ROLE and LISTEN": { sql: ["SET ROLE weak", "LISTEN channel"] },
  "SET and SET ROLE": { sql: ["SET log_min_duration_statement = 12345", "SET ROLE weak"] },
  "SET ROLE and RESET ALL": { sql: ["SET ROLE weak", "RESET ALL"] },
  "SET ROLE and a SET LOCAL that fails, pipelined": {
    nothing: true,
    bytes: () => [skippedRole("SET LOCAL work_mem = 'much'")],
  },
  "SET ROLE, a Sync, and a SET LOCAL that fails": {
    bytes: () => [
      wire.join([
        wire.extended("SET ROLE weak"),
        wire.SYNC,
        wire.extended("SET LOCAL work_mem = 'much'"),
        wire.SYNC,
      ]),
    ],
  },
  "a SET LOCAL that fails, then SET ROLE": {
    bytes: () => [
      wire.join([
        wire.extended("SET LOCAL work_mem = 'much'"),
        wire.SYNC,
        wire.extended("SET ROLE weak"),
        wire.SYNC,
      ]),
    ],
  },
  "a SET LOCAL that is skipped, then SET ROLE": {
    bytes: () => [
      wire.join([
        wire.extended("SELECT 1/0"),
        wire.extended("SET LOCAL work_mem = '7MB'"),
        wire.SYNC,
        wire.extended("SET ROLE weak"),
        wire.SYNC,
      ]),
    ],
  },
  "a SET LOCAL that is parsed and not run, then SET ROLE": {
    bytes: () => [
      wire.join([
        wire.parse("local", "SET LOCAL work_mem = '7MB'"),
        wire.SYNC,
        wire.bind("", "local"),
        wire.SYNC,
        wire.extended("SET ROLE weak"),
        wire.SYNC,
      ]),
    ],
  },
  "a text with a SET LOCAL behind an error, then SET ROLE": {
    bytes: () => [
      wire.join([
        wire.query("SELECT 1/0; SET LOCAL work_mem = '7MB'"),
        wire.query("SET ROLE weak"),
      ]),
    ],
  },
  "a SET LOCAL in a failed transaction, then SET ROLE": {
    bytes: () => [
      wire.join(
        ["BEGIN", "SELECT 1/0", "SET LOCAL work_mem = '7MB'", "ROLLBACK", "SET ROLE weak"].map(
          wire.query,
        ),
      ),
    ],
  },
};

/** What a StartupMessage asks for. */
export const LOGINS: Ways = {
  "TimeZone at the login": { login: { TimeZone: "Asia/Tokyo" } },
  "DateStyle at the login": { login: { DateStyle: "SQL, DMY" } },
  "client_encoding at the login": { login: { client_encoding: "LATIN1" } },
  "lock_timeout at the login": { login: { lock_timeout: "77s" } },
  "search_path at the login": { login: { search_path: "two" } },
  "app.tenant at the login": { login: { "app.tenant": "42" } },
  "role at the login": { login: { role: "weak" } },
  "options at the login": { login: { options: "-c app.tenant=42 -c work_mem=7MB" } },
};
for (const way of Object.values(LOGINS)) {
  way.only = ["simple", "block", "extended"];
  way.sql = ["SELECT 'logged in'"];
}
