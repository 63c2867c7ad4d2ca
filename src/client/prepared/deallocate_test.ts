import assert from "node:assert/strict";
import {
  deallocatedName,
  goneQuery,
  mayDeallocate,
  readDeallocation,
  readDeallocations,
} from "./deallocate.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

function read(text: string): "ALL" | { name: string; written: string } | undefined {
  const bytes = encoder.encode(`xx${text}\0yy`);
  const found = readDeallocation(bytes, 2, bytes.length - 2);
  if (found === undefined || found === "ALL") return found;
  const written = decoder.decode(bytes.subarray(found.start, found.end));
  return { name: decoder.decode(found.name), written };
}

Deno.test("deallocate: what is deallocated", () => {
  const cases: [text: string, name: string | undefined, written?: string][] = [
    ["DEALLOCATE s1", "s1"],
    ["  Deallocate\tPREPARE\n S1 ; ", "s1", "S1"],
    ['DEALLOCATE "S""1"', 'S"1', '"S""1"'],
    ['DEALLOCATE"S1"', "S1", '"S1"'],
    ['DEALLOCATE "all"', "all", '"all"'],
    ["DEALLOCATE _ä$1", "_ä$1"],
    ["/* c */ DEALLOCATE x", "x"],
    ["-- c\nDEALLOCATE/**/x--", "x"],
    [";;DEALLOCATE x;;", "x"],
    ["DEALLOCATE prepare", "prepare"],
    ["DEALLOCATE prepare prepare;", "prepare"],
    [`DEALLOCATE ${"x".repeat(70)}`, "x".repeat(63), "x".repeat(70)],
    ["DEALLOCATE", undefined],
    ["DEALLOCATE 1s", undefined],
    ["DEALLOCATE a b", undefined],
    ["DEALLOCATE a; SELECT 1", undefined],
    ["DEALLOCATE a /*", undefined],
    ['DEALLOCATE ""', undefined],
    ['DEALLOCATE U&"a"', undefined],
    ["DEALLOCATE 'a'", undefined],
    ["/* DEALLOCATE a */", undefined],
    ["SELECT 1", undefined],
    ["", undefined],
  ];
  for (const [text, name, written = name] of cases) {
    assert.deepEqual(read(text), name === undefined ? undefined : { name, written }, text);
  }
  for (const text of ["DEALLOCATE ALL", "deallocate prepare all;", "/**/DEALLOCATE/**/All;;"]) {
    assert.equal(read(text), "ALL", text);
  }
});

Deno.test("deallocate: texts that need no closer look", () => {
  const may = (text: string) =>
    mayDeallocate(encoder.encode(text + "\0"), 0, text.length + 1, text.length + 1);
  for (
    const text of ["DEALLOCATE a", " deallocate a", "/**/deallocate a", "--\ndeallocate a", ";"]
  ) assert.ok(may(text), text);
  for (const text of ["SELECT 1", "DO x", "DEALLOCATE " + "x".repeat(1000)]) {
    assert.ok(!may(text), text);
  }
  const bytes = encoder.encode('xxDEALLOCATE "é"\0yy');
  assert.deepEqual(deallocatedName(bytes, 2, bytes.length - 2), encoder.encode("é"));
  assert.equal(deallocatedName(encoder.encode("DEALLOCATE ALL\0"), 0, 15), undefined);
});

Deno.test("deallocate: among other statements of a text", () => {
  const cases: [text: string, names: string[] | undefined][] = [
    ["DEALLOCATE a; SELECT 1", ["a"]],
    [`SELECT ';DEALLOCATE x'; /* ; */ DEALLOCATE PREPARE "B";; DEALLOCATE c`, ["B", "c"]],
    ["DEALLOCATE a; DEALLOCATE ALL; DEALLOCATE b", ["a"]],
    ["SELECT $$;DEALLOCATE x;$$", []],
    ["SELECT 1; DEALLOCATE", undefined],
    ["SELECT 1; DEALLOCATE a 'b", undefined],
    ["SELECT '\\'; DEALLOCATE a --'", undefined],
    ["DEALLOCATE a; ".repeat(101), undefined],
    ["", []],
  ];
  for (const [text, names] of cases) {
    const bytes = encoder.encode(`xx${text}\0yy`);
    const found = readDeallocations(bytes, 2, bytes.length - 2);
    assert.deepEqual(found?.map(({ name }) => decoder.decode(name)), names, text);
  }
});

Deno.test("deallocate: one of a text's names in place of another", () => {
  const text = encoder.encode('xxSELECT 1; DEALLOCATE "A b"; SELECT 2\0');
  const [one] = readDeallocations(text, 2, text.length)!;
  const message = goneQuery(text, 2, text.length, one);
  assert.equal(message[0], "Q".charCodeAt(0));
  assert.equal(new DataView(message.buffer).getUint32(1), message.length - 1);
  assert.equal(
    decoder.decode(message.subarray(5)),
    'SELECT 1; DEALLOCATE "DOORMAN_gone"; SELECT 2\0',
  );
});
