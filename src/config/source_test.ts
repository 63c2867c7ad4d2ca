import assert from "node:assert/strict";
import { formatFault, inFileOrder, keyPath, parentPath } from "./source.ts";

Deno.test("source: paths quote unusual names and give their parents back", () => {
  const steps = ["pools", 'my "odd\\" db.x', "users"];
  const paths: string[] = [];
  steps.reduce((parent, key) => {
    const path = keyPath(parent, key);
    paths.push(path);
    return path;
  }, "");
  const item = `${paths[2]}[12]`;
  assert.equal(item, 'pools."my \\"odd\\\\\\" db.x".users[12]');
  assert.equal(parentPath(`${item}.pool_size`), item);
  assert.equal(parentPath(item), paths[2]);
  assert.equal(parentPath(paths[2] as string), paths[1]);
  assert.equal(parentPath(paths[1] as string), "pools");
  assert.equal(parentPath("pools"), "");
  assert.equal(parentPath(""), undefined);
  assert.equal(parentPath('"a.b"'), "");
});

Deno.test("source: a fault is one line with all that is known", () => {
  const fault = { file: "a.toml", path: "general.port", line: 3, message: "is odd", hint: "do" };
  assert.equal(formatFault(fault), "a.toml:3: general.port: is odd (do)");
  assert.equal(formatFault({ file: "a.toml", path: "", message: "is odd" }), "a.toml: is odd");
  const named = { file: "a.toml", path: "general.x", message: "not in effect yet: general.x" };
  assert.equal(formatFault(named), "a.toml: not in effect yet: general.x");
});

Deno.test("source: findings come in the order of the files and lines", () => {
  const at = (file: string, line?: number) => ({ file, path: "", line, message: "" });
  const sorted = inFileOrder([at("b", 9), at("a", 2), at("b", 1), at("a"), at("a", 1)]);
  assert.deepEqual(sorted.map(({ file, line }) => `${file}${line ?? ""}`), [
    "b1",
    "b9",
    "a",
    "a1",
    "a2",
  ]);
});
