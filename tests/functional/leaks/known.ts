/**
 * What is not as it should be yet, by its reason: ways, with their forms. An entry is struck when none of its forms shows it
 * any more.
 */

import type { Known } from "./crossing.ts";

/** What of one client reaches another one. */
export const KNOWN_LEAKS: Known = {
  "dotted names that are neither in the text nor among the values": {
    "SELECT set_config(format('%s.%s', 'app', 'tenant'), '42', false)":
      "simple block multi last burst commented case large extended named pipelined extended_block do do_extended do_commits_fails procedure chain execute explain copy cursor portal unsynced",
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
  "CREATE behind search_path = pg_temp": {
    "set_config of search_path and CREATE TABLE":
      "simple block multi last burst commented case large extended named pipelined extended_block do do_extended do_commits_fails procedure chain unsynced",
  },
  "temporary objects that are no relations: pg_class alone is asked": {
    "CREATE TEXT SEARCH DICTIONARY pg_temp.mine (TEMPLATE = simple)":
      "simple block multi last burst commented case large extended named pipelined extended_block do do_extended do_commits_fails procedure chain unsynced",
  },
  "cursors, statements and channels made in DO and CALL": {
    "DO $$begin listen channel; end$$":
      "simple block multi last burst commented case large extended named pipelined extended_block do do_extended do_commits_fails procedure chain unsynced",
    "DO $$begin execute 'lis' || 'ten channel'; end$$":
      "simple block multi last burst commented case large extended named pipelined extended_block do do_extended do_commits_fails procedure chain unsynced",
  },
  "statements of the protocol that DO and CALL deallocate": {
    "replaced statements, by PREPARE in a text":
      "do do_extended do_commits_fails procedure do_fails do_caught",
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
    "a connection of dblink": "simple extended do",
    "the origin of a replication": "simple extended do",
    "a temporary replication slot": "simple extended do",
  },
};

/** What a client sees of its own otherwise than at a direct connection. */
export const KNOWN_DIFFERENCES: Known = {
  "a name behind more text than is read, or that DO puts together, is reset and not followed": {
    'SET "App"."Tenant" = \'42\'': "large",
    "DO $$begin execute convert_from('\\x736574206170702e74656e616e74203d203432', 'UTF8'); end$$":
      "simple",
    "behind an operator that lies": "large",
  },
  "the pool's own statements are to be seen, and DO may replace them": {
    "DO $$declare n text; begin for n in select name from pg_prepared_statements loop execute format('deallocate %1$I', n); execute format('prepare %1$I as select ''of A'' AS x', n); end loop; end$$":
      "simple",
  },
};

/** What reaches another client of a pool with `session_isolation = "strict"`: nothing may. */
export const KNOWN_LEAKS_IN_STRICT: Known = {};

/** What a client sees of its own in such a pool otherwise than at a direct connection. */
export const KNOWN_DIFFERENCES_IN_STRICT: Known = {};
