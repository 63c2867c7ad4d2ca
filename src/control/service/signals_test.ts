import assert from "node:assert/strict";
import { interruptMeans } from "./signals.ts";

Deno.test("SIGINT: shutdown at a terminal in the foreground, else upgrade", () => {
  const means = (how: Partial<Parameters<typeof interruptMeans>[0]>) =>
    interruptMeans({ terminal: false, daemon: false, shutdownOnly: undefined, ...how });
  assert.equal(means({ terminal: true }), "shutdown");
  assert.equal(means({ terminal: true, daemon: true }), "upgrade");
  assert.equal(means({}), "upgrade");
  assert.equal(means({ shutdownOnly: "1" }), "shutdown");
  assert.equal(means({ shutdownOnly: "0" }), "upgrade");
});

/** A program that waits with its first look at signals until it was sent some. */
const PROGRAM = `
import { Signals } from ${JSON.stringify(new URL("./signals.ts", import.meta.url).href)};
const signals = new Signals();
for (const signal of ["SIGHUP", "SIGUSR2"]) {
  Deno.addSignalListener(signal, () => console.log("came: " + signal));
}
console.log("caught");
if (Deno.args[0] === "never") await new Promise((r) => setTimeout(r, 60_000));
const last = Promise.withResolvers();
for (let line = ""; !line.includes("go");) {
  const bytes = new Uint8Array(10);
  await Deno.stdin.read(bytes);
  line += new TextDecoder().decode(bytes);
}
signals.deliver((signal) => {
  console.log(signal);
  if (signal === "SIGTERM") Deno.exit(7);
});
console.log("delivered");
await new Promise((r) => setTimeout(r, 60_000));
`;

/** Starts it; resolves when it catches signals. */
async function start(...args: string[]): Promise<{
  child: Deno.ChildProcess;
  read: (until: string) => Promise<string>;
}> {
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(file, PROGRAM);
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", file, ...args],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const read = async (until: string) => {
    while (!text.includes(until)) {
      const { value, done } = await reader.read();
      if (done) throw new Error(`it has ended after: ${text}`);
      text += value;
    }
    return text;
  };
  await read("caught");
  child.status.then(() => reader.cancel());
  await Deno.remove(file);
  return { child, read };
}

Deno.test("signals: those that came before anybody handles them wait, each kind once", async () => {
  const { child, read } = await start();
  for (const signal of ["SIGHUP", "SIGUSR2", "SIGHUP"] as const) child.kill(signal);
  await read("came: SIGHUP");
  await read("came: SIGUSR2");
  const input = child.stdin.getWriter();
  await input.write(new TextEncoder().encode("go"));
  const lines = (await read("delivered")).trim().split("\n").filter((line) => !/came/.test(line));
  assert.deepEqual(lines.slice(1).sort(), ["SIGHUP", "SIGUSR2", "delivered"]);
  child.kill("SIGTERM");
  assert.equal((await child.status).code, 7);
  await input.close().catch(() => {});
});

Deno.test("signals: SIGTERM ends a start that has nothing open yet", async () => {
  const { child } = await start("never");
  child.kill("SIGTERM");
  assert.equal((await child.status).code, 0);
  await child.stdin.close().catch(() => {});
});
