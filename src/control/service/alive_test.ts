import assert from "node:assert/strict";
import { isAlive } from "./alive.ts";

Deno.test("alive: one that has ended is not alive, although nobody has waited for it", async () => {
  // The second sleep is the parent of the first and does not know of it.
  const parent = new Deno.Command("sh", {
    args: ["-c", "sleep 0.2 & echo $!; exec sleep 60"],
    stdout: "piped",
  }).spawn();
  const reader = parent.stdout.getReader();
  const pid = Number(new TextDecoder().decode((await reader.read()).value));
  assert.ok(isAlive(pid));
  while (!/^\d+ \(sleep\) Z/.test(await Deno.readTextFile(`/proc/${pid}/stat`))) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.ok(!isAlive(pid));
  assert.ok(isAlive(parent.pid));
  await reader.cancel();
  parent.kill("SIGKILL");
  await parent.status;
  assert.ok(!isAlive(parent.pid));
});
