// hot path
/**
 * Marks what passes from a client to its server (server/marks.ts): whether it may leave something there that has to be
 * asked about. A statement that passes in pieces is looked at piece by piece, with the end of the one before.
 */

import type { ServerConnection } from "../../server/connection.ts";
import { readLength } from "../../protocol/codes.ts";
import { LOCAL, Owed } from "../../protocol/owed_replies.ts";
import {
  CALLED,
  DIRTY_MARKS,
  LOCAL_SET,
  NAMES,
  PATH_VALUE,
  TEMP_PATH,
  UNKNOWN_NAMES,
  UNLISTENS,
} from "../../server/mark_bits.ts";
import { Dirty } from "../../server/state.ts";
import {
  findNames,
  findNamesInPiece,
  firstPieceMarks,
  MARK_BYTES,
  pieceMarks,
  textMarks,
} from "../../server/marks.ts";
import { namesTemp } from "../../server/text_words.ts";
import { type Found, withValues } from "../../server/found_names.ts";
import { bindUnlisten } from "../listen/unlisten.ts";
import type { ClientView } from "../parts.ts";
import type { SessionState } from "../state.ts";

/** The part of a session that this file sees. */
interface Session extends Pick<ClientView, "state"> {}

/** What the pieces that come belong to. */
const Marking = { None: 0, Query: 1, Unnamed: 2 } as const;

/** A Query, or a Parse that is not rewritten, whose text begins at `start`; the message goes on until `next`. Its marks. */
export function markQuery(
  session: Session,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  next: number,
  end: number,
): number {
  const marks = marksOf(session.state, Marking.Query, bytes, start, next, end);
  if (marks !== 0) server.state.dirty |= dirtyOf(marks);
  return marks;
}

/** What these marks make of a server (`Dirty`). */
export function dirtyOf(marks: number): number {
  let dirty = marks & DIRTY_MARKS;
  if ((marks & UNKNOWN_NAMES) !== 0) dirty |= Dirty.Names;
  if ((marks & TEMP_PATH) !== 0) dirty |= Dirty.Temp;
  return dirty;
}

/** What a Query with these marks is owed. */
export function owedQuery(marks: number): number {
  return (marks & LOCAL_SET) !== 0 ? Owed.Query | LOCAL : Owed.Query;
}

/** The unnamed Parse whose text begins at `start`. */
export function markUnnamed(
  session: Session,
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  next: number,
  end: number,
): void {
  const { state } = session;
  state.unnamedMarks = marksOf(state, Marking.Unnamed, bytes, start, next, end);
}

/** Marks of a text, or of its first piece if there is more to come. */
function marksOf(
  state: SessionState,
  marking: number,
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  next: number,
  end: number,
): number {
  const whole = next <= end;
  const stop = whole ? next : end;
  if (!whole) {
    state.marking = marking;
    state.carry = bytes.slice(Math.max(start, stop - MARK_BYTES), stop);
    const marks = firstPieceMarks(bytes, start, stop);
    if ((marks & NAMES) === 0) return marks;
    return marks | noteNames(state, findNamesInPiece(bytes, start, stop));
  }
  let marks = textMarks(bytes, start, stop);
  // Where no Bind is looked at its values are not.
  if (marking === Marking.Query && (marks & PATH_VALUE) !== 0) marks |= TEMP_PATH;
  if ((marks & (NAMES | LOCAL_SET)) !== NAMES) return marks;
  const found = findNames(bytes, start, stop);
  const unseen = marking === Marking.Query && found.values.length > 0 ? UNKNOWN_NAMES : 0;
  return marks | unseen | noteNames(state, found);
}

/** Names that one client's SETs may be found under; further ones are not followed. */
const MOST_NAMES = 100;

/** What PostgreSQL does not list (parameters with a dot) has to be asked for by name. `UNKNOWN_NAMES`: there are others. */
function noteNames(state: SessionState, found: Found): number {
  let { marks } = found;
  for (const name of found.names) {
    if (state.setNames.includes(name)) continue;
    if (state.setNames.length < MOST_NAMES) state.setNames.push(name);
    else marks = UNKNOWN_NAMES;
  }
  for (const name of found.likely) {
    if (state.setNames.length >= MOST_NAMES) break;
    if (!state.setNames.includes(name)) state.setNames.push(name);
  }
  return marks;
}

/** More of a text, `bytes[start..end)`. */
export function markPiece(
  session: Session,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  end: number,
): void {
  const { state } = session;
  const carry = state.carry!;
  const joined = new Uint8Array(carry.length + Math.min(MARK_BYTES, end - start));
  joined.set(carry);
  joined.set(bytes.subarray(start, start + joined.length - carry.length), carry.length);
  // A shorter one is all that there was.
  const begins = carry.length < MARK_BYTES;
  let marks = pieceMarks(bytes, start, end) |
    (begins ? firstPieceMarks : pieceMarks)(joined, 0, joined.length);
  if ((marks & NAMES) !== 0) {
    marks |= noteNames(state, findNamesInPiece(joined, 0, joined.length));
    marks |= noteNames(state, findNamesInPiece(bytes, start, end));
  }
  if (state.marking === Marking.Query) server.state.dirty |= dirtyOf(marks);
  else state.unnamedMarks |= marks;
  if (end - start >= MARK_BYTES) state.carry = bytes.slice(end - MARK_BYTES, end);
  else state.carry = joined.slice(-MARK_BYTES);
  if (state.left === end - start) {
    state.marking = Marking.None;
    state.carry = undefined;
  }
}

/** A Bind of a statement with these marks to a portal. */
export function markBind(
  session: Session,
  server: ServerConnection,
  marks: number,
  unnamedPortal: boolean,
): void {
  session.state.boundLocalSet = unnamedPortal && (marks & LOCAL_SET) !== 0;
  server.state.dirty |= dirtyOf(marks);
}

/**
 * The same, of a statement whose marks call for a look at its text: it may set parameters, whose names are there or among
 * the values, or end a LISTEN. The marks, with `UNKNOWN_NAMES` if there are other names. `end`: how much of it is there.
 */
export function markNamingBind(
  session: Session,
  statement: NamingStatement,
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  end: number,
  next: number,
): number {
  const { state } = session;
  let { marks } = statement;
  const temp = (marks & PATH_VALUE) !== 0 && (end < next || namesTemp(bytes, start, end));
  if (temp) marks |= TEMP_PATH;
  if ((marks & (NAMES | UNLISTENS)) === 0) return marks;
  const found = foundIn(statement);
  if ((marks & UNLISTENS) !== 0) bindUnlisten(state, found.channels);
  if ((marks & (NAMES | LOCAL_SET)) !== NAMES) return marks;
  return marks | noteNames(state, withValues(found, bytes, start, end));
}

/** A text that may be bound again and again: it is looked at once for `id` of `of`. */
interface NamingStatement {
  marks: number;
  text: Uint8Array;
  of: object;
  id: number;
}

const known = new WeakMap<object, { id: number; found: Found }>();

function foundIn({ text, of, id }: NamingStatement): Found {
  const last = known.get(of);
  if (last?.id === id) return last.found;
  const found = findNames(text, 0, text.length);
  known.set(of, { id, found });
  return found;
}

/** In the marks of a statement: its text has to be looked at when it is bound. */
export const NAMING: number = NAMES | UNLISTENS | PATH_VALUE;

/** What an Execute is owed: the SET of the unnamed portal, if it is one, ends with the transaction. */
export function owedExecute(session: Session, unnamedPortal: boolean): number {
  if (!unnamedPortal || !session.state.boundLocalSet) return Owed.Execute;
  session.state.boundLocalSet = false;
  return Owed.Execute | LOCAL;
}

/** The number of set_config. */
const SET_CONFIG = 2078;

/** A FunctionCall at `at`, of which the function's number is there: any may be called. */
export function markCall(
  session: Session,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  end: number,
): void {
  if (session.state.keepsServer) return;
  const any = end - at >= 9 && readLength(bytes, at + 5) === SET_CONFIG;
  server.state.dirty |= any ? CALLED | Dirty.Names : CALLED;
}
