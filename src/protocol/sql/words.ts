/**
 * Words and names of SQL, as bytes of a text: compared with keywords, and what they stand for as PostgreSQL compares
 * them (ASCII folded, quotes undoubled, cut at 63 bytes).
 */

import { type Scanner, Token } from "./scanner.ts";

const UNDERSCORE = 0x5f;
const DOUBLE_QUOTE = 0x22;
/** `NAMEDATALEN` − 1. */
const MOST_NAME_BYTES = 63;

const PLUS = 0x2b;

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** Whether `word` (lower case letters and `_`) stands at `bytes[at]`, in any letter case. */
export function follows(bytes: Uint8Array, at: number, end: number, word: string): boolean {
  if (at + word.length > end) return false;
  for (let i = 0; i < word.length; i++) {
    const byte = bytes[at + i];
    if ((byte === UNDERSCORE ? byte : byte | 0x20) !== word.charCodeAt(i)) return false;
  }
  return true;
}

/** Whether `word` ends before `bytes[at]`, in any letter case. */
export function precedes(bytes: Uint8Array, at: number, word: string): boolean {
  return at >= word.length && follows(bytes, at - word.length, at, word);
}

/** Whether the token is this word, unquoted. */
export function isWord({ kind, bytes, start, end }: Scanner, word: string): boolean {
  return kind === Token.Word && end - start === word.length && follows(bytes, start, end, word);
}

/** The name that the token is; `undefined`: it is none, or one with escapes. */
export function nameOf(token: Scanner): Uint8Array<ArrayBuffer> | undefined {
  const { bytes, kind } = token;
  if (kind === Token.Word) {
    const name = new Uint8Array(token.end - token.start);
    for (let i = 0; i < name.length; i++) {
      const byte = bytes[token.start + i];
      name[i] = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
    }
    return cut(name);
  }
  if (kind !== Token.Quoted || token.contentStart === token.contentEnd) return undefined;
  const name = new Uint8Array(token.contentEnd - token.contentStart);
  let length = 0;
  for (let i = token.contentStart; i < token.contentEnd; i++) {
    name[length++] = bytes[i];
    if (bytes[i] === DOUBLE_QUOTE) i++;
  }
  return cut(name.subarray(0, length));
}

/**
 * What `U&"…"` with the content `bytes[start..end)` stands for; `undefined`: PostgreSQL refuses it. `escape` is what
 * UESCAPE says, or a backslash.
 */
export function unicodeName(
  bytes: Uint8Array,
  start: number,
  end: number,
  escape: number,
): string | undefined {
  let text = "";
  let from = start;
  for (let i = start; i < end; i++) {
    if (bytes[i] === DOUBLE_QUOTE) {
      text += decoder.decode(bytes.subarray(from, i));
      from = ++i;
    } else if (bytes[i] === escape) {
      text += decoder.decode(bytes.subarray(from, i));
      from = i + 1;
      if (bytes[i + 1] === escape) {
        i++;
        continue;
      }
      const long = bytes[i + 1] === PLUS;
      const digits = i + (long ? 2 : 1);
      const next = digits + (long ? 6 : 4);
      const code = next > end ? NaN : hexNumber(bytes, digits, next);
      if (!(code > 0 && code <= 0x10ffff)) return undefined;
      // Surrogates come one after the other.
      text += code < 0x10000 ? String.fromCharCode(code) : String.fromCodePoint(code);
      from = next;
      i = next - 1;
    }
  }
  text += decoder.decode(bytes.subarray(from, end));
  return text === "" ? undefined : decoder.decode(cut(encoder.encode(text)));
}

function hexNumber(bytes: Uint8Array, start: number, end: number): number {
  let number = 0;
  for (let i = start; i < end; i++) {
    const letter = bytes[i] | 0x20;
    if (bytes[i] >= 0x30 && bytes[i] <= 0x39) number = number * 16 + bytes[i] - 0x30;
    else if (letter >= 0x61 && letter <= 0x66) number = number * 16 + letter - 0x57;
    else return NaN;
  }
  return number;
}

/** PostgreSQL cuts longer names off, between two characters. */
function cut(name: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  if (name.length <= MOST_NAME_BYTES) return name;
  let end = MOST_NAME_BYTES;
  while (end > 0 && (name[end] & 0xc0) === 0x80) end--;
  return name.slice(0, end);
}

/** The same as text. */
export function nameTextOf(token: Scanner): string | undefined {
  const name = nameOf(token);
  return name === undefined ? undefined : decoder.decode(name);
}
