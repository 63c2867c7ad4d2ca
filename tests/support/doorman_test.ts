import assert from "node:assert/strict";
import { join } from "node:path";
import { Doorman, isListening, unexpectedFaults } from "./doorman.ts";
import { makeTestFolder, removeFolder } from "./test_folder.ts";

// What is under test here is the support itself, so a small program stands in for pg_doorman.
const STAND_IN = `
const text = Deno.readTextFileSync(Deno.args.at(-1)!);
const port = Number(/port = (\\d+)/.exec(text)![1]);
console.error("2026-01-01T00:00:00Z INFO listening");
if (text.includes("warn = true")) console.error("2026-01-01T00:00:00Z WARN something odd");
Deno.addSignalListener("SIGTERM", () => Deno.exit(text.includes("fail = true") ? 3 : 0));
Deno.listen({ hostname: "127.0.0.1", port });
if (text.includes("crash = true")) setTimeout(() => Deno.exit(9), 500);
setInterval(() => {}, 1000);
`;

async function withStandIn(test: () => Promise<void>): Promise<void> {
  const folder = await makeTestFolder("stand-in");
  const before = Deno.env.get("PG_DOORMAN_BINARY");
  try {
    await Deno.writeTextFile(join(folder, "program.ts"), STAND_IN);
    const script = join(folder, "program");
    const run = `exec '${Deno.execPath()}' run --no-config -A '${join(folder, "program.ts")}' "$@"`;
    await Deno.writeTextFile(script, `#!/bin/sh\n${run}\n`, { mode: 0o755 });
    Deno.env.set("PG_DOORMAN_BINARY", script);
    await test();
  } finally {
    if (before === undefined) Deno.env.delete("PG_DOORMAN_BINARY");
    else Deno.env.set("PG_DOORMAN_BINARY", before);
    await removeFolder(folder);
  }
}

Deno.test("doorman: starts, is measured, stops and leaves nothing behind", () =>
  withStandIn(async () => {
    let dir = "";
    let port = 0;
    {
      await using doorman = await Doorman.start({ config: {} });
      ({ dir, port } = doorman);
      assert.ok(isListening(port));
      assert.ok(doorman.fdCount() > 3);
      assert.ok(doorman.rssKb() > 1000);
      assert.ok(doorman.cpuMs() > 0);
      await doorman.waitForLog(/INFO listening/);
      await assert.rejects(doorman.waitForLog(/never/, 20), /the log:\n.*INFO listening/);
      assert.match(await Deno.readTextFile(doorman.configPath), /admin_username = "admin"/);
    }
    assert.ok(!isListening(port));
    await assert.rejects(Deno.stat(dir), Deno.errors.NotFound);
  }));

Deno.test("doorman: a warning in the log fails the test unless it was announced", () =>
  withStandIn(async () => {
    const config = { general: { warn: true } };
    const doorman = await Doorman.start({ config });
    await assert.rejects(async () => await doorman[Symbol.asyncDispose](), /WARN something odd/);
    await using allowed = await Doorman.start({ config, allowLog: [/something odd/] });
    assert.ok(allowed.running);
  }));

Deno.test("doorman: a death of its own or a bad exit status fails the test", () =>
  withStandIn(async () => {
    const crashing = await Doorman.start({ config: { general: { crash: true } } });
    assert.equal(await crashing.waitForExit(), 9);
    await crashing[Symbol.asyncDispose]();

    const unwatched = await Doorman.start({ config: { general: { crash: true } } });
    while (unwatched.running) await new Promise((resolve) => setTimeout(resolve, 10));
    await assert.rejects(async () => await unwatched[Symbol.asyncDispose](), /by itself.* 9/);

    const failing = await Doorman.start({ config: { general: { fail: true } } });
    await assert.rejects(async () => await failing[Symbol.asyncDispose](), /ended with status 3/);
  }));

Deno.test("doorman: placeholders in a text, stop and start on the same port", () =>
  withStandIn(async () => {
    await using doorman = await Doorman.start({ config: "port = ${PORT}\n# ${DIR}\n" });
    assert.ok((await Deno.readTextFile(doorman.configPath)).includes(`# ${doorman.dir}`));
    assert.equal(await doorman.stop(), 0);
    await doorman.start();
    assert.ok(isListening(doorman.port));
  }));

Deno.test("doorman: tells faults in a log from other lines", () => {
  const log = [
    "2026-01-01T00:00:00.000Z WARN pool: no server",
    "2026-01-01T00:00:00.000Z [ERROR] boom",
    '{"time":1,"level":"error","message":"boom"}',
    "error: Uncaught (in promise) TypeError: x",
    "2026-01-01T00:00:00.000Z INFO client got ERROR 57P01",
    "2026-01-01T00:00:00.000Z INFO config: warn_limit = 3",
  ].join("\n");
  assert.equal(unexpectedFaults(log, []).length, 4);
  assert.deepEqual(unexpectedFaults(log, [/boom/, /TypeError/]), [
    "2026-01-01T00:00:00.000Z WARN pool: no server",
  ]);
});
