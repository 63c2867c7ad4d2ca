import assert from "node:assert/strict";
import { validate } from "./validation.ts";

const NEVER = new AbortController().signal;

/** What a shell that stands in for the program says, and what comes of it. */
function ask(script: string, stop = NEVER, limitMs = 60_000): Promise<string | undefined> {
  const program = { path: "/bin/sh", prefix: ["-c", script] };
  return validate({ program, configFile: "x.toml", directory: "/", limitMs }, stop);
}

Deno.test("validation: accepts, refuses with its words, or is no program", async () => {
  assert.equal(await ask("exit 0"), undefined);
  assert.equal(
    await ask("echo bad key >&2; exit 78"),
    "the new binary does not accept the configuration: exit status 78\nbad key",
  );
  const program = { path: "/nonexistent/program", prefix: [] };
  const said = await validate({ program, configFile: "x.toml", directory: "/" }, NEVER);
  assert.match(said!, /^the new binary can't be asked .*\/nonexistent\/program/);
});

Deno.test("validation: what the program has started and left holds nobody up", async () => {
  const file = Deno.makeTempFileSync();
  try {
    // It keeps both pipes open for longer than any test runs.
    const left = `sleep 600 & echo $! >> ${file}`;
    assert.equal(await ask(`${left}; exit 0`), undefined);
    assert.match((await ask(`${left}; echo why; exit 3`))!, /exit status 3\nwhy$/);
  } finally {
    for (const pid of Deno.readTextFileSync(file).trim().split("\n")) {
      Deno.kill(Number(pid), "SIGKILL");
    }
    Deno.removeSync(file);
  }
});

Deno.test("validation: one that does not end is killed, even if it hears no SIGTERM", async () => {
  const said = await ask("trap '' TERM; while :; do sleep 0.05; done", NEVER, 300);
  assert.match(said!, /has said nothing about the configuration within 300 ms: killed/);
  assert.match((await ask("sleep 1", AbortSignal.abort()))!, /stopped/);
});

Deno.test("validation: a program that talks without end is read and not kept", async () => {
  const said = await ask("head -c 3000000 /dev/zero | tr '\\0' x; exit 1");
  assert.ok(said!.length < 70_000, `${said!.length}`);
});
