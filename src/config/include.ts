/**
 * Reads config files: the main one and those that it includes, each by its own format, merged into one tree. Tables are
 * merged key by key, lists joined, of two simple values the later one wins. Includes of an included file are not
 * followed, as in upstream.
 */

import { isPgBouncerIni, pgBouncerFaults } from "./pgbouncer_ini.ts";
import type { Report } from "./report.ts";
import type { SourceNode, TableNode } from "./source.ts";
import { keyPath, KIND_NAMES } from "./source.ts";
import { readToml } from "./toml.ts";
import { readYaml } from "./yaml.ts";

/** Reads a file's text; throws an error with a `code` as in `ENOENT` when it cannot. */
export type ReadText = (path: string) => string;

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EISDIR: "it is a directory",
  ENOTDIR: "a part of the path is not a directory",
};

/** Why a file could not be read, in words. */
export function readFailure(error: unknown): string {
  const code = errorCode(error);
  if (code !== undefined && REASONS[code] !== undefined) return REASONS[code];
  return error instanceof Error ? error.message : String(error);
}

/** True for names that upstream reads as YAML; every other file is TOML. */
function isYamlFile(path: string): boolean {
  return /\.ya?ml$/i.test(path);
}

/**
 * The text of a file that the main file names. Relative paths start at the working directory, as upstream has it, and
 * where there is no such file at the main file's directory, with a notice. Undefined after a fault at `path`.
 */
export function readNamedFile(
  request: { name: string; mainFile: string; path: string; readText: ReadText; report: Report },
): { file: string; text: string } | undefined {
  const { name, mainFile, path, readText, report } = request;
  const beside = besideMainFile(name, mainFile);
  try {
    return { file: name, text: readText(name) };
  } catch (error) {
    if (beside === undefined || errorCode(error) !== "ENOENT") {
      report.fault(path, `could not open ${JSON.stringify(name)}: ${readFailure(error)}`);
      return undefined;
    }
  }
  try {
    const text = readText(beside);
    report.note(path, `${name} is not in the working directory: ${beside} is read`);
    return { file: beside, text };
  } catch (error) {
    const tried = errorCode(error) === "ENOENT" ? `, nor is there ${beside}` : "";
    const reason = tried === "" ? `${beside}: ${readFailure(error)}` : readFailure(error);
    report.fault(path, `could not open ${JSON.stringify(name)}: ${reason}${tried}`);
    return undefined;
  }
}

/** Parses a config file by its name; undefined after a fault. */
export function parseConfigFile(file: string, text: string, report: Report): TableNode | undefined {
  if (isPgBouncerIni(text)) {
    report.faults.push(...pgBouncerFaults(file, text));
    return undefined;
  }
  if (!isYamlFile(file)) {
    const { tree, faults } = readToml(file, text);
    report.faults.push(...faults);
    return tree;
  }
  const { tree, faults, warnings } = readYaml(file, text);
  report.faults.push(...faults);
  report.warnings.push(...warnings);
  return tree;
}

/** The two trees as one; values that cannot be merged are reported, and the earlier one stays. */
export function mergeTables(
  earlier: TableNode,
  later: TableNode,
  report: Report,
  path = "",
): TableNode {
  const entries = new Map(earlier.entries);
  for (const [key, node] of later.entries) {
    const before = entries.get(key);
    const merged = before === undefined
      ? node
      : mergeNodes(before, node, report, keyPath(path, key));
    entries.set(key, merged);
  }
  return { ...earlier, entries };
}

function mergeNodes(
  earlier: SourceNode,
  later: SourceNode,
  report: Report,
  path: string,
): SourceNode {
  if (earlier.kind === "table" && later.kind === "table") {
    return mergeTables(earlier, later, report, path);
  }
  if (earlier.kind === "list" && later.kind === "list") {
    return { ...earlier, items: [...earlier.items, ...later.items] };
  }
  if (isSimple(earlier) && isSimple(later)) return later;
  report.place(path, later);
  const known = `${KIND_NAMES[earlier.kind]} in ${earlier.file.name}`;
  report.fault(path, `is ${KIND_NAMES[later.kind]} here and ${known}: the two cannot be merged`);
  return earlier;
}

function isSimple(node: SourceNode): boolean {
  return node.kind !== "table" && node.kind !== "list";
}

function besideMainFile(name: string, mainFile: string): string | undefined {
  const slash = mainFile.lastIndexOf("/");
  return name.startsWith("/") || slash < 0 ? undefined : `${mainFile.slice(0, slash)}/${name}`;
}

function errorCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ("code" in error && typeof error.code === "string") return error.code;
  return error.name === "NotFound" ? "ENOENT" : undefined;
}
