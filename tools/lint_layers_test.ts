/// <reference lib="deno.unstable" />

import assert from "node:assert/strict";
import plugin from "./lint_layers.ts";

function faults(path: string, source: string): string[] {
  return Deno.lint.runPlugin(plugin, path, source).map((one) => `${one.id}: ${one.message}`);
}

function allows(path: string, specifier: string): boolean {
  return faults(path, `import { x } from "${specifier}";`).length === 0;
}

Deno.test("lint: a layer imports those below it and none above", () => {
  assert.ok(allows("/x/src/client/relay/relay.ts", "../pool/pool.ts"));
  assert.ok(allows("/x/src/client/relay/relay.ts", "./session.ts"));
  assert.ok(allows("/x/src/worker/worker.ts", "../handover/codec.ts"));
  assert.ok(!allows("/x/src/pool/pool.ts", "../client/session.ts"));
  assert.ok(!allows("/x/src/os/libc.ts", "../reactor/reactor.ts"));
  assert.ok(!allows("/x/src/reactor/reactor.ts", "../mail.ts"));
});

Deno.test("lint: the planes know each other by mail alone", () => {
  for (const part of ["control", "admin", "web"]) {
    assert.ok(allows(`/x/src/${part}/a.ts`, "../mail.ts"));
    for (const data of ["reactor", "tls", "server", "pool", "client", "worker"]) {
      assert.ok(!allows(`/x/src/${part}/a.ts`, `../${data}/b.ts`), `${part} → ${data}`);
      assert.ok(!allows(`/x/src/${data}/a.ts`, `../${part}/b.ts`), `${data} → ${part}`);
    }
  }
  assert.ok(allows("/x/src/main.ts", "./control/process.ts"));
  assert.ok(!allows("/x/src/main.ts", "./worker/worker.ts"));
});

Deno.test("lint: pure parts import nothing, and everybody may import them", () => {
  assert.ok(allows("/x/src/worker/worker.ts", "../stats/counters.ts"));
  assert.ok(allows("/x/src/protocol/startup.ts", "../reasons.ts"));
  assert.ok(!allows("/x/src/protocol/startup.ts", "../log/log.ts"));
  assert.ok(!allows("/x/src/config/load.ts", "../os/libc.ts"));
  assert.ok(!allows("/x/src/reasons.ts", "./protocol/codes.ts"));
});

Deno.test("lint: every form of import counts", () => {
  const path = "/x/src/pool/pool.ts";
  assert.equal(faults(path, `import type { A } from "../client/a.ts";`).length, 1);
  assert.equal(faults(path, `export { A } from "../client/a.ts";`).length, 1);
  assert.equal(faults(path, `const a = await import("../client/a.ts");`).length, 1);
  assert.match(faults(path, `export * from "./waiting.ts";`)[0]!, /barrel/);
  assert.equal(faults(path, `export const a = 1; import "node:path";`).length, 0);
});

Deno.test("lint: packages and unknown folders", () => {
  assert.ok(allows("/x/src/config/toml.ts", "smol-toml"));
  assert.ok(!allows("/x/src/protocol/framer.ts", "smol-toml"));
  assert.ok(allows("/x/src/os/libc.ts", "node:buffer"));
  assert.ok(allows("/x/src/cli/version.ts", "../../deno.json"));
  assert.match(faults("/x/src/misc/a.ts", `import "../log/log.ts";`)[0]!, /not in the table/);
});

Deno.test("lint: only src/os opens native libraries", () => {
  const source = `Deno.dlopen("libc.so.6", {});`;
  assert.equal(faults("/x/src/os/libc.ts", source).length, 0);
  assert.match(faults("/x/src/reactor/poller.ts", source)[0]!, /native-libraries/);
});

Deno.test("lint: files have an end, tables and tests apart", () => {
  const long = "// line\n".repeat(601);
  assert.match(faults("/x/src/pool/pool.ts", long)[0]!, /601 lines/);
  assert.equal(faults("/x/src/pool/pool.ts", "// line\n".repeat(600)).length, 0);
  assert.equal(faults("/x/src/auth/saslprep_tables.ts", long).length, 0);
  assert.equal(faults("/x/src/pool/pool_test.ts", long).length, 0);
});

Deno.test("lint: tests and other folders are free", () => {
  const source = `import "../../src/worker/worker.ts"; Deno.dlopen("libc.so.6", {});`;
  assert.deepEqual(faults("/x/tests/functional/a_test.ts", source), []);
  assert.deepEqual(faults("/x/src/pool/pool_test.ts", `import "../client/session.ts";`), []);
  assert.deepEqual(faults("/x/src/admin/testing/fake.ts", `import "../../worker/a.ts";`), []);
});
