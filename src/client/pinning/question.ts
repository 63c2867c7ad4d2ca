/**
 * The SQL that asks PostgreSQL what a transaction has left on its server (leftovers.ts), and that leads back to what the
 * StartupMessage asked for.
 */

import { literal, quoteName } from "../../server/parameters.ts";
import { Dirty } from "../../server/state.ts";
import type { ClientView } from "../parts.ts";

/** Parts of the question, each for some bits. */
const PARTS: [bits: number, sql: string][] = [
  [
    Dirty.Set | Dirty.Config,
    "'set', (SELECT pg_catalog.json_object_agg(name, setting) FROM pg_catalog.pg_settings " +
    "WHERE source = 'session'), 'role', pg_catalog.current_setting('role'), 'user', session_user",
  ],
  [
    Dirty.Advisory,
    "'locks', (SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks " +
    "WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid())",
  ],
  [
    Dirty.Temp,
    "'temp', (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class " +
    "WHERE relnamespace = pg_catalog.pg_my_temp_schema())",
  ],
  [
    Dirty.Declare,
    "'cursors', (SELECT pg_catalog.count(*) FROM pg_catalog.pg_cursors WHERE is_holdable)",
  ],
  [
    Dirty.SqlPrepare,
    "'prepared', (SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_statements " +
    "WHERE from_sql)",
  ],
  [
    Dirty.Listen,
    "'channels', (SELECT pg_catalog.json_agg(c) FROM pg_catalog.pg_listening_channels() AS c)",
  ],
];

const questions = new Map<number, string>();

/**
 * Before a question that is asked again: the client's own statement_timeout may have stopped the first one. What it was
 * is kept where it is gone with the transaction, in milliseconds, as pg_settings has it.
 */
export const WITHOUT_TIMEOUT = "SELECT pg_catalog.set_config('pg_doorman.timeout', " +
  "(1000 * EXTRACT(epoch FROM pg_catalog.current_setting('statement_timeout')::interval))" +
  "::bigint::pg_catalog.text, true); SET LOCAL statement_timeout = 0; ";
const TIMEOUT = "'timeout', pg_catalog.current_setting('pg_doorman.timeout'), 'standardTimeout', " +
  "(SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'statement_timeout')";

/** Asks about these bits. */
export function question(session: ClientView, about: number, again: boolean): string {
  if ((about & (Dirty.Set | Dirty.Config)) === 0) return plainQuestion(about);
  const first = (again ? `${TIMEOUT}, ` : "") + customQuestion(session);
  // A function, since a name may have dollars.
  return plainQuestion(about).replace("(", () => `(${first}`);
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

function plainQuestion(about: number): string {
  let sql = questions.get(about);
  if (sql === undefined) {
    const parts = PARTS.filter(([bits]) => (bits & about) !== 0).map(([, part]) => part);
    sql = `SELECT pg_catalog.json_build_object(${parts.join(", ")})`;
    questions.set(about, sql);
  }
  return sql;
}

/** What belongs to the operator does not stay changed. */
export function withoutManaged(session: ClientView): string {
  let sql = "";
  for (const name of session.pool!.managed) sql += `RESET ${quoteName(name)}; `;
  return sql;
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
    ? "AND (name <> 'statement_timeout' OR reset_val <> pg_catalog.current_setting('pg_doorman.timeout'))"
    : "";
  return `; SELECT FROM (VALUES ${rows.join(", ")}) AS asked (n, v) WHERE CASE WHEN CASE ` +
    "WHEN pg_catalog.strpos(n, '.') > 0 " +
    "THEN COALESCE(pg_catalog.current_setting(n, true), '') = '' " +
    "WHEN n = 'role' THEN pg_catalog.current_setting(n) = 'none' " +
    "ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_settings WHERE " +
    `pg_catalog.lower(name) = pg_catalog.lower(n) AND source = 'session' ${itsOwn}) END ` +
    "THEN pg_catalog.set_config(n, v, false) IS NULL END";
}
