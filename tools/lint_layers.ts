/// <reference lib="deno.unstable" />

/**
 * The project's own lint rules, loaded by deno.json: which folder of src/ may import which, and inside the larger ones
 * which room which other; where native libraries may be opened; how long a file and a function may be; where no patterns
 * may be run.
 *
 * The tables below are the only statement of the layers that a machine checks. `import type` counts like any other
 * import. Tests and the folders `testing/` may import what they like.
 */

import { dirname, join } from "node:path";

/** Import nothing of the project but what is named here; anyone may import them. */
const PURE: Record<string, string[]> = {
  "reasons.ts": [],
  config: [],
  stats: [],
  log: [],
  protocol: ["reasons.ts"],
};

/** A lower layer is imported by a higher one, never the other way round. */
const DATA_PLANE = ["os", "reactor", "tls", "server", "pool", "client", "worker"];

const PURE_PARTS = Object.keys(PURE);

function below(part: string): string[] {
  return DATA_PLANE.slice(0, DATA_PLANE.indexOf(part));
}

/** Of `tls`, what reads files and has nothing to do with connections: the main thread checks what workers will use. */
const TLS_FILES = ["tls/context.ts", "tls/pem.ts", "tls/suites.ts"];

/** What a part of src/ may import besides itself: parts, or files of one. A part is a folder, or a file directly in src/. */
const MAY_IMPORT: Record<string, string[]> = {
  ...PURE,
  "mail.ts": PURE_PARTS,
  auth: ["protocol", "reasons.ts", "config"],
  os: PURE_PARTS,
  reactor: [...PURE_PARTS, ...below("reactor")],
  tls: [...PURE_PARTS, ...below("tls")],
  server: [...PURE_PARTS, "auth", "mail.ts", ...below("server")],
  pool: [...PURE_PARTS, "auth", "mail.ts", ...below("pool")],
  client: [...PURE_PARTS, "auth", "mail.ts", ...below("client")],
  worker: [...PURE_PARTS, "auth", "mail.ts", "handover", ...below("worker")],
  handover: [...PURE_PARTS, "os"],
  admin: [...PURE_PARTS, "auth", "mail.ts"],
  web: [...PURE_PARTS, "auth", "mail.ts", "admin"],
  cli: [...PURE_PARTS, "auth"],
  control: [
    ...PURE_PARTS,
    ...["auth", "mail.ts", "os", "handover", "admin", "web", "cli"],
    ...TLS_FILES,
  ],
  "main.ts": [...PURE_PARTS, "cli", "control"],
};

/** Parts that stay free of npm packages. */
const WITHOUT_PACKAGES = ["os", "reactor", "protocol"];

/** The only part that opens native libraries. */
const NATIVE_PART = "os";

/** What rooms of a folder must not import. A room is a folder in it, or a file named without `.ts`. */
interface Ban {
  rooms: readonly string[];
  /** Rooms that they must not import; else `only` has all of the folder's that they may. */
  never?: readonly string[];
  only?: readonly string[];
}

/** A folder of src/ whose files have an order among themselves. */
interface House {
  /** The file that wires the others together, and that none of them imports: they declare what they need of it. */
  whole: string;
  bans: readonly Ban[];
}

const NARROW_POOL_ROOMS = ["capacity", "share", "waiting", "lifetime"];

/** What must not be imported within a folder. Circles beyond it are found by import_circles_test.ts. */
const INNER: Record<string, House> = {
  client: {
    whole: "session",
    bans: [
      { rooms: ["prepared"], never: ["local"] },
      { rooms: ["relay"], never: ["local", "prepared"] },
      { rooms: ["listen"], never: ["local", "prepared", "relay", "pinning"] },
      { rooms: ["login"], never: ["local", "prepared", "relay", "listen", "pinning"] },
      { rooms: ["parts"], only: ["context", "state"] },
      { rooms: ["context"], only: ["state"] },
      { rooms: ["state"], only: [] },
    ],
  },
  pool: {
    whole: "pool",
    bans: [
      { rooms: ["connecting", "moving"], never: ["listen", "replication"] },
      { rooms: NARROW_POOL_ROOMS, only: NARROW_POOL_ROOMS },
    ],
  },
  server: { whole: "connection", bans: [] },
  worker: { whole: "worker", bans: [] },
  tls: {
    whole: "stream",
    // What the main thread may import brings no buffers of a worker's along.
    bans: [
      {
        rooms: ["context", "pem", "suites", "alpn", "channel_binding", "key_log"],
        never: ["buffers", "handshake", "record_layer", "stream"],
      },
      {
        rooms: ["record_layer"],
        only: ["alerts", "buffers", "direction", "key_schedule", "state", "suites"],
      },
    ],
  },
  control: {
    whole: "process",
    bans: [
      { rooms: ["upgrade"], never: ["reload"] },
      { rooms: ["reload"], never: ["upgrade"] },
      { rooms: ["service"], never: ["upgrade", "reload"] },
    ],
  },
};

/** Where a file ends, generated ones and tables apart. */
const MAX_LINES = 600;
const MAX_LINES_IN_HOUSES = 500;
const MAX_FUNCTION_LINES = 120;

/** An exception: a file of src/, and the name of the rule that it breaks. */
export type Exception = readonly [file: string, rule: string];

/**
 * NOT YET: what breaks a rule today and will not for long. A line that is needed no more fails a test, so that this list
 * only grows shorter.
 */
export const NOT_YET: readonly Exception[] = [];

/** The path inside src/ of a file of the product, or null for a test or a file elsewhere. */
function productPath(filename: string): string | null {
  const path = filename.replaceAll("\\", "/");
  const start = path.lastIndexOf("/src/");
  if (start < 0 || path.endsWith("_test.ts") || path.includes("/testing/")) return null;
  return path.slice(start + "/src/".length);
}

function partOf(path: string): string {
  return path.split("/", 1)[0]!;
}

/** What is wrong with an import of a file of the product, or null. */
function faultOfImport(path: string, specifier: string): string | null {
  const part = partOf(path);
  const allowed = MAY_IMPORT[part];
  if (!allowed) {
    return `${part} is not in the table of tools/lint_layers.ts: say there what it may import`;
  }
  if (!specifier.startsWith(".")) {
    if (specifier.startsWith("node:") || !WITHOUT_PACKAGES.includes(part)) return null;
    return `${part} uses no packages, so not ${specifier} either`;
  }
  const target = join(dirname(path), specifier);
  // Outside src/ there is only deno.json, with the version.
  if (target.startsWith("..")) return null;
  const imported = partOf(target);
  if (imported === part || allowed.includes(imported) || allowed.includes(target)) return null;
  return `${part} must not import ${imported}: declare the interface here and let the upper layer ` +
    `implement it, or send mail`;
}

function isIn(file: string, rooms: readonly string[]): boolean {
  return rooms.some((room) => file === `${room}.ts` || file.startsWith(`${room}/`));
}

/** What is wrong with an import of a file by another one of the same folder, or null. */
function faultWithinHouse(path: string, specifier: string): string | null {
  const folder = partOf(path);
  const house = INNER[folder];
  if (!house || !specifier.startsWith(".")) return null;
  const target = join(dirname(path), specifier);
  if (partOf(target) !== folder) return null;
  const file = path.slice(folder.length + 1);
  const imported = target.slice(folder.length + 1);
  if (imported === `${house.whole}.ts`) {
    return `nobody in ${folder} imports ${imported}: declare here what is needed of it`;
  }
  for (const { rooms, never, only } of house.bans) {
    if (!isIn(file, rooms)) continue;
    // What is in the same room may always be imported.
    if (isIn(imported, rooms.filter((room) => isIn(file, [room])))) continue;
    if (never ? isIn(imported, never) : !isIn(imported, only ?? [])) {
      return `in ${folder}, ${file} must not import ${imported}: declare here what is needed of it`;
    }
  }
  return null;
}

/** A rule that sees the specifier of each import of a file of the product. */
function importRule(faultOf: (path: string, specifier: string) => string | null): Deno.lint.Rule {
  return {
    create(context) {
      const path = productPath(context.filename);
      if (path === null) return {};
      const check = (node: Deno.lint.Node, specifier: string) => {
        const message = faultOf(path, specifier);
        if (message !== null) context.report({ node, message });
      };
      return {
        ImportDeclaration(node) {
          check(node, node.source.value);
        },
        ExportNamedDeclaration(node) {
          if (node.source) check(node, node.source.value);
        },
        ImportExpression(node) {
          if (node.source.type === "Literal" && typeof node.source.value === "string") {
            check(node, node.source.value);
          }
        },
      };
    },
  };
}

const noBarrels: Deno.lint.Rule = {
  create(context) {
    if (productPath(context.filename) === null) return {};
    return {
      ExportAllDeclaration(node) {
        context.report({ node, message: "no barrel files: import the file you need" });
      },
    };
  },
};

const nativeLibraries: Deno.lint.Rule = {
  create(context) {
    const path = productPath(context.filename);
    if (path === null || partOf(path) === NATIVE_PART) return {};
    return {
      MemberExpression(node) {
        if (node.object.type !== "Identifier" || node.object.name !== "Deno") return;
        if (node.property.type !== "Identifier" || node.property.name !== "dlopen") return;
        context.report({ node, message: "only src/os/ opens native libraries" });
      },
    };
  },
};

const fileLength: Deno.lint.Rule = {
  create(context) {
    const path = productPath(context.filename);
    if (path === null || path.endsWith("_tables.ts")) return {};
    return {
      Program() {
        const lines = context.sourceCode.text.split("\n").length - 1;
        const end = partOf(path) in INNER ? MAX_LINES_IN_HOUSES : MAX_LINES;
        if (lines <= end) return;
        context.report({
          range: [0, 1],
          message: `${lines} lines; ${end} is the end: split the file`,
        });
      },
    };
  },
};

const functionLength: Deno.lint.Rule = {
  create(context) {
    const path = productPath(context.filename);
    if (path === null || path.endsWith("_tables.ts")) return {};
    const check = (node: Deno.lint.Node) => {
      const lines = context.sourceCode.getText(node).split("\n").length;
      if (lines <= MAX_FUNCTION_LINES) return;
      const start = node.range[0];
      context.report({
        range: [start, start + 1],
        message: `a function of ${lines} lines; ${MAX_FUNCTION_LINES} is the end: split it`,
      });
    };
    // A method is a FunctionExpression in its MethodDefinition.
    return {
      FunctionDeclaration: check,
      FunctionExpression: check,
      ArrowFunctionExpression: check,
    };
  },
};

/** Parts that see what peers send, in the thread that serves everybody. */
const PEER_PARTS = ["server", "client", "pool", "worker", "protocol"];

/** Methods that run a pattern whatever they are given. */
const PATTERN_METHODS = ["match", "matchAll", "search"];

/** A pattern may go back over what it has read: a text that is made for it takes minutes, and all clients wait. */
const peerText: Deno.lint.Rule = {
  create(context) {
    const path = productPath(context.filename);
    if (path === null || !PEER_PARTS.includes(partOf(path))) return {};
    const report = (node: Deno.lint.Node) =>
      context.report({
        node,
        message: "no patterns over what a peer may have sent: read it byte by byte " +
          "(src/protocol/sql for SQL)",
      });
    return {
      Literal(node) {
        if (node.raw.startsWith("/")) report(node);
      },
      NewExpression(node) {
        if (node.callee.type === "Identifier" && node.callee.name === "RegExp") report(node);
      },
      CallExpression(node) {
        const { callee } = node;
        if (callee.type === "Identifier" && callee.name === "RegExp") report(node);
        if (callee.type !== "MemberExpression" || callee.property.type !== "Identifier") return;
        if (!PATTERN_METHODS.includes(callee.property.name)) return;
        // A method of ours that has this name takes something else.
        if (node.arguments[0]?.type !== "ObjectExpression") report(node);
      },
    };
  },
};

const RULES: Record<string, Deno.lint.Rule> = {
  "layers": importRule(faultOfImport),
  "inner-layers": importRule(faultWithinHouse),
  "no-barrels": noBarrels,
  "native-libraries": nativeLibraries,
  "file-length": fileLength,
  "function-length": functionLength,
  "peer-text": peerText,
};

/** Names of the rules. */
export const RULE_NAMES: readonly string[] = Object.keys(RULES);

/** The plugin, which passes over `exceptions`. */
export function pluginWith(exceptions: readonly Exception[]): Deno.lint.Plugin {
  const rules = Object.entries(RULES).map(([name, rule]): [string, Deno.lint.Rule] => {
    const files = new Set(exceptions.filter((one) => one[1] === name).map(([file]) => file));
    const create: Deno.lint.Rule["create"] = (context) =>
      files.has(productPath(context.filename) ?? "") ? {} : rule.create(context);
    return [name, { create }];
  });
  return { name: "pg-doorman", rules: Object.fromEntries(rules) };
}

/** The plugin, as `deno lint` loads it. */
const plugin: Deno.lint.Plugin = pluginWith(NOT_YET);

export default plugin;
