// hot path
/**
 * A light look at the text of a statement: may it leave something on its server that CommandComplete and
 * ParameterStatus don't tell? `set_config`, session-level advisory locks, temporary objects. What is marked wrongly
 * costs one question to PostgreSQL when the transaction has ended (client/pinning/leftovers.ts), so the look may be coarse; what
 * a function hides in its body is not seen.
 *
 * Every word that is looked for has one of two rare letters, `_` and `p`: only there a byte costs more than a look into
 * a table.
 */

import { Dirty } from "./state.ts";

const UNDERSCORE = 0x5f;

const SEMICOLON = 0x3b;
const SLASH = 0x2f;
const STAR = 0x2a;

/** Bytes where a look at the neighbours is worth it. */
const RARE = new Uint8Array(256);
for (const letter of "_pP;") RARE[letter.charCodeAt(0)] = 1;

/** In the marks of a statement: it is a SET that ends with its transaction. */
export const LOCAL_SET = 1 << 16;
/** A statement of it is a SET, or calls set_config: it may name parameters that PostgreSQL does not list. */
export const NAMES = 1 << 17;
/** A statement of it is an UNLISTEN. */
export const UNLISTENS = 1 << 18;
/** The part of the marks that is bits of `Dirty`. */
export const DIRTY_MARKS = 0xffff;

/** Longer than each word that is looked for with what must stand around it. */
export const MARK_BYTES = 24;

/** Bits of `Dirty`, and perhaps `NAMES`, for the text `bytes[start..end)`; 0 for most. */
export function textMarks(bytes: Uint8Array, start: number, end: number): number {
  let marks = firstWord(bytes, start, end);
  for (let i = start; i < end; i++) {
    if (RARE[bytes[i]] === 0) continue;
    const byte = bytes[i];
    if (byte === UNDERSCORE) marks |= aroundUnderscore(bytes, i, end);
    else if (byte === SEMICOLON) marks |= firstWord(bytes, i + 1, end);
    else marks |= temporary(bytes, i, start);
  }
  if ((marks & Dirty.Config) !== 0) {
    marks = localOnly(bytes, start, end) ? marks & ~Dirty.Config : marks | NAMES;
  }
  if ((marks & NAMES) === 0) return marks;
  const text = decoder.decode(bytes.subarray(start, end));
  return DEFAULT.test(text) ? marks | Dirty.Default : marks;
}

/** `NAMES` if the first word of a statement is SET, `UNLISTENS` if it is UNLISTEN. */
function firstWord(bytes: Uint8Array, at: number, end: number): number {
  for (;;) {
    while (at < end && bytes[at] <= 0x20) at++;
    if (bytes[at] !== SLASH || bytes[at + 1] !== STAR) break;
    at += 2;
    while (at < end && (bytes[at] !== STAR || bytes[at + 1] !== SLASH)) at++;
    at += 2;
  }
  if ((bytes[at] | 0x20) === 0x75) return follows(bytes, at, end, "unlisten") ? UNLISTENS : 0;
  return follows(bytes, at, end, "set") && bytes[at + 3] <= 0x20 ? NAMES : 0;
}

function aroundUnderscore(bytes: Uint8Array, at: number, end: number): number {
  if (follows(bytes, at + 1, end, "config")) {
    return precedes(bytes, at, "set") ? Dirty.Config : 0;
  }
  if (follows(bytes, at + 1, end, "advisory_")) {
    // pg_advisory_xact_lock ends with its transaction.
    return (bytes[at + 10] | 0x20) === 0x78 ? 0 : Dirty.Advisory;
  }
  return follows(bytes, at + 1, end, "temp") && precedes(bytes, at, "pg") ? Dirty.Temp : 0;
}

/** TEMP or TEMPORARY behind CREATE, CREATE LOCAL, CREATE OR REPLACE, or INTO. */
function temporary(bytes: Uint8Array, at: number, start: number): number {
  if (at - 3 <= start || !precedes(bytes, at, "tem")) return 0;
  let before = at - 4;
  // The end of a comment, too.
  if (bytes[before] > 0x20 && bytes[before] !== 0x2f) return 0;
  if (bytes[before] === 0x2f) return Dirty.Temp;
  while (before > start && bytes[before] <= 0x20) before--;
  const word = before + 1;
  return precedes(bytes, word, "create") || precedes(bytes, word, "into") ||
      precedes(bytes, word, "local") || precedes(bytes, word, "global") ||
      precedes(bytes, word, "replace") || bytes[before] === 0x2f
    ? Dirty.Temp
    : 0;
}

/** Whether `word` (lower case) begins at `at`, in any letter case. */
function follows(bytes: Uint8Array, at: number, end: number, word: string): boolean {
  if (at + word.length > end) return false;
  for (let i = 0; i < word.length; i++) {
    const byte = bytes[at + i];
    if ((byte === UNDERSCORE ? byte : byte | 0x20) !== word.charCodeAt(i)) return false;
  }
  return true;
}

/** Whether `word` (lower case) ends before `at`. */
function precedes(bytes: Uint8Array, at: number, word: string): boolean {
  return at >= word.length && follows(bytes, at - word.length, at, word);
}

const decoder = new TextDecoder();
const DEFAULT = /\bdefault\b/i;
const CALL = /set_config/gi;
/** All of its arguments are simple, and the last one says that it ends with the transaction. */
const LOCAL_CALL =
  /set_config\s*\(\s*(?:'[^']*'|\$\d+)\s*(?:::\s*\w+\s*)?,\s*(?:'[^']*'|\$\d+)\s*(?:::\s*\w+\s*)?,\s*(?:true|'t(?:rue)?')\s*\)/gi;

/** Whether every `set_config` of the text is seen to be for its transaction alone. */
function localOnly(bytes: Uint8Array, start: number, end: number): boolean {
  const text = decoder.decode(bytes.subarray(start, end));
  const calls = text.match(CALL)?.length ?? 0;
  return calls > 0 && calls === text.match(LOCAL_CALL)?.length;
}

const ONE_LOCAL_SET = /^\s*set\s+(?:local|transaction)\s[^;]*;?\s*$/i;
const MOST_SET_BYTES = 1000;

/** Whether the text is one SET that ends with its transaction; `bytes[start..end)` may end in its terminator. */
export function isLocalSet(bytes: Uint8Array, start: number, end: number): boolean {
  const first = bytes[start];
  if ((first | 0x20) !== 0x73 && first > 0x20 || end - start > MOST_SET_BYTES) return false;
  if (!follows(bytes, start, end, "set") && first > 0x20) return false;
  const zero = bytes.indexOf(0, start);
  const stop = zero < 0 || zero > end ? end : zero;
  return ONE_LOCAL_SET.test(decoder.decode(bytes.subarray(start, stop)));
}

const UNLISTEN =
  /(?:^|;)(?:\s|\/\*.*?\*\/)*unlisten\s*(?:(\*)|"((?:[^"]|"")+)"|([a-z_\u0080-\uffff][\w$\u0080-\uffff]*))/gis;

/** The channels that the text names in UNLISTEN, as PostgreSQL compares them; `*`: all. */
export function unlistenedChannels(bytes: Uint8Array, start: number, end: number): string[] {
  const channels: string[] = [];
  for (const match of decoder.decode(bytes.subarray(start, end)).matchAll(UNLISTEN)) {
    const [, all, quoted, plain] = match;
    if (all !== undefined) channels.push(all);
    else if (quoted !== undefined) channels.push(cut(quoted.replaceAll('""', '"')));
    else channels.push(cut(plain.replace(/[A-Z]+/g, (letters) => letters.toLowerCase())));
  }
  return channels;
}

const encoder = new TextEncoder();
const MOST_NAME_BYTES = 63;

/** PostgreSQL cuts longer names off, between two characters. */
function cut(name: string): string {
  if (name.length * 3 <= MOST_NAME_BYTES) return name;
  const bytes = encoder.encode(name);
  if (bytes.length <= MOST_NAME_BYTES) return name;
  let end = MOST_NAME_BYTES;
  while ((bytes[end] & 0xc0) === 0x80) end--;
  return decoder.decode(bytes.subarray(0, end));
}

const CUSTOM_NAME = /[a-z_][\w$]*(?:\.[a-z_][\w$]*)+/gi;

/** Everything in `bytes[start..end)` that could be the name of a parameter with a dot, as PostgreSQL compares them. */
export function customNames(bytes: Uint8Array, start: number, end: number): string[] {
  const names = decoder.decode(bytes.subarray(start, end)).match(CUSTOM_NAME) ?? [];
  return names.map((name) => name.toLowerCase());
}

/** Marks of the text at the beginning of `body`, up to its terminator, and whether it is one SET for its transaction. */
export function statementMarks(body: Uint8Array): number {
  const zero = body.indexOf(0);
  const end = zero < 0 ? body.length : zero;
  return textMarks(body, 0, end) | (isLocalSet(body, 0, end) ? LOCAL_SET : 0);
}
