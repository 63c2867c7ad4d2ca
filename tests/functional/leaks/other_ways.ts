/** Ways to leave locks, channels, and what has no statement to undo it. */

import * as wire from "../../support/wire_messages.ts";
import { statements, type Ways } from "./way.ts";

/** Advisory locks. */
export const LOCKS: Ways = {
  ...statements([
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_advisory_lock(1, 2)",
    "SELECT pg_advisory_lock_shared(1)",
    "SELECT pg_advisory_lock_shared(1, 2)",
    "SELECT pg_try_advisory_lock(1)",
    "SELECT pg_try_advisory_lock(1, 2)",
    "SELECT pg_try_advisory_lock_shared(1)",
    "SELECT pg_try_advisory_lock_shared(1, 2)",
    "SELECT pg_catalog.pg_advisory_lock(1)",
    `SELECT "pg_catalog" . "pg_advisory_lock" (1)`,
    `SELECT U&"pg\\005fadvisory\\005flock"(1)`,
    "SELECT PG_ADVISORY_LOCK/**/(1)",
    "SELECT 1 FROM pg_advisory_lock(1)",
    "SELECT 1 WHERE pg_try_advisory_lock(1)",
    "SELECT pg_advisory_lock(x) FROM generate_series(1, 3) x",
    "INSERT INTO leak.t SELECT 'x' WHERE pg_try_advisory_lock(1) RETURNING 1",
    "WITH l AS MATERIALIZED (SELECT pg_advisory_lock(1)) SELECT 1 FROM l",
    "DO $$begin perform pg_advisory_lock(1); end$$",
    "DO $$begin execute 'select pg_' || 'advisory' || '_lock(1)'; end$$",
    "SELECT pg_advisory_lock(1), 1 / (0 * random())::int",
    "SELECT pg_advisory_lock(1), pg_advisory_xact_lock(2)",
  ]),
  "a lock taken twice, released once": {
    sql: [
      "SELECT pg_advisory_lock(1)",
      "SELECT pg_advisory_lock(1)",
      "SELECT pg_advisory_unlock(1)",
    ],
  },
  "two locks, one of them released": {
    sql: [
      "SELECT pg_advisory_lock(1), pg_advisory_lock_shared(2)",
      "SELECT pg_advisory_unlock(1)",
    ],
  },
  "a lock that is released": {
    nothing: true,
    sql: ["SELECT pg_advisory_lock(1)", "SELECT pg_advisory_unlock_all()"],
  },
  "a lock by a parameter's value": { sql: ["SELECT pg_advisory_lock($1)"], values: ["1"] },
};

/** LISTEN. */
export const CHANNELS: Ways = {
  ...statements([
    "LISTEN channel",
    `LISTEN "Chan nel"`,
    `LISTEN U&"ch\\0061nnel"`,
    "LISTEN/**/channel",
    "LISTEN --\nchannel",
    "DO $$begin listen channel; end$$",
    "DO $$begin execute 'lis' || 'ten channel'; end$$",
    "DO $$begin execute format('listen %I', x) from leak.names; end$$",
  ]),
  "LISTEN and NOTIFY": { sql: ["LISTEN channel", "NOTIFY channel"] },
  "two channels, one of them no more": {
    sql: ["LISTEN channel", "LISTEN other", "UNLISTEN other"],
  },
  "a channel that is no more": { nothing: true, sql: ["LISTEN channel", "UNLISTEN channel"] },
  "a channel and all others no more": {
    sql: ["LISTEN other", "UNLISTEN *", "LISTEN channel"],
  },
  "LISTEN and SET": { sql: ["LISTEN channel", "SET work_mem = '7MB'"] },
};

/** An error behind what has been committed in the same message. */
export const COMMITTED: Ways = {
  "a text that commits, then fails": {
    sql: ["BEGIN; SET app.tenant = '42'; COMMIT; SELECT 1/0"],
    only: ["simple"],
  },
  "a text that commits, then fails, then sets": {
    sql: ["BEGIN; SET app.tenant = '42'; COMMIT; SELECT 1/0; SET work_mem = '7MB'"],
    only: ["simple"],
  },
  "two transactions in a text, the second undone": {
    sql: ["BEGIN; SET app.tenant = '42'; COMMIT; BEGIN; SET app.tenant = '43'; ROLLBACK"],
    only: ["simple"],
  },
  "a text whose transaction is left open, then committed": {
    sql: ["BEGIN; SET app.tenant = '42'", "COMMIT"],
    only: ["simple"],
  },
  "prepared for two phases": {
    sql: [
      "BEGIN",
      "SET app.tenant = '42'",
      "PREPARE TRANSACTION '{lane}'",
      "ROLLBACK PREPARED '{lane}'",
    ],
    only: ["simple", "extended"],
  },
  "prepared for two phases, then a failure": {
    nothing: true,
    sql: ["BEGIN", "CREATE TEMP TABLE mine ()", "PREPARE TRANSACTION '{lane}'"],
    only: ["simple", "extended"],
  },
  "a procedure that commits": { sql: ["CALL leak.commits()"], only: ["simple", "extended"] },
  "a procedure that commits, then fails": {
    sql: ["CALL leak.commits_and_fails()"],
    only: ["simple", "extended"],
  },
};

const SET_ROLE = ["role", "weak", "f"];
/** Object ids of pg_proc, which are fixed. */
const FUNCTION = { set_config: 2078, pg_advisory_lock: 2880, pg_advisory_lock_shared: 2881 };
const TRY_LOCK = { one: 2882, two: 2888 };

/** FunctionCall. */
export const FUNCTION_CALLS: Ways = {
  "FunctionCall of set_config": {
    bytes: () => [wire.functionCall(FUNCTION.set_config, ["work_mem", "7MB", "f"])],
  },
  "FunctionCall of set_config with a dotted name": {
    bytes: () => [wire.functionCall(FUNCTION.set_config, ["app.tenant", "42", "f"])],
  },
  "FunctionCall of set_config of role": {
    bytes: () => [wire.functionCall(FUNCTION.set_config, SET_ROLE)],
  },
  "FunctionCall of set_config that is local": {
    nothing: true,
    bytes: () => [wire.functionCall(FUNCTION.set_config, ["work_mem", "7MB", "t"])],
  },
  "FunctionCall of pg_advisory_lock": {
    bytes: () => [wire.functionCall(FUNCTION.pg_advisory_lock, ["1"])],
  },
  "FunctionCall of pg_advisory_lock_shared": {
    bytes: () => [wire.functionCall(FUNCTION.pg_advisory_lock_shared, ["1"])],
  },
  "FunctionCall of pg_try_advisory_lock": {
    bytes: () => [wire.functionCall(TRY_LOCK.one, ["1"])],
  },
  "FunctionCall of pg_try_advisory_lock with two keys": {
    bytes: () => [wire.functionCall(TRY_LOCK.two, ["1", "2"])],
  },
  "FunctionCall in a transaction": {
    bytes: () => [
      wire.query("BEGIN"),
      wire.functionCall(FUNCTION.set_config, ["work_mem", "7MB", "f"]),
      wire.query("COMMIT"),
    ],
  },
};

/** What differs in the server's memory, and has no row in any catalog. */
export const MEMORY: Ways = {
  "nextval, then lastval": {
    sql: ["SELECT nextval('leak.counter')"],
    look: "SELECT lastval() > 0",
    only: ["simple", "block", "extended", "do"],
  },
  "nextval, then currval": {
    sql: ["SELECT nextval('leak.counter')"],
    look: "SELECT currval('leak.counter') > 0",
    only: ["simple", "block", "extended", "do"],
  },
  "setval, then currval": {
    sql: ["SELECT setval('leak.counter', 7)"],
    look: "SELECT currval('leak.counter')",
    only: ["simple", "extended"],
  },
  ...Object.fromEntries(
    ["SELECT setseed(0.5)", "SET seed TO 0.5", "SELECT set_config('seed', '0.5', false)"].map(
      (sql) => [sql, {
        sql: [sql],
        look: "SELECT random()",
        stays: "SELECT setseed(extract(epoch FROM clock_timestamp())::numeric % 1)",
        only: ["simple", "block", "extended", "do", "failed"],
      }],
    ),
  ),
  "LOAD": {
    sql: ["LOAD 'plpgsql'"],
    nothing: true,
    only: ["simple"],
  },
  "a connection of dblink": {
    sql: [
      "SELECT dblink_connect('there', 'host=127.0.0.1 user=postgres dbname=postgres port=' || " +
      "current_setting('port'))",
    ],
    look: "SELECT 'there' = ANY (dblink_get_connections())",
    stays:
      "SELECT dblink_disconnect('there') WHERE 'there' = ANY (COALESCE(dblink_get_connections(), '{}'))",
    only: ["simple", "extended", "do", "hidden"],
  },
  "the origin of a replication": {
    sql: ["SELECT pg_replication_origin_session_setup('{lane}')"],
    look: "SELECT pg_replication_origin_session_is_setup()",
    stays:
      "SELECT pg_replication_origin_session_reset() WHERE pg_replication_origin_session_is_setup()",
    only: ["simple", "extended", "do"],
  },
  "a temporary replication slot": {
    sql: ["SELECT pg_create_physical_replication_slot('{lane}', true, true)"],
    look: "SELECT count(*) FROM pg_replication_slots WHERE active_pid = pg_backend_pid()",
    stays:
      "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE active_pid = pg_backend_pid()",
    only: ["simple", "extended", "do"],
  },
};
