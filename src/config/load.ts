/**
 * Loads a configuration: reads the files, merges and decodes them, runs every check. It gives either a whole valid
 * `Config` or all faults at once, and warnings in both cases. Pure: files are read and pg_hba rules parsed by functions
 * that the caller hands in.
 */

import type { ExternalMethod } from "./external_check.ts";
import type { HbaRule, IdentRule } from "./hba_rule.ts";
import type { Checked, LoginFaults } from "./checks.ts";
import { decodeSection } from "./decode.ts";
import type { DecodedPool } from "./decode_pool.ts";
import { decodePool } from "./decode_pool.ts";
import type { ReadText } from "./include.ts";
import { mergeTables, parseConfigFile, readFailure, readNamedFile } from "./include.ts";
import { Report } from "./report.ts";
import type { KeyRows, KeySpec } from "./schema.ts";
import { GENERAL_KEYS } from "./schema_general.ts";
import { AUTH_QUERY_KEYS, POOL_KEYS, USER_KEYS } from "./schema_pool.ts";
import { INCLUDE_KEYS, TALOS_KEYS, WEB_KEYS } from "./schema_web.ts";
import type { Fault, SourceNode, TableNode } from "./source.ts";
import { inFileOrder, keyPath, KIND_NAMES } from "./source.ts";
import type {
  Config,
  GeneralConfig,
  IncludeConfig,
  RulesSetting,
  TalosConfig,
  WebConfig,
} from "./types.ts";
import { validate } from "./validate.ts";

/** A finding of the pg_hba parser; `line` counts in `source`, a file or the key that holds the rules. */
export interface HbaFinding {
  source: string;
  line: number;
  message: string;
  hint?: string;
}

/** A parser of rules, as `auth/hba_file.ts` and `auth/ident_file.ts` have it. */
export type ParseRules<Rule> = (text: string, from: {
  source: string;
  readFile: ReadText;
  listDirectory?: (path: string) => string[];
  externalMethods?: ReadonlySet<ExternalMethod>;
}) => { rules: Rule[]; faults: HbaFinding[]; warnings: HbaFinding[] };

/** What loading needs of the world. */
export interface ConfigIo {
  readText: ReadText;
  fileMode?: Checked["fileMode"];
  clientTlsFaults?: Checked["clientTlsFaults"];
  serverTlsFaults?: Checked["serverTlsFaults"];
  /** Names in a directory, for `include_dir` in pg_hba rules. */
  listDirectory?: (path: string) => string[];
  parseHba: ParseRules<HbaRule>;
  parseIdent: ParseRules<IdentRule>;
  /** Checks of passwords by others that there are; none, if it is left out. */
  externalMethods?: ReadonlySet<ExternalMethod>;
  loginFaults?: LoginFaults;
}

/** Outcome of a load: `config` is there exactly when there are no faults. */
export interface LoadResult {
  config?: Config;
  faults: Fault[];
  warnings: Fault[];
  /** Worth a line in the log, nothing to act on. */
  notices: Fault[];
}

const TOP_KEYS: KeyRows = new Map<string, KeySpec>([
  ["general", { type: "table", required: true, reload: "A", doc: "" }],
  ["pools", { type: "table", required: true, reload: "A", doc: "" }],
  ["web", { type: "table", reload: "A", doc: "" }],
  ["talos", { type: "table", reload: "A", doc: "" }],
  ["include", { type: "table", reload: "A", doc: "" }],
  ["path", { type: "path", reload: "A", doc: "" }],
]);

const SECTIONS: ReadonlyMap<string, KeyRows> = new Map([
  ["the top level", TOP_KEYS],
  ["[general]", GENERAL_KEYS],
  ["[pools.NAME]", POOL_KEYS],
  ["[[pools.NAME.users]]", USER_KEYS],
  ["[web]", WEB_KEYS],
  ["[talos]", TALOS_KEYS],
  ["[pools.NAME.auth_query]", AUTH_QUERY_KEYS],
  ["[include]", INCLUDE_KEYS],
]);

/** Loads the config file at `path` with all that it includes. */
export function loadConfig(path: string, io: ConfigIo): LoadResult {
  const report = new Report(path);
  const tree = readTree(path, io, report);
  const config = tree === undefined ? undefined : decodeConfig(path, tree, io, report);
  const faults = inFileOrder(report.faults);
  const warnings = inFileOrder(report.warnings);
  const notices = inFileOrder(report.notices);
  return faults.length > 0 ? { faults, warnings, notices } : { config, faults, warnings, notices };
}

/** The main file and its includes as one tree; undefined when one of them cannot be read. */
function readTree(path: string, io: ConfigIo, report: Report): TableNode | undefined {
  let text: string;
  try {
    text = io.readText(path);
  } catch (error) {
    report.fault("", `could not open the file: ${readFailure(error)}`);
    return undefined;
  }
  const main = parseConfigFile(path, text, report);
  if (main === undefined) return undefined;
  let tree = renameWeb(main, report);
  for (const [index, name] of includedFiles(main, report).entries()) {
    const found = readNamedFile({
      name,
      mainFile: path,
      path: `include.files[${index}]`,
      readText: io.readText,
      report,
    });
    const included = found && parseConfigFile(found.file, found.text, report);
    if (included === undefined) continue;
    if (included.entries.delete("include")) {
      report.note("include.files", `includes of ${found?.file} are not followed`);
    }
    tree = mergeTables(tree, renameWeb(included, report), report);
  }
  return report.faults.length > 0 ? undefined : tree;
}

function includedFiles(main: TableNode, report: Report): string[] {
  const node = main.entries.get("include");
  if (node !== undefined) report.place("include", node);
  const section = { rows: INCLUDE_KEYS, path: "include", report, elsewhere: SECTIONS };
  return (decodeSection(section, node) as unknown as IncludeConfig).files;
}

/** `prometheus` is the older name of `web`. */
function renameWeb(tree: TableNode, report: Report): TableNode {
  const node = tree.entries.get("prometheus");
  if (node === undefined) return tree;
  const entries = new Map(tree.entries);
  entries.delete("prometheus");
  if (entries.has("web")) {
    report.place("prometheus", node);
    report.fault("prometheus", "is the old name of web: keep one section");
  } else entries.set("web", node);
  return { ...tree, entries };
}

function decodeConfig(path: string, tree: TableNode, io: ConfigIo, report: Report): Config {
  const around = { report, elsewhere: SECTIONS };
  const top = decodeSection(
    { ...around, rows: TOP_KEYS, path: "", compound: (_spec, node) => node },
    tree,
  ) as Record<string, SourceNode | undefined>;
  const general = decodeSection({
    ...around,
    rows: GENERAL_KEYS,
    path: "general",
    compound: ({ type }, node, nodePath) => {
      const from: RulesPlace = { path: nodePath, mainFile: path, io, report };
      return type === "ident"
        ? decodeRules(node, io.parseIdent, from)
        : decodeRules(node, io.parseHba, from);
    },
  }, top["general"]) as unknown as GeneralConfig;
  const web = decodeSection({ ...around, rows: WEB_KEYS, path: "web" }, top["web"]);
  const pools = decodePools(top["pools"], around);
  const config: Config = {
    path,
    general,
    web: web as unknown as WebConfig,
    include: { files: includedFiles(tree, new Report(path)) },
    pools: new Map(pools.map(({ name, pool }) => [name, pool])),
  };
  if (top["talos"] !== undefined) {
    const section = { ...around, rows: TALOS_KEYS, path: "talos" };
    config.talos = decodeSection(section, top["talos"]) as unknown as TalosConfig;
  }
  const { readText, fileMode, clientTlsFaults, serverTlsFaults, loginFaults } = io;
  validate({
    config,
    pools,
    report,
    readText,
    fileMode,
    clientTlsFaults,
    serverTlsFaults,
    loginFaults,
  });
  return config;
}

function decodePools(
  node: SourceNode | undefined,
  around: { report: Report; elsewhere: ReadonlyMap<string, KeyRows> },
): DecodedPool[] {
  if (node === undefined) return [];
  if (node.kind !== "table") {
    around.report.fault("pools", `must be a table of pools, is ${KIND_NAMES[node.kind]}`);
    return [];
  }
  return Array.from(node.entries, ([name, entry]) => decodePool(name, entry, around));
}

/** Where rules stand in the configuration. */
interface RulesPlace {
  path: string;
  mainFile: string;
  io: ConfigIo;
  report: Report;
}

/** `general.pg_hba` and `general.pg_ident`: the rules as text, or a table that names a file or holds them. */
function decodeRules<Rule>(
  node: SourceNode,
  parse: ParseRules<Rule>,
  place: RulesPlace,
): RulesSetting<Rule> | undefined {
  const { path, mainFile, io, report } = place;
  if (node.kind === "string") return parseRules(node.value, undefined, parse, place);
  const hint = "the rules as text, { path = … } or { content = … }";
  if (node.kind !== "table") {
    report.fault(path, `must be text or a table, is ${KIND_NAMES[node.kind]}`, hint);
    return undefined;
  }
  for (const [key, entry] of node.entries) {
    const entryPath = keyPath(path, key);
    report.place(entryPath, entry);
    if (key !== "path" && key !== "content") report.fault(entryPath, "unknown member", hint);
    else if (entry.kind !== "string") {
      report.fault(entryPath, `must be a string, is ${KIND_NAMES[entry.kind]}`);
    }
  }
  if (report.faults.some((fault) => fault.path.startsWith(`${path}.`))) return undefined;
  const file = node.entries.get("path");
  const content = node.entries.get("content");
  if (content?.kind === "string") {
    if (file !== undefined) report.warn(`${path}.path`, "is not read: content is given as well");
    return parseRules(content.value, undefined, parse, place);
  }
  if (file?.kind !== "string") {
    report.fault(path, "holds neither path nor content", hint);
    return undefined;
  }
  const found = readNamedFile({
    name: file.value,
    mainFile,
    path: `${path}.path`,
    readText: io.readText,
    report,
  });
  return found && parseRules(found.text, found.file, parse, place);
}

function parseRules<Rule>(
  text: string,
  file: string | undefined,
  parse: ParseRules<Rule>,
  { path, io, report }: RulesPlace,
): RulesSetting<Rule> {
  const { readText, listDirectory, externalMethods } = io;
  const source = file ?? path;
  const parsed = parse(text, {
    source,
    readFile: readText,
    listDirectory,
    externalMethods,
  });
  const inline = (finding: HbaFinding) => file === undefined && finding.source === path;
  for (const fault of parsed.faults) {
    if (inline(fault)) report.fault(path, inlineMessage(fault), fault.hint);
    else report.faults.push(fileFinding(fault, path));
  }
  for (const warning of parsed.warnings) {
    if (inline(warning)) report.warn(path, inlineMessage(warning), warning.hint);
    else report.warnings.push(fileFinding(warning, path));
  }
  return { path: file, rules: parsed.rules };
}

function inlineMessage(finding: HbaFinding): string {
  return `line ${finding.line} of the rules: ${finding.message}`;
}

function fileFinding(finding: HbaFinding, path: string): Fault {
  const { source, line, message, hint } = finding;
  return { file: source, path, line, message, hint };
}
