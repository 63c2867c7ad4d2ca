import assert from "node:assert/strict";
import type { Config } from "../config/types.ts";
import { onlineOutput, testConfigOutput } from "./test_config.ts";

const WARNING = { file: "a.toml", path: "general.x", line: 3, message: "unknown key, ignored" };

Deno.test("test_config: success has both phrases and the path, warnings go to the other stream", () => {
  const config = {} as Config;
  const output = testConfigOutput("a.toml", {
    config,
    faults: [],
    warnings: [WARNING],
    notices: [],
  });
  assert.deepEqual(output, {
    stdout: "pg_doorman: the configuration file a.toml syntax is ok\n" +
      "pg_doorman: configuration file a.toml test is successful\n",
    stderr: "warning: a.toml:3: general.x: unknown key, ignored\n",
    code: 0,
  });
});

Deno.test("test_config: failure lists every fault on a line of its own", () => {
  const faults = [
    { file: "a.toml", path: "", message: "could not open the file: no such file" },
    { file: "b.yaml", path: 'pools."x\n".users[0]', line: 9, message: "bad\nluck", hint: "do" },
  ];
  const output = testConfigOutput("a.toml", { faults, warnings: [WARNING], notices: [] });
  assert.equal(output.stdout, "");
  assert.equal(output.code, 78);
  assert.deepEqual(output.stderr.split("\n"), [
    "Config parse error: 2 faults in a.toml",
    "error: a.toml: could not open the file: no such file",
    'error: b.yaml:9: pools."x ".users[0]: bad luck (do)',
    "warning: a.toml:3: general.x: unknown key, ignored",
    "",
  ]);
});

Deno.test("test config: what -t --online found, and its exit code", () => {
  const good = { what: "server a", error: undefined, note: "" };
  const noted = { what: "server b", error: undefined, note: "with TLS" };
  const bad = { what: "server c", error: "08001: no\nway", note: "" };
  assert.deepEqual(onlineOutput([good, noted]), {
    stdout: "pg_doorman: server a: ok\npg_doorman: server b: ok, with TLS\n",
    stderr: "",
    code: 0,
  });
  assert.deepEqual(onlineOutput([bad, good]), {
    stdout: "pg_doorman: server a: ok\n",
    stderr: "error: server c: 08001: no way\n",
    code: 1,
  });
});
