import assert from "node:assert/strict";
import { CpuSum, measureCpu, type ProcessLine, processLine } from "./cpu_meter.ts";

function line(pid: number, parent: number, ticks: number, started = pid): ProcessLine {
  return { pid, parent, started, ticks };
}

Deno.test("cpu meter: reads a process's line, whatever its name", () => {
  const stat = "42 (a) b (c) S 7 1 1 0 -1 4194560 9 0 0 0 150 50 20 10 20 0 4 0 99 1 1";
  assert.deepEqual(processLine(stat), { pid: 42, parent: 7, started: 99, ticks: 230 });
});

Deno.test("cpu meter: who is marked and their descendants count, nobody twice", () => {
  const sum = new CpuSum();
  const marked = (pid: number) => pid === 10;
  sum.look([line(1, 0, 9999), line(12, 11, 100), line(11, 10, 50), line(10, 1, 20)], marked);
  assert.equal(sum.seconds, 1.7);
  // 12 has ended, and 11 has waited for it.
  sum.look([line(1, 0, 9999), line(11, 10, 160), line(10, 1, 20)], marked);
  assert.equal(sum.seconds, 1.8);
  // 10 has ended, and 11 goes on, as a child of the first process.
  sum.look([line(1, 0, 9999), line(11, 1, 200)], marked);
  assert.equal(sum.seconds, 2.2);
  // Its number is given to another process.
  sum.look([line(1, 0, 9999), line(11, 1, 5000, 77)], marked);
  assert.equal(sum.seconds, 2.2);
});

Deno.test("cpu meter: finds a process that has left its parents", async () => {
  const marker = `PG_DOORMAN_TEST_MARKER=${crypto.randomUUID()}`;
  const [name, value] = marker.split("=") as [string, string];
  // Until it has used 5 ticks; then it stays for some looks.
  const busy = `setsid sh -c 'while read -r _ _ _ _ _ _ _ _ _ _ _ _ _ user _ </proc/$$/stat;
    [ "$user" -lt 5 ]; do :; done; sleep 2'`;
  const { result, cpuSeconds } = await measureCpu(marker, async () => {
    const run = await new Deno.Command("sh", { args: ["-c", busy], env: { [name]: value } })
      .output();
    return run.success;
  });
  assert.ok(result);
  assert.ok(cpuSeconds >= 0.05, String(cpuSeconds));
});
