/**
 * A session as data: what it is made of when it leaves for another worker or process, and how it is made again of that.
 * Ages instead of times, since clocks differ between threads and processes.
 */

import { parameterSet } from "../server/parameters.ts";
import type { ServerConnection } from "../server/connection.ts";
import type { ServerLink, ServerSnapshot } from "../server/link.ts";
import type { FrozenStatement } from "../server/statements/on_server.ts";
import type { ClientTimes, ClientView } from "./parts.ts";
import type { SocketSnapshot } from "./socket.ts";
import type { SessionState } from "./state.ts";
import { freezeStatements, setStatement } from "./prepared/names.ts";
import { nextUnnamedId } from "./prepared/unnamed.ts";

/** The part of a session that this file sees. */
interface Session extends ServerLink, ClientView, ClientTimes {
  rewrites: boolean;
  readonly mayRewrite: boolean;
  freezeSocket(): SocketSnapshot;
  thawSocket(snapshot: SocketSnapshot, server: ServerConnection | undefined): void;
}

/** A session as it travels. */
export interface SessionSnapshot extends SocketSnapshot {
  state: SessionState;
  queryAgeMs: number;
  xactAgeMs: number;
  waitAgeMs: number;
  requestAgeMs: number;
  readyAgeMs: number;
  /** −1: never. */
  timeoutCancelAgeMs: number;
  statements: [name: Uint8Array, statement: FrozenStatement][];
  server: ServerSnapshot | undefined;
}

/** Takes the session and its server out of the event loop; the descriptors stay open. */
export function freezeSession(session: Session): SessionSnapshot {
  const { now } = session.context.reactor;
  const state = { ...session.state };
  state.connectedAtMs = now - state.connectedAtMs;
  state.unnamedAtMs = now - state.unnamedAtMs;
  // Hashes of names are another process's own.
  state.statements = new Map();
  state.statementBytes = 0;
  return {
    ...session.freezeSocket(),
    state,
    statements: freezeStatements(session.state, session.pool?.statements),
    queryAgeMs: session.queryStartMs === 0 ? -1 : now - session.queryStartMs,
    xactAgeMs: now - session.xactStartMs,
    waitAgeMs: now - session.waitStartMs,
    requestAgeMs: now - session.requestMs,
    readyAgeMs: now - session.readyMs,
    timeoutCancelAgeMs: session.timeoutCancelMs === -Infinity ? -1 : now - session.timeoutCancelMs,
    server: session.server?.freeze(),
  };
}

/** The session was made of the snapshot's state and has its pool: gives it the rest. */
export function thawSession(
  session: Session,
  snapshot: SessionSnapshot,
  server: ServerConnection | undefined,
): void {
  const { state, pool } = session;
  const { now } = session.context.reactor;
  state.parameters = parameterSet(state.parameters.values);
  state.initial = parameterSet(state.initial.values);
  session.queryStartMs = snapshot.queryAgeMs < 0 ? 0 : now - snapshot.queryAgeMs;
  session.xactStartMs = now - snapshot.xactAgeMs;
  session.waitStartMs = now - snapshot.waitAgeMs;
  session.requestMs = now - snapshot.requestAgeMs;
  session.readyMs = now - snapshot.readyAgeMs;
  const { timeoutCancelAgeMs } = snapshot;
  session.timeoutCancelMs = timeoutCancelAgeMs < 0 ? -Infinity : now - timeoutCancelAgeMs;
  if (pool !== undefined) {
    const limit = pool.settings.prepared_statements_cache_size;
    for (const [name, frozen] of snapshot.statements) {
      const statement = pool.statements.thaw(frozen, limit);
      if (statement !== undefined) setStatement(state, pool.statements, name.slice(), statement);
    }
    session.rewrites = server !== undefined && session.mayRewrite;
  }
  state.unnamedAtMs = now - state.unnamedAtMs;
  if (state.unnamedId !== 0) {
    state.unnamedId = nextUnnamedId();
    if (state.unnamed !== undefined) state.unnamed = state.unnamed.slice();
  }
  if (server !== undefined) server.link = session;
  session.thawSocket(snapshot, server);
}
