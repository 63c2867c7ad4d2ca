/**
 * Parameters: the settings that a client wants and a server has. A set is immutable and interned, so that the check at
 * every checkout, "does this server have what this client wants?", is the comparison of two references. Names that
 * PostgreSQL reports by ParameterStatus are in every set; others only where a client named them at its start.
 */

import { canonicalName, isParameterName } from "../config/parameter_names.ts";
import { bytesOfText, hasBytes, isAscii, receivedText } from "../protocol/text_bytes.ts";

/** An immutable map of parameter name → value. */
export interface ParameterSet {
  readonly values: ReadonlyMap<string, string>;
}

/** Whose parameters these are: a client, or a server. */
export interface Holder {
  parameters: ParameterSet;
  /**
   * Reported names whose values are its own: asked for by the client, set on the server. The others are what the server
   * has by itself. `undefined`: not known, since it was frozen by a program that did not know either.
   */
  own: readonly string[] | undefined;
}

/** What is known of a pool's servers. */
export interface Reports {
  /** Names that PostgreSQL reports by itself. */
  readonly reported: ReadonlySet<string>;
  /** What a server has by itself. */
  readonly defaults: ParameterSet | undefined;
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

/**
 * Name and value of a ParameterStatus with the body `bytes[start..end)`, sent to a connection with this
 * `client_encoding`; `undefined` when it is malformed.
 */
export function readParameterStatus(
  bytes: Uint8Array,
  start: number,
  end: number,
  encoding?: string,
): { name: string; value: string } | undefined {
  const nameEnd = bytes.indexOf(0, start);
  if (nameEnd <= start || nameEnd >= end || bytes.indexOf(0, nameEnd + 1) !== end - 1) {
    return undefined;
  }
  return {
    name: canonicalName(receivedText(bytes, start, nameEnd, encoding)),
    value: receivedText(bytes, nameEnd + 1, end - 1, encoding),
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

/** Reported names whose values are the holder's own; where that is not known, those that are not a server's own. */
export function ownNames({ parameters, own }: Holder, { reported, defaults }: Reports): string[] {
  if (own !== undefined) return own.filter((name) => reported.has(name));
  const names: string[] = [];
  for (const [name, value] of parameters.values) {
    if (reported.has(name) && defaults?.values.get(name) !== value) names.push(name);
  }
  return names;
}

/** Those of `names` that a client may have a value of. */
export function settableNames(names: Iterable<string>, reported: ReadonlySet<string>): string[] {
  return [...names].filter((name) => reported.has(name) && settable(name));
}

/**
 * What must be set or reset on a server for a client. What the client has not asked for is the server's to say, and no
 * difference. `undefined` when there is none.
 */
export function difference(
  server: Holder,
  client: Holder,
  reports: Reports,
): ParameterDifference | undefined {
  const { reported } = reports;
  const has = server.parameters.values;
  const wants = client.parameters.values;
  const clientsOwn = ownNames(client, reports);
  const set: [string, string][] = [];
  const reset: string[] = [];
  for (const [name, value] of wants) {
    if (reported.has(name) && !clientsOwn.includes(name)) continue;
    if (has.get(name) === value || !settable(name)) continue;
    // Half of a value would be put together with what another client has left of the rest.
    if (name === "DateStyle") reset.push(name);
    set.push([name, value]);
  }
  for (const name of ownNames(server, reports)) {
    if (!clientsOwn.includes(name) && settable(name)) reset.push(name);
  }
  for (const name of has.keys()) {
    if (!wants.has(name) && !reported.has(name) && settable(name)) reset.push(name);
  }
  if (set.length === 0 && reset.length === 0) return undefined;
  return {
    // A role may lack the right to the rest: it goes first, and comes last.
    reset: has.has("role") ? ["role", ...reset.filter((name) => name !== "role")] : reset,
    // PostgreSQL reports what was changed last first, and in the encoding that holds in the end.
    set: set.sort(([a], [b]) => rank(a) - rank(b)),
  };
}

function rank(name: string): number {
  return name === "role" ? 2 : name === "client_encoding" ? 1 : 0;
}

/** Reported, but a matter of who has the connection. */
const PERSONAL = ["is_superuser", "session_authorization"];

/** The same defaults, with what a server has that is neither its client's own nor unreported. */
export function withDefaultsOf(
  defaults: ParameterSet,
  { values }: ParameterSet,
  { own, reported }: { own: readonly string[]; reported: ReadonlySet<string> },
): ParameterSet {
  let changed = defaults;
  for (const [name, value] of values) {
    const personal = own.includes(name) || PERSONAL.includes(name);
    if (reported.has(name) && !personal) changed = withParameter(changed, name, value);
  }
  return changed;
}

/** One query that applies a difference. `set_config` takes lists (`search_path`) as they are, SET would quote them. */
export function differenceQuery(difference: ParameterDifference): string {
  const parts = difference.reset.map((name) => `RESET ${quoteName(name)}`);
  if (difference.set.length > 0) {
    // What they return may be nothing that the client's encoding has.
    const calls = difference.set.map(([name, value]) =>
      `pg_catalog.set_config(${literal(name)}, ${literal(value)}, false) IS NULL`
    );
    parts.push(`SELECT ${calls.join(", ")}`);
  }
  return parts.join("; ");
}

/**
 * An expression of this text, in ASCII alone: it means the same whatever `standard_conforming_strings` and
 * `client_encoding` are. Bytes that are no characters are the database's as they are.
 */
export function literal(text: string): string {
  if (isAscii(text)) return `E'${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;
  let hex = "";
  for (const byte of bytesOfText(text)) hex += byte.toString(16).padStart(2, "0");
  const encoding = hasBytes(text) ? "pg_catalog.getdatabaseencoding()" : "'UTF8'";
  return `pg_catalog.convert_from(pg_catalog.decode('${hex}', 'hex'), ${encoding})`;
}

/** The same of a text whose bytes are in the database's encoding, all of them. */
export function databaseLiteral(text: string): string {
  const hex = bytesOfText(text).toHex();
  return `pg_catalog.convert_from(pg_catalog.decode('${hex}', 'hex'), ` +
    "pg_catalog.getdatabaseencoding())";
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
