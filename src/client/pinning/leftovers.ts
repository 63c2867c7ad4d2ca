/**
 * What a transaction has left on its server, in transaction mode: when its text or its tags say that there may be
 * something (`DIRTY_ASK`), PostgreSQL is asked before the server goes back. Parameters follow the client from then on;
 * what can't be taken to another server (temporary tables, WITH HOLD cursors, advisory locks of the session, PREPARE in
 * SQL) pins the client to this one until it is gone; LISTEN goes on at the pool's listener (listening.ts).
 * docs/session-state.md has the table.
 *
 * The client waits for nothing: its answer is out, and what it sends meanwhile goes to the same server.
 */

import { canonicalName } from "../../config/parameter_names.ts";
import { parameterStatus } from "../../protocol/messages.ts";
import type { ReceivedError } from "../../protocol/error_response.ts";
import type { ServerConnection } from "../../server/connection.ts";
import { literal, parameterSet, quoteName, settable } from "../../server/parameters.ts";
import { Dirty, DIRTY_ASK } from "../../server/state.ts";
import { pin } from "./pin.ts";
import { settleChannels, settleMark } from "../listen/listening.ts";
import type { Listening } from "../listen/listening.ts";
import type { ClientEnd, ClientOutput, ClientView } from "../parts.ts";

/** The part of a session that this file sees. */
interface Session extends ClientView, ClientOutput, ClientEnd {
  readonly frozen: boolean;
  listening: Listening | undefined;
  releaseIfIdle(): void;
}

const TARGET = "pg_doorman::client";

/** What leads back to the StartupMessage. */
const RESETS = Dirty.Reset | Dirty.Default;

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

interface Answer {
  set?: Record<string, string> | null;
  /** Parameters that PostgreSQL does not list; `null`: not set. */
  custom?: Record<string, string | null>;
  /** The client's statement_timeout where the question ran without one, and PostgreSQL's own. */
  timeout?: string;
  standardTimeout?: string;
  role?: string;
  user?: string;
  locks?: number;
  temp?: number;
  cursors?: number;
  prepared?: number;
  channels?: string[] | null;
}

const questions = new Map<number, string>();

/**
 * Before a question that is asked again: the client's own statement_timeout may have stopped the first one. What it was
 * is kept where it is gone with the transaction, in milliseconds, as pg_settings has it.
 */
const WITHOUT_TIMEOUT = "SELECT pg_catalog.set_config('pg_doorman.timeout', " +
  "(1000 * EXTRACT(epoch FROM pg_catalog.current_setting('statement_timeout')::interval))" +
  "::bigint::pg_catalog.text, true); SET LOCAL statement_timeout = 0; ";
const TIMEOUT = "'timeout', pg_catalog.current_setting('pg_doorman.timeout'), 'standardTimeout', " +
  "(SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'statement_timeout')";

function question(session: Session, about: number, again: boolean): string {
  if ((about & (Dirty.Set | Dirty.Config)) === 0) return plainQuestion(about);
  const first = (again ? `${TIMEOUT}, ` : "") + customQuestion(session);
  // A function, since a name may have dollars.
  return plainQuestion(about).replace("(", () => `(${first}`);
}

/** The part about parameters that PostgreSQL does not list. */
function customQuestion(session: Session): string {
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

/** Whether PostgreSQL has to be asked before this server may go back. */
export function mustAsk(session: Session, server: ServerConnection): boolean {
  const { state } = session;
  if (state.keepsServer) return mustRestore(session, server);
  return (server.state.dirty & DIRTY_ASK) !== 0 &&
    session.pool!.settings.cleanup_server_connections;
}

/** In session mode nothing is to be followed, but RESET leads back to what the StartupMessage asked for. */
function mustRestore(session: Session, server: ServerConnection): boolean {
  const { state } = server;
  if ((state.dirty & Dirty.Reset) === 0 || session.state.replication !== "none") return false;
  if (wishes(session).length > 0) return true;
  state.dirty &= ~Dirty.Reset;
  return false;
}

/** Asks. The answer comes by `settleLeftovers`; what is done on the server meanwhile makes it dirty anew. */
export function askLeftovers(session: Session, server: ServerConnection): void {
  const { state } = server;
  const again = state.askedAgain;
  // The resets are asked about, too: they count again when the question fails.
  let about = state.dirty & (DIRTY_ASK | RESETS);
  state.dirty &= ~about;
  // Behind DISCARD ALL no tag tells of parameters, and there will be some.
  if ((about & RESETS) !== 0 && wishes(session).length > 0) about |= Dirty.Set;
  let sql = question(session, about, again);
  if (again) sql = WITHOUT_TIMEOUT + sql;
  if ((about & (Dirty.Set | Dirty.Config)) !== 0) sql = withoutManaged(session) + sql;
  if ((about & RESETS) !== 0) sql += restoration(session, again);
  server.askOwn(again ? `BEGIN; ${sql}; COMMIT` : sql, about);
}

/** What belongs to the operator does not stay changed. */
function withoutManaged(session: Session): string {
  let sql = "";
  for (const name of session.pool!.managed) sql += `RESET ${quoteName(name)}; `;
  return sql;
}

/** What the StartupMessage asked for and a server does not have by itself. */
function wishes(session: Session): [name: string, value: string][] {
  const defaults = session.pool!.defaults?.values;
  return [...session.state.initial.values].filter(([name, value]) => defaults?.get(name) !== value);
}

/**
 * RESET goes back to what the StartupMessage asked for, at a direct connection. It is done before anything else that the
 * client may have sent, and behind the question, which no statement_timeout among it must stop. It has no rows.
 */
function restoration(session: Session, again: boolean): string {
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

/** The answer is there. */
export function settleLeftovers(session: Session, error: ReceivedError | undefined): void {
  const server = session.server!;
  const { state } = server;
  const about = state.asked;
  if (about === Dirty.Unlisten) return settleMark(session, error);
  const { answer } = state;
  state.asked = 0;
  state.answer = undefined;
  if (error !== undefined && !state.askedAgain) {
    state.askedAgain = true;
    state.dirty |= about;
    return;
  }
  state.askedAgain = false;
  if (error !== undefined || answer === undefined) {
    session.context.log.warn(
      TARGET,
      `${session.name} can't be told what it has left on server pid=${state.pid}: ${
        error === undefined ? "too much" : `${error.code}: ${error.message}`
      }`,
    );
    pin(session, about, Dirty.Set);
    return;
  }
  const found = JSON.parse(answer) as Answer;
  let pinned = 0;
  if (
    (about & (Dirty.Set | Dirty.Config)) !== 0 &&
    !followParameters(session, server, found, (about & RESETS) !== 0)
  ) {
    pinned |= Dirty.Set;
  }
  if (found.locks) pinned |= Dirty.Advisory;
  if (found.temp) pinned |= Dirty.Temp;
  if (found.cursors) pinned |= Dirty.Declare;
  if (found.prepared) pinned |= Dirty.SqlPrepare;
  if ((about & Dirty.Listen) !== 0) pinned |= settleChannels(session, found.channels ?? []);
  pin(session, about, pinned);
}

/** The client's parameters are those of the server; `false`: something is not to be had on another one. */
function followParameters(
  session: Session,
  server: ServerConnection,
  found: Answer,
  restored: boolean,
): boolean {
  const { reported, settings } = session.pool!;
  const { initial } = session.state;
  const values = new Map<string, string>();
  for (const [name, value] of server.state.parameters.values) {
    if (reported.has(name)) values.set(name, value);
  }
  for (const [rawName, value] of Object.entries(found.set ?? {})) {
    const name = canonicalName(rawName);
    if (!reported.has(name) && settable(name)) values.set(name, value);
  }
  if (found.timeout !== undefined) {
    const asked = initial.values.has("statement_timeout");
    // The client's own or not: the same value looks the same, but a RESET has most likely brought it.
    const itsOwn = found.timeout !== found.standardTimeout || asked && !restored;
    if (itsOwn) values.set("statement_timeout", found.timeout);
    else values.delete("statement_timeout");
  }
  for (const [name, value] of Object.entries(found.custom ?? {})) {
    const reset = restored && value === "" && initial.values.has(name);
    if (value !== null && !reset) values.set(name, value);
  }
  session.state.setNames = session.state.setNames.filter((name) => !(name in (found.custom ?? {})));
  if (found.role !== undefined && found.role !== "none") values.set("role", found.role);
  for (const [name, value] of values) {
    if (reported.has(name) && session.state.parameters.values.get(name) !== value) {
      session.write(parameterStatus(name, value));
    }
  }
  const has = parameterSet(values);
  // What its StartupMessage asked for comes back by RESET at a direct connection.
  for (const [name, value] of initial.values) {
    if (!values.has(name) && !reported.has(name)) values.set(name, value);
  }
  session.state.parameters = parameterSet(values);
  server.state.parameters = restored ? session.state.parameters : has;
  return found.user === undefined || found.user === settings.server_username;
}
