/**
 * Nothing is exported that no other file imports. A type that an export of its own file mentions is part of it, and
 * needs no importer. A test alone is no reason to export something of the product, unless the table below has one.
 */

import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** What the product exports for its tests, and why. */
const FOR_TESTS: Record<string, string> = {
  "src/admin/console.ts MESSAGE_LIMIT_BYTES": "a test reaches the limit",
  "src/admin/console.ts WAITING_LIMIT_BYTES": "a test reaches the limit",
  "src/admin/extended.ts PORTAL_LIMIT": "a test reaches the limit",
  "src/admin/extended.ts STATEMENT_LIMIT": "a test reaches the limit",
  "src/admin/rows.ts numericBinary": "compared with what PostgreSQL sends",
  "src/auth/saslprep.ts saslprep": "has the examples of RFC 4013",
  "src/auth/scram.ts MAX_ITERATIONS": "a test reaches the limit",
  "src/auth/scram.ts deriveKeys": "a step of SCRAM, which tests take alone",
  "src/auth/scram.ts saltPassword": "a step of SCRAM, which tests take alone",
  "src/auth/scram_server.ts parseSaslInitialResponse": "a parser, tested alone",
  "src/cli/args.ts HELP": "must name every option",
  "src/client/local/check_query.ts messageOf": "the world of tests has such an answer too",
  "src/client/timeouts.ts CANCEL_GRACE_MS": "a test reaches the limit",
  "src/control/service/file_limit.ts leastLimit": "a pure function, tested alone",
  "src/control/service/file_limit.ts mostServers": "a pure function, tested alone",
  "src/control/service/file_limit.ts shareOut": "a pure function, tested alone",
  "src/control/service/first_process.ts Serving": "who serves, without processes",
  "src/handover/version.ts COMPATIBLE_SINCE": "must have a fixture of each version",
  "src/log/format.ts formatStructured": "the format, without a log around it",
  "src/log/format.ts formatText": "the format, without a log around it",
  "src/log/line_sink.ts MOST_QUEUED_BYTES": "a test reaches the limit",
  "src/log/log.ts MOST_MESSAGE_CHARACTERS": "a test reaches the limit",
  "src/log/provoked.ts MOST_ADDRESSES": "a test reaches the limit",
  "src/log/storm.ts MOST_KINDS": "a test reaches the limit",
  "src/log/storm.ts MOST_LINES": "a test reaches the limit",
  "src/os/errno.ts ENOSPC": "a fake descriptor fails with it",
  "src/reactor/outbox.ts MOST_REUSED_BYTES": "a test goes beyond the limit",
  "src/server/marks.ts MOST_NOTICED_BYTES": "a test reaches the limit",
  "src/server/marks.ts MOST_READ_BYTES": "a test reaches the limit",
  "src/stats/counters.ts noCounts": "fakes begin with it",
  "src/tls/alpn.ts offersPostgres": "a parser, tested alone",
  "src/tls/alpn.ts prepareAlpn": "what lasts as long as the thread is made before a test begins",
  "src/tls/key_schedule.ts prf": "has vectors of its own",
  "src/tls/record_layer.ts MOST_IDLE_RECORDS": "a test reaches the limit",
  "src/tls/record_layer.ts MOST_RECORDS_OF_KEY": "a test reaches the limit",
  "src/worker/moving/blobs.ts BYTES_A_TURN": "tests count turns",
  "src/worker/rounds.ts closePeriod": "what a round does, without its clock",
  "src/worker/rounds.ts retain": "what a round does, without its clock",
  "src/worker/rounds.ts takeClosing": "what a round does, without its clock",
  "src/worker/timeouts.ts nextRound": "a pure function, tested alone",
};

/** NOT YET: what will be imported by another file, or exported no more. */
const NOT_YET: readonly string[] = [];

/** What a file exports: its own declarations, and what it passes on. */
function exportsOf(text: string): { name: string; type: boolean }[] {
  const declared = text.matchAll(
    /^export (?:declare |abstract |async )*(function\*?|class|const|let|interface|type) (\w+)/gm,
  );
  const listed = text.matchAll(/^export (type )?\{([^}]*)\}/gm);
  return [
    ...[...declared].map(([, kind, name]) => ({
      name: name!,
      type: kind === "interface" || kind === "type",
    })),
    ...[...listed].flatMap(([, , names]) =>
      namesIn(names!).map((name) => ({ name: name.split(" as ").at(-1)!, type: false }))
    ),
  ];
}

function namesIn(list: string): string[] {
  return list.split(",").map((name) => name.trim().replace(/^type /, "")).filter(Boolean);
}

/** What a file takes from others: file and name. */
function importsOf(path: string, text: string): string[] {
  const taken: string[] = [];
  const at = (specifier: string) => join(dirname(path), specifier);
  for (
    const [, clause, specifier] of text.matchAll(
      /^(?:import|export)\b([^;]*?)\bfrom "(\.[^"]+)"/gm,
    )
  ) {
    const names = namesIn(/\{([^}]*)\}/.exec(clause!)?.[1] ?? "").map((one) =>
      one.split(" as ")[0]!
    );
    const whole = /\* as (\w+)/.exec(clause!)?.[1];
    if (whole) {
      for (const [, name] of text.matchAll(new RegExp(`\\b${whole}\\.(\\w+)`, "g"))) {
        names.push(name!);
      }
    }
    taken.push(...names.map((name) => `${at(specifier!)} ${name}`));
  }
  // `import("./a.ts")`: whatever of its names stands in the text.
  for (const [, specifier] of text.matchAll(/\bimport\("(\.[^"]+)"\)/g)) {
    for (const [name] of text.matchAll(/\w+/g)) taken.push(`${at(specifier!)} ${name}`);
  }
  return taken;
}

function isTest(path: string): boolean {
  return path.startsWith("tests/") || path.includes("/testing/") || path.endsWith("_test.ts");
}

/** Exports that nobody imports, and those of the product that tests alone do. */
function unused(files: ReadonlyMap<string, string>): { dead: string[]; forTests: string[] } {
  const byTests = new Set<string>();
  const byOthers = new Set<string>();
  for (const [path, text] of files) {
    for (const one of importsOf(path, text)) (isTest(path) ? byTests : byOthers).add(one);
  }
  const dead: string[] = [];
  const forTests: string[] = [];
  for (const [path, text] of files) {
    for (const { name, type } of exportsOf(text)) {
      const key = `${path} ${name}`;
      if (byOthers.has(key) || type && text.match(new RegExp(`\\b${name}\\b`, "g"))!.length > 1) {
        continue;
      }
      if (!byTests.has(key)) dead.push(key);
      else if (path.startsWith("src/") && !isTest(path)) forTests.push(key);
    }
  }
  return { dead: dead.sort(), forTests: forTests.sort() };
}

function sources(folder: string): [path: string, text: string][] {
  return [...Deno.readDirSync(join(ROOT, folder))].flatMap(({ name, isDirectory }) => {
    const path = `${folder}/${name}`;
    if (isDirectory) return name === "node_modules" ? [] : sources(path);
    return name.endsWith(".ts") ? [[path, Deno.readTextFileSync(join(ROOT, path))]] : [];
  });
}

Deno.test("exports: finds those that nobody or a test alone imports", () => {
  const found = unused(
    new Map([
      [
        "src/a.ts",
        [
          "export const one = 1;",
          "export async function two(): Promise<Mentioned> {}",
          "export interface Mentioned {}",
          "export type Alone = string;",
          "export class Three {}",
          "export const four = 4, five = 5;",
          "export { six, seven as eight };",
          "export function nine(): void {}",
        ].join("\n"),
      ],
      ["src/b.ts", `import {\n  one,\n  type Three as Other,\n} from "./a.ts";\n`],
      ["src/a_test.ts", `import * as a from "./a.ts";\na.two();\n`],
      ["src/c/d.ts", `const { nine } = await import("../a.ts");\n`],
      ["tests/support/e.ts", `import { eight } from "../../src/a.ts";\nexport const ten = 10;\n`],
    ]),
  );
  assert.deepEqual(found, {
    dead: ["src/a.ts Alone", "src/a.ts four", "src/a.ts six", "tests/support/e.ts ten"],
    forTests: ["src/a.ts eight", "src/a.ts two"],
  });
});

Deno.test("exports: each has an importer, and tests a reason", () => {
  const files = new Map(["src", "tests", "tools", "bench"].flatMap(sources));
  assert.ok(files.size > 300);
  const { dead, forTests } = unused(files);
  const without = (list: readonly string[], known: readonly string[]) =>
    list.filter((one) => !known.includes(one));
  assert.deepEqual(without(dead, NOT_YET), [], "exported, and imported nowhere");
  assert.deepEqual(without(NOT_YET, dead), [], "strike from NOT_YET in tools/exports_test.ts");
  const reasons = Object.keys(FOR_TESTS);
  assert.deepEqual(without(forTests, reasons), [], "exported for tests alone, without a reason");
  assert.deepEqual(without(reasons, forTests), [], "strike from FOR_TESTS: not for tests alone");
});
