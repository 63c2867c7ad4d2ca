/**
 * What a client's StartupMessage sets. PostgreSQL is asked at the login, on a server of the pool, whether it takes the
 * values and how it spells them. What it has answered holds for all who ask the same of this pool; most ask for nothing
 * else than what servers have by themselves, and their logins need no server.
 *
 * What must hold: the question leaves nothing on the server, and is asked as if nobody had used that before.
 */

import { canonicalName } from "../../config/parameter_names.ts";
import { asSent, NEWEST_MINOR, readReplication, startupSettings } from "../../protocol/startup.ts";
import type { ParameterFault } from "../../protocol/startup_options.ts";
import { bytesOfText, isAscii, textOfBytes } from "../../protocol/text_bytes.ts";
import { peerName } from "../../reasons.ts";
import type { SessionState } from "../state.ts";
import {
  clientParameters,
  databaseLiteral,
  difference,
  type Holder,
  literal,
  NO_PARAMETERS,
  onlyReported,
  type ParameterSet,
  quoteName,
  settable,
  settableNames,
} from "../../server/parameters.ts";

/** The pool, as far as it matters to what is asked for. */
export interface StartPool {
  readonly defaults: ParameterSet | undefined;
  readonly managed: ReadonlySet<string>;
  readonly reported: ReadonlySet<string>;
  readonly settings: { readonly application_name_pinned: boolean };
}

/** Name and value, in the order in which they are set. */
export type Settings = readonly (readonly [name: string, value: string])[];

/** What a StartupMessage asks for. */
export interface Start {
  /** Taken as it is by every PostgreSQL. */
  readonly plain: Settings;
  /** PostgreSQL is to be asked about these. */
  readonly open: Settings;
}

/** PostgreSQL's longest name (`NAMEDATALEN`). */
const NAME_BYTES = 63;
/** Answers kept for a pool. */
const MOST_ANSWERS = 1000;
/** How drivers spell the encoding that most have. */
const UTF8 = new Set(["utf8", "utf-8", "unicode"]);

/** Answers for one set of defaults: other defaults, other answers. */
interface Answers {
  readonly defaults: ParameterSet | undefined;
  readonly bySettings: Map<string, Settings>;
}

const answersOf = new WeakMap<StartPool, Answers>();

/** Notes what a StartupMessage says of its sender; tells what of it can't be read. */
export function noteStartup(
  state: SessionState,
  parameters: Map<string, string>,
  minor: number,
): string | undefined {
  state.user = parameters.get("user") ?? "";
  state.database = parameters.get("database") || state.user;
  state.applicationName = parameters.get("application_name") ?? "pg_doorman";
  state.minor = Math.min(minor, NEWEST_MINOR);
  state.startup = asSent(parameters);
  const asked = parameters.get("replication");
  const replication = asked === undefined ? "none" as const : readReplication(asked);
  if (replication === undefined) {
    return `invalid value for parameter "replication": "${peerName(asked ?? "")}"`;
  }
  state.replication = replication;
  return undefined;
}

/** Opens up what a StartupMessage sets, or tells what of it PostgreSQL would not take. */
export function openStartup(
  state: Pick<SessionState, "startup">,
): ParameterFault | undefined {
  const read = startupSettings(state.startup);
  if ("fault" in read) return read.fault;
  state.startup = read.settings;
  return undefined;
}

/** Sorts what is asked for; what is the operator's is left out. */
export function startOf(pool: StartPool, asked: Settings): Start {
  const defaults = pool.defaults!.values;
  const names: [string, string][] = [];
  const others: [string, string][] = [];
  for (const [rawName, value] of asked) {
    const name = canonicalName(rawName);
    const pinned = name === "application_name" && pool.settings.application_name_pinned;
    if (pinned || pool.managed.has(name)) continue;
    if (name === "application_name") names.push([name, cleanName(value, defaults)]);
    else others.push([name, value]);
  }
  const namesArePlain = names.every(([, value]) =>
    value.length <= NAME_BYTES && isPrintable(value)
  );
  const areDefaults = others.every(([name, value]) =>
    defaults.get(name) === value ||
    name === "client_encoding" && defaults.get(name) === "UTF8" && UTF8.has(value.toLowerCase())
  );
  // They are the client's own all the same: a reload of PostgreSQL's configuration does not change them.
  const own = others.map(([name]): [string, string] => [name, defaults.get(name)!]);
  return {
    plain: [...namesArePlain ? names : [], ...areDefaults ? own : []],
    open: [...namesArePlain ? [] : names, ...areDefaults ? [] : others],
  };
}

/** As PostgreSQL keeps the name of an application: what is no printable ASCII is told in ASCII, or not at all. */
function cleanName(value: string, defaults: ReadonlyMap<string, string>): string {
  const bytes = isPrintable(value) ? [] : bytesOfText(value);
  if (bytes.length === 0 || bytes.length > NAME_BYTES) return value;
  const told = parseInt(defaults.get("server_version") ?? "") >= 16;
  return Array.from(bytes, (byte) => {
    if (byte >= 0x20 && byte <= 0x7e) return String.fromCharCode(byte);
    return told ? `\\x${byte.toString(16).padStart(2, "0")}` : "?";
  }).join("");
}

function isPrintable(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text[i]! < " " || text[i]! > "~") return false;
  return true;
}

/** How PostgreSQL spells what is asked for; `undefined`: it must be asked. */
export function spelling(pool: StartPool, { plain, open }: Start): Settings | undefined {
  if (open.length === 0) return plain;
  const answers = answersOf.get(pool);
  if (answers === undefined || answers.defaults !== pool.defaults) return undefined;
  const answer = answers.bySettings.get(JSON.stringify(open));
  return answer === undefined ? undefined : [...plain, ...answer];
}

/**
 * What PostgreSQL is asked on a server: within the query's own transaction they are first what
 * they were at the server's login. The answer says what is spelled otherwise, in hexadecimal, since
 * `client_encoding` may be among what is set.
 */
export function startQuestion(pool: StartPool, server: Holder, { open }: Start): string {
  const names = difference(server, { parameters: pool.defaults!, own: [] }, pool)?.reset ?? [];
  // Not by NULLIF: the client's search_path, or the role's, may have another `=` than PostgreSQL's.
  // What is not ASCII is in the database's encoding, and comes back as it is in UTF-8.
  const calls = open.map(([name, value]) =>
    !isAscii(value)
      ? `pg_catalog.set_config(${literal(name)}, ${databaseLiteral(value)}, true)`
      : `(SELECT CASE WHEN v OPERATOR(pg_catalog.=) ${literal(value)}::pg_catalog.text THEN NULL ` +
        `ELSE v END FROM pg_catalog.set_config(${literal(name)}, ${literal(value)}, true) AS v)`
  );
  const values = `pg_catalog.array_to_json(ARRAY[${calls.join(", ")}])::pg_catalog.text`;
  // Where PostgreSQL knows of no encoding the bytes come as they are.
  const ofDatabase = pool.defaults!.values.get("server_encoding");
  const encoding = ofDatabase === "SQL_ASCII" ? "SQL_ASCII" : "UTF8";
  return [
    ...names.map((name) => `SET LOCAL ${quoteName(name)} TO DEFAULT`),
    `SELECT pg_catalog.encode(pg_catalog.convert_to(${values}, '${encoding}'), 'hex')`,
  ].join("; ");
}

/** Notes PostgreSQL's answer. Returns the name of a parameter that it takes and that a pool can't keep for a client. */
export function noteSpelling(pool: StartPool, { open }: Start, answer: string): string | undefined {
  const unkept = open.find(([name]) => !settable(name));
  if (unkept !== undefined) return unkept[0];
  const bytes = Uint8Array.fromHex(answer);
  const values = JSON.parse(
    textOfBytes(bytes, 0, bytes.length),
  ) as (string | null)[];
  let answers = answersOf.get(pool);
  if (answers === undefined || answers.defaults !== pool.defaults) {
    answers = { defaults: pool.defaults, bySettings: new Map() };
    answersOf.set(pool, answers);
  }
  const { bySettings } = answers;
  if (bySettings.size >= MOST_ANSWERS) bySettings.clear();
  bySettings.set(JSON.stringify(open), open.map(([name, value], i) => [name, values[i] ?? value]));
  return undefined;
}

/** What a log-in comes to. */
export interface Beginning extends Pick<SessionState, "parameters" | "initial" | "own"> {
  /** Those of its parameters that the client is told of. */
  readonly told: ParameterSet;
  /** What it is told of the name of its application, if that is cut. */
  readonly notice: string | undefined;
}

/** The client's parameters at the end of its login, of the server's and its own. */
export function begin(
  { defaults, managed, reported }: StartPool,
  asked: Settings,
  values: Settings,
): Beginning {
  const parameters = clientParameters(defaults!, values, managed);
  const initial = clientParameters(NO_PARAMETERS, values, managed);
  return {
    parameters,
    initial,
    own: settableNames(initial.values.keys(), reported),
    told: onlyReported(parameters, reported),
    notice: truncation(asked),
  };
}

/** What PostgreSQL's notice says of a name of an application that it cuts. */
function truncation(asked: Settings): string | undefined {
  for (const [name, value] of asked) {
    if (canonicalName(name) !== "application_name") continue;
    const bytes = new TextEncoder().encode(value);
    if (bytes.length <= NAME_BYTES) continue;
    let end = NAME_BYTES;
    while ((bytes[end]! & 0xc0) === 0x80) end--;
    const cut = new TextDecoder().decode(bytes.subarray(0, end));
    return `identifier "${value}" will be truncated to "${cut}"`;
  }
  return undefined;
}
