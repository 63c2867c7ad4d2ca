import assert from "node:assert/strict";
import type { SourceNode } from "./source.ts";
import { readYaml } from "./yaml.ts";

/** The tree as plain values, numbers as text of their kind. */
function plain(node: SourceNode): unknown {
  switch (node.kind) {
    case "table":
      return Object.fromEntries([...node.entries].map(([key, child]) => [key, plain(child)]));
    case "list":
      return node.items.map(plain);
    case "integer":
      return `int ${node.value}`;
    case "float":
      return `float ${node.value}`;
    case "date":
      return "date";
    default:
      return node.value;
  }
}

function treeOf(text: string): unknown {
  const { tree, faults } = readYaml("t.yaml", text);
  assert.deepEqual(faults, []);
  return plain(tree as SourceNode);
}

Deno.test("yaml: keeps the kinds of values apart, YAML 1.2 core", () => {
  assert.deepEqual(
    treeOf('a: 5\nb: 5.0\nc: "5"\nd: true\ne: yes\nf: on\ng: 0x1f\nh: 0o17\ni: -3\nj: 2026-01-01'),
    {
      a: "int 5",
      b: "float 5",
      c: "5",
      d: true,
      e: "yes",
      f: "on",
      g: "int 31",
      h: "int 15",
      i: "int -3",
      j: "2026-01-01",
    },
  );
});

Deno.test("yaml: a leading zero makes a string, no value makes a key absent", () => {
  assert.deepEqual(treeOf("mode: 0600\nzero: 0\nnone:\ntilde: ~\nword: null\nx: {y: null}"), {
    mode: "0600",
    zero: "int 0",
    x: {},
  });
  assert.deepEqual(treeOf(""), {});
  assert.deepEqual(treeOf("# nothing\n"), {});
});

Deno.test("yaml: numbers as keys become strings, anchors work, << does not merge", () => {
  assert.deepEqual(
    treeOf("users:\n  0: &u {username: a}\n  1: *u\nlist: [*u]\nx:\n  <<: *u"),
    {
      users: { 0: { username: "a" }, 1: { username: "a" } },
      list: [{ username: "a" }],
      x: { "<<": { username: "a" } },
    },
  );
});

Deno.test("yaml: a key given twice counts the second time, with a warning", () => {
  const { tree, faults, warnings } = readYaml("t.yaml", "a: {b: 1}\nc: 2\na: {b: 3}\n");
  assert.deepEqual(faults, []);
  assert.deepEqual(plain(tree as SourceNode), { a: { b: "int 3" }, c: "int 2" });
  assert.deepEqual(warnings.map(({ path, line }) => [path, line]), [["a", 3]]);
  const twice = readYaml("t.yaml", "include: {files: []}\ninclude: {files: []}\n");
  assert.deepEqual(twice.faults.map(({ path, line }) => [path, line]), [["include", 2]]);
});

Deno.test("yaml: faults have their line and nothing of the text", () => {
  for (
    const [text, line, message] of [
      ["a: 1\nb: [1,\nsecret: 2", 3, /Flow sequence/],
      ["a: 1\npassword: secret: x", 2, /Nested mappings/],
      ["password: 'top secret", 1, /Missing closing/],
      ["a: 1\n---\nsecret: 2", 2, /several documents/],
      ["- secret\nx: y", 2, /Unexpected scalar/],
      ["a:\n\tsecret: 1", 2, /Tabs/],
    ] as const
  ) {
    const { tree, faults } = readYaml("t.yaml", text);
    assert.equal(tree, undefined, text);
    assert.equal(faults[0]?.line, line, text);
    assert.match(faults[0]?.message ?? "", message, text);
    assert.doesNotMatch(JSON.stringify(faults), /secret/, text);
  }
  for (
    const [text, path, message] of [
      ["a: *nobody", "a", /without its anchor/],
      ["a: !secret", "", /tag/],
      ["a: !!int secret", "", /tag/],
      ["a: [1, null]", "a[1]", /empty value/],
      ["a:\n  - x\n  -\n", "a[1]", /empty value/],
      ["just text", "", /keys and values/],
      ["- a\n- b", "", /keys and values/],
      ["? [a, b]\n: 1", "", /key must be a name/],
    ] as const
  ) {
    const { faults } = readYaml("t.yaml", text);
    assert.deepEqual(faults.map((fault) => fault.path), [path], text);
    assert.match(faults[0]?.message ?? "", message, text);
    assert.doesNotMatch(JSON.stringify(faults), /secret|nobody/, text);
  }
});

Deno.test("yaml: an alias that holds itself, and aliases that multiply, are faults", () => {
  const selfish = readYaml("t.yaml", "a: &a [*a]");
  assert.match(selfish.faults[0]?.message ?? "", /nested too deeply/);
  let bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (let i = 1; i < 9; i++) {
    bomb += `a${i}: &a${i} [${new Array(10).fill(`*a${i - 1}`).join(", ")}]\n`;
  }
  const { faults } = readYaml("t.yaml", bomb);
  assert.deepEqual(faults.map((fault) => fault.message), [
    "the file unfolds to too many values",
  ]);
});
