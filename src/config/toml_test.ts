import assert from "node:assert/strict";
import type { SourceNode, TableNode } from "./source.ts";
import { readToml } from "./toml.ts";
import { locateTomlKeys } from "./toml_lines.ts";

function treeOf(text: string): TableNode {
  const { tree, faults } = readToml("t.toml", text);
  assert.deepEqual(faults, []);
  return tree as TableNode;
}

function entry(node: SourceNode | undefined, key: string): SourceNode {
  assert.ok(node?.kind === "table");
  return node.entries.get(key) as SourceNode;
}

Deno.test("toml: keeps the kinds of values apart", () => {
  const tree = treeOf(
    'a = 5\nb = 5.0\nc = "5"\nd = true\ne = 2026-01-01\nf = [1]\n[g]\nbig = 9223372036854775807\n',
  );
  assert.deepEqual(
    [...tree.entries].map(([key, node]) => `${key} ${node.kind}`),
    ["a integer", "b float", "c string", "d bool", "e date", "f list", "g table"],
  );
  const big = entry(entry(tree, "g"), "big");
  assert.equal(big.kind === "integer" && big.value, 9223372036854775807n);
});

Deno.test("toml: a syntax error has its line and nothing of the text", () => {
  for (
    const [text, line] of [
      ['a = 1\npassword = "top secret\nb = 2', 2],
      ["[a]\nb = 1\n[a]\nsecret = 2", 3],
      ["a = 1\na = 2", 2],
      ['password = "top secret" secret', 1],
    ] as const
  ) {
    const { tree, faults } = readToml("t.toml", text);
    assert.equal(tree, undefined);
    assert.equal(faults.length, 1, text);
    assert.equal(faults[0]?.line, line, text);
    assert.match(faults[0]?.message ?? "", /^TOML parse error: /);
    assert.doesNotMatch(JSON.stringify(faults), /secret/);
  }
});

Deno.test("toml: deep nesting is a fault, not a crash", () => {
  const { faults } = readToml("t.toml", `a = ${"[".repeat(5000)}${"]".repeat(5000)}`);
  assert.match(faults[0]?.message ?? "", /nested/);
});

const LINES = `# a comment
title = "x"           # 2
[general]             # 3
admin.name = 'it''s'  # not TOML in fact: see below
`.replace("'it''s'", '"it\'s"') + `text = """
[not.a.table]
key = 1 \\""" more
"""                   # 8
lit = '''
[nor.this]''''        # 10

[pools.app]           # 12
list = [              # 13
  "a", # ] not the end
  { username = "u", deep = [1, 2] },
]
"odd key".'b.c' = 1   # 17
[[pools.app.users]]   # 18
username = "a"        # 19
[pools.app.users.x]   # 20
y = 1                 # 21
[[pools.app.users]]   # 22
username = "b"        # 23
[ pools . "my \\"db" ] # 24
inline = { a = 1, b = { c = "}" }, "d e" = 2 }  # 25
esc = "\\\\" # 26
last = 1e5 # 27
`;

Deno.test("toml lines: finds every key through strings, comments, arrays and inline tables", () => {
  // The library accepts the text, so the scanner is judged on TOML.
  treeOf(LINES);
  const lines = locateTomlKeys(LINES);
  const wanted: [string, number][] = [
    ["title", 2],
    ["general", 3],
    ["general.admin", 4],
    ["general.admin.name", 4],
    ["general.text", 5],
    ["general.lit", 9],
    ["pools", 12],
    ["pools.app", 12],
    ["pools.app.list", 13],
    ["pools.app.list[0]", 14],
    ["pools.app.list[1]", 15],
    ["pools.app.list[1].username", 15],
    ["pools.app.list[1].deep[1]", 15],
    ['pools.app."odd key"."b.c"', 17],
    ["pools.app.users", 18],
    ["pools.app.users[0]", 18],
    ["pools.app.users[0].username", 19],
    ["pools.app.users[0].x.y", 21],
    ["pools.app.users[1]", 22],
    ["pools.app.users[1].username", 23],
    ['pools."my \\"db"', 24],
    ['pools."my \\"db".inline', 25],
    ['pools."my \\"db".inline.b.c', 25],
    ['pools."my \\"db".inline."d e"', 25],
    ['pools."my \\"db".esc', 26],
    ['pools."my \\"db".last', 27],
  ];
  for (const [path, line] of wanted) assert.equal(lines.get(path), line, path);
  assert.equal(lines.get("not"), undefined);
  assert.equal(lines.get("nor"), undefined);
});

Deno.test("toml lines: every key of a parsed text is found", () => {
  const missing: string[] = [];
  const lines = locateTomlKeys(LINES);
  const walk = (node: SourceNode) => {
    const path = String(node.place);
    if (path !== "" && !lines.has(path)) missing.push(path);
    if (node.kind === "table") { for (const child of node.entries.values()) walk(child); }
    if (node.kind === "list") node.items.forEach(walk);
  };
  walk(treeOf(LINES));
  assert.deepEqual(missing, []);
});

Deno.test("toml lines: an unfinished text ends the search", () => {
  for (const text of ["a = [1,", "a = {b = ", '"', "[a", "a = '''x", 'a = "\\']) {
    assert.ok(locateTomlKeys(text).size <= 2, text);
  }
});
