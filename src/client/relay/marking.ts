// hot path
/**
 * Marks what passes from a client to its server (server/marks.ts): whether it may leave something there that has to be
 * asked about. A statement that passes in pieces is looked at piece by piece, with the end of the one before.
 */

import type { ServerConnection } from "../../server/connection.ts";
import { DIRTY_MARKS, LOCAL_SET, NAMES, UNKNOWN_NAMES, UNLISTENS } from "../../server/mark_bits.ts";
import {
  findNames,
  findNamesInPiece,
  firstPieceMarks,
  MARK_BYTES,
  pieceMarks,
  textMarks,
} from "../../server/marks.ts";
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
  if (marks === 0) return 0;
  server.state.dirty |= marks & DIRTY_MARKS;
  if ((marks & LOCAL_SET) !== 0) server.state.localSets++;
  return marks;
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
    if ((marks & NAMES) !== 0) noteNames(state, findNamesInPiece(bytes, start, stop));
    return marks;
  }
  const marks = textMarks(bytes, start, stop);
  if ((marks & (NAMES | LOCAL_SET)) !== NAMES) return marks;
  return marks | noteNames(state, findNames(bytes, start, stop));
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
  const marks = pieceMarks(bytes, start, end) |
    (begins ? firstPieceMarks : pieceMarks)(joined, 0, joined.length);
  if ((marks & NAMES) !== 0) {
    noteNames(state, findNamesInPiece(joined, 0, joined.length));
    noteNames(state, findNamesInPiece(bytes, start, end));
  }
  if (state.marking === Marking.Query) server.state.dirty |= marks & DIRTY_MARKS;
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
  server.state.dirty |= marks & DIRTY_MARKS;
}

/**
 * The same, of a statement whose marks call for a look at its text: it may set parameters, whose names are there or among
 * the values, or end a LISTEN. The marks, with `UNKNOWN_NAMES` if there are other names.
 */
export function markNamingBind(
  session: Session,
  statement: NamingStatement,
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  end: number,
): number {
  const { state } = session;
  const { marks } = statement;
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
export const NAMING: number = NAMES | UNLISTENS;

/** An Execute of the unnamed portal: its SET, if it is one, ends with the transaction. */
export function markExecute(session: Session, server: ServerConnection): void {
  if (!session.state.boundLocalSet) return;
  session.state.boundLocalSet = false;
  server.state.localSets++;
}
