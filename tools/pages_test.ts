/** What README and the other pages say, as far as a machine can check it: links, tasks, configurations. */

import assert from "node:assert/strict";
import { optionFaults } from "../src/auth/method_options.ts";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import project from "../deno.json" with { type: "json" };
import { formatFault } from "../src/config/source.ts";
import { loadConfig } from "../src/config/load.ts";
import { GENERAL, memoryIo } from "../tests/support/config_io.ts";
import { CERTIFICATE, KEY } from "../tests/support/pem.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const PAGES = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"].concat(
  [...Deno.readDirSync(join(ROOT, "docs"))].map(({ name }) => `docs/${name}`).sort(),
);

function text(page: string): string {
  return Deno.readTextFileSync(join(ROOT, page));
}

/** Paths and anchors that a page links to within the project. */
function links(page: string): string[] {
  return [...text(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, to]) => to!)
    .filter((to) => !/^[a-z]+:/.test(to));
}

/** Names of a page's headings as links have them. */
function anchors(page: string): string[] {
  return [...text(page).matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading!.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")
  );
}

Deno.test("pages: every link leads somewhere", () => {
  let count = 0;
  for (const page of PAGES) {
    for (const link of links(page)) {
      const [path, anchor] = link.split("#");
      const target = path === "" ? page : join(dirname(page), path!);
      assert.ok(Deno.statSync(join(ROOT, target)).isFile, `${page}: ${link}`);
      if (anchor !== undefined) assert.ok(anchors(target).includes(anchor), `${page}: ${link}`);
      count++;
    }
  }
  assert.ok(count > 20);
});

Deno.test("pages: those that are installed link to each other alone", () => {
  for (const page of PAGES) {
    if (!page.startsWith("docs/") || page === "docs/internals.md") continue;
    for (const link of links(page)) {
      assert.ok(!link.includes("/") && !link.startsWith("internals.md"), `${page}: ${link}`);
    }
  }
});

Deno.test("pages: README leads to all of them", () => {
  const linked = new Set(links("README.md").map((link) => link.split("#")[0]));
  for (const page of PAGES) {
    if (page !== "README.md" && page !== "SECURITY.md") assert.ok(linked.has(page), page);
  }
});

Deno.test("pages: tasks that they name are there", () => {
  const tasks = new Set(Object.keys(project.tasks));
  for (const page of PAGES) {
    for (const [, task] of text(page).matchAll(/denow\s+task\s+([a-z][a-z:]*)/g)) {
      assert.ok(tasks.has(task!), `${page}: ${task}`);
    }
  }
});

/** Files that configurations name. */
const FILES = Object.fromEntries([
  ["/run/secrets/db-password", "secret"],
  ["/etc/pg_doorman/tls/clients-ca.crt", CERTIFICATE],
  ["/etc/pg_doorman/tls/directory-ca.crt", CERTIFICATE],
  ["/etc/pg_doorman/issuer.json", "{}"],
  ["/etc/pg_doorman/reports.pem", CERTIFICATE],
  ["/etc/pg_doorman/talos/prod.pem", CERTIFICATE],
  ...["server", "client", "ca"].flatMap((name) => [
    [`/etc/pg_doorman/tls/${name}.crt`, CERTIFICATE],
    [`/etc/pg_doorman/tls/${name}.key`, KEY],
  ]),
]);

/** A configuration with what it has to have, where a page shows a part of one. */
function completed(shown: string): string {
  // What stands for a real one.
  let whole = shown.replaceAll("SCRAM-SHA-256$…", "plain");
  if (!whole.includes("[general]")) whole = `${GENERAL}${whole}`;
  else if (!whole.includes("admin_username")) whole = whole.replace("[general]\n", GENERAL);
  return /^\[pools/m.test(whole) ? whole : `${whole}\n[pools]\n`;
}

Deno.test("pages: configurations that they show are valid", () => {
  let count = 0;
  for (const page of PAGES) {
    for (const [, shown] of text(page).matchAll(/^```toml\n([^]*?)^```$/gm)) {
      const io = {
        ...memoryIo({ ...FILES, "test.toml": completed(shown!) }),
        externalMethods: new Set(["pam", "ldap", "jwt", "talos", "peer"] as const),
        loginFaults: { options: optionFaults },
      };
      const { faults, warnings } = loadConfig("test.toml", io);
      assert.deepEqual([...faults, ...warnings].map(formatFault), [], page);
      count++;
    }
  }
  assert.ok(count >= 2);
});

/** Sources of this project; what npm or a build has put beside them is none. */
function* sources(folder: string): Iterable<string> {
  for (const { name, isDirectory } of Deno.readDirSync(join(ROOT, folder))) {
    if (isDirectory) yield* sources(`${folder}/${name}`);
    else if (name.endsWith(".ts")) yield `${folder}/${name}`;
  }
}

/** Comments of a source, without what is quoted: examples name files that are not there. */
function comments(source: string): string {
  return source.split("\n").filter((line) => /^\s*(?:\/\*\*|\*|\/\/)/.test(line)).join("\n");
}

Deno.test("pages: source files that pages and comments name are there", () => {
  const files = ["src", "tests", "tools", "bench"].flatMap((folder) => [...sources(folder)]);
  const places = new Map(files.map((file) => [file, comments(text(file))]));
  for (const page of PAGES) if (page !== "CHANGELOG.md") places.set(page, text(page));
  let count = 0;
  for (const [place, words] of places) {
    for (const [, name] of words.matchAll(/(?<![*\w./-])((?:[\w-]+\/)*[\w-]+\.ts)\b/g)) {
      assert.ok(files.some((file) => `/${file}`.endsWith(`/${name}`)), `${place}: ${name}`);
      count++;
    }
  }
  assert.ok(count > 50, String(count));
});
