/// <reference lib="deno.unstable" />

/**
 * The project's own lint rules, loaded by deno.json: which folder of src/ may import which (STYLE: "Direction of
 * imports"), where native libraries may be opened, and how long a file may be.
 *
 * The table below is the only statement of the layers that a machine checks. `import type` counts like any other
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

/** What a part of src/ may import besides itself. A part is a folder, or a file directly in src/. */
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
  web: [...PURE_PARTS, "auth", "mail.ts"],
  cli: [...PURE_PARTS, "auth"],
  control: [...PURE_PARTS, "auth", "mail.ts", "os", "handover", "admin", "web", "cli"],
  "main.ts": [...PURE_PARTS, "cli", "control"],
};

/** Parts that stay free of npm packages. */
const WITHOUT_PACKAGES = ["os", "reactor", "protocol"];

/** The only part that opens native libraries. */
const NATIVE_PART = "os";

/** STYLE: "600 is the end (generated and table files apart)". */
const MAX_LINES = 600;

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
  if (imported === part || allowed.includes(imported)) return null;
  return `${part} must not import ${imported}: declare the interface here and let the upper layer ` +
    `implement it, or send mail`;
}

const layers: Deno.lint.Rule = {
  create(context) {
    const path = productPath(context.filename);
    if (path === null) return {};
    const check = (node: Deno.lint.Node, specifier: string) => {
      const message = faultOfImport(path, specifier);
      if (message !== null) context.report({ node, message });
    };
    return {
      ImportDeclaration(node) {
        check(node, node.source.value);
      },
      ExportNamedDeclaration(node) {
        if (node.source) check(node, node.source.value);
      },
      ExportAllDeclaration(node) {
        context.report({ node, message: "no barrel files: import the file you need" });
      },
      ImportExpression(node) {
        if (node.source.type === "Literal" && typeof node.source.value === "string") {
          check(node, node.source.value);
        }
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
        if (lines <= MAX_LINES) return;
        context.report({
          range: [0, 1],
          message: `${lines} lines; ${MAX_LINES} is the end: split the file`,
        });
      },
    };
  },
};

/** The plugin, as `deno lint` loads it. */
const plugin: Deno.lint.Plugin = {
  name: "pg-doorman",
  rules: {
    "layers": layers,
    "native-libraries": nativeLibraries,
    "file-length": fileLength,
  },
};

export default plugin;
