// hot path
/**
 * From the client to its server where prepared statements are rewritten: like relay.ts, and the names of statements
 * become the pool's (`DOORMAN_<n>`), a Parse whose statement the server has is not sent, and one that the server lacks
 * goes in front of the message that needs it. Everything stays in the order of the client's messages and in the queue
 * of owed replies, so nothing ever waits for an answer.
 *
 * Named statements: a name that the client has not prepared goes on as it is: PostgreSQL knows it from an SQL PREPARE,
 * or answers 26000 and skips to Sync by itself. Every Parse under a pool's name has a Close of that name in front, which
 * is harmless when there is none, so a server that has more than its list says is no fault.
 *
 * Unnamed statements stay unnamed: their Parse passes untouched, so that PostgreSQL plans them as it does at a direct
 * connection. The session keeps the last one's text and parses it anew (swallowed) when a later Bind or Describe finds
 * another's on its server.
 */

import { Frontend, frontendLimit, readLength, TransactionStatus } from "../protocol/codes.ts";
import { MAKE_UP, Owed, SWALLOW, UNNAMED } from "../protocol/owed_replies.ts";
import { READ_BYTES } from "../reactor/stream.ts";
import { REASONS } from "../reasons.ts";
import type { ServerConnection } from "../server/connection.ts";
import { UNLISTENS } from "../server/marks.ts";
import type { ParameterSet } from "../server/parameters.ts";
import {
  isThere,
  put,
  type Statement,
  statementName,
  surplus,
  take,
  tracked,
} from "../server/prepared.ts";
import { deallocatedName, GONE, goneDeallocation, mayDeallocate } from "./deallocate.ts";
import { BIND_AND_EXECUTE, CHANGED } from "./changed_shape.ts";
import {
  add,
  addByte,
  flush,
  head,
  pass,
  sendClose,
  sendDescribe,
  sendFlush,
  sendParse,
} from "./gather.ts";
import { executeUnlisten, noteUnlisten } from "./listening.ts";
import {
  markBind,
  markExecute,
  markNamingBind,
  markPiece,
  markQuery,
  markUnnamed,
  NAMING,
} from "./marking.ts";
import { violation } from "./relay.ts";
import type { Session } from "./session.ts";
import { MOST_OWED } from "./socket.ts";
import { mayKeep, refuseStatement } from "./statement_memory.ts";
import { findStatement, setStatement } from "./statements.ts";
import {
  fillUnnamed,
  keepUnnamed,
  nextUnnamedId,
  provideUnnamed,
  unnamedIsThere,
} from "./unnamed.ts";

/** Up to here a message that is needed whole waits in the read buffer; a longer one gets a buffer of its own. */
const MOST_WAITING_BYTES = READ_BYTES / 4;
/** Names of portal and statement must be over within this. */
const MOST_HEAD_BYTES = 8192;
const STATEMENT = 0x53;
const UNDERSCORE = 0x5f;

/** Sends `bytes[at..end)` to the linked server. */
export function relayPrepared(
  session: Session,
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  end: number,
): void {
  const state = session.state;
  const server = session.server!;
  const owed = server.owed;
  let from = at;
  let need = 0;
  let flushed = false;
  let checking = false;
  if (state.left > 0) {
    const count = Math.min(state.left, end - at);
    if (state.marking !== 0 && !state.leftDropped) markPiece(session, bytes, at, at + count);
    if (state.unnamedFilled < state.unnamedLength && !state.leftDropped) {
      fillUnnamed(session, bytes, at, at + count);
    }
    state.left -= count;
    at += count;
    // A message that began before the server was checked out is dropped to its end.
    if (state.leftDropped) from = at;
  }
  if (state.left === 0) state.leftDropped = false;
  while (at < end) {
    if (end - at < 5) break;
    const type = bytes[at];
    const length = readLength(bytes, at + 1);
    if (length < 4 || length > frontendLimit(type)) {
      add(server, bytes, from, at);
      flush(server);
      violation(session, type, length);
      return;
    }
    // The byte behind the header tells most messages apart.
    if (end - at < 6 && length > 4) break;
    const next = at + length + 1;
    switch (type) {
      case Frontend.Query:
        if (mayDeallocate(bytes, at + 5, next)) {
          if (next > end) {
            need = length + 1;
            break;
          }
          const name = deallocatedName(bytes, at + 5, next);
          if (name !== undefined && findStatement(state, name, 0, name.length) !== undefined) {
            add(server, bytes, from, at);
            deallocate(session, name, goneDeallocation(Frontend.Query));
            from = next;
            at = next;
            continue;
          }
        }
        // Its UNLISTEN must be seen.
        if (next > end && state.listens !== undefined && length < MOST_WAITING_BYTES) {
          need = length + 1;
          break;
        }
        owed.push(Owed.Query);
        if ((markQuery(session, bytes, at + 5, next, end) & UNLISTENS) !== 0) {
          noteUnlisten(session, server, bytes, at + 5, Math.min(next, end));
        }
        // A simple query destroys the unnamed statement.
        state.unnamedId = 0;
        server.state.unnamed = -1;
        if (session.queryStartMs === 0) session.queryStartMs = session.context.reactor.now;
        break;
      case Frontend.Parse:
        server.state.unsynced = true;
        if (bytes[at + 5] === 0) {
          if (mayDeallocate(bytes, at + 6, next)) {
            if (next > end) {
              need = length + 1;
              break;
            }
            const name = deallocatedName(bytes, at + 6, next);
            if (name !== undefined && findStatement(state, name, 0, name.length) !== undefined) {
              add(server, bytes, from, at);
              deallocate(session, name, goneDeallocation(Frontend.Parse));
              from = next;
              at = next;
              continue;
            }
          }
          if (!owed.skipping) keepUnnamed(session, bytes, at, length, end);
          markUnnamed(session, bytes, at + 6, next, end);
          owed.push(Owed.Parse | UNNAMED);
          break;
        }
        if (next > end) {
          need = length + 1;
          break;
        }
        if (owed.skipping) break;
        add(server, bytes, from, at);
        if (!parseNamed(session, bytes, at, next)) return;
        from = next;
        break;
      case Frontend.Bind: {
        server.state.unsynced = true;
        const stop = Math.min(end, next);
        const portalEnd = zeroAt(bytes, at + 5, stop);
        const nameEnd = zeroAt(bytes, portalEnd + 1, stop);
        if (nameEnd >= stop) {
          if (end - at > MOST_HEAD_BYTES || end >= next) {
            add(server, bytes, from, at);
            flush(server);
            violation(session, type, length);
            return;
          }
          need = 1;
          break;
        }
        if (nameEnd === portalEnd + 1) {
          if (!unnamedIsThere(session)) {
            add(server, bytes, from, at);
            from = at;
            provideUnnamed(session);
          }
          markBind(session, server, state.unnamedMarks, portalEnd === at + 5);
          if ((state.unnamedMarks & NAMING) !== 0 && state.unnamed !== undefined) {
            const { unnamedMarks: marks, unnamed, unnamedLength } = state;
            const text = unnamed.subarray(0, unnamedLength);
            markNamingBind(session, { marks, text }, bytes, nameEnd, stop);
          }
          owed.push(Owed.Bind);
          break;
        }
        const statement = owed.skipping
          ? undefined
          : findStatement(state, bytes, portalEnd + 1, nameEnd);
        if (statement === undefined) {
          if (ours(bytes, portalEnd + 1, nameEnd)) {
            add(server, bytes, from, at);
            foreign(server, bytes, at, portalEnd + 1, length);
            from = portalEnd + 1;
          }
          markBind(session, server, 0, portalEnd === at + 5);
          owed.push(Owed.Bind);
          break;
        }
        add(server, bytes, from, at);
        from = at;
        if (!provide(session, statement)) {
          checking = true;
          break;
        }
        head(
          server,
          bytes,
          at,
          portalEnd + 1,
          length + statement.name.length - (nameEnd - portalEnd - 1),
        );
        add(server, statement.name, 0, statement.name.length);
        from = nameEnd;
        markBind(session, server, statement.marks, portalEnd === at + 5);
        if ((statement.marks & NAMING) !== 0) {
          const { marks, query } = statement;
          markNamingBind(session, { marks, text: query.body }, bytes, nameEnd, stop);
        }
        owed.track(Owed.Bind, statement);
        break;
      }
      case Frontend.Describe:
      case Frontend.Close:
        server.state.unsynced = true;
        if (bytes[at + 5] !== STATEMENT) {
          owed.push(type === Frontend.Describe ? Owed.DescribePortal : Owed.Close);
          break;
        }
        if (next > end) {
          need = length + 1;
          break;
        }
        if (bytes[next - 1] !== 0 || length < 6) {
          add(server, bytes, from, at);
          flush(server);
          violation(session, type, length);
          return;
        }
        if (owed.skipping) break;
        if (type === Frontend.Close) {
          if (ours(bytes, at + 6, next - 1)) {
            add(server, bytes, from, at);
            foreign(server, bytes, at, at + 6, length);
            from = at + 6;
          }
          closeStatement(session, bytes, at + 6, next - 1);
          break;
        }
        from = describeStatement(session, bytes, from, at, length);
        if (from < 0) {
          from = at;
          checking = true;
        }
        break;
      case Frontend.Execute:
        owed.push(Owed.Execute);
        server.state.unsynced = true;
        if (bytes[at + 5] === 0) markExecute(session, server);
        if (state.listens !== undefined) executeUnlisten(state.listens, server);
        break;
      case Frontend.Sync:
        owed.push(Owed.Sync);
        server.state.segment++;
        if (session.queryStartMs === 0) session.queryStartMs = session.context.reactor.now;
        break;
      case Frontend.FunctionCall:
        owed.push(Owed.FunctionCall);
        if (session.queryStartMs === 0) session.queryStartMs = session.context.reactor.now;
        break;
      case Frontend.CopyDone:
      case Frontend.CopyFail:
        owed.push(Owed.CopyEnd);
        break;
      case Frontend.Flush:
        flushed = true;
        break;
      case Frontend.Terminate:
        add(server, bytes, from, at);
        flush(server);
        session.close(REASONS.clientTerminated, "");
        return;
      default:
        // CopyData: nothing answers it.
        break;
    }
    if (need > 0 || checking) break;
    if (next <= end) at = next;
    else {
      state.left = next - end;
      at = end;
    }
    if (server.congested) break;
  }
  pass(server, bytes, from, at);
  // To a Flush PostgreSQL may have nothing to say.
  if (flushed && owed.madeUp()) {
    server.makeUp();
    if (session.server !== server) return;
  }
  if (checking) {
    session.keep(bytes, at, end);
    session.waitForShape();
    return;
  }
  if (at < end) keepRest(session, bytes, at, end, need);
  if (server.congested) session.stopReading();
  else if (owed.length > MOST_OWED) session.throttle();
  else if (owed.length === 0) session.releaseIfIdle();
}

/** What was not looked at: an unfinished message, or all that waits until PostgreSQL takes bytes again. */
function keepRest(
  session: Session,
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  end: number,
  need: number,
): void {
  if (need <= MOST_WAITING_BYTES) {
    session.keep(bytes, at, end);
    if (need === 0 && session.server!.congested) session.stall();
    return;
  }
  session.keepLong(bytes, at, end, need);
}

function zeroAt(bytes: Uint8Array, at: number, stop: number): number {
  while (at < stop && bytes[at] !== 0) at++;
  return at;
}

/** The name is written like the pool's own, and the client has prepared nothing under it: make it another. */
function foreign(
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  nameAt: number,
  length: number,
): void {
  head(server, bytes, at, nameAt, length + 1);
  addByte(server, UNDERSCORE);
}

const PREFIX = new TextEncoder().encode("DOORMAN_");

function ours(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start < PREFIX.length) return false;
  for (let i = 0; i < PREFIX.length; i++) if (bytes[start + i] !== PREFIX[i]) return false;
  return true;
}

// ── named statements ──────────────────────────────────────────────────────────────────────────────────────────────

/**
 * Puts the statement on the server if it is not there. `false`: since the client has learnt what the statement returns
 * the schema has changed, so PostgreSQL is asked first whether it would return the same here. (A server that has the
 * statement checks that by itself: "cached plan must not change result type".)
 */
function provide(session: Session, statement: Statement): boolean {
  const server = session.server!;
  if (isThere(server.state, statement)) {
    server.state.prepareHits++;
    return true;
  }
  server.state.prepareMisses++;
  makeRoom(session);
  sendParse(server, statement.name, statement.query.body);
  server.owed.track(Owed.Parse | SWALLOW, tracked({ put: statement.id }));
  put(server.state, statement.id);
  const known = statement.shape !== undefined;
  if (known && session.pool!.statements.isCurrent(statement)) return true;
  describe(server, statement);
  if (known) sendFlush(server);
  return !known;
}

/** Asks what the statement returns; the answer is the pooler's. */
function describe(server: ServerConnection, statement: Statement): void {
  sendDescribe(server, statement.name);
  server.owed.track(Owed.DescribeStatement | SWALLOW, tracked({ described: statement }));
}

/**
 * The statement would return something else than its client knows: PostgreSQL is made to say what it says where it had
 * the statement before, and skips to the next Sync.
 */
export function refuseShape(server: ServerConnection, statement: Statement): void {
  take(server.state, statement.id);
  sendParse(server, GONE, CHANGED);
  server.owed.push(Owed.Parse | SWALLOW);
  add(server, BIND_AND_EXECUTE, 0, BIND_AND_EXECUTE.length);
  server.owed.push(Owed.Bind | SWALLOW);
  server.owed.track(Owed.Execute | SWALLOW, tracked({ described: statement }));
  flush(server);
}

/** Takes the least used statements off a server that has as many as it may. */
function makeRoom(session: Session): void {
  const server = session.server!;
  const limit = Math.max(0, session.pool!.settings.server_prepared_statements_cache_size - 1);
  for (;;) {
    const taken = surplus(server.state, limit);
    if (taken < 0) return;
    // One that was not confirmed is not taken for there when an error skips this Close.
    const confirmed = server.state.statements.get(taken)!.confirmed;
    take(server.state, taken);
    sendClose(server, statementName(taken));
    server.owed.track(Owed.Close | SWALLOW, tracked({ taken: confirmed ? taken : -1 }));
  }
}

/** A whole Parse of a named statement. `false`: it is no Parse, the client is told. */
function parseNamed(
  session: Session,
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  next: number,
): boolean {
  const { state } = session;
  const server = session.server!;
  const { owed } = server;
  const pool = session.pool!;
  const nameEnd = zeroAt(bytes, at + 5, next);
  const queryEnd = zeroAt(bytes, nameEnd + 1, next);
  if (queryEnd + 3 > next) {
    flush(server);
    violation(session, Frontend.Parse, next - at - 1);
    return false;
  }
  if (!mayKeep(session, bytes, at + 5, nameEnd, next - nameEnd - 1)) {
    refuseStatement(session, server);
    return true;
  }
  const statement = pool.statements.find(bytes, nameEnd + 1, next, {
    planner: plannerParameters(state.parameters),
    limit: pool.settings.prepared_statements_cache_size,
  });
  const name = bytes.slice(at + 5, nameEnd);
  const before = setStatement(state, pool.statements, name, statement);
  if (isThere(server.state, statement)) {
    server.state.prepareHits++;
    if (server.state.status !== TransactionStatus.Failed) {
      owed.track(Owed.Parse | MAKE_UP, tracked({ name, before, after: statement }));
      return true;
    }
    // In a failed transaction most statements can't be parsed: PostgreSQL is asked, without touching what it has.
    head(server, bytes, at, at + 5, next - at - 1 - name.length);
    add(server, bytes, nameEnd, next);
    server.state.unnamed = -1;
    owed.track(Owed.Parse, tracked({ name, before, after: statement }));
    return true;
  }
  server.state.prepareMisses++;
  makeRoom(session);
  sendParse(server, statement.name, statement.query.body);
  owed.track(Owed.Parse, tracked({ put: statement.id, name, before, after: statement }));
  put(server.state, statement.id);
  if (statement.shape === undefined) describe(server, statement);
  return true;
}

/** Describe of a statement; returns where the bytes begin that are to be sent as they are, −1 when it has to wait. */
function describeStatement(
  session: Session,
  bytes: Uint8Array<ArrayBuffer>,
  from: number,
  at: number,
  length: number,
): number {
  const server = session.server!;
  const next = at + length + 1;
  if (length === 6) {
    if (!unnamedIsThere(session)) {
      add(server, bytes, from, at);
      from = at;
      provideUnnamed(session);
    }
    server.owed.push(Owed.DescribeStatement);
    return from;
  }
  const statement = findStatement(session.state, bytes, at + 6, next - 1);
  if (statement === undefined) {
    server.owed.push(Owed.DescribeStatement);
    if (!ours(bytes, at + 6, next - 1)) return from;
    add(server, bytes, from, at);
    foreign(server, bytes, at, at + 6, length);
    return at + 6;
  }
  add(server, bytes, from, at);
  if (!provide(session, statement)) return -1;
  head(server, bytes, at, at + 6, 6 + statement.name.length);
  add(server, statement.name, 0, statement.name.length);
  server.owed.track(Owed.DescribeStatement, statement);
  return next - 1;
}

/** The Close goes to PostgreSQL under the client's name: it answers CloseComplete for any. */
function closeStatement(
  session: Session,
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  end: number,
): void {
  const { state } = session;
  const { owed } = session.server!;
  if (start === end) {
    state.unnamedId = 0;
    session.server!.state.unnamed = -1;
  } else if (findStatement(state, bytes, start, end) !== undefined) {
    const name = bytes.slice(start, end);
    const before = setStatement(state, session.pool!.statements, name, undefined);
    owed.track(Owed.Close, tracked({ name, before }));
    return;
  }
  owed.push(Owed.Close);
}

/** SQL DEALLOCATE of a rewritten name: PostgreSQL deallocates an empty statement in its place. */
function deallocate(
  session: Session,
  name: Uint8Array<ArrayBuffer>,
  message: Uint8Array<ArrayBuffer>,
): void {
  const { state } = session;
  const server = session.server!;
  const { owed } = server;
  const skipping = owed.skipping;
  sendParse(server, GONE, EMPTY_BODY);
  owed.push(Owed.Parse | SWALLOW);
  add(server, message, 0, message.length);
  const simple = message[0] === Frontend.Query;
  if (simple) {
    if (session.queryStartMs === 0) session.queryStartMs = session.context.reactor.now;
  }
  // Not to be bound in a later transaction: it is used up.
  state.unnamedId = simple ? 0 : nextUnnamedId();
  state.unnamedMarks = 0;
  state.unnamedLength = -1;
  server.state.unnamed = simple ? -1 : state.unnamedId;
  server.state.unnamedSegment = server.state.segment;
  if (skipping) return;
  const before = setStatement(state, session.pool!.statements, name, undefined);
  owed.track(simple ? Owed.Query : Owed.Parse | UNNAMED, tracked({ name, before }));
}

const EMPTY_BODY = new Uint8Array(3);

const PLANNER = [
  "search_path",
  "default_transaction_isolation",
  "default_transaction_read_only",
  "default_text_search_config",
  "role",
];
const planners = new WeakMap<ParameterSet, string>();

/** The client's values of parameters that decide what a text means. */
function plannerParameters(parameters: ParameterSet): string {
  let known = planners.get(parameters);
  if (known === undefined) {
    known = "";
    for (const name of PLANNER) {
      const value = parameters.values.get(name);
      if (value !== undefined) known += `${name}=${value}\0`;
    }
    planners.set(parameters, known);
  }
  return known;
}
