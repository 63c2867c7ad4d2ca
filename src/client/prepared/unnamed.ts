// hot path
/**
 * The unnamed statement of a session: kept as the body of its last Parse, so that a Bind in a later transaction finds it
 * on whatever server it meets.
 */

import { copyBytes } from "../../reactor/copy.ts";
import { readLength } from "../../protocol/codes.ts";
import { Owed, SWALLOW, UNNAMED } from "../../protocol/owed_replies.ts";
import type { ServerConnection } from "../../server/connection.ts";
import { add, sendClose, sendUnnamed } from "../relay/gather.ts";
import { dirtyOf, markBind, markNamingBind, NAMING } from "../relay/marking.ts";
import { FORGOTTEN, type QueryInterner } from "../../server/statements/query_interner.ts";
import type { InternedQuery } from "../../server/statements/query_interner.ts";
import { noteParseMarks } from "../../server/statements/read_by_parse.ts";
import type { ClientView } from "../parts.ts";

/** The part of a session that this file sees. */
interface Session extends ClientView {
  restingText: InternedQuery | undefined;
}

/** Longest that is kept for a later transaction; a longer one is known to the server that parsed it alone. */
const MOST_UNNAMED_BYTES = 1024 * 1024;

let lastUnnamedId = 0;

/** A number that no unnamed statement of this worker has. */
export function nextUnnamedId(): number {
  return ++lastUnnamedId;
}

/** Keeps what an unnamed Parse says; the rest of a long one is added as it passes. */
export function keepUnnamed(
  session: Session,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  length: number,
  end: number,
): void {
  const { state } = session;
  const size = length - 5;
  state.unnamedId = nextUnnamedId();
  server.state.unnamed = state.unnamedId;
  server.state.unnamedSegment = server.state.segment;
  state.unnamedFilled = 0;
  if (size > MOST_UNNAMED_BYTES) {
    session.restingText = undefined;
    state.unnamed = undefined;
    state.unnamedLength = -1;
    return;
  }
  state.unnamedLength = size;
  state.unnamedAtMs = session.context.reactor.now;
  const room = state.unnamed?.length ?? 0;
  if (session.restingText !== undefined || room < size || room > 4096 && room > 4 * size) {
    // What rests is not only this session's.
    session.restingText = undefined;
    state.unnamed = new Uint8Array(Math.max(256, size));
  }
  fillUnnamed(session, bytes, at + 6, Math.min(at + length + 1, end));
}

/** Adds a piece of the Parse under way. */
export function fillUnnamed(
  session: Session,
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  end: number,
): void {
  const { state } = session;
  copyBytes(state.unnamed!, state.unnamedFilled, bytes, start, end);
  state.unnamedFilled += end - start;
}

/**
 * Gives the unnamed statement's own copy of its text up for one that is shared, if it was parsed before `beforeMs`, and
 * says that a shared one is still in use. Returns how many bytes were compared.
 */
export function shareUnnamed(session: Session, texts: QueryInterner, beforeMs: number): number {
  const { state, restingText } = session;
  if (restingText !== undefined && restingText.sweeps !== FORGOTTEN) {
    // A statement that is gone holds nothing.
    if (state.unnamedId !== 0 && state.unnamedLength >= 0) restingText.sweeps = 0;
    else forgetUnnamed(session);
    return 0;
  }
  const { unnamed, unnamedLength } = state;
  if (unnamed === undefined || state.unnamedAtMs > beforeMs) return 0;
  if (state.unnamedFilled < unnamedLength) return 0;
  if (state.unnamedId === 0 || unnamedLength < 0) {
    forgetUnnamed(session);
    return 0;
  }
  session.restingText = texts.intern(unnamed, 0, unnamedLength, "");
  state.unnamed = session.restingText.body;
  return unnamedLength;
}

function forgetUnnamed(session: Session): void {
  session.restingText = undefined;
  session.state.unnamed = undefined;
}

/** Puts the client's unnamed statement on the server, or takes another's away if the client has none. */
export function provideUnnamed(session: Session, server: ServerConnection): void {
  const { state } = session;
  if (server.owed.skipping) return;
  if (state.unnamedId === 0 || state.unnamedLength < 0) {
    sendClose(server, NO_NAME);
    server.owed.push(Owed.Close | SWALLOW);
    server.state.unnamed = -1;
    return;
  }
  sendUnnamed(server, state.unnamed!, state.unnamedLength);
  server.owed.push(Owed.Parse | UNNAMED | SWALLOW);
  server.state.unnamed = state.unnamedId;
  server.state.unnamedSegment = server.state.segment;
}

/**
 * Whether messages sent now find the session's unnamed statement on its server. Behind a Sync that is only so when its
 * Parse was answered: an error before the Parse would have left another's statement there.
 */
export function unnamedIsThere(session: Session, server: ServerConnection): boolean {
  const { state, owed } = server;
  return session.state.unnamedId !== 0 && session.state.unnamedId === state.unnamed &&
    (state.unnamedSegment === state.segment || owed.length === 0);
}

const NO_NAME = new Uint8Array(0);

/** A Bind of the unnamed statement; returns where the bytes begin that are to be sent as they are. */
export function bindUnnamed(
  session: Session,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  from: number,
  at: number,
  nameEnd: number,
  stop: number,
  unnamedPortal: boolean,
): number {
  const { state } = session;
  if (!unnamedIsThere(session, server)) {
    add(server, bytes, from, at);
    from = at;
    provideUnnamed(session, server);
  }
  markBind(session, server, state.unnamedMarks, unnamedPortal);
  noteParseMarks(server.state, state.unnamedMarks);
  if ((state.unnamedMarks & NAMING) !== 0 && state.unnamed !== undefined) {
    const { unnamedMarks: marks, unnamed, unnamedLength } = state;
    const text = unnamed.subarray(0, unnamedLength);
    const naming = { marks, text, of: state, id: state.unnamedId };
    const next = at + 1 + readLength(bytes, at + 1);
    server.state.dirty |= dirtyOf(markNamingBind(session, naming, bytes, nameEnd, stop, next));
  }
  server.owed.push(Owed.Bind);
  return from;
}
