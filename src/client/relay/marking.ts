// hot path
/**
 * Marks what passes from a client to its server (server/marks.ts): whether it may leave something there that has to be
 * asked about. A statement that passes in pieces is looked at piece by piece, with the end of the one before.
 */

import type { ServerConnection } from "../../server/connection.ts";
import {
  customNames,
  DIRTY_MARKS,
  isLocalSet,
  LOCAL_SET,
  MARK_BYTES,
  NAMES,
  textMarks,
  UNLISTENS,
} from "../../server/marks.ts";
import { bindUnlisten } from "../listen/unlisten.ts";
import type { ClientView } from "../parts.ts";
import type { SessionState } from "../state.ts";

/** The part of a session that this file sees. */
interface Session extends Pick<ClientView, "state"> {}

/** What the pieces that come belong to. */
export const Marking = { None: 0, Query: 1, Unnamed: 2 } as const;

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

/** Marks of a text, of its first piece if there is more to come; of a whole one whether it is a SET for its transaction. */
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
  }
  const marks = textMarks(bytes, start, stop);
  if (marks === 0) return 0;
  if (whole && isLocalSet(bytes, start, stop)) return marks | LOCAL_SET;
  if ((marks & NAMES) !== 0) noteNames(state, bytes, start, stop);
  return marks;
}

/** Names that one client's SETs may be found under; further ones are not followed. */
const MOST_NAMES = 100;
const MOST_NAME_LETTERS = 64;

/** What PostgreSQL does not list (parameters with a dot) has to be asked for by name. */
function noteNames(state: SessionState, bytes: Uint8Array, start: number, end: number): void {
  for (const name of customNames(bytes, start, end)) {
    if (name.length >= MOST_NAME_LETTERS || state.setNames.includes(name)) continue;
    if (state.setNames.length < MOST_NAMES) state.setNames.push(name);
  }
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
  const marks = textMarks(joined, 0, joined.length) | textMarks(bytes, start, end);
  if ((marks & NAMES) !== 0) {
    noteNames(state, joined, 0, joined.length);
    noteNames(state, bytes, start, end);
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
 * the values, or end a LISTEN.
 */
export function markNamingBind(
  session: Session,
  statement: { marks: number; text: Uint8Array },
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  end: number,
): void {
  const { marks, text } = statement;
  if ((marks & UNLISTENS) !== 0) bindUnlisten(session.state, text, 0, text.length);
  if ((marks & NAMES) === 0) return;
  noteNames(session.state, text, 0, text.length);
  noteNames(session.state, bytes, start, end);
}

/** In the marks of a statement: its text has to be looked at when it is bound. */
export const NAMING: number = NAMES | UNLISTENS;

/** An Execute of the unnamed portal: its SET, if it is one, ends with the transaction. */
export function markExecute(session: Session, server: ServerConnection): void {
  if (!session.state.boundLocalSet) return;
  session.state.boundLocalSet = false;
  server.state.localSets++;
}
