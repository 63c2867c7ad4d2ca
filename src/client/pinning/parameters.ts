/**
 * A session's parameters against those of the server that it has: what a checkout has set becomes the client's, in
 * PostgreSQL's spelling; what it has not asked for is what the server has; and what a RESET has brought back is what the
 * StartupMessage asked for.
 */

import { learnDefaults } from "../../pool/defaults.ts";
import { parameterStatus } from "../../protocol/messages.ts";
import type { ServerConnection } from "../../server/connection.ts";
import {
  ownNames,
  type ParameterSet,
  parameterSet,
  settableNames,
  withParameter,
} from "../../server/parameters.ts";
import { bytesOfText, sentText } from "../../protocol/text_bytes.ts";
import type { ClientOutput, ClientView } from "../parts.ts";

/** The part of a session that this file sees. */
interface Session extends ClientView, ClientOutput {}

/** What the client asked for is now what the server has, and what it did not ask for is the server's to say. */
export function adoptParameters(session: Session, server: ServerConnection): void {
  const { state } = session;
  const pool = session.pool!;
  const { reported } = pool;
  const own = ownNames(state, pool);
  const values = new Map<string, string>();
  for (const [name, value] of server.state.parameters.values) {
    if (reported.has(name)) values.set(name, value);
  }
  // Not reported by PostgreSQL: it has what was set.
  for (const [name, value] of state.parameters.values) {
    if (!reported.has(name)) values.set(name, value);
  }
  tell(session, values);
  state.parameters = server.state.parameters = server.settled = parameterSet(values);
  state.own = server.state.own = own;
  learnDefaults(pool, server.state);
}

/** Tells the client of reported parameters that are not what it knows. */
export function tell(session: Session, values: ReadonlyMap<string, string>): void {
  const { reported } = session.pool!;
  const known = session.state.parameters.values;
  const encoding = values.get("client_encoding");
  for (const [name, value] of values) {
    if (reported.has(name) && known.get(name) !== value) {
      const bytes = sentText(value, encoding);
      if (bytes !== undefined) session.write(parameterStatus(name, bytes));
    }
  }
}

/** RESET has brought the server's own values: at a direct connection it would have been those of the StartupMessage. */
export function backToInitial(session: Session): void {
  const { state, pool } = session;
  if (pool?.defaults === undefined) return;
  for (const [name, value] of state.initial.values) {
    const byDefault = pool.defaults.values.get(name);
    if (value === byDefault || state.parameters.values.get(name) !== byDefault) continue;
    state.parameters = withParameter(state.parameters, name, value);
    if (pool.reported.has(name)) session.write(parameterStatus(name, bytesOfText(value)));
  }
}

/** DISCARD ALL went through, and nothing was sent behind it: what is the client's own is what it asked for at its start. */
export function ownInitial(session: ClientView): void {
  const { state, pool } = session;
  if (pool !== undefined) state.own = settableNames(state.initial.values.keys(), pool.reported);
}

/** Whether objects that the client makes are temporary without saying so. */
export function makesTemporary({ values }: ParameterSet): boolean {
  return values.get("search_path")?.toLowerCase().includes("pg_temp") === true;
}
