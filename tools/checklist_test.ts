import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { checklistFaults, declaredTests } from "./checklist.ts";

const ROOT = new URL("../", import.meta.url);

function read(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(fileURLToPath(new URL(path, ROOT)));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

Deno.test("checklist: every number has a test that exists, or a reason", () => {
  assert.deepEqual(checklistFaults(read("tests/CHECKLIST.md")!, read), []);
});

Deno.test("checklist: finds tests by plain names and by templates", () => {
  const source = 'Deno.test("a \\"b\\"", f); Deno.test({\n  name:\n    "c",\n  fn,\n});' +
    "Deno.test(`d ${e}`, f); const no = 'Deno.test';";
  assert.deepEqual([...declaredTests(source)], ['a "b"', "c", "d ${e}"]);
});

Deno.test("checklist: tells what is missing, doubled, unknown, or empty", () => {
  const files: Record<string, string> = { "a_test.ts": 'Deno.test("one: two", f)' };
  const table = [
    "| # | what | test |",
    "| --- | --- | --- |",
    '| 1 | x | `a_test.ts` "one: two" |',
    '| 2 | x | `a_test.ts` "one" + `b_test.ts` "one: two" |',
    "| 3 | x | soon |",
    "| 3 |   | not yet: needs y |",
    '| 4 | x | does not apply: z; `a_test.ts` "three" |',
    "| 6 | x | not yet: needs |",
  ].join("\n");
  assert.deepEqual(checklistFaults(table, (path) => files[path], 6), [
    '2: a_test.ts has no test "one"',
    "2: no file b_test.ts",
    "3: neither a test nor a reason",
    "3: is there twice",
    "3: does not say what must hold",
    '4: a_test.ts has no test "three"',
    "6: neither a test nor a reason",
    "5: is missing",
  ]);
});
