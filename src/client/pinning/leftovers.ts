/**
 * What a transaction has left on its server, in transaction mode: when its text or its tags say that there may be
 * something (`DIRTY_ASK`), PostgreSQL is asked before the server goes back. Parameters follow the client from then on;
 * what can't be taken to another server (temporary tables, WITH HOLD cursors, advisory locks of the session, PREPARE in
 * SQL) pins the client to this one until it is gone; LISTEN goes on at the pool's listener (listening.ts).
 * docs/session-state.md has the table.
 *
 * The client waits for nothing: its answer is out, and what it sends meanwhile goes to the same server.
 */

import { Buffer } from "node:buffer";
import { canonicalName } from "../../config/parameter_names.ts";
import { TransactionStatus } from "../../protocol/codes.ts";
import type { ReceivedError } from "../../protocol/error_response.ts";
import type { ServerConnection } from "../../server/connection.ts";
import { ownNames, parameterSet, settable, settableNames } from "../../server/parameters.ts";
import { cleans } from "../../pool/cleanup.ts";
import { learnDefaults } from "../../pool/defaults.ts";
import { REASONS } from "../../reasons.ts";
import { Dirty, DIRTY_ASK, DIRTY_EVERYTHING } from "../../server/state.ts";
import { takeAll } from "../../server/statements/on_server.ts";
import { isAscii, textOfBytes } from "../../protocol/text_bytes.ts";
import { canFollow, checkedAnswer } from "./answer.ts";
import { makesTemporary, tell } from "./parameters.ts";
import { pin } from "./pin.ts";
import { question, restoration, wishes, WITHOUT_TIMEOUT } from "./question.ts";
import { type ListeningSession, settleChannels, settleMark } from "../listen/listening.ts";
import type { ClientOutput, ClientView } from "../parts.ts";

const TARGET = "pg_doorman::client";

/** What leads back to the StartupMessage. */
const RESETS = Dirty.Reset | Dirty.Default;

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
  /** Parameters that the login role may not set, as far as they are set. */
  foreign?: number;
  /** Statements that PostgreSQL has by the protocol under names like the pool's. */
  statements?: number;
  /** Those under such names by SQL. */
  false?: number;
  channels?: string[] | null;
}

/** Whether PostgreSQL has to be asked before this server may go back. */
export function mustAsk(session: ClientView, server: ServerConnection): boolean {
  const { state } = session;
  // The common case.
  if (server.state.dirty === 0 && server.settled === server.state.parameters) return false;
  if (state.keepsServer) return mustRestore(session, server);
  // Reported, and by no statement that tells of it: is it the client's, or the server's by a reload?
  const changed = server.settled !== undefined && server.settled !== server.state.parameters;
  if (changed) server.state.dirty |= Dirty.Config;
  return (server.state.dirty & DIRTY_ASK) !== 0 &&
    cleans(session.pool!.settings);
}

/** In session mode nothing is to be followed, but RESET leads back to what the StartupMessage asked for. */
function mustRestore(session: ClientView, server: ServerConnection): boolean {
  const { state } = server;
  if ((state.dirty & Dirty.Reset) === 0 || session.state.replication !== "none") return false;
  if (wishes(session).length > 0) return true;
  state.dirty &= ~Dirty.Reset;
  return false;
}

/** Asks. The answer comes by `settleLeftovers`; what is done on the server meanwhile makes it dirty anew. */
export function askLeftovers(session: ClientView, server: ServerConnection): void {
  const { state } = server;
  const again = state.askedAgain;
  // The resets are asked about, too: they count again when the question fails.
  let about = state.dirty & (DIRTY_ASK | RESETS);
  state.dirty &= ~about;
  // Behind DISCARD ALL no tag tells of parameters, and there will be some.
  if ((about & RESETS) !== 0 && wishes(session).length > 0) about |= Dirty.Set;
  if ((about & Dirty.Any) !== 0) about |= DIRTY_EVERYTHING;
  if ((about & Dirty.Names) !== 0) about |= Dirty.Config;
  server.settled = state.parameters;
  let sql = question(session, about, again);
  if (again) sql = WITHOUT_TIMEOUT + sql;
  if ((about & RESETS) !== 0) sql += restoration(session, again);
  server.askOwn(again ? `BEGIN; ${sql}; COMMIT` : sql, about);
}

/** The answer is there. */
export function settleLeftovers(
  session: ListeningSession,
  server: ServerConnection,
  error: ReceivedError | undefined,
): void {
  const { state } = server;
  const about = state.asked;
  if (about === Dirty.Unlisten) return settleMark(session, server, error);
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
    // The transaction of the question's own.
    if (state.status === TransactionStatus.Failed) server.runOwn("ROLLBACK");
    return;
  }
  const found = readAnswer(answer);
  if (found === undefined) {
    server.close(REASONS.serverDesync, "what it says of a session's leftovers is no answer");
    return;
  }
  let pinned = about & Dirty.Names;
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
  noteStatements(server, found);
  if ((about & Dirty.Listen) !== 0) pinned |= settleChannels(session, server, found.channels ?? []);
  const { pinned: before } = session.state;
  if (before !== 0 && (before & ~about | pinned) === 0 && (about & Dirty.Any) === 0) {
    // What else was left while it had this server for itself was nobody's matter.
    state.dirty |= about | Dirty.Any;
    return;
  }
  pin(session, about, pinned);
  noteSentBehind(session, server);
}

/** `undefined`: it is none. */
function readAnswer(answer: string): Answer | undefined {
  const bytes = Buffer.from(answer, "base64");
  return checkedAnswer(textOfBytes(bytes, 0, bytes.length)) as Answer | undefined;
}

/** What the pooler believes of the pool's statements there may be wrong: what ran may have taken some away. */
function noteStatements({ state }: ServerConnection, { statements, false: lies }: Answer): void {
  if (statements === undefined) return;
  let believed = 0;
  for (const { confirmed } of state.statements.values()) if (confirmed) believed++;
  if (statements !== believed || lies !== 0) takeAll(state, []);
}

/** What was sent behind the question is not asked about yet, and no text tells of it. */
function noteSentBehind(session: ClientView, server: ServerConnection): void {
  if (server.owed.length === 0 && session.state.left === 0) return;
  if (makesTemporary(session.state.parameters)) server.state.dirty |= Dirty.Temp;
  if (session.pool!.settings.session_isolation === "strict") server.state.dirty |= Dirty.Any;
}

/** The client's parameters are those of the server; `false`: something is not to be had on another one. */
function followParameters(
  session: ClientView & ClientOutput,
  server: ServerConnection,
  found: Answer,
  restored: boolean,
): boolean {
  const pool = session.pool!;
  const { reported, settings } = pool;
  const { initial } = session.state;
  // What a RESET has brought back is nobody's own.
  const own = new Set(settableNames(initial.values.keys(), reported));
  if (!restored) ownNames(session.state, pool).forEach((name) => own.add(name));
  const values = new Map<string, string>();
  for (const [name, value] of server.state.parameters.values) {
    if (reported.has(name)) values.set(name, value);
  }
  for (const [rawName, value] of Object.entries(found.set ?? {})) {
    const name = canonicalName(rawName);
    if (!settable(name)) continue;
    if (reported.has(name)) own.add(name);
    // What is reported comes in the client's encoding.
    if (!reported.has(name) || !isAscii(value)) values.set(name, value);
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
  if (!canFollow(values, reported)) return false;
  // A statement of SQL's PREPARE may still set what it names.
  session.state.setNames = session.state.setNames.filter((name) =>
    found.prepared && found.custom?.[name] === null || !(name in (found.custom ?? {}))
  );
  if (found.role !== undefined && found.role !== "none") values.set("role", found.role);
  tell(session, values);
  const has = parameterSet(values);
  // What its StartupMessage asked for comes back by RESET at a direct connection.
  for (const [name, value] of initial.values) {
    if (!values.has(name) && !reported.has(name)) values.set(name, value);
  }
  session.state.parameters = parameterSet(values);
  server.state.parameters = restored ? session.state.parameters : has;
  server.settled = server.state.parameters;
  session.state.own = server.state.own = [...own];
  learnDefaults(pool, server.state);
  return !found.foreign && (found.user === undefined || found.user === settings.server_username);
}
