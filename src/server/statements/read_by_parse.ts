// hot path
/**
 * What a Parse reads beside its text: parameters of the session, and what transactions under way have changed. A
 * prepared statement is shared by those alone for whom both are the same, so this file says of a set of parameters which
 * statements it may share (`parseKey`), and of a text whether a Parse behind it may read something else (`parseMarks`).
 *
 * What must hold: what is not known is taken for read, and for changed. A statement that is not shared without need costs
 * a Parse; one that is shared wrongly gives a client another's constants, types, or tables.
 */

import { CONFORMING, isBlank, scanner, Token } from "../../protocol/sql/scanner.ts";
import { follows, isWord } from "../../protocol/sql/words.ts";
import {
  CHANGES_PARSE,
  CREATES,
  DEALLOCATES,
  DEALLOCATES_ALL,
  DIRTY_MARKS,
  LOCAL_SET,
  NAMES,
  SEVERAL,
  TEMP_PATH,
  UNKNOWN_NAMES,
} from "../mark_bits.ts";
import type { ParameterSet } from "../parameters.ts";
import { Dirty, type ServerState } from "../state.ts";

/**
 * Parameters that no Parse reads, in lower case. Parse analysis makes constants of literals by the input functions of
 * their types and looks names up; it does not plan, run, or print anything.
 */
const NOT_READ = new Set([
  // Names and figures for people.
  "application_name",
  "client_min_messages",
  "log_min_messages",
  "log_min_duration_statement",
  "log_statement",
  "log_duration",
  "track_activities",
  // When to give up.
  "statement_timeout",
  "lock_timeout",
  "transaction_timeout",
  "idle_in_transaction_session_timeout",
  "idle_session_timeout",
  "deadlock_timeout",
  "tcp_keepalives_idle",
  "tcp_keepalives_interval",
  "tcp_keepalives_count",
  "tcp_user_timeout",
  "client_connection_check_interval",
  // How values are printed: output functions alone.
  "extra_float_digits",
  "bytea_output",
  // How a plan is made, and run: at Bind and later.
  "work_mem",
  "hash_mem_multiplier",
  "maintenance_work_mem",
  "temp_buffers",
  "plan_cache_mode",
  "random_page_cost",
  "seq_page_cost",
  "effective_cache_size",
  "max_parallel_workers_per_gather",
  "enable_seqscan",
  "enable_indexscan",
  "enable_nestloop",
  "enable_hashjoin",
  "enable_mergejoin",
  "jit",
  "from_collapse_limit",
  "join_collapse_limit",
  // How a transaction runs.
  "synchronous_commit",
  "commit_delay",
  "default_transaction_isolation",
  "default_transaction_read_only",
  "default_transaction_deferrable",
  "transaction_isolation",
  "transaction_read_only",
  "transaction_deferrable",
  // The server's, the same for all clients of a pool; another session user pins its client.
  "is_superuser",
  "session_authorization",
  "server_version",
  "server_encoding",
  "integer_datetimes",
  "in_hot_standby",
  "scram_iterations",
]);

/** What PostgreSQL has by itself: left out, so that most keys are short. They mean the same in every process. */
const BUILT_IN = new Map([
  ["client_encoding", "UTF8"],
  ["datestyle", "ISO, MDY"],
  ["intervalstyle", "postgres"],
  ["search_path", '"$user", public'],
  ["standard_conforming_strings", "on"],
]);

const keys = new WeakMap<ParameterSet, string>();
/** One copy of each, as many as there are. */
let copies = new Map<string, string>();
const MOST_COPIES = 4096;

/** The values of a server's parameters that a Parse there may read. Equal texts with equal keys mean the same. */
export function parseKey(parameters: ParameterSet): string {
  let key = keys.get(parameters);
  if (key !== undefined) return key;
  const parts: string[] = [];
  for (const [name, value] of parameters.values) {
    const lower = name.toLowerCase();
    if (NOT_READ.has(lower) || BUILT_IN.get(lower) === value) continue;
    parts.push(`${lower}=${value}\0`);
  }
  key = parts.sort().join("");
  if (copies.size >= MOST_COPIES) copies = new Map();
  const copy = copies.get(key);
  if (copy === undefined) copies.set(key, key);
  keys.set(parameters, copy ?? key);
  return copy ?? key;
}

/** A text with these marks goes to the server. */
export function noteParseMarks(state: ServerState, marks: number): void {
  if ((marks & CHANGES_PARSE) !== 0) state.unsettled = true;
  if ((marks & DEALLOCATES_ALL) !== 0) state.deallocating = true;
  if ((marks & CREATES) !== 0) state.changedSchema = true;
}

/** Bits of `Dirty`: something is on the server that a Parse reads, and that is not asked about yet. */
const UNKNOWN_YET = Dirty.Set | Dirty.Config | Dirty.Temp;

/** No transaction runs, and nothing is owed: what a Parse reads is in `parameters`, if all was asked about. */
export function settle(state: ServerState): void {
  state.unsettled = (state.dirty & UNKNOWN_YET) !== 0 || state.asked !== 0;
}

/** Whether what a Parse reads now is known: then its statement may be shared by all who have the same key. */
export function isSettled(state: ServerState, pinned: number): boolean {
  return !state.unsettled && !state.changedSchema &&
    (state.dirty & Dirty.Temp | pinned & (Dirty.Set | Dirty.Temp)) === 0;
}

/** What is told of a text that may come anywhere. */
export const WITHIN = true;

/** Marks of texts that set something, or run what is written elsewhere. */
const SETS = NAMES | LOCAL_SET | UNKNOWN_NAMES | TEMP_PATH | CHANGES_PARSE |
  (DIRTY_MARKS & ~Dirty.Advisory);
/** Longer texts are not searched: they may have any word. */
const MOST_SEARCHED_BYTES = 64 * 1024;

/**
 * Of a whole text with these marks (marks.ts): whether what follows may be parsed into something else because of it
 * (`CHANGES_PARSE`), or find no prepared statements (`DEALLOCATES_ALL`), and whether it may create what others see
 * without a tag that tells (`CREATES`). `within`: in a transaction that goes on, where SELECT INTO may be undone.
 */
export function parseMarks(
  bytes: Uint8Array,
  start: number,
  end: number,
  marks: number,
  within: boolean,
): number {
  if ((marks & (SETS | SEVERAL)) !== 0) {
    const several = (marks & SEVERAL) !== 0;
    if (!several && (marks & NAMES) !== 0 && setsUnread(bytes, start, end)) return 0;
    let found = CHANGES_PARSE;
    if (
      (marks & DEALLOCATES) !== 0 || contains(bytes, start, end, "discard") ||
      contains(bytes, start, end, "deallocate")
    ) found |= DEALLOCATES_ALL;
    // SELECT INTO and CREATE TABLE AS among others.
    if ((marks & Dirty.Temp) === 0 && several && contains(bytes, start, end, "create")) {
      found |= CREATES;
    }
    return found;
  }
  if ((marks & DEALLOCATES) !== 0) {
    return hasAll(bytes, start, end) ? DEALLOCATES_ALL : 0;
  }
  let at = start;
  while (at < end && isBlank(bytes[at])) at++;
  switch (bytes[at]) {
    case 0x2f: // a comment, an empty statement
    case 0x2d:
    case 0x3b:
      scanner.begin(bytes, at, end, CONFORMING);
      while (scanner.next() === Token.Semicolon);
      at = scanner.start;
      break;
    default:
      break;
  }
  return beginning(bytes, at, end, within);
}

/** The same by the first word of the only statement. */
function beginning(bytes: Uint8Array, at: number, end: number, within: boolean): number {
  switch (bytes[at] === 0x28 ? 0x28 : bytes[at] | 0x20) {
    case 0x61: // a
      return follows(bytes, at, end, "alter") ? CHANGES_PARSE : 0;
    case 0x63: // c
      return follows(bytes, at, end, "create") ? CHANGES_PARSE | CREATES : 0;
    case 0x64: // d
      if (follows(bytes, at, end, "discard")) return CHANGES_PARSE | DEALLOCATES_ALL;
      return follows(bytes, at, end, "drop") ? CHANGES_PARSE : 0;
    case 0x65: // e
      return follows(bytes, at, end, "explain") ? CHANGES_PARSE : 0;
    case 0x69: // i
      return follows(bytes, at, end, "import") ? CHANGES_PARSE : 0;
    case 0x6c: // l
      return follows(bytes, at, end, "load") ? CHANGES_PARSE : 0;
    case 0x72: // r
      return follows(bytes, at, end, "reset") ? CHANGES_PARSE : 0;
    case 0x28: // an opening parenthesis, s, w
    case 0x73:
    case 0x77:
      if (!within || follows(bytes, at, end, "sav") || follows(bytes, at, end, "sho")) return 0;
      return contains(bytes, at, end, "into") ? CHANGES_PARSE | CREATES : 0;
    default:
      return 0;
  }
}

/** Whether the text is one SET of a parameter that no Parse reads. */
function setsUnread(bytes: Uint8Array, start: number, end: number): boolean {
  scanner.begin(bytes, start, end, CONFORMING);
  while (scanner.next() === Token.Semicolon);
  if (!isWord(scanner, "set")) return false;
  scanner.next();
  if (isWord(scanner, "transaction") || isWord(scanner, "constraints")) return true;
  if (isWord(scanner, "local") || isWord(scanner, "session")) {
    scanner.next();
    if (isWord(scanner, "characteristics") || isWord(scanner, "transaction")) return true;
  }
  if (scanner.kind !== Token.Word || scanner.end - scanner.start > 63) return false;
  let name = "";
  for (let i = scanner.start; i < scanner.end; i++) {
    name += String.fromCharCode(bytes[i] >= 0x41 && bytes[i] <= 0x5a ? bytes[i] | 0x20 : bytes[i]);
  }
  scanner.next();
  return NOT_READ.has(name) && (scanner.isSymbol(0x3d) || isWord(scanner, "to"));
}

/** Whether ALL is one of the words. */
function hasAll(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start > MOST_SEARCHED_BYTES) return true;
  scanner.begin(bytes, start, end, CONFORMING);
  for (;;) {
    const kind = scanner.next();
    if (kind === Token.End) return false;
    if (kind === Token.Unterminated || isWord(scanner, "all")) return true;
  }
}

/** Whether the word (of small letters) may stand there, in whatever. */
function contains(bytes: Uint8Array, start: number, end: number, word: string): boolean {
  if (end - start > MOST_SEARCHED_BYTES) return true;
  const first = word.charCodeAt(0);
  const last = end - word.length;
  for (let i = start; i <= last; i++) {
    if ((bytes[i] | 0x20) === first && follows(bytes, i, end, word)) return true;
  }
  return false;
}
