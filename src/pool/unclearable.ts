/**
 * What `DISCARD ALL` leaves on a server, which with `session_isolation = "strict"` must reach nobody: the state of random()
 * is set anew; of all else PostgreSQL is asked whether it is there, and says so by an error, since there is nothing but the
 * connection's end to undo it.
 */

import { getRandomValues } from "node:crypto";
import type { ReceivedError } from "../protocol/error_response.ts";

/** What of a server tells how it can be asked. */
export interface AskedServer {
  readonly values: ReadonlyMap<string, string>;
}

const TEXT = "::pg_catalog.text";
const JOINED = "OPERATOR(pg_catalog.||)";
/** Languages with memory that all functions share, and `dblink`, whose connections have names. */
const WITH_MEMORY = "^(dblink|plperl|pllua|plpython|plr|plsh|pltcl|plv8|pljava)";
const SLOTS = `SELECT 'temporary replication slot ' ${JOINED} slot_name${TEXT} ` +
  "FROM pg_catalog.pg_get_replication_slots() " +
  "WHERE temporary AND active_pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()";
const LOADED = `SELECT 'memory of ' ${JOINED} file_name ` +
  "FROM pg_catalog.pg_get_loaded_modules() " +
  `WHERE file_name OPERATOR(pg_catalog.~) '${WITH_MEMORY}'`;
/** Older versions do not tell what has been loaded: what is there may have been. */
const INSTALLED = `SELECT 'memory of ' ${JOINED} extname${TEXT} FROM pg_catalog.pg_extension ` +
  `WHERE extname${TEXT} OPERATOR(pg_catalog.~) '${WITH_MEMORY}'`;
/** Nobody else may set it, nor ask. */
const ORIGIN = "SELECT 'origin of a replication' " +
  "WHERE pg_catalog.pg_replication_origin_session_is_setup()";
const INVALID_TEXT = "22P02";

/** Clears what can be cleared, and fails where something else is left. */
export function checkUnclearable({ values }: AskedServer): string {
  const seed = getRandomValues(new Int32Array(1))[0]! / 2 ** 31;
  const parts = [SLOTS, parseInt(values.get("server_version") ?? "") >= 18 ? LOADED : INSTALLED];
  if (values.get("is_superuser") === "on") parts.push(ORIGIN);
  return `SELECT pg_catalog.setseed(${seed.toFixed(9)}), ` +
    "(SELECT pg_catalog.string_agg(what, ', ') " +
    `FROM (${parts.join(" UNION ALL ")}) AS leftover (what))::pg_catalog.int4`;
}

/** Whether that is what an error tells. */
export function isLeftover({ code }: ReceivedError): boolean {
  return code === INVALID_TEXT;
}
