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
import { parameterSet, settable } from "../../server/parameters.ts";
import { Dirty, DIRTY_ASK } from "../../server/state.ts";
import { REASONS } from "../../reasons.ts";
import { canFollow, checkedAnswer } from "./answer.ts";
import { pin } from "./pin.ts";
import { question, restoration, wishes, WITHOUT_TIMEOUT, withoutManaged } from "./question.ts";
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
  channels?: string[] | null;
}

/** Whether PostgreSQL has to be asked before this server may go back. */
export function mustAsk(session: ClientView, server: ServerConnection): boolean {
  const { state } = session;
  if (state.keepsServer) return mustRestore(session, server);
  return (server.state.dirty & DIRTY_ASK) !== 0 &&
    session.pool!.settings.cleanup_server_connections;
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
  let sql = question(session, about, again);
  if (again) sql = WITHOUT_TIMEOUT + sql;
  if ((about & (Dirty.Set | Dirty.Config)) !== 0) sql = withoutManaged(session) + sql;
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
    return;
  }
  const found = checkedAnswer(answer) as Answer | undefined;
  if (found === undefined) {
    server.close(REASONS.serverDesync, "what it says of a session's leftovers is no answer");
    return;
  }
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
  if ((about & Dirty.Listen) !== 0) pinned |= settleChannels(session, server, found.channels ?? []);
  pin(session, about, pinned);
}

/** The client's parameters are those of the server; `false`: something is not to be had on another one. */
function followParameters(
  session: ClientView & ClientOutput,
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
  if (!canFollow(values, reported)) return false;
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
