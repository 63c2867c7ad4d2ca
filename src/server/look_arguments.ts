// hot path
/** What the arguments of a call of `set_config` say, a token at a time (statement_look.ts): the scanner stands at it. */

import { scanner, Token } from "../protocol/sql/scanner.ts";
import { follows } from "../protocol/sql/words.ts";
import { PATH_VALUE, TEMP_PATH } from "./mark_bits.ts";
import { namesTemp, Word } from "./text_words.ts";

const COLON = 0x3a;

/**
 * What a value may bring into a search_path, of what its tokens before have told: `TEMP_PATH`, `PATH_VALUE` or nothing. It is
 * a literal or a parameter, perhaps with its type; what is put together may be anything.
 */
export function pathOf(kind: number, tokens: number, before: number): number {
  if (tokens > 1) {
    const type = kind === Token.Word || kind === Token.Quoted || scanner.isSymbol(COLON);
    return type ? before : TEMP_PATH;
  }
  if (kind === Token.Parameter) return PATH_VALUE;
  const { bytes, contentStart, contentEnd, plain } = scanner;
  const literal = kind >= Token.String && kind <= Token.DollarString && plain;
  return literal && !namesTemp(bytes, contentStart, contentEnd) ? 0 : TEMP_PATH;
}

const SEARCH_PATH = "search_path";

/** Whether that is the parameter's name, in any case. */
export function isSearchPath(bytes: Uint8Array, start: number, end: number): boolean {
  return end - start === SEARCH_PATH.length && follows(bytes, start, end, SEARCH_PATH);
}

/** Whether the token is a constant that is true. */
export function isTrue(kind: number, word: number): boolean {
  const { bytes, start, end, contentStart, contentEnd } = scanner;
  if (kind === Token.Word) {
    return word === Word.Other && end - start === 4 && follows(bytes, start, end, "true");
  }
  if (kind !== Token.String || !scanner.plain) return false;
  const length = contentEnd - contentStart;
  return length === 1 && (bytes[contentStart] | 0x20) === 0x74 ||
    length === 4 && follows(bytes, contentStart, contentEnd, "true");
}
