// hot path
/**
 * Parse, Bind, Describe and Close of prepared statements on their way to a server, and a DEALLOCATE in a Query: what
 * goes in their place, what goes in front of them, and what they change for the client. One call a message; what is
 * returned tells rewrite.ts how to go on.
 */

import { Frontend, Named, readLength, TransactionStatus } from "../../protocol/codes.ts";
import { Owed, SWALLOW, UNNAMED } from "../../protocol/owed_replies.ts";
import { READ_BYTES } from "../../reactor/stream.ts";
import type { ServerConnection } from "../../server/connection.ts";
import { CHANGES_PARSE, DEALLOCATES, DEALLOCATES_ALL, UNLISTENS } from "../../server/mark_bits.ts";
import { marksOf } from "../../pool/statement_cache.ts";
import { tracked } from "../../server/statements/on_server.ts";
import { noteParseMarks, parseMarks } from "../../server/statements/read_by_parse.ts";
import {
  deallocatedName,
  GONE,
  goneDeallocation,
  goneQuery,
  mayDeallocate,
  readDeallocations,
} from "./deallocate.ts";
import { add, addByte, flush, head, sendParse } from "../relay/gather.ts";
import { noteUnlisten } from "../listen/unlisten.ts";
import {
  dirtyOf,
  markBind,
  markCall,
  markNamingBind,
  markQuery,
  markUnnamed,
  NAMING,
  owedQuery,
} from "../relay/marking.ts";
import { queryBegins } from "../counts.ts";
import { violation } from "../refusals.ts";
import type { InternedQuery } from "../../server/statements/query_interner.ts";
import type { ClientEnd, ClientInput, ClientTimes, ClientView } from "../parts.ts";
import { findStatement, setStatement } from "./names.ts";
import { CHECKING, ENDED, REPLACED, WANTS_MORE, WANTS_WHOLE } from "./outcomes.ts";
import { parseNamed } from "./parse.ts";
import { provide } from "./provide.ts";
import {
  bindUnnamed,
  keepUnnamed,
  nextUnnamedId,
  provideUnnamed,
  unnamedIsThere,
} from "./unnamed.ts";
import { EMPTY_BODY, mustWait, waitForAnswers } from "./wait.ts";
import { zeroAt } from "./zero.ts";

/** The part of a session that this file sees. */
export interface PreparingSession extends ClientView, ClientInput, ClientEnd, ClientTimes {
  restingText: InternedQuery | undefined;
  releaseIfIdle(): void;
}

/** Up to here a message that is needed whole waits in the read buffer; a longer one gets a buffer of its own. */
export const MOST_WAITING_BYTES = READ_BYTES / 4;
/** Names of portal and statement must be over within this. */
const MOST_HEAD_BYTES = 8192;
const UNDERSCORE = 0x5f;

/** A Query; a DEALLOCATE of a name of the client's is made another. */
export function query(
  session: PreparingSession,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  from: number,
  at: number,
  next: number,
  end: number,
): number {
  const { state } = session;
  if (mayDeallocate(bytes, at + 5, next, end)) {
    if (next > end) return WANTS_WHOLE;
    if (mustWait(server)) return waitForAnswers(server, bytes, from, at);
    if (deallocates(session, server, bytes, from, at, at + 5, next)) return REPLACED;
  }
  // Its UNLISTEN must be seen.
  if (next > end && state.listens !== undefined && next - at - 1 < MOST_WAITING_BYTES) {
    return WANTS_WHOLE;
  }
  const marks = markQuery(session, server, bytes, at + 5, next, end);
  if ((marks & (DEALLOCATES | UNLISTENS)) === DEALLOCATES && next <= end) {
    if (deallocatesAmong(session, server, bytes, from, at, next)) return REPLACED;
  }
  noteParseMarks(
    server.state,
    next > end
      ? CHANGES_PARSE | DEALLOCATES_ALL
      : parseMarks(bytes, at + 5, next - 1, marks, isWithin(server)),
  );
  server.owed.push(owedQuery(marks));
  if ((marks & UNLISTENS) !== 0) {
    noteUnlisten(state, server, bytes, at + 5, Math.min(next, end));
  }
  // A simple query destroys the unnamed statement.
  state.unnamedId = 0;
  server.state.unnamed = -1;
  queryBegins(session);
  return from;
}

/** Whether the text at `textAt` deallocates a name of the client's: then it is done. */
function deallocates(
  session: PreparingSession,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  from: number,
  at: number,
  textAt: number,
  next: number,
): boolean {
  const name = deallocatedName(bytes, textAt, next);
  if (name === undefined) return false;
  if (findStatement(session.state, name, 0, name.length) === undefined) return false;
  add(server, bytes, from, at);
  deallocate(session, server, name, goneDeallocation(bytes[at]));
  return true;
}

/**
 * Whether one of the statements of the Query deallocates a name of the client's: then it is done. Of two PostgreSQL
 * would have to have two empty statements; it says that it does not know them.
 */
function deallocatesAmong(
  session: PreparingSession,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  from: number,
  at: number,
  next: number,
): boolean {
  const ours = readDeallocations(bytes, at + 5, next)?.filter(({ name }) =>
    findStatement(session.state, name, 0, name.length) !== undefined
  );
  if (ours?.length !== 1) return false;
  add(server, bytes, from, at);
  deallocate(session, server, ours[0].name, goneQuery(bytes, at + 5, next, ours[0]));
  return true;
}

/** A Parse. */
export function parse(
  session: PreparingSession,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  from: number,
  at: number,
  next: number,
  end: number,
): number {
  const { owed } = server;
  server.state.unsynced = true;
  if (bytes[at + 5] === 0) {
    if (mayDeallocate(bytes, at + 6, next, end)) {
      if (next > end) return WANTS_WHOLE;
      if (mustWait(server)) return waitForAnswers(server, bytes, from, at);
      if (deallocates(session, server, bytes, from, at, at + 6, next)) return REPLACED;
    }
    if (!owed.skipping) keepUnnamed(session, server, bytes, at, next - at - 1, end);
    markUnnamed(session, bytes, at + 6, next, end);
    const { state } = session;
    state.unnamedMarks |= next > end
      ? CHANGES_PARSE | DEALLOCATES_ALL
      : parseMarks(bytes, at + 6, next, state.unnamedMarks, isWithin(server));
    owed.push(Owed.Parse | UNNAMED);
    return from;
  }
  if (next > end) return WANTS_WHOLE;
  if (owed.skipping) return from;
  if (mustWait(server)) return waitForAnswers(server, bytes, from, at);
  return parseNamed(session, server, bytes, from, at, next);
}

/** A Bind: the statement that it names is on the server when it comes. */
export function bind(
  session: PreparingSession,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  from: number,
  at: number,
  next: number,
  end: number,
): number {
  server.state.unsynced = true;
  const stop = Math.min(end, next);
  const portalEnd = zeroAt(bytes, at + 5, stop);
  const nameEnd = zeroAt(bytes, portalEnd + 1, stop);
  if (nameEnd >= stop) {
    if (end - at <= MOST_HEAD_BYTES && end < next) return WANTS_MORE;
    return leaves(session, server, bytes, from, at, next);
  }
  const unnamedPortal = portalEnd === at + 5;
  if (nameEnd === portalEnd + 1) {
    return bindUnnamed(session, server, bytes, from, at, nameEnd, stop, unnamedPortal);
  }
  const { owed } = server;
  if (mustWait(server)) return waitForAnswers(server, bytes, from, at);
  const known = owed.skipping
    ? undefined
    : findStatement(session.state, bytes, portalEnd + 1, nameEnd);
  const length = next - at - 1;
  if (known === undefined) {
    if (ours(bytes, portalEnd + 1, nameEnd)) {
      add(server, bytes, from, at);
      foreign(server, bytes, at, portalEnd + 1, length);
      from = portalEnd + 1;
    }
    markBind(session, server, 0, unnamedPortal);
    owed.push(Owed.Bind);
    return from;
  }
  add(server, bytes, from, at);
  const statement = provide(session, server, known, bytes, portalEnd + 1, nameEnd);
  if (statement === undefined) return CHECKING;
  const { name } = statement;
  const marks = marksOf(statement);
  head(server, bytes, at, portalEnd + 1, length + name.length - (nameEnd - portalEnd - 1));
  add(server, name, 0, name.length);
  markBind(session, server, marks, unnamedPortal);
  noteParseMarks(server.state, marks);
  if ((marks & NAMING) !== 0) {
    const { query } = statement;
    const naming = { marks, text: query.body, of: query, id: 0 };
    server.state.dirty |= dirtyOf(markNamingBind(session, naming, bytes, nameEnd, stop, next));
  }
  owed.track(Owed.Bind, statement);
  return nameEnd;
}

/** A Describe or a Close, of a statement or of a portal. */
export function describeOrClose(
  session: PreparingSession,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  from: number,
  at: number,
  next: number,
  end: number,
): number {
  const { owed } = server;
  const close = bytes[at] === Frontend.Close;
  server.state.unsynced = true;
  if (bytes[at + 5] !== Named.Statement) {
    owed.push(close ? Owed.Close : Owed.DescribePortal);
    return from;
  }
  if (next > end) return WANTS_WHOLE;
  const length = next - at - 1;
  if (bytes[next - 1] !== 0 || length < 6) {
    return leaves(session, server, bytes, from, at, next);
  }
  if (owed.skipping) return from;
  if (!close) {
    const begin = describeStatement(session, server, bytes, from, at, length);
    return begin < 0 ? CHECKING : begin;
  }
  if (ours(bytes, at + 6, next - 1)) {
    add(server, bytes, from, at);
    foreign(server, bytes, at, at + 6, length);
    from = at + 6;
  }
  closeStatement(session, server, bytes, at + 6, next - 1);
  return from;
}

/** A FunctionCall, whose function must be known: it may be set_config. */
export function functionCall(
  session: PreparingSession,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  from: number,
  at: number,
  end: number,
): number {
  if (end - at < 9 && readLength(bytes, at + 1) >= 8) return WANTS_MORE;
  markCall(session, server, bytes, at, end);
  server.owed.push(Owed.FunctionCall);
  server.state.unsettled = true;
  queryBegins(session);
  return from;
}

/** What is in order goes on; then the client is told. */
function leaves(
  session: PreparingSession,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  from: number,
  at: number,
  next: number,
): number {
  add(server, bytes, from, at);
  flush(server);
  violation(session, bytes[at], next - at - 1);
  return ENDED;
}

/** Whether what goes to the server now may be undone with what was sent before. */
function isWithin({ state, owed }: ServerConnection): boolean {
  return state.status !== TransactionStatus.Idle || owed.length > 0;
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

/** Describe of a statement; returns where the bytes begin that are to be sent as they are, −1 when it has to wait. */
function describeStatement(
  session: PreparingSession,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  from: number,
  at: number,
  length: number,
): number {
  const next = at + length + 1;
  if (length === 6) {
    if (!unnamedIsThere(session, server)) {
      add(server, bytes, from, at);
      from = at;
      provideUnnamed(session, server);
    }
    server.owed.push(Owed.DescribeStatement);
    return from;
  }
  if (mustWait(server)) {
    waitForAnswers(server, bytes, from, at);
    return -1;
  }
  const known = findStatement(session.state, bytes, at + 6, next - 1);
  if (known === undefined) {
    server.owed.push(Owed.DescribeStatement);
    if (!ours(bytes, at + 6, next - 1)) return from;
    add(server, bytes, from, at);
    foreign(server, bytes, at, at + 6, length);
    return at + 6;
  }
  add(server, bytes, from, at);
  const statement = provide(session, server, known, bytes, at + 6, next - 1);
  if (statement === undefined) return -1;
  head(server, bytes, at, at + 6, 6 + statement.name.length);
  add(server, statement.name, 0, statement.name.length);
  server.owed.track(Owed.DescribeStatement, statement);
  return next - 1;
}

/** The Close goes to PostgreSQL under the client's name: it answers CloseComplete for any. */
function closeStatement(
  session: PreparingSession,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  end: number,
): void {
  const { state } = session;
  const { owed } = server;
  if (start === end) {
    state.unnamedId = 0;
    server.state.unnamed = -1;
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
  session: PreparingSession,
  server: ServerConnection,
  name: Uint8Array<ArrayBuffer>,
  message: Uint8Array<ArrayBuffer>,
): void {
  const { state } = session;
  const { owed } = server;
  const skipping = owed.skipping;
  sendParse(server, GONE, EMPTY_BODY);
  owed.push(Owed.Parse | SWALLOW);
  add(server, message, 0, message.length);
  const simple = message[0] === Frontend.Query;
  if (simple) queryBegins(session);
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
