import assert from "node:assert/strict";
import { deallocatedName, mayDeallocate, parseDeallocate } from "./deallocate.ts";

Deno.test("deallocate: what is deallocated", () => {
  const cases: [string, ReturnType<typeof parseDeallocate>][] = [
    ["DEALLOCATE ALL", "ALL"],
    ["deallocate prepare all;", "ALL"],
    ["DEALLOCATE s1", { name: "s1" }],
    ["  Deallocate\tPREPARE\n S1 ; ", { name: "s1" }],
    ['DEALLOCATE "S""1"', { name: 'S"1' }],
    ['DEALLOCATE "all"', { name: "all" }],
    ["DEALLOCATE _ä$1", { name: "_ä$1" }],
    ["DEALLOCATE", undefined],
    ["DEALLOCATE 1s", undefined],
    ["DEALLOCATE a b", undefined],
    ["DEALLOCATE a; SELECT 1", undefined],
    ["SELECT 1", undefined],
  ];
  for (const [text, wanted] of cases) assert.deepEqual(parseDeallocate(text), wanted, text);
});

Deno.test("deallocate: texts that need no closer look", () => {
  const encoder = new TextEncoder();
  const may = (text: string) => mayDeallocate(encoder.encode(text + "\0"), 0, text.length + 1);
  assert.ok(may("DEALLOCATE a"));
  assert.ok(may(" deallocate a"));
  assert.ok(!may("SELECT 1"));
  assert.ok(!may("DO " + "x".repeat(400)));
  const bytes = encoder.encode('xxDEALLOCATE "é"\0yy');
  assert.deepEqual(deallocatedName(bytes, 2, bytes.length - 2), encoder.encode("é"));
  assert.equal(deallocatedName(encoder.encode("DEALLOCATE ALL\0"), 0, 15), undefined);
});
