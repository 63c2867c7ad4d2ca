/**
 * Which queries have the same answer for every session, whatever it has set: nothing, or constants. Decided by shape, and
 * for as little as that takes: a function, an operator or a name may be anything by the session's search_path, role,
 * settings or time.
 */

import { CONFORMING, Scanner, Token } from "../../protocol/sql/scanner.ts";
import { isWord } from "../../protocol/sql/words.ts";

const COMMA = 0x2c;
const CONSTANTS = ["true", "false", "null"];

/** Whether everybody may have the answer that one session got: empty, or `SELECT` of literals with or without `AS name`. */
export function isConstantQuery(text: string): boolean {
  const bytes = new TextEncoder().encode(text);
  const scanner = new Scanner();
  scanner.begin(bytes, 0, bytes.length, CONFORMING);
  while (scanner.next() === Token.Semicolon);
  if (scanner.kind === Token.End) return true;
  // Other bytes are other characters in other encodings.
  if (bytes.some((byte) => byte === 0 || byte >= 0x80) || !isWord(scanner, "select")) return false;
  do {
    scanner.next();
    if (!isConstant(scanner)) return false;
    scanner.next();
    if (isWord(scanner, "as")) {
      const kind = scanner.next();
      if (kind !== Token.Word && kind !== Token.Quoted) return false;
      scanner.next();
    }
  } while (scanner.isSymbol(COMMA));
  while (scanner.kind === Token.Semicolon) scanner.next();
  return scanner.kind === Token.End && !scanner.ambiguous;
}

function isConstant(scanner: Scanner): boolean {
  const { bytes, contentEnd, contentStart, kind, plain, start } = scanner;
  if (kind === Token.Number) return true;
  // N'…' has a type of its own; a backslash may be an escape, and warned of.
  if (kind === Token.String) {
    return plain && bytes[start] === 0x27 &&
      !bytes.subarray(contentStart, contentEnd).includes(0x5c);
  }
  return CONSTANTS.some((word) => isWord(scanner, word));
}
