/**
 * The SQL that asks PostgreSQL what a transaction has left on its server (leftovers.ts), and that leads back to what the
 * StartupMessage asked for.
 *
 * It runs with whatever the client has set. So it is ASCII, and so is the answer (JSON in UTF-8, in base64), whatever
 * the connection's encoding is; and every function, operator and type in it is named with its schema, since the client's
 * search_path may have others before PostgreSQL's.
 */

import { literal } from "../../server/parameters.ts";
import { Dirty } from "../../server/state.ts";
import type { ClientView } from "../parts.ts";

const EQUALS = "OPERATOR(pg_catalog.=)";
const TEXT = "::pg_catalog.text";
/** The number of pg_namespace. */
const PG_NAMESPACE = "2615::pg_catalog.oid";
const OURS = `pg_catalog.strpos(name, 'DOORMAN_') ${EQUALS} 1`;

/**
 * Parts of the question, each for some bits. Which parameters there are takes PostgreSQL longest, so that is read once
 * (`settings`), as are the prepared statements (`prepared`); where a view has a function behind it that is planned sooner.
 */
const PARTS: [bits: number, sql: string][] = [
  [
    Dirty.Set | Dirty.Config,
    "'foreign', settings.foreign_ones, 'set', settings.set, " +
    "'role', pg_catalog.current_setting('role'), 'user', session_user",
  ],
  [
    Dirty.Advisory,
    "'locks', (SELECT pg_catalog.count(*) FROM pg_catalog.pg_lock_status() " +
    `WHERE locktype ${EQUALS} 'advisory'${TEXT} AND pid ${EQUALS} pg_catalog.pg_backend_pid())`,
  ],
  [
    // Whatever it is, it depends on its schema.
    Dirty.Temp,
    "'temp', (SELECT pg_catalog.count(*) FROM pg_catalog.pg_depend " +
    `WHERE refclassid ${EQUALS} ${PG_NAMESPACE} ` +
    `AND refobjid ${EQUALS} pg_catalog.pg_my_temp_schema())`,
  ],
  [
    Dirty.Declare,
    "'cursors', (SELECT pg_catalog.count(*) FROM pg_catalog.pg_cursor() WHERE is_holdable)",
  ],
  [Dirty.SqlPrepare, "'prepared', prepared.by_sql"],
  [
    Dirty.Listen,
    "'channels', (SELECT pg_catalog.json_agg(c) FROM pg_catalog.pg_listening_channels() AS c)",
  ],
  [Dirty.Any, "'statements', prepared.ours, 'false', prepared.false_ones"],
];

/**
 * What a role other than the login role has set and the login role may not: on another server it can't be set again. In
 * PostgreSQL 14 and before only a superuser may.
 */
const MAY_SET = "pg_catalog.has_parameter_privilege(session_user, name, 'SET')";
const MAY_SET_14 = "(SELECT rolsuper FROM pg_catalog.pg_roles " +
  `WHERE rolname ${EQUALS} session_user)`;
const settingsOf = (maySet: string) =>
  "(SELECT pg_catalog.json_object_agg(name, setting), pg_catalog.count(*) FILTER " +
  `(WHERE context ${EQUALS} 'superuser'${TEXT} AND NOT ${maySet}) ` +
  "FROM pg_catalog.pg_settings " +
  `WHERE source ${EQUALS} 'session'${TEXT}) AS settings (set, foreign_ones)`;
const SETTINGS = settingsOf(MAY_SET);
const SETTINGS_14 = settingsOf(MAY_SET_14);
const PREPARED = "(SELECT pg_catalog.count(*) FILTER (WHERE from_sql), " +
  `pg_catalog.count(*) FILTER (WHERE NOT from_sql AND ${OURS}), ` +
  `pg_catalog.count(*) FILTER (WHERE from_sql AND ${OURS}) ` +
  "FROM pg_catalog.pg_prepared_statement()) AS prepared (by_sql, ours, false_ones)";

/**
 * Before a question that is asked again: the client's own statement_timeout may have stopped the first one. What it was
 * is kept where it is gone with the transaction, in milliseconds, as pg_settings has it.
 */
export const WITHOUT_TIMEOUT = "SELECT pg_catalog.set_config('pg_doorman.timeout', " +
  "(1000 OPERATOR(pg_catalog.*) EXTRACT(epoch FROM " +
  `pg_catalog.current_setting('statement_timeout')::interval))::bigint${TEXT}, true); ` +
  "SET LOCAL statement_timeout = 0; ";
const TIMEOUT = "'timeout', pg_catalog.current_setting('pg_doorman.timeout'), 'standardTimeout', " +
  "(SELECT reset_val FROM pg_catalog.pg_settings " +
  `WHERE name ${EQUALS} 'statement_timeout'${TEXT})`;

/** Asks about these bits. */
export function question(session: ClientView, about: number, again: boolean): string {
  const from: string[] = [];
  let parts = "";
  if ((about & (Dirty.Set | Dirty.Config)) !== 0) {
    parts = (again ? `${TIMEOUT}, ` : "") + customQuestion(session);
    from.push(isBefore15(session) ? SETTINGS_14 : SETTINGS);
  }
  if ((about & (Dirty.SqlPrepare | Dirty.Any)) !== 0) from.push(PREPARED);
  parts += PARTS.filter(([bits]) => (bits & about) !== 0).map(([, part]) => part).join(", ");
  return `SELECT pg_catalog.encode(pg_catalog.convert_to(pg_catalog.json_build_object(${parts})` +
    `${TEXT}, '${encodingOf(session)}'), 'base64')` +
    (from.length > 0 ? ` FROM ${from.join(", ")}` : "");
}

/** What the answer is converted to. Where PostgreSQL knows of no encoding the bytes come as they are. */
function encodingOf({ pool }: ClientView): string {
  const encoding = pool!.defaults?.values.get("server_encoding");
  return encoding === "SQL_ASCII" ? "SQL_ASCII" : "UTF8";
}

function isBefore15({ pool }: ClientView): boolean {
  const version = pool!.defaults?.values.get("server_version") ?? "";
  return !(parseInt(version) >= 15);
}

/** The part about parameters that PostgreSQL does not list. */
function customQuestion(session: ClientView): string {
  const names = new Set(session.state.setNames);
  for (const name of session.state.parameters.values.keys()) {
    if (name.includes(".")) names.add(name);
  }
  if (names.size === 0) return "";
  // A list and no arguments: a function takes a hundred of those.
  return "'custom', (SELECT pg_catalog.json_object_agg(n, pg_catalog.current_setting(n, true)) " +
    `FROM pg_catalog.unnest('{${[...names].join(",")}}'::pg_catalog.text[]) AS n), `;
}

/** What the StartupMessage asked for and a server does not have by itself. */
export function wishes(session: ClientView): [name: string, value: string][] {
  const defaults = session.pool!.defaults?.values;
  return [...session.state.initial.values].filter(([name, value]) => defaults?.get(name) !== value);
}

/**
 * RESET goes back to what the StartupMessage asked for, at a direct connection. It is done before anything else that the
 * client may have sent, and behind the question, which no statement_timeout among it must stop. It has no rows.
 */
export function restoration(session: ClientView, again: boolean): string {
  const rows = wishes(session).map(([name, value]) => `(${literal(name)}, ${literal(value)})`);
  if (rows.length === 0) return "";
  const itsOwn = again
    ? `AND (NOT name ${EQUALS} 'statement_timeout'${TEXT} OR ` +
      `NOT reset_val ${EQUALS} pg_catalog.current_setting('pg_doorman.timeout'))`
    : "";
  return `; SELECT FROM (VALUES ${rows.join(", ")}) AS asked (n, v) WHERE CASE WHEN CASE ` +
    `WHEN pg_catalog.strpos(n, '.') OPERATOR(pg_catalog.>) 0 ` +
    `THEN COALESCE(pg_catalog.current_setting(n, true), '') ${EQUALS} ''${TEXT} ` +
    `WHEN n ${EQUALS} 'role'${TEXT} ` +
    `THEN pg_catalog.current_setting(n) ${EQUALS} 'none'${TEXT} ` +
    "ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_settings WHERE " +
    `pg_catalog.lower(name) ${EQUALS} pg_catalog.lower(n) ` +
    `AND source ${EQUALS} 'session'${TEXT} ${itsOwn}) END ` +
    "THEN pg_catalog.set_config(n, v, false) IS NULL END";
}
