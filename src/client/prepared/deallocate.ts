/**
 * DEALLOCATE of a statement that was rewritten: the client's name is not known to PostgreSQL. What is sent instead
 * deallocates an empty statement under a name of the pooler's, so that tag, errors and transaction status are
 * PostgreSQL's own.
 */

import { Frontend } from "../../protocol/codes.ts";
import * as messages from "../../protocol/messages.ts";

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** Longest text that is looked at: two names of 63 bytes, doubled quotes, and blanks. */
const MOST_BYTES = 300;

const DEALLOCATE =
  /^\s*deallocate\s+(?:prepare\s+)?(?:(all)|"((?:[^"]|"")+)"|([a-z_\u0080-\uffff][\w$\u0080-\uffff]*))\s*;?\s*$/i;

/** Whether the text `bytes[start..end)` (with its terminator) may be a DEALLOCATE; most are not. */
export function mayDeallocate(bytes: Uint8Array, start: number, end: number): boolean {
  const first = bytes[start];
  return ((first | 0x20) === 0x64 || first <= 0x20) && end - start <= MOST_BYTES;
}

/** `ALL`, the name that is to be deallocated, or `undefined` for any other text. */
export function parseDeallocate(text: string): "ALL" | { name: string } | undefined {
  const match = DEALLOCATE.exec(text);
  if (match === null) return undefined;
  if (match[1] !== undefined) return "ALL";
  // An unquoted name is folded, as PostgreSQL does it.
  if (match[2] !== undefined) return { name: match[2].replaceAll('""', '"') };
  return { name: match[3].replace(/[A-Z]+/g, (letters) => letters.toLowerCase()) };
}

/** The text of a Query, or of a Parse behind its name, up to its terminator. */
export function textAt(bytes: Uint8Array, start: number, end: number): string {
  const zero = bytes.indexOf(0, start);
  return decoder.decode(bytes.subarray(start, zero < 0 || zero > end ? end : zero));
}

/** The name that the text at `bytes[start..end)` deallocates. */
export function deallocatedName(
  bytes: Uint8Array,
  start: number,
  end: number,
): Uint8Array<ArrayBuffer> | undefined {
  const parsed = parseDeallocate(textAt(bytes, start, end));
  return parsed === undefined || parsed === "ALL" ? undefined : encoder.encode(parsed.name);
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
