/**
 * A session as data: what it is made of when it leaves for another worker or process, and how it is made again of that.
 * Ages instead of times, since clocks differ between threads and processes.
 */

import type { Pool } from "../pool/pool.ts";
import type { Waiter } from "../pool/waiting.ts";
import type { ByteStream } from "../reactor/stream.ts";
import { parameterSet } from "../server/parameters.ts";
import type { ServerConnection } from "../server/connection.ts";
import type { ServerLink, ServerSnapshot } from "../server/link.ts";
import type { FrozenStatement } from "../server/statements/on_server.ts";
import {
  type ListeningSession,
  listenOn,
  resumeListening,
  stopListening,
} from "./listen/listening.ts";
import { leavePlace } from "./login/places.ts";
import type { ClientTimes } from "./parts.ts";
import type { SocketSnapshot } from "./socket_parts.ts";
import { type SessionState, Stage } from "./state.ts";
import { clearStatements, freezeStatements, setStatement } from "./prepared/names.ts";
import { nextUnnamedId } from "./prepared/unnamed.ts";

/** The part of a session that this file sees. */
interface Session
  extends Omit<ListeningSession, "frozen" | "pool" | "server">, ServerLink, Waiter, ClientTimes {
  readonly stream: ByteStream;
  readonly mayRewrite: boolean;
  frozen: boolean;
  pool: Pool | undefined;
  server: ServerConnection | undefined;
  login: { readonly stays: boolean; cancel(): void; resume(): void } | undefined;
  rewrites: boolean;
  freezeSocket(): SocketSnapshot;
  unfreezeSocket(): void;
  thawSocket(snapshot: SocketSnapshot, server: ServerConnection | undefined): void;
  closeSocket(): void;
  moveTo(stage: number): void;
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
  session.frozen = true;
  // Deadlines are the thawed session's matter.
  session.login?.cancel();
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
  // Of a program that took the server's own for what the client asked for.
  if (state.own === undefined && pool?.defaults !== undefined) {
    const defaults = pool.defaults.values;
    const asked = [...state.initial.values].filter(([name, value]) => defaults.get(name) !== value);
    state.initial = parameterSet(new Map(asked));
  }
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
  resumeListening(session);
  askAgain(session);
}

/** Comes back to the event loop after a `freezeSession` that led nowhere. */
export function unfreezeSession(session: Session): void {
  session.frozen = false;
  session.login?.resume();
  session.unfreezeSocket();
  session.server?.unfreeze();
  listenOn(session);
  askAgain(session);
}

/** Who has waited for a server waits on, at its old place. */
export function askAgain(session: Session): void {
  const { stage } = session.state;
  if (stage !== Stage.Waiting && stage !== Stage.Preparing) return;
  const server = session.pool!.checkOut(session, session.waitStartMs);
  if (server !== undefined) session.serverReady(server);
}

/** The session lives on elsewhere: lets the descriptors go without a word. */
export function forgetSession(session: Session): void {
  const { context, pool, state } = session;
  session.login?.cancel();
  session.login = undefined;
  leavePlace(session);
  session.moveTo(Stage.Closed);
  session.closeSocket();
  session.server?.forget();
  session.server = undefined;
  context.leave(state.id);
  stopListening(session);
  session.pool = undefined;
  if (pool === undefined) return;
  clearStatements(state, pool.statements);
  pool.leave();
}

/** Whether a session can be frozen: a login or TLS handshake under way and a console live where they began. */
export function isMovable(
  { login, server, state }: Pick<Session, "login" | "server" | "state">,
): boolean {
  const { stage, replication } = state;
  if (server !== undefined && server.cancelsUnderWay > 0 || login?.stays) return false;
  // Its own login at PostgreSQL lives where it began.
  if (stage === Stage.Preparing && (replication !== "none" || server !== undefined)) return false;
  return stage === Stage.Startup || (stage >= Stage.Preparing && stage <= Stage.Linked);
}
