/**
 * SASLprep (RFC 4013) for passwords, as PostgreSQL does it: a password that is not valid UTF-8, or that SASLprep
 * forbids, is used as the bytes that it is. Client and server must agree on these bytes or no SCRAM proof fits, so
 * PostgreSQL's own reading of the RFC counts here, also where it differs (see `saslprep`).
 */

import {
  LEFT_TO_RIGHT,
  MAPPED_TO_NOTHING,
  NON_ASCII_SPACES,
  PROHIBITED,
  RIGHT_TO_LEFT,
  UNASSIGNED,
} from "./saslprep_tables.ts";

/** Ascending ranges, flat: first, last, first, last. */
type Ranges = readonly number[];

interface Tables {
  unassigned: Ranges;
  mappedToNothing: Ranges;
  spaces: Ranges;
  prohibited: Ranges;
  rightToLeft: Ranges;
  leftToRight: Ranges;
}

let tables: Tables | undefined;

function readRanges(table: string): Ranges {
  return table.trim().split(/\s+/).flatMap((range) => {
    const [first, last] = range.split("-");
    return [parseInt(first, 16), parseInt(last ?? first, 16)];
  });
}

// Only a password outside ASCII needs the tables, and most processes never see one.
function readTables(): Tables {
  tables ??= {
    unassigned: readRanges(UNASSIGNED),
    mappedToNothing: readRanges(MAPPED_TO_NOTHING),
    spaces: readRanges(NON_ASCII_SPACES),
    prohibited: readRanges(PROHIBITED),
    rightToLeft: readRanges(RIGHT_TO_LEFT),
    leftToRight: readRanges(LEFT_TO_RIGHT),
  };
  return tables;
}

function contains(ranges: Ranges, code: number): boolean {
  let low = 0;
  let high = ranges.length / 2 - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (code < ranges[2 * middle]) high = middle - 1;
    else if (code > ranges[2 * middle + 1]) low = middle + 1;
    else return true;
  }
  return false;
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) > 0x7f) return false;
  }
  return true;
}

/**
 * The prepared form of a text, or `undefined` if SASLprep forbids it. As in PostgreSQL, ASCII passes untouched (control
 * characters too), and the prohibitions are looked for in the mapped text *before* normalisation, where RFC 3454 §2
 * would look after it.
 */
export function saslprep(text: string): string | undefined {
  if (isAscii(text)) return text;
  const { unassigned, mappedToNothing, spaces, prohibited } = readTables();
  const codes: number[] = [];
  for (const character of text) {
    const code = character.codePointAt(0)!;
    if (contains(spaces, code)) codes.push(0x20);
    else if (!contains(mappedToNothing, code)) codes.push(code);
  }
  if (codes.length === 0) return undefined;
  for (const code of codes) {
    if (contains(prohibited, code) || contains(unassigned, code)) return undefined;
  }
  if (!directionsAgree(codes)) return undefined;
  return codes.map((code) => String.fromCodePoint(code)).join("").normalize("NFKC");
}

// RFC 3454 §6.
function directionsAgree(codes: number[]): boolean {
  const { rightToLeft, leftToRight } = readTables();
  if (!codes.some((code) => contains(rightToLeft, code))) return true;
  return !codes.some((code) => contains(leftToRight, code)) &&
    contains(rightToLeft, codes[0]) && contains(rightToLeft, codes[codes.length - 1]);
}

/**
 * Longest password that is prepared; a longer one is taken as it is. Normalisation takes the square of the length where
 * combining characters follow one another: 5 s for 64 kB, which a stranger may send.
 */
const MOST_PREPARED_BYTES = 1024;

const PRINTABLE_ASCII = /^[\x20-\x7e]*$/;

/** The bytes that go into SCRAM's key derivation for a password. */
export function passwordBytes(password: string | Uint8Array): Uint8Array {
  if (typeof password === "string") {
    const bytes = new TextEncoder().encode(password);
    // Preparation leaves it as it is.
    if (PRINTABLE_ASCII.test(password) || bytes.length > MOST_PREPARED_BYTES) return bytes;
    return new TextEncoder().encode(saslprep(password) ?? password);
  }
  if (password.length > MOST_PREPARED_BYTES) return password;
  const text = decodeUtf8(password);
  const prepared = text === undefined ? undefined : saslprep(text);
  return prepared === undefined ? password : new TextEncoder().encode(prepared);
}

function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    // Without ignoreBOM a leading U+FEFF would vanish from a password that is then used raw.
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}
