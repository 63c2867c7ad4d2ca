// hot path
/**
 * The words that statement_look.ts knows, in a text and in the literals of one.
 */

import { isBlank } from "../protocol/sql/scanner.ts";
import { follows, precedes } from "../protocol/sql/words.ts";
import { NAMES, RUNS, UNKNOWN_NAMES } from "./mark_bits.ts";
import { Dirty } from "./state.ts";

const SLASH = 0x2f;
const UNDERSCORE = 0x5f;

/** Beside the marks of a literal: what it has. */
export const PG_TEMP = 1 << 28;
export const SEARCH_PATH = 1 << 29;

/** Words. */
export const Word = {
  Other: 0,
  Set: 1,
  Session: 2,
  Local: 3,
  Transaction: 4,
  Default: 5,
  Unlisten: 6,
  /** DO, CALL, EXECUTE. */
  Runs: 7,
  /** CREATE, EXPLAIN: EXECUTE may follow. */
  Create: 8,
  Explain: 9,
  Update: 10,
  Deallocate: 11,
  /** GLOBAL, REPLACE, INTO. */
  BeforeTemporary: 12,
  Temporary: 13,
  /** Names that count, quoted or not. */
  SetConfig: 14,
  PgSettings: 15,
  PgTemp: 16,
  Advisory: 17,
  SearchPath: 18,
  /** Functions of PostgreSQL's that run a text as SQL. */
  RunsText: 19,
} as const;

/** The names that count, quoted or not. */
export function nameAt(bytes: Uint8Array, start: number, end: number): number {
  const length = end - start;
  if (length < 7 || bytes[start + 2] !== UNDERSCORE && length < 10) return Word.Other;
  if (length === 10 && follows(bytes, start, end, "set_config")) return Word.SetConfig;
  if (length === 11 && follows(bytes, start, end, "search_path")) return Word.SearchPath;
  if (runsText(bytes, start, end)) return Word.RunsText;
  if ((bytes[start] | 0x20) !== 0x70) return Word.Other;
  if (length === 11 && follows(bytes, start, end, "pg_settings")) return Word.PgSettings;
  if (follows(bytes, start, end, "pg_temp")) return Word.PgTemp;
  const kind = follows(bytes, start, end, "pg_advisory_")
    ? start + 12
    : follows(bytes, start, end, "pg_try_advisory_")
    ? start + 16
    : -1;
  return kind < 0 || follows(bytes, kind, end, "xact_") ? Word.Other : Word.Advisory;
}

/** `query_to_xml` and its like, `ts_stat`, `ts_rewrite`. */
function runsText(bytes: Uint8Array, start: number, end: number): boolean {
  if (follows(bytes, start, end, "query_to_xml")) return true;
  const length = end - start;
  return length === 7 && follows(bytes, start, end, "ts_stat") ||
    length === 10 && follows(bytes, start, end, "ts_rewrite");
}

/** Keywords, and the same names. */
export function wordAt(bytes: Uint8Array, start: number, end: number): number {
  switch (end - start) {
    case 2:
      return follows(bytes, start, end, "do") ? Word.Runs : Word.Other;
    case 3:
      return follows(bytes, start, end, "set") ? Word.Set : Word.Other;
    case 4:
      if (follows(bytes, start, end, "temp")) return Word.Temporary;
      if (follows(bytes, start, end, "into")) return Word.BeforeTemporary;
      return follows(bytes, start, end, "call") ? Word.Runs : Word.Other;
    case 5:
      return follows(bytes, start, end, "local") ? Word.Local : Word.Other;
    case 6:
      if (follows(bytes, start, end, "create")) return Word.Create;
      if (follows(bytes, start, end, "global")) return Word.BeforeTemporary;
      return follows(bytes, start, end, "update") ? Word.Update : Word.Other;
    case 7:
      if (follows(bytes, start, end, "default")) return Word.Default;
      if (follows(bytes, start, end, "session")) return Word.Session;
      if (follows(bytes, start, end, "execute")) return Word.Runs;
      if (follows(bytes, start, end, "explain")) return Word.Explain;
      if (follows(bytes, start, end, "replace")) return Word.BeforeTemporary;
      return nameAt(bytes, start, end);
    case 8:
      if (follows(bytes, start, end, "unlisten")) return Word.Unlisten;
      return nameAt(bytes, start, end);
    case 9:
      if (follows(bytes, start, end, "temporary")) return Word.Temporary;
      return nameAt(bytes, start, end);
    case 10:
      if (follows(bytes, start, end, "deallocate")) return Word.Deallocate;
      return nameAt(bytes, start, end);
    case 11:
      if (follows(bytes, start, end, "transaction")) return Word.Transaction;
      return nameAt(bytes, start, end);
    default:
      return nameAt(bytes, start, end);
  }
}

/**
 * The content of a literal. It is no part of this text, but may be run as one (EXECUTE in a body, a function that takes
 * SQL, a search_path), so the names that count are looked for as they stand there.
 */
export function literalMarks(bytes: Uint8Array, start: number, end: number): number {
  let marks = 0;
  for (let i = start; i < end; i++) {
    const byte = bytes[i];
    if (byte === UNDERSCORE) {
      if (follows(bytes, i + 1, end, "config") && precedes(bytes, i, "set")) {
        marks |= Dirty.Config | NAMES | UNKNOWN_NAMES;
      } else if (follows(bytes, i + 1, end, "settings") && precedes(bytes, i, "pg")) {
        marks |= Dirty.Config;
      } else if (follows(bytes, i + 1, end, "advisory_")) {
        if (!follows(bytes, i + 10, end, "xact_")) marks |= Dirty.Advisory;
      } else if (follows(bytes, i + 1, end, "temp") && precedes(bytes, i, "pg")) {
        marks |= Dirty.Temp | PG_TEMP;
      } else if (textFunction(bytes, i, end)) {
        marks |= RUNS;
      } else if (follows(bytes, i + 1, end, "path") && precedes(bytes, i, "search")) {
        marks |= SEARCH_PATH;
      }
    } else if ((byte | 0x20) === 0x70 && temporaryIn(bytes, start, i, end)) marks |= Dirty.Temp;
  }
  return marks;
}

/** Whether pg_temp stands anywhere in `bytes[start..end)`. */
export function namesTemp(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start + 2; i < end; i++) {
    if (bytes[i] === UNDERSCORE && follows(bytes, i + 1, end, "temp") && precedes(bytes, i, "pg")) {
      return true;
    }
  }
  return false;
}

/** The same around an underscore; a longer word may begin so. */
export function textFunction(bytes: Uint8Array, at: number, end: number): boolean {
  if (follows(bytes, at + 1, end, "to_xml")) return precedes(bytes, at, "query");
  if (!precedes(bytes, at, "ts")) return false;
  return follows(bytes, at + 1, end, "stat") || follows(bytes, at + 1, end, "rewrite");
}

/** TEMP behind one of the words that it may follow, or behind a comment. */
function temporaryIn(bytes: Uint8Array, start: number, at: number, end: number): boolean {
  if (at - 4 < start || !precedes(bytes, at, "tem") || !follows(bytes, at, end, "p")) return false;
  let broken = false;
  let i = at - 4;
  while (i > start && isBlank(bytes[i])) {
    if (bytes[i] === 0x0a || bytes[i] === 0x0d) broken = true;
    i--;
  }
  if (bytes[i] === SLASH) return true;
  if (i === at - 4) return false;
  if (broken) return true;
  return precedes(bytes, i + 1, "create") || precedes(bytes, i + 1, "into") ||
    precedes(bytes, i + 1, "local") || precedes(bytes, i + 1, "global") ||
    precedes(bytes, i + 1, "replace");
}
