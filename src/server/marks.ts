// hot path
/**
 * A light look at the text of a statement: may it leave something on its server that CommandComplete and
 * ParameterStatus don't tell? `set_config`, session-level advisory locks, temporary objects. What is marked wrongly
 * costs one question to PostgreSQL when the transaction has ended (client/pinning/leftovers.ts), so the look may be coarse; what
 * a function hides in its body is not seen.
 *
 * Most texts have none of a few letters with certain neighbours, and no second statement: that is seen by a look into a
 * table for each byte. Only where something is noticed the text is read as SQL (statement_look.ts), and only up to a
 * number of bytes. A text in which something was noticed and that was not read, or not understood, has the marks that
 * make PostgreSQL be asked about everything: `UNKNOWN`.
 */

import { CONFORMING, continuesWord, ESCAPING, isBlank, scanner } from "../protocol/sql/scanner.ts";
import { follows, precedes } from "../protocol/sql/words.ts";
import { type Found, likelyNames, nothingFound } from "./found_names.ts";
import { look } from "./statement_look.ts";
import { textFunction } from "./text_words.ts";
import { LOCAL_SET, UNKNOWN, UNKNOWN_NAMES } from "./mark_bits.ts";
import { Dirty } from "./state.ts";

const UNDERSCORE = 0x5f;
const SEMICOLON = 0x3b;
const AMPERSAND = 0x26;
const DOUBLE_QUOTE = 0x22;
const SLASH = 0x2f;
const DASH = 0x2d;

/** Bytes where a look at the neighbours is worth it, and the terminator. */
const RARE = new Uint8Array(256);
for (const letter of "_pP;&\0") RARE[letter.charCodeAt(0)] = 1;

/** Longer than each word that is looked for with what must stand around it. */
export const MARK_BYTES = 24;
/** The longest word that a text begins with, and what ends it. */
const FIRST_WORD_BYTES = 11;
/** Longest text that is read as SQL: about a millisecond. */
export const MOST_READ_BYTES = 64 * 1024;
/** Longest text that is looked at at all in one go: a few milliseconds. */
export const MOST_NOTICED_BYTES = 256 * 1024;

/** Marks of the text `bytes[start..end)`, up to its terminator if it has one; 0 for most. */
export function textMarks(bytes: Uint8Array, start: number, end: number): number {
  if (!notices(bytes, start, end, WHOLE)) return 0;
  if (end - start > MOST_NOTICED_BYTES) return UNKNOWN;
  return read(bytes, start, end, undefined);
}

/** Marks of the first piece of a text: `UNKNOWN` where something is noticed, since the rest is not there. */
export function firstPieceMarks(bytes: Uint8Array, start: number, end: number): number {
  return notices(bytes, start, end, FIRST_PIECE) ? UNKNOWN : 0;
}

/** The same of a later one, or of what is around the place where two meet. */
export function pieceMarks(bytes: Uint8Array, start: number, end: number): number {
  return notices(bytes, start, end, PIECE) ? UNKNOWN : 0;
}

/** Marks of the text at the beginning of `body`, up to its terminator. */
export function statementMarks(body: Uint8Array): number {
  return textMarks(body, 0, body.length);
}

/**
 * What a text with marks names: parameters that it sets, channels. Where there are names that can't be known it has
 * `UNKNOWN_NAMES`; where that is not certain, whatever could be a name is likely one.
 */
export function findNames(bytes: Uint8Array, start: number, end: number): Found {
  const found = nothingFound();
  const marks = read(bytes, start, end, found);
  found.marks = marks & UNKNOWN_NAMES;
  if ((marks & (UNKNOWN_NAMES | Dirty.Hidden)) !== 0) addLikelyNames(found, bytes, start, end);
  return found;
}

/** The same of a piece of one. */
export function findNamesInPiece(bytes: Uint8Array, start: number, end: number): Found {
  const found = nothingFound();
  addLikelyNames(found, bytes, start, end);
  return found;
}

function addLikelyNames(found: Found, bytes: Uint8Array, start: number, end: number): void {
  likelyNames(found, bytes, start, Math.min(end, start + MOST_NOTICED_BYTES));
}

/** The channels that the text names in UNLISTEN, as PostgreSQL compares them; `*`: all. */
export function unlistenedChannels(bytes: Uint8Array, start: number, end: number): string[] {
  return findNames(bytes, start, end).channels;
}

/** Reads it as SQL. Where it depends on `standard_conforming_strings` what the text is, both are seen. */
function read(bytes: Uint8Array, start: number, end: number, found: Found | undefined): number {
  scanner.begin(bytes, start, end, CONFORMING);
  if (scanner.length > MOST_READ_BYTES) return UNKNOWN;
  const marks = look(found, CONFORMING);
  if (scanner.doubtful) return UNKNOWN;
  if (!scanner.ambiguous) return marks;
  scanner.begin(bytes, start, end, ESCAPING);
  const channels = found?.channels.length ?? 0;
  const others = look(found, ESCAPING);
  if (scanner.doubtful) return UNKNOWN;
  // Who is told of fewer channels than it has left misses nothing.
  if (found !== undefined) found.channels.length = channels;
  return (marks | others) & ~LOCAL_SET | marks & others & LOCAL_SET;
}

/** How much of a text is there. */
const WHOLE = 0;
const FIRST_PIECE = 1;
const PIECE = 2;

/** Whether anything calls for a closer look. */
function notices(bytes: Uint8Array, start: number, end: number, part: number): boolean {
  if (part !== PIECE && mayBegin(bytes, start, end, part)) return true;
  const stop = end - start > MOST_NOTICED_BYTES ? start + MOST_NOTICED_BYTES : end;
  for (let i = start; i < stop; i++) {
    if (RARE[bytes[i]] === 0) continue;
    switch (bytes[i]) {
      case 0:
        return false;
      case UNDERSCORE:
        if (aroundUnderscore(bytes, i, end)) return true;
        break;
      case SEMICOLON: {
        i++;
        while (i < end && isBlank(bytes[i])) i++;
        if (i >= end) return part !== WHOLE;
        return bytes[i] !== 0;
      }
      case AMPERSAND:
        // U&"…" may be any name.
        if (i + 1 < end && bytes[i + 1] === DOUBLE_QUOTE) return true;
        break;
      default:
        if (temporary(bytes, i, start, end, part)) return true;
    }
  }
  return stop < end;
}

/** Whether a text that begins so may be one of those that are told by their first word. */
function mayBegin(bytes: Uint8Array, start: number, end: number, part: number): boolean {
  let at = start;
  while (at < end && isBlank(bytes[at])) at++;
  if (part === FIRST_PIECE && at + FIRST_WORD_BYTES > end && !endsBefore(bytes, at, end)) {
    // Not to be told yet: with the next piece, if that sees all of it.
    return end - start >= MARK_BYTES;
  }
  if (at >= end) return false;
  switch (bytes[at] | 0x20) {
    case 0x73: // s
      return ends(bytes, at, end, "set");
    case 0x75: // u
      return follows(bytes, at, end, "unlisten");
    case 0x64: // d
      return ends(bytes, at, end, "do") || follows(bytes, at, end, "deallocate");
    case 0x65: // e
      return follows(bytes, at, end, "execute") || follows(bytes, at, end, "explain");
    case 0x63: // c
      return follows(bytes, at, end, "call") || follows(bytes, at, end, "create");
    case SLASH:
    case DASH:
      return true;
    default:
      return false;
  }
}

function endsBefore(bytes: Uint8Array, at: number, end: number): boolean {
  while (at < end && bytes[at] !== 0) at++;
  return at < end;
}

/** Whether `word` stands there, and no longer one. */
function ends(bytes: Uint8Array, at: number, end: number, word: string): boolean {
  const after = at + word.length;
  return follows(bytes, at, end, word) && after < end && !continuesWord(bytes[after]);
}

/** `set_config`, `pg_temp`, `pg_settings`, `pg_advisory_…`, `pg_try_advisory_…`, functions that run a text. */
function aroundUnderscore(bytes: Uint8Array, at: number, end: number): boolean {
  switch (bytes[at + 1] | 0x20) {
    case 0x63: // c
      return follows(bytes, at + 1, end, "config") && precedes(bytes, at, "set");
    case 0x61: // a
      // pg_advisory_xact_lock ends with its transaction.
      return follows(bytes, at + 1, end, "advisory_") && !follows(bytes, at + 10, end, "xact_");
    case 0x74: // t
      return follows(bytes, at + 1, end, "temp") && precedes(bytes, at, "pg") ||
        textFunction(bytes, at, end);
    case 0x73: // s
      return follows(bytes, at + 1, end, "settings") && precedes(bytes, at, "pg") ||
        textFunction(bytes, at, end);
    case 0x72: // r
      return textFunction(bytes, at, end);
    default:
      return false;
  }
}

/** TEMP or TEMPORARY around the `p` at `at`. */
function temporary(
  bytes: Uint8Array,
  at: number,
  start: number,
  end: number,
  part: number,
): boolean {
  if (at - 3 <= start || (bytes[at - 1] | 0x20) !== 0x6d) return false;
  if (!precedes(bytes, at, "tem") || continuesWord(bytes[at - 4])) return false;
  const after = follows(bytes, at + 1, end, "orary") ? at + 6 : at + 1;
  // At the end of a piece it is seen with the next one.
  if (after >= end) return part === WHOLE;
  return !continuesWord(bytes[after]);
}
