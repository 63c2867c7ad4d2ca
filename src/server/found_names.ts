/**
 * What a text names, and the names of parameters among the values of a Bind.
 */

import { readLength } from "../protocol/codes.ts";
import { UNKNOWN_NAMES } from "./mark_bits.ts";

const DOT = 0x2e;
const UNDERSCORE = 0x5f;
const DOLLAR = 0x24;

/** What a text names. */
export interface Found {
  /** `UNKNOWN_NAMES`, or 0. */
  marks: number;
  /** Parameters with a dot, as PostgreSQL compares them. */
  names: string[];
  /** What could be such a name, for all that is known. */
  likely: string[];
  /** Numbers of the values that are names of parameters. */
  values: number[];
  /** Channels of UNLISTEN; `*`: all. */
  channels: string[];
}

export function nothingFound(): Found {
  return { marks: 0, names: [], likely: [], values: [], channels: [] };
}

/** No more names than this are told; beyond, they are unknown. */
const MOST_FOUND = 100;
/** Channels of one text; a client has no more of them without a server of its own. */
export const MOST_CHANNELS_FOUND = 1000;
/** Longest name of a parameter that is followed. */
export const MOST_NAME_BYTES = 63;
/** Values of a Bind that may be names. */
export const MOST_VALUES = 16;

/** Adds the name of a parameter with a dot; `false`: it is not followed. */
export function noteName(found: Found, name: string): boolean {
  return addTo(found.names, name);
}

function addTo(names: string[], name: string): boolean {
  const folded = name.toLowerCase();
  if (names.includes(folded)) return true;
  if (names.length >= MOST_FOUND) return false;
  names.push(folded);
  return true;
}

/**
 * What the text found names, together with the values of a Bind: those that are names of parameters. `bytes[start..end)`
 * is its body from the terminator of the statement's name on, or what is there of it.
 */
export function withValues(found: Found, bytes: Uint8Array, start: number, end: number): Found {
  if (found.values.length === 0) return found;
  const all = { ...found, names: [...found.names] };
  let at = start + 1;
  const formats = int16(bytes, at, end);
  at += 2 + 2 * formats;
  const count = int16(bytes, at, end);
  at += 2;
  let left = found.values.length;
  for (let number = 1; number <= count && left > 0; number++) {
    if (at + 4 > end) break;
    const length = readLength(bytes, at);
    at += 4;
    if (found.values.includes(number)) {
      left--;
      if (length > MOST_NAME_BYTES || at + length > end) all.marks = UNKNOWN_NAMES;
      else if (length > 0 && !noteValue(all, bytes, at, at + length)) all.marks = UNKNOWN_NAMES;
    }
    if (length > 0) at += length;
  }
  if (left > 0) all.marks = UNKNOWN_NAMES;
  return all;
}

function int16(bytes: Uint8Array, at: number, end: number): number {
  return at + 2 > end ? 0 : bytes[at] << 8 | bytes[at + 1];
}

function noteValue(all: Found, bytes: Uint8Array, start: number, end: number): boolean {
  let dots = false;
  for (let i = start; i < end; i++) {
    if (bytes[i] === DOT) dots = true;
    else if (!nameByte(bytes[i])) return false;
  }
  return !dots || noteName(all, textOf(bytes, start, end));
}

/** Adds everything in `bytes[start..end)` that could be the name of a parameter with a dot. */
export function likelyNames(found: Found, bytes: Uint8Array, start: number, end: number): void {
  let at = start;
  while (at < end && found.likely.length < MOST_FOUND) {
    let dots = false;
    const from = at;
    while (at < end && (nameByte(bytes[at]) || bytes[at] === DOT)) {
      if (bytes[at] === DOT) dots = true;
      at++;
    }
    const likely = dots && at - from <= MOST_NAME_BYTES && bytes[from] > 0x39 &&
      bytes[at - 1] !== DOT;
    if (likely) addTo(found.likely, textOf(bytes, from, at));
    if (at === from) at++;
  }
}

function textOf(bytes: Uint8Array, start: number, end: number): string {
  let text = "";
  for (let i = start; i < end; i++) text += String.fromCharCode(bytes[i]);
  return text;
}

/** Whether it may be in a name that is followed. */
export function nameByte(byte: number): boolean {
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x7a && byte >= 0x41 || byte >= 0x30 && byte <= 0x39 ||
    byte === UNDERSCORE || byte === DOLLAR;
}
