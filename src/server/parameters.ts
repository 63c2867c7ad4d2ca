/**
 * Parameters: the settings that a client wants and a server has. A set is immutable and interned, so that the check at
 * every checkout, "does this server have what this client wants?", is the comparison of two references. Names that
 * PostgreSQL reports by ParameterStatus are in every set; others only where a client named them at its start.
 */

import { canonicalName, isParameterName } from "../config/parameter_names.ts";

/** An immutable map of parameter name → value. */
export interface ParameterSet {
  readonly values: ReadonlyMap<string, string>;
}

/** What makes a server's parameters a client's. */
export interface ParameterDifference {
  set: [name: string, value: string][];
  reset: string[];
}

/** Never set for a client: read-only, server-owned, transaction state, or fields of the protocol. */
const FIXED = new Set(
  ("is_superuser session_authorization session_user current_user server_version " +
    "server_version_num server_encoding integer_datetimes in_hot_standby block_size " +
    "wal_block_size wal_segment_size max_index_keys max_identifier_length max_function_args " +
    "data_checksums data_directory_mode lc_collate lc_ctype transaction_isolation " +
    "transaction_read_only transaction_deferrable user database replication options " +
    "scram_iterations")
    .split(" "),
);

/** PostgreSQL 18 reports fifteen, extensions may add some; a server with more than this is no PostgreSQL. */
export const MOST_REPORTED = 200;

const decoder = new TextDecoder();

/** Name and value of a ParameterStatus with the body `bytes[start..end)`; `undefined` when it is malformed. */
export function readParameterStatus(
  bytes: Uint8Array,
  start: number,
  end: number,
): { name: string; value: string } | undefined {
  const nameEnd = bytes.indexOf(0, start);
  if (nameEnd <= start || nameEnd >= end || bytes.indexOf(0, nameEnd + 1) !== end - 1) {
    return undefined;
  }
  return {
    name: canonicalName(decoder.decode(bytes.subarray(start, nameEnd))),
    value: decoder.decode(bytes.subarray(nameEnd + 1, end - 1)),
  };
}

/** Whether a client may have its own value of this parameter. */
export function settable(name: string): boolean {
  return isParameterName(name) && name.length < 64 && !FIXED.has(name.toLowerCase());
}

const interned = new Map<string, ParameterSet>();
let internedLetters = 0;
/** Past this many sets or letters the table starts anew: sharing is lost for a while, nothing else. */
const MOST_INTERNED = 4096;
const MOST_INTERNED_LETTERS = 4 * 1024 * 1024;

/** The one set object for these values. */
export function parameterSet(values: ReadonlyMap<string, string>): ParameterSet {
  let key = "";
  for (const name of [...values.keys()].sort()) key += `${name}\0${values.get(name)}\0`;
  const known = interned.get(key);
  if (known !== undefined) return known;
  internedLetters += key.length;
  if (interned.size >= MOST_INTERNED || internedLetters > MOST_INTERNED_LETTERS) {
    interned.clear();
    internedLetters = key.length;
  }
  const set: ParameterSet = { values: new Map(values) };
  interned.set(key, set);
  return set;
}

/** The set with no values. */
export const NO_PARAMETERS: ParameterSet = parameterSet(new Map());

/** The same set with one value changed. */
export function withParameter(set: ParameterSet, name: string, value: string): ParameterSet {
  if (set.values.get(name) === value) return set;
  const values = new Map(set.values);
  values.set(name, value);
  return parameterSet(values);
}

/** The same set without one name. */
export function withoutParameter(set: ParameterSet, name: string): ParameterSet {
  if (!set.values.has(name)) return set;
  const values = new Map(set.values);
  values.delete(name);
  return parameterSet(values);
}

/**
 * What a client wants: the server's defaults overlaid with what its StartupMessage asks for. `managed` names belong to
 * the operator and are left alone.
 */
export function clientParameters(
  defaults: ParameterSet,
  asked: Iterable<readonly [string, string]>,
  managed: ReadonlySet<string>,
): ParameterSet {
  const values = new Map(defaults.values);
  for (const [rawName, rawValue] of asked) {
    const name = canonicalName(rawName);
    if (!settable(name) || managed.has(name)) continue;
    values.set(name, name === "client_encoding" ? canonicalEncoding(rawValue) : rawValue);
  }
  return parameterSet(values);
}

/** PostgreSQL reports encodings by their official names; drivers ask in many spellings. */
function canonicalEncoding(value: string): string {
  const plain = lettersAndDigits(value);
  if (plain === "utf8" || plain === "unicode") return "UTF8";
  if (plain === "latin1" || plain === "iso88591") return "LATIN1";
  if (plain === "sqlascii") return "SQL_ASCII";
  return value;
}

/** What is left of a text of letters and digits, in lower case. */
function lettersAndDigits(text: string): string {
  let plain = "";
  for (const letter of text.toLowerCase()) {
    if (letter >= "a" && letter <= "z" || letter >= "0" && letter <= "9") plain += letter;
  }
  return plain;
}

/**
 * What must be set or reset on a server with `has` for a client that wants `wants`; `reported` are the names that the
 * server reports by itself. `undefined` when nothing differs.
 */
export function difference(
  has: ParameterSet,
  wants: ParameterSet,
  reported: ReadonlySet<string>,
): ParameterDifference | undefined {
  const set: [string, string][] = [];
  const reset: string[] = [];
  for (const [name, value] of wants.values) {
    if (has.values.get(name) !== value && settable(name)) set.push([name, value]);
  }
  for (const name of has.values.keys()) {
    if (!wants.values.has(name) && !reported.has(name) && settable(name)) reset.push(name);
  }
  if (set.length === 0 && reset.length === 0) return undefined;
  // A role may lack the right to the rest: it goes first, and comes last.
  const role = has.values.has("role");
  const other = role ? reset.filter((name) => name !== "role") : reset;
  const wanted = wants.values.get("role");
  const most = set.filter(([name]) => name !== "role");
  return {
    reset: role ? ["role", ...other] : other,
    set: wanted === undefined ? most : [...most, ["role", wanted]],
  };
}

/** One query that applies a difference. `set_config` takes lists (`search_path`) as they are, SET would quote them. */
export function differenceQuery(difference: ParameterDifference): string {
  const parts = difference.reset.map((name) => `RESET ${quoteName(name)}`);
  if (difference.set.length > 0) {
    const calls = difference.set.map(([name, value]) =>
      `pg_catalog.set_config(${literal(name)}, ${literal(value)}, false)`
    );
    parts.push(`SELECT ${calls.join(", ")}`);
  }
  return parts.join("; ");
}

/** A literal that means the same whatever `standard_conforming_strings` is. */
export function literal(text: string): string {
  return `E'${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;
}

/** A name, perhaps with dots, as an identifier. */
export function quoteName(name: string): string {
  return name.split(".").map((part) => `"${part.replaceAll('"', '""')}"`).join(".");
}

/** Without the parameters that the server does not report: they are gone after RESET ALL. */
export function onlyReported(set: ParameterSet, reported: ReadonlySet<string>): ParameterSet {
  let extra = false;
  for (const name of set.values.keys()) if (!reported.has(name)) extra = true;
  if (!extra) return set;
  const values = new Map<string, string>();
  for (const [name, value] of set.values) if (reported.has(name)) values.set(name, value);
  return parameterSet(values);
}
