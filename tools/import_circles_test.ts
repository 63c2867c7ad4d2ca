/** No file of the product imports itself by way of others: a part declares what it needs, and the whole implements it. */

import assert from "node:assert/strict";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const SRC = fileURLToPath(new URL("../src", import.meta.url));

/** Files of the product under `folder`. */
function* files(folder: string): Iterable<string> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    const path = join(folder, name);
    if (isDirectory) {
      if (name !== "testing") yield* files(path);
    } else if (name.endsWith(".ts") && !name.endsWith("_test.ts")) yield path;
  }
}

/** Files that a file imports; `import type` is an import. */
function imports(path: string): string[] {
  const text = Deno.readTextFileSync(path);
  return [...text.matchAll(/^(?:import|export)\b[^;]*?\bfrom "(\.[^"]+)";/gm)]
    .map(([, specifier]) => join(dirname(path), specifier!));
}

/** Groups of files that reach each other, by Tarjan's algorithm; of each its names. */
function circles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const open: string[] = [];
  const found: string[][] = [];
  const visit = (file: string): void => {
    const own = index.size;
    index.set(file, own);
    low.set(file, own);
    open.push(file);
    for (const next of graph.get(file) ?? []) {
      if (!graph.has(next)) continue;
      if (!index.has(next)) visit(next);
      if (open.includes(next)) low.set(file, Math.min(low.get(file)!, low.get(next)!));
    }
    if (low.get(file) !== own) return;
    const group = open.splice(open.indexOf(file));
    if (group.length > 1) found.push(group.map((path) => relative(SRC, path)).sort());
  };
  for (const file of graph.keys()) if (!index.has(file)) visit(file);
  return found;
}

Deno.test("imports: a circle is found", () => {
  const graph = new Map([["a", ["b"]], ["b", ["c"]], ["c", ["a", "d"]], ["d", []]]);
  assert.equal(circles(graph).length, 1);
  assert.equal(circles(graph)[0]!.length, 3);
});

Deno.test("imports: no circle among the files of src", () => {
  const graph = new Map([...files(SRC)].map((path) => [path, imports(path)]));
  assert.ok(graph.size > 100);
  assert.deepEqual(circles(graph), []);
});
