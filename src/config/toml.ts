/**
 * Reads TOML 1.0 text into a source tree. The library's error texts quote the lines around the fault, which may hold a
 * password, so only its first line is passed on.
 */

import { parse, TomlError } from "smol-toml";
import type { Fault, SourceFile, SourceNode, TableNode } from "./source.ts";
import { keyPath } from "./source.ts";
import { locateTomlKeys } from "./toml_lines.ts";

/** The tree of a TOML text, or the fault that keeps it from being read. */
export function readToml(name: string, text: string): { tree?: TableNode; faults: Fault[] } {
  let value: unknown;
  try {
    value = parse(text, { integersAsBigInt: true, maxDepth: 64 });
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const [firstLine] = error.message.split("\n");
    const message = (firstLine as string).replace("Invalid TOML document: ", "");
    return {
      faults: [{ file: name, path: "", line: error.line, message: `TOML parse error: ${message}` }],
    };
  }
  let lines: Map<string, number> | undefined;
  const file: SourceFile = {
    name,
    line(place) {
      lines ??= locateTomlKeys(text);
      return lines.get(String(place));
    },
  };
  return { tree: node(value, file, "") as TableNode, faults: [] };
}

function node(value: unknown, file: SourceFile, place: string): SourceNode {
  switch (typeof value) {
    case "string":
      return { kind: "string", value, file, place };
    case "bigint":
      return { kind: "integer", value, file, place };
    case "number":
      return { kind: "float", value, file, place };
    case "boolean":
      return { kind: "bool", value, file, place };
  }
  if (Array.isArray(value)) {
    const items = value.map((item, index) => node(item, file, `${place}[${index}]`));
    return { kind: "list", items, file, place };
  }
  if (value instanceof Date) return { kind: "date", file, place };
  const entries = new Map<string, SourceNode>();
  for (const [key, entry] of Object.entries(value as Record<string, unknown>)) {
    entries.set(key, node(entry, file, keyPath(place, key)));
  }
  return { kind: "table", entries, file, place };
}
