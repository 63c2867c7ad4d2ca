/**
 * What PostgreSQL answers to an auth_query: one row with a password, or none. Read from the whole of its answer, since it
 * is small. Source: PostgreSQL manual, "Message Formats".
 */

import { parseVerifier } from "../../auth/scram.ts";
import type { Looked } from "../../auth/lookup_cache.ts";
import { canonicalName } from "../../config/parameter_names.ts";
import type { StoredPassword } from "../../config/settings.ts";
import {
  PARAMETER_BUDGET_BYTES,
  parameterBytes,
  parameterFault,
} from "../../config/startup_parameters.ts";
import { passwordForm } from "../../config/stored_password.ts";
import { Backend, readLength } from "../../protocol/codes.ts";
import { readError } from "../../protocol/error_response.ts";
import { textOfBytes } from "../../protocol/text_bytes.ts";

/** A user whom PostgreSQL knows. */
export interface FoundUser {
  readonly password: StoredPassword;
  /** Of the column `startup_parameters`: canonical name and value, by name. */
  readonly parameters: readonly (readonly [string, string])[];
  /** Why some of that column, or all, was not taken. */
  readonly dropped: readonly DropReason[];
}

/** Why parameters of a user's own are not used; labels of a metric. */
export type DropReason =
  | "auth_query_bad_type"
  | "auth_query_invalid_json"
  | "auth_query_invalid_shape"
  | "auth_query_invalid_entry"
  | "auth_query_oversize"
  | "auth_query_overlay_oversize"
  | "dedicated_mode";

interface Column {
  name: string;
  type: number;
}

type Value = Uint8Array | undefined;

/** `name`, `text`, `bpchar`, `varchar`, and a literal without a type. */
const TEXTS = new Set([19, 25, 1042, 1043, 705]);
/** `json`, `jsonb`. */
const JSON_TYPES = new Set([114, 3802]);
/** Longest that a password of PostgreSQL's may be; its own longest verifier has some 200. */
const MOST_PASSWORD_BYTES = 2000;

/** Reads the answer: all messages up to ReadyForQuery. */
export function readAnswer(bytes: Uint8Array): Looked<FoundUser> {
  let columns: Column[] = [];
  const rows: Value[][] = [];
  for (let at = 0; at + 5 <= bytes.length;) {
    const start = at + 5;
    const end = at + 1 + readLength(bytes, at + 1);
    switch (bytes[at]) {
      case Backend.ErrorResponse: {
        const { code, message } = readError(bytes, start, end);
        return failed(`${code}: ${message}${hintFor(code)}`);
      }
      case Backend.RowDescription:
        columns = columnsOf(bytes, start);
        break;
      case Backend.DataRow:
        rows.push(valuesOf(bytes, start));
    }
    at = end;
  }
  if (rows.length > 1) return failed(`the query returns ${rows.length} rows, and not one`);
  const index = passwordColumn(columns);
  if (typeof index === "string") return failed(index);
  const row = rows[0];
  const password = row?.[index];
  if (row === undefined || password === undefined || password.length === 0) {
    return { kind: "missing" };
  }
  const text = textOfBytes(password, 0, password.length);
  const own = columns.findIndex(({ name }) => name === "startup_parameters");
  const found = { password: storedOf(text), ...parametersOf(columns[own], row[own]) };
  return { kind: "found", found };
}

function failed(message: string): Looked<FoundUser> {
  return { kind: "failed", message };
}

/** Names that are not found are most often those of the operator's own schema. */
function hintFor(code: string): string {
  return code === "42P01" || code === "42883"
    ? " (search_path is pg_catalog here: name the schema in the query)"
    : "";
}

function columnsOf(bytes: Uint8Array, start: number): Column[] {
  const columns: Column[] = [];
  let at = start + 2;
  for (let left = bytes[start] << 8 | bytes[start + 1]; left > 0; left--) {
    const end = bytes.indexOf(0, at);
    columns.push({ name: textOfBytes(bytes, at, end), type: readLength(bytes, end + 7) });
    at = end + 19;
  }
  return columns;
}

function valuesOf(bytes: Uint8Array, start: number): Value[] {
  const values: Value[] = [];
  let at = start + 2;
  for (let left = bytes[start] << 8 | bytes[start + 1]; left > 0; left--) {
    const length = readLength(bytes, at);
    at += 4;
    values.push(length < 0 ? undefined : bytes.subarray(at, at + length));
    at += Math.max(0, length);
  }
  return values;
}

/** Its index, or what is wrong. */
function passwordColumn(columns: readonly Column[]): number | string {
  for (const wanted of ["passwd", "password"]) {
    const index = columns.findIndex(({ name, type }) => name === wanted && TEXTS.has(type));
    if (index >= 0) return index;
  }
  const others = columns.filter(({ name }) => name !== "startup_parameters");
  if (others.length === 1 && TEXTS.has(others[0].type)) return columns.indexOf(others[0]);
  return 'the query returns no column "passwd" or "password" of type text';
}

function storedOf(text: string): StoredPassword {
  if (text.length <= MOST_PASSWORD_BYTES) {
    const form = passwordForm(text);
    if (form === "md5") return { kind: "md5", hash: text.toLowerCase() };
    if (form === "scram" && parseVerifier(text) !== undefined) {
      return { kind: "scram", verifier: text };
    }
  }
  return { kind: "unsupported", what: "a password of auth_query that is neither md5 nor SCRAM" };
}

type Parameters = Pick<FoundUser, "parameters" | "dropped">;

function parametersOf(column: Column | undefined, value: Value): Parameters {
  const nothing = (...dropped: DropReason[]): Parameters => ({ parameters: [], dropped });
  if (column === undefined || value === undefined || value.length === 0) return nothing();
  if (!TEXTS.has(column.type) && !JSON_TYPES.has(column.type)) {
    return nothing("auth_query_bad_type");
  }
  if (value.length > PARAMETER_BUDGET_BYTES) return nothing("auth_query_oversize");
  let read: unknown;
  try {
    read = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(value));
  } catch {
    return nothing("auth_query_invalid_json");
  }
  if (typeof read !== "object" || read === null || Array.isArray(read)) {
    return nothing("auth_query_invalid_shape");
  }
  const parameters = new Map<string, string>();
  const dropped: DropReason[] = [];
  for (const [name, setting] of Object.entries(read)) {
    if (typeof setting !== "string" || parameterFault(name, setting) !== undefined) {
      dropped.push("auth_query_invalid_entry");
    } else parameters.set(canonicalName(name), setting);
  }
  if (parameterBytes(parameters) > PARAMETER_BUDGET_BYTES) {
    return nothing(...dropped, "auth_query_oversize");
  }
  return { parameters: [...parameters].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)), dropped };
}
