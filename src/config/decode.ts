/**
 * Turns the tables of a source tree into records by the rows of the schema: types, units, bounds, defaults, unknown and
 * deprecated keys. Every fault is reported and replaced by a harmless value, so that one pass finds them all; a record
 * is only used when its load ended without a fault.
 */

import { parseCidr } from "./address.ts";
import { BYTE_SIZE_FORMS, parseByteSize } from "./byte_size.ts";
import { DURATION_FORMS, namesDurationUnit, parseDuration } from "./duration.ts";
import { foreignHint } from "./foreign_keys.ts";
import { nearestName } from "./nearest.ts";
import type { Report } from "./report.ts";
import type { KeyRows, KeySpec } from "./schema.ts";
import type { SourceNode, TableNode } from "./source.ts";
import { keyPath, KIND_NAMES } from "./source.ts";

/** Decodes a value that is itself made of keys (`table`, `user_list`, `hba`, `ident`); undefined after a fault. */
export type CompoundDecoder = (spec: KeySpec, node: SourceNode, path: string) => unknown;

/** What decoding a section needs to know of it. */
export interface Section {
  rows: KeyRows;
  path: string;
  report: Report;
  compound?: CompoundDecoder;
  /** Keys of other sections, by the section's name as the operator would write it. */
  elsewhere?: ReadonlyMap<string, KeyRows>;
}

const BOUNDS: Partial<Record<KeySpec["type"], number>> = {
  u16: 65_535,
  u32: 4_294_967_295,
  percent: 100,
};

/** The record of a section; `node` is undefined when the file has no such section. */
export function decodeSection(
  section: Section,
  node: SourceNode | undefined,
): Record<string, unknown> {
  const { rows, path, report } = section;
  const record: Record<string, unknown> = {};
  if (node !== undefined && node.kind !== "table") {
    report.fault(path, `must be a table, is ${KIND_NAMES[node.kind]}`);
  }
  const table = node?.kind === "table" ? node : undefined;
  const written = table === undefined
    ? new Map<string, SourceNode>()
    : knownEntries(section, table);
  for (const [key, spec] of rows) {
    const entry = written.get(key);
    let value: unknown;
    if (entry !== undefined) {
      const entryPath = keyPath(path, key);
      report.place(entryPath, entry);
      value = decodeValue(section, spec, entry, entryPath) ?? neutralValue(spec);
      reportEffect(report, spec, value, entryPath);
    } else if (spec.required) {
      if (table !== undefined) {
        report.fault(keyPath(path, key), "is missing", missingHint(key, spec));
      }
      value = neutralValue(spec);
    } else value = defaultOf(spec);
    if (value !== undefined) record[key] = value;
  }
  return record;
}

/** The table's entries under their present names; unknown ones are reported. */
function knownEntries(section: Section, table: TableNode): Map<string, SourceNode> {
  const { rows, path, report } = section;
  const known = new Map<string, SourceNode>();
  for (const [name, entry] of table.entries) {
    if (rows.has(name)) {
      known.set(name, entry);
      continue;
    }
    const entryPath = keyPath(path, name);
    const key = keyOfAlias(rows, name);
    if (key !== undefined) {
      report.place(entryPath, entry);
      if (table.entries.has(key)) report.fault(entryPath, `is the old name of ${key}: keep one`);
      else {
        report.warn(entryPath, "is deprecated", `write ${key}`);
        known.set(key, entry);
      }
    } else {
      report.place(entryPath, entry);
      report.warn(entryPath, "unknown key, ignored", unknownHint(section, name));
    }
  }
  return known;
}

function keyOfAlias(rows: KeyRows, alias: string): string | undefined {
  for (const [key, spec] of rows) if (spec.aliases?.includes(alias)) return key;
  return undefined;
}

function unknownHint(section: Section, name: string): string | undefined {
  const foreign = foreignHint(name);
  for (const [title, rows] of section.elsewhere ?? []) {
    if (rows !== section.rows && rows.has(name)) return `it is a key of ${title}`;
  }
  if (foreign !== undefined) return foreign;
  const nearest = nearestName(name, section.rows.keys());
  return nearest === undefined ? undefined : `did you mean ${nearest}?`;
}

function reportEffect(report: Report, spec: KeySpec, value: unknown, path: string): void {
  if (report.isFaulty(path) || spec.inEffectWhen?.includes(value)) return;
  if (spec.later) report.warn(path, `not in effect yet: ${path}`);
  else if (spec.ignored !== undefined) report.note(path, `has no effect: ${spec.ignored}`);
}

/** The value of one key; undefined after a fault. */
function decodeValue(section: Section, spec: KeySpec, node: SourceNode, path: string): unknown {
  const { report } = section;
  switch (spec.type) {
    case "duration":
      return bounded(report, spec, path, durationOf(report, spec, node, path));
    case "seconds":
      return bounded(report, spec, path, secondsOf(report, node, path));
    case "bytes":
      return bounded(report, spec, path, bytesOf(report, node, path));
    case "u16":
    case "u32":
    case "usize":
    case "percent":
      return bounded(report, spec, path, integerOf(report, node, path));
    case "bool":
      return boolOf(report, node, path);
    case "string":
    case "path":
      return stringOf(report, spec, node, path);
    case "octal_mode":
      return modeOf(report, node, path);
    case "enum":
      return choiceOf(report, spec, node, path);
    case "string_list":
    case "path_list":
    case "cidr_list":
    case "url_list":
      return listOf(report, spec, node, path);
    case "string_map":
      return mapOf(report, node, path);
    case "hba":
    case "ident":
    case "table":
    case "user_list":
      return section.compound?.(spec, node, path);
    default:
      spec.type satisfies never;
  }
}

function mismatch(report: Report, node: SourceNode, path: string, wanted: string, hint?: string) {
  report.fault(path, `must be ${wanted}, is ${KIND_NAMES[node.kind]}`, hint);
  return undefined;
}

/** A whole number that can be counted with exactly. */
function wholeNumber(report: Report, value: bigint, path: string): number | undefined {
  if (value < 0n) report.fault(path, `must not be negative, is ${value}`);
  else if (value > BigInt(Number.MAX_SAFE_INTEGER)) report.fault(path, `is too large: ${value}`);
  else return Number(value);
  return undefined;
}

function integerOf(report: Report, node: SourceNode, path: string): number | undefined {
  if (node.kind === "integer") return wholeNumber(report, node.value, path);
  const hint = node.kind === "string" ? "write it without quotes" : undefined;
  return mismatch(report, node, path, "a whole number", hint);
}

function durationOf(
  report: Report,
  spec: KeySpec,
  node: SourceNode,
  path: string,
): number | undefined {
  if (node.kind === "integer") return wholeNumber(report, node.value, path);
  if (node.kind !== "string") return mismatch(report, node, path, "a duration", DURATION_FORMS);
  const ms = parseDuration(node.value);
  if (ms === undefined) {
    const shown = spec.secret ? "the value" : JSON.stringify(node.value);
    report.fault(path, `${shown} is not a duration`, DURATION_FORMS);
  }
  return ms;
}

function secondsOf(report: Report, node: SourceNode, path: string): number | undefined {
  if (node.kind === "integer") return wholeNumber(report, node.value, path);
  const hint = 'a whole number of seconds, or a number with its unit, as in "60s"';
  if (node.kind !== "string") return mismatch(report, node, path, "a number of seconds", hint);
  const ms = parseDuration(node.value);
  if (ms !== undefined && ms % 1000 === 0 && namesDurationUnit(node.value)) return ms / 1000;
  report.fault(path, `${JSON.stringify(node.value)} is not a number of seconds`, hint);
  return undefined;
}

function bytesOf(report: Report, node: SourceNode, path: string): number | undefined {
  if (node.kind === "integer") return wholeNumber(report, node.value, path);
  if (node.kind !== "string") return mismatch(report, node, path, "a size", BYTE_SIZE_FORMS);
  const bytes = parseByteSize(node.value);
  if (bytes === undefined) {
    report.fault(path, `${JSON.stringify(node.value)} is not a size`, BYTE_SIZE_FORMS);
  }
  return bytes;
}

function bounded(
  report: Report,
  spec: KeySpec,
  path: string,
  value: number | undefined,
): number | undefined {
  if (value === undefined) return undefined;
  const min = spec.min ?? 0;
  const max = spec.max ?? BOUNDS[spec.type];
  if (value < min) {
    const message = value === 0 ? "must not be 0" : `must be at least ${min}, is ${value}`;
    report.fault(path, message, spec.zeroFault);
    return undefined;
  }
  if (max !== undefined && value > max) {
    report.fault(path, `must be at most ${max}, is ${value}`);
    return undefined;
  }
  return value;
}

function boolOf(report: Report, node: SourceNode, path: string): boolean | undefined {
  if (node.kind === "bool") return node.value;
  return mismatch(report, node, path, "a boolean", "write true or false, without quotes");
}

function stringOf(
  report: Report,
  spec: KeySpec,
  node: SourceNode,
  path: string,
): string | undefined {
  if (node.kind === "string") return node.value;
  if (node.kind === "table" || node.kind === "list") {
    return mismatch(report, node, path, "a string");
  }
  const shown = spec.secret || node.kind === "date" ? "" : `: "${node.value}"`;
  return mismatch(report, node, path, "a string", `quote it${shown}`);
}

function modeOf(report: Report, node: SourceNode, path: string): number | undefined {
  const hint = 'three octal digits in quotes, as in "0660"';
  if (node.kind !== "string") return mismatch(report, node, path, "octal text", hint);
  const digits = /^(?:0[oO])?([0-7]+)$/.exec(node.value.trim())?.[1];
  const mode = digits === undefined ? NaN : parseInt(digits, 8);
  if (mode <= 0o777) return mode;
  report.fault(path, `${JSON.stringify(node.value)} is not a file mode`, hint);
  return undefined;
}

function choiceOf(
  report: Report,
  spec: KeySpec,
  node: SourceNode,
  path: string,
): string | undefined {
  const choices = spec.choices ?? [];
  const hint = `one of ${choices.join(", ")}`;
  if (node.kind !== "string") return mismatch(report, node, path, "a string", hint);
  const value = spec.anyCase ? node.value.toLowerCase() : node.value;
  if (choices.includes(value)) return value;
  report.fault(path, `${JSON.stringify(node.value)} is not known here`, hint);
  return undefined;
}

function listOf(
  report: Report,
  spec: KeySpec,
  node: SourceNode,
  path: string,
): string[] | undefined {
  if (node.kind !== "list") return mismatch(report, node, path, "a list", 'as in ["…", "…"]');
  const list: string[] = [];
  node.items.forEach((item, index) => {
    const itemPath = `${path}[${index}]`;
    report.place(itemPath, item);
    const text = stringOf(report, spec, item, itemPath);
    if (text === undefined) return;
    if (spec.type === "cidr_list" && parseCidr(text) === undefined) {
      const hint = "an address and the length of its prefix, as in 10.0.0.0/8";
      report.fault(itemPath, `${JSON.stringify(text)} is not a network`, hint);
    } else if (spec.type === "url_list" && !/^https?:\/\//.test(text)) {
      report.fault(itemPath, "must start with http:// or https://");
    } else list.push(text);
  });
  if (spec.type === "url_list" && node.items.length === 0) {
    report.fault(path, "must not be empty", "leave the key out instead");
  }
  return list;
}

function mapOf(report: Report, node: SourceNode, path: string): Map<string, string> | undefined {
  if (node.kind !== "table") return mismatch(report, node, path, "a table of strings");
  const map = new Map<string, string>();
  for (const [key, entry] of node.entries) {
    const entryPath = keyPath(path, key);
    report.place(entryPath, entry);
    if (entry.kind === "string") map.set(key, entry.value);
    else mismatch(report, entry, entryPath, "a string", "quote it");
  }
  return map;
}

function defaultOf(spec: KeySpec): unknown {
  // Lists and maps must not be shared between two configs.
  if (Array.isArray(spec.default)) return [...spec.default];
  return spec.default instanceof Map ? new Map(spec.default) : spec.default;
}

/** Stands in for a value that could not be read. */
function neutralValue(spec: KeySpec): unknown {
  if (spec.default !== undefined) return defaultOf(spec);
  if (!spec.required) return undefined;
  switch (spec.type) {
    case "string":
    case "path":
      return "";
    case "string_list":
    case "path_list":
      return [];
    case "table":
      return undefined;
    default:
      return spec.min ?? 0;
  }
}

function missingHint(key: string, spec: KeySpec): string {
  switch (spec.type) {
    case "table":
      return `add a ${key} section`;
    case "string":
      return `add ${key} with a string`;
    case "string_list":
    case "path_list":
      return `add ${key} with a list of strings`;
    default:
      return `add ${key} with a number`;
  }
}
