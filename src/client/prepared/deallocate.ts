// hot path
/**
 * DEALLOCATE of a statement that was rewritten: the client's name is not known to PostgreSQL. What is sent instead
 * deallocates an empty statement under a name of the pooler's, so that tag, errors and transaction status are
 * PostgreSQL's own.
 */

import { Frontend } from "../../protocol/codes.ts";
import * as messages from "../../protocol/messages.ts";
import { CONFORMING, scanner, Token } from "../../protocol/sql/scanner.ts";
import { isWord, nameOf } from "../../protocol/sql/words.ts";

const encoder = new TextEncoder();

/** Longest text that is looked at: two names of 63 bytes, doubled quotes, blanks and a comment. */
const MOST_BYTES = 1000;

/**
 * Whether the text `bytes[start..end)` (with its terminator) may be a DEALLOCATE and nothing else; most are not. What is
 * behind `there` has not come yet.
 */
export function mayDeallocate(
  bytes: Uint8Array,
  start: number,
  end: number,
  there: number,
): boolean {
  if (end - start > MOST_BYTES) return false;
  if (there < end && there < start + 2) return true;
  const first = bytes[start];
  // A letter, a blank, a comment, an empty statement.
  if ((first | 0x20) === 0x64) return (bytes[start + 1] | 0x20) === 0x65;
  return first <= 0x20 || first === 0x2f || first === 0x2d || first === 0x3b;
}

/** One DEALLOCATE of a name: where the name stands in the bytes, as it is written. */
export interface Deallocation {
  readonly name: Uint8Array<ArrayBuffer>;
  readonly start: number;
  readonly end: number;
}

/**
 * `ALL`, or the name that is to be deallocated, if the text is one DEALLOCATE, with whatever comments and empty
 * statements; `undefined` for any other.
 */
export function readDeallocation(
  bytes: Uint8Array,
  start: number,
  end: number,
): "ALL" | Deallocation | undefined {
  scanner.begin(bytes, start, end, CONFORMING);
  while (scanner.next() === Token.Semicolon);
  if (!isWord(scanner, "deallocate")) return undefined;
  const read = afterWord();
  if (read === undefined) return undefined;
  while (scanner.kind === Token.Semicolon) scanner.next();
  return scanner.kind === Token.End ? read : undefined;
}

/** More of them in one text are not told. */
const MOST_FOUND = 100;

/**
 * All of a text with several statements that has the mark `DEALLOCATES`, in their order, up to a DEALLOCATE ALL (its tag
 * tells the rest). `undefined`: it can't be told what it deallocates.
 */
export function readDeallocations(
  bytes: Uint8Array,
  start: number,
  end: number,
): Deallocation[] | undefined {
  const found: Deallocation[] = [];
  scanner.begin(bytes, start, end, CONFORMING);
  for (;;) {
    const kind = scanner.next();
    let read: "ALL" | Deallocation | undefined;
    if (isWord(scanner, "deallocate")) {
      read = afterWord();
      if (read === undefined || read !== "ALL" && found.push(read) > MOST_FOUND) return undefined;
    }
    while (kind !== Token.Semicolon && scanner.kind !== Token.Semicolon) {
      if (scanner.kind === Token.End) break;
      if (scanner.kind === Token.Unterminated) return undefined;
      scanner.next();
    }
    if (scanner.ambiguous || scanner.doubtful) return undefined;
    if (scanner.kind === Token.End || read === "ALL") return found;
  }
}

/** What stands behind the word, up to the end of the statement. */
function afterWord(): "ALL" | Deallocation | undefined {
  let { start, end } = scanner;
  scanner.next();
  let all = isWord(scanner, "all");
  const prepare = isWord(scanner, "prepare");
  start = scanner.start;
  end = scanner.end;
  let name = nameOf(scanner);
  scanner.next();
  // A statement may have the name that is a word here.
  if (prepare && scanner.kind !== Token.Semicolon && scanner.kind !== Token.End) {
    all = isWord(scanner, "all");
    start = scanner.start;
    end = scanner.end;
    name = nameOf(scanner);
    scanner.next();
  }
  if (scanner.kind !== Token.Semicolon && scanner.kind !== Token.End) return undefined;
  if (scanner.doubtful) return undefined;
  if (all) return "ALL";
  return name === undefined ? undefined : { name, start, end };
}

/** The name that the text at `bytes[start..end)` deallocates, and nothing else. */
export function deallocatedName(
  bytes: Uint8Array,
  start: number,
  end: number,
): Uint8Array<ArrayBuffer> | undefined {
  const read = readDeallocation(bytes, start, end);
  return read === undefined || read === "ALL" ? undefined : read.name;
}

/** Name of the empty statement. */
export const GONE: Uint8Array<ArrayBuffer> = encoder.encode("DOORMAN_gone");

const SQL = 'DEALLOCATE "DOORMAN_gone"';
const QUERY = messages.query(SQL);
const PARSE = messages.parse("", SQL);

/** The message that deallocates it. */
export function goneDeallocation(type: number): Uint8Array<ArrayBuffer> {
  return type === Frontend.Query ? QUERY : PARSE;
}

const GONE_WORD = encoder.encode('"DOORMAN_gone"');

/** The Query with the text `bytes[start..end)`, its terminator with it, in which that statement is deallocated. */
export function goneQuery(
  bytes: Uint8Array,
  start: number,
  end: number,
  { start: nameStart, end: nameEnd }: Deallocation,
): Uint8Array<ArrayBuffer> {
  const message = new Uint8Array(5 + end - start + GONE_WORD.length - (nameEnd - nameStart));
  message[0] = Frontend.Query;
  new DataView(message.buffer).setUint32(1, message.length - 1);
  message.set(bytes.subarray(start, nameStart), 5);
  message.set(GONE_WORD, 5 + nameStart - start);
  message.set(bytes.subarray(nameEnd, end), 5 + nameStart - start + GONE_WORD.length);
  return message;
}
