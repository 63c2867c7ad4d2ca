/**
 * A session's parameters against those of the server that it has: what a checkout has set becomes the client's, in
 * PostgreSQL's spelling, and what a RESET has brought back is what the StartupMessage asked for.
 */

import { parameterStatus } from "../../protocol/messages.ts";
import type { ServerConnection } from "../../server/connection.ts";
import { withoutParameter, withParameter } from "../../server/parameters.ts";
import type { ClientOutput, ClientView } from "../parts.ts";

/** The part of a session that this file sees. */
interface Session extends ClientView, ClientOutput {}

/** What the client asked for is now what the server has. */
export function adoptParameters(session: Session, server: ServerConnection): void {
  const asked = session.state.parameters;
  const { reported } = session.pool!;
  let has = server.state.parameters;
  for (const [name, value] of asked.values) {
    // Not reported by PostgreSQL: it has what was set.
    if (!reported.has(name)) has = withParameter(has, name, value);
  }
  for (const name of has.values.keys()) {
    if (!reported.has(name) && !asked.values.has(name)) has = withoutParameter(has, name);
  }
  for (const [name, value] of has.values) {
    if (reported.has(name) && asked.values.get(name) !== value) {
      session.write(parameterStatus(name, value));
    }
  }
  session.state.parameters = server.state.parameters = has;
}

/** RESET has brought the server's own values: at a direct connection it would have been those of the StartupMessage. */
export function backToInitial(session: Session): void {
  const { state, pool } = session;
  if (pool?.defaults === undefined) return;
  for (const [name, value] of state.initial.values) {
    const byDefault = pool.defaults.values.get(name);
    if (value === byDefault || state.parameters.values.get(name) !== byDefault) continue;
    state.parameters = withParameter(state.parameters, name, value);
    if (pool.reported.has(name)) session.write(parameterStatus(name, value));
  }
}
