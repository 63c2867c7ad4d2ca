/**
 * What is not as it should be yet, by its reason: ways, with their forms. An entry is struck when none of its forms shows it
 * any more.
 */

import type { Known } from "./crossing.ts";

/** Forms in which a statement runs. */
const ANY = "simple block multi last burst commented case large extended named pipelined " +
  "extended_block do do_extended do_commits_fails procedure run hidden chain unsynced";

/** What of one client reaches another one. */
export const KNOWN_LEAKS: Known = {
  "docs/session-state.md: what is hidden in a function, a view, a trigger, … is not noticed": {
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

/** What a client sees of its own otherwise than at a direct connection, in both modes. */
const IN_BOTH: Known = {
  "a name behind more text than is read, or in a body, is reset and not followed": {
    "*": "large procedure run hidden do do_extended do_commits_fails",
  },
  "a name that DO puts together or escapes is reset and not followed": {
    "DO E'begin set app\\x2etenant = 42; end'": ANY,
    "DO $$begin execute 'se' || 't app.ten' || 'ant = 42'; end$$": ANY,
    "DO $$begin execute convert_from('\\x736574206170702e74656e616e74203d203432', 'UTF8'); end$$":
      ANY,
  },
};

/** The same in tracked mode. */
export const KNOWN_DIFFERENCES: Known = {
  ...IN_BOTH,
  "the pool's own statements are to be seen, and DO may replace them": {
    "DO $$declare n text; begin for n in select name from pg_prepared_statements loop execute format('deallocate %1$I', n); execute format('prepare %1$I as select ''of A'' AS x', n); end loop; end$$":
      `${ANY} do_caught do_fails failed multi_fails pipelined_fails savepoint savepoint_fails`,
  },
};

/** What reaches another client of a pool with `session_isolation = "strict"`: nothing may. */
export const KNOWN_LEAKS_IN_STRICT: Known = {};

/** What a client sees of its own in such a pool otherwise than at a direct connection. */
export const KNOWN_DIFFERENCES_IN_STRICT: Known = { ...IN_BOTH };
