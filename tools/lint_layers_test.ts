/// <reference lib="deno.unstable" />

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { NOT_YET, pluginWith, RULE_NAMES } from "./lint_layers.ts";

const plugin = pluginWith([]);

function faults(path: string, source: string): string[] {
  return Deno.lint.runPlugin(plugin, path, source).map((one) => `${one.id}: ${one.message}`);
}

function allows(path: string, specifier: string): boolean {
  return faults(path, `import { x } from "${specifier}";`).length === 0;
}

Deno.test("lint: a layer imports those below it and none above", () => {
  assert.ok(allows("/x/src/client/relay/relay.ts", "../../pool/pool.ts"));
  assert.ok(allows("/x/src/client/relay/relay.ts", "./gather.ts"));
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
  assert.ok(allows("/x/src/control/a.ts", "../tls/context.ts"));
  assert.ok(!allows("/x/src/admin/a.ts", "../tls/context.ts"));
  assert.ok(!allows("/x/src/tls/context.ts", "./record_layer.ts"));
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
  for (const folder of ["client", "pool", "server", "worker", "control"]) {
    assert.match(faults(`/x/src/${folder}/a.ts`, "// line\n".repeat(501))[0]!, /501 lines; 500/);
    assert.equal(faults(`/x/src/${folder}/a.ts`, "// line\n".repeat(500)).length, 0);
  }
  assert.match(faults("/x/src/config/load.ts", long)[0]!, /601 lines; 600/);
  assert.equal(faults("/x/src/config/load.ts", "// line\n".repeat(600)).length, 0);
  assert.equal(faults("/x/src/auth/saslprep_tables.ts", long).length, 0);
  assert.equal(faults("/x/src/pool/pool_test.ts", long).length, 0);
});

Deno.test("lint: functions, methods and arrows have an end", () => {
  const body = (lines: number) => `{\n${"  f();\n".repeat(lines - 2)}}`;
  const forms: ((body: string) => string)[] = [
    (body) => `export function a(): void ${body}`,
    (body) => `export const a = function (): void ${body};`,
    (body) => `export const a = (): void => ${body};`,
    (body) => `export const a = { b(): void ${body} };`,
    (body) => `export class A { b(): void ${body} }`,
    (body) => `export class A { constructor() ${body} }`,
    (body) => `export class A { get b(): void ${body} }`,
  ];
  for (const form of forms) {
    assert.deepEqual(faults("/x/src/log/a.ts", form(body(120))), [], form(""));
    const found = faults("/x/src/log/a.ts", form(body(121)));
    assert.equal(found.length, 1, form(""));
    assert.match(found[0]!, /function-length.*121 lines/);
    assert.deepEqual(faults("/x/src/log/a_test.ts", form(body(121))), []);
    assert.deepEqual(faults("/x/src/log/a_tables.ts", form(body(121))), []);
  }
});

Deno.test("lint: nobody in a folder imports the file that wires it together", () => {
  const wholes = ["client/session", "pool/pool", "server/connection", "worker/worker"];
  for (const whole of [...wholes, "control/process"]) {
    const [folder, file] = whole.split("/");
    assert.ok(!allows(`/x/src/${folder}/a.ts`, `./${file}.ts`), whole);
    assert.ok(!allows(`/x/src/${folder}/room/a.ts`, `../${file}.ts`), whole);
    assert.ok(allows(`/x/src/${folder}/a_test.ts`, `./${file}.ts`), whole);
    assert.ok(allows(`/x/src/${folder}/testing/a.ts`, `../${file}.ts`), whole);
    assert.ok(allows(`/x/src/${folder}/room/a.ts`, `./${file}.ts`), whole);
  }
  assert.ok(allows("/x/src/client/relay/a.ts", "../../pool/pool.ts"));
  assert.ok(allows("/x/src/client/session.ts", "./relay/relay.ts"));
});

Deno.test("lint: in client, local, prepared, relay and listen import downwards", () => {
  const rooms = ["local", "prepared", "relay", "listen"];
  for (const [i, from] of rooms.entries()) {
    for (const [j, to] of rooms.entries()) {
      assert.equal(
        allows(`/x/src/client/${from}/a.ts`, `../${to}/b.ts`),
        j >= i,
        `${from} → ${to}`,
      );
    }
    assert.ok(!allows("/x/src/client/login/a.ts", `../${from}/b.ts`), from);
  }
  assert.ok(allows("/x/src/client/pinning/a.ts", "../listen/b.ts"));
  assert.ok(!allows("/x/src/client/listen/a.ts", "../pinning/b.ts"));
  assert.ok(!allows("/x/src/client/login/a.ts", "../pinning/b.ts"));
  assert.ok(allows("/x/src/client/login/a.ts", "./places.ts"));
});

Deno.test("lint: in client, types of sessions import nothing but each other", () => {
  assert.ok(allows("/x/src/client/parts.ts", "./context.ts"));
  assert.ok(allows("/x/src/client/parts.ts", "./state.ts"));
  assert.ok(allows("/x/src/client/parts.ts", "../pool/pool.ts"));
  assert.ok(allows("/x/src/client/context.ts", "./state.ts"));
  assert.ok(!allows("/x/src/client/context.ts", "./parts.ts"));
  assert.ok(!allows("/x/src/client/state.ts", "./context.ts"));
  for (const file of ["parts", "context", "state"]) {
    assert.ok(!allows(`/x/src/client/${file}.ts`, "./socket.ts"), file);
    assert.ok(!allows(`/x/src/client/${file}.ts`, "./prepared/names.ts"), file);
    assert.ok(allows("/x/src/client/prepared/names.ts", `../${file}.ts`), file);
  }
});

Deno.test("lint: in pool, connecting and counting know nothing of what is above them", () => {
  for (const file of ["connecting/creation.ts", "moving.ts"]) {
    const up = file.includes("/") ? ".." : ".";
    assert.ok(!allows(`/x/src/pool/${file}`, `${up}/listen/listener.ts`), file);
    assert.ok(!allows(`/x/src/pool/${file}`, `${up}/replication.ts`), file);
    assert.ok(allows(`/x/src/pool/${file}`, `${up}/environment.ts`), file);
  }
  assert.ok(allows("/x/src/pool/listen/listener.ts", "../connecting/pool_login.ts"));
  for (const file of ["capacity", "share", "waiting", "lifetime"]) {
    assert.ok(!allows(`/x/src/pool/${file}.ts`, "./coordinator.ts"), file);
    assert.ok(!allows(`/x/src/pool/${file}.ts`, "./connecting/pacing.ts"), file);
    assert.ok(allows(`/x/src/pool/${file}.ts`, "../server/state.ts"), file);
  }
  assert.ok(allows("/x/src/pool/share.ts", "./capacity.ts"));
  assert.ok(allows("/x/src/pool/coordinator.ts", "./share.ts"));
});

Deno.test("lint: in control, upgrade and reload don't know each other, service knows neither", () => {
  for (const [from, to] of [["upgrade", "reload"], ["service", "reload"], ["service", "upgrade"]]) {
    assert.ok(!allows(`/x/src/control/${from}/a.ts`, `../${to}/b.ts`), `${from} → ${to}`);
  }
  assert.ok(!allows("/x/src/control/reload/a.ts", "../upgrade/b.ts"));
  assert.ok(allows("/x/src/control/upgrade/a.ts", "../service/b.ts"));
  assert.ok(allows("/x/src/control/reload/a.ts", "../service/b.ts"));
  assert.ok(allows("/x/src/control/upgrade/a.ts", "./b.ts"));
});

Deno.test("lint: an exception spares one file one rule", () => {
  const long = "// line\n".repeat(601);
  const sparing = pluginWith([["pool/pool.ts", "file-length"]]);
  const count = (path: string, source: string) => Deno.lint.runPlugin(sparing, path, source).length;
  assert.equal(count("/x/src/pool/pool.ts", long), 0);
  assert.equal(count("/x/src/pool/waiting.ts", long), 1);
  assert.equal(count("/x/src/pool/pool.ts", `import "../client/a.ts";`), 1);
});

Deno.test("lint: each exception is needed still", () => {
  for (const [file, rule] of NOT_YET) {
    assert.ok(RULE_NAMES.includes(rule), `NOT_YET: no such rule: ${rule}`);
    const path = fileURLToPath(new URL(`../src/${file}`, import.meta.url));
    const found = faults(path, Deno.readTextFileSync(path));
    assert.ok(
      found.some((one) => one.startsWith(`pg-doorman/${rule}:`)),
      `${file} keeps ${rule} now: strike it from NOT_YET in tools/lint_layers.ts`,
    );
  }
});

Deno.test("lint: no patterns where peers are heard", () => {
  for (
    const source of [
      "export const a = /a/;",
      "export const a = (b: string) => b.split(/,/);",
      "export const a = (b: string) => b.replace(/a/g, '');",
      "export const a = new RegExp('a');",
      "export const a = RegExp('a');",
      "export const a = (b: string) => b.match('a');",
      "export const a = (b: string, c: string) => b.matchAll(c);",
      "export const a = (b: string) => b.search('a');",
    ]
  ) {
    for (const part of ["server", "client", "pool", "worker", "protocol"]) {
      assert.match(faults(`/x/src/${part}/a/b.ts`, source)[0] ?? "", /peer-text/, source);
    }
    assert.deepEqual(faults("/x/src/config/a.ts", source), [], source);
    assert.deepEqual(faults("/x/src/server/a_test.ts", source), [], source);
  }
  const free = "export const a = (b: string, c: { match(d: object): void }) => " +
    "[b.split(','), b.replaceAll('a', 'b'), c.match({ b })];";
  assert.deepEqual(faults("/x/src/client/a.ts", free), []);
});

Deno.test("lint: tests and other folders are free", () => {
  const source = `import "../../src/worker/worker.ts"; Deno.dlopen("libc.so.6", {});`;
  assert.deepEqual(faults("/x/tests/functional/a_test.ts", source), []);
  assert.deepEqual(faults("/x/src/pool/pool_test.ts", `import "../client/session.ts";`), []);
  assert.deepEqual(faults("/x/src/admin/testing/fake.ts", `import "../../worker/a.ts";`), []);
});
