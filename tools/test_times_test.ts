import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { FIRST_GUESS, readTimes, runRows, schedule, writeTimes } from "./test_times.ts";

Deno.test("test times: what waits runs beside the others, the longest first", () => {
  const times = {
    "computes": { seconds: 60, cpuSeconds: 55 },
    "waits": { seconds: 20, cpuSeconds: 5 },
    "waits longer": { seconds: 40, cpuSeconds: 10 },
    "short": { seconds: 3, cpuSeconds: 0 },
  };
  assert.deepEqual(schedule(["computes", "new", "short", "waits", "waits longer"], times), {
    alone: ["computes", "new", "short"],
    beside: ["waits longer", "waits"],
  });
});

Deno.test("test times: before it is measured, a guess; what was measured corrects it", () => {
  const [first, second] = FIRST_GUESS as [string, string];
  assert.deepEqual(schedule([first, second], {}), { alone: [], beside: [first, second] });
  const times = { [first]: { seconds: 50, cpuSeconds: 50 } };
  assert.deepEqual(schedule([first, second], times), { alone: [first], beside: [second] });
});

Deno.test("test times: the guess names files that are there", () => {
  for (const file of FIRST_GUESS) {
    assert.ok(Deno.statSync(join(fileURLToPath(new URL("..", import.meta.url)), file)).isFile);
  }
});

Deno.test("test times: never two of those that want the machine for themselves", async () => {
  const running = new Set<string>();
  const done: string[] = [];
  const most = { alone: 0, all: 0 };
  const turns: Record<string, number> = { a1: 5, a2: 1, b1: 1, b2: 20, b3: 1 };
  await runRows({ alone: ["a1", "a2"], beside: ["b1", "b2", "b3"] }, async (file) => {
    running.add(file);
    const alone = [...running].filter((one) => one.startsWith("a")).length;
    most.alone = Math.max(most.alone, alone);
    most.all = Math.max(most.all, running.size);
    for (let i = 0; i < turns[file]!; i++) await Promise.resolve();
    running.delete(file);
    done.push(file);
  });
  assert.deepEqual(most, { alone: 1, all: 2 });
  // The row that was through first has helped.
  assert.deepEqual(done, ["b1", "a1", "a2", "b3", "b2"]);
});

Deno.test("test times: come back as written; what is no such file is none", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "times.json");
    assert.deepEqual(await readTimes(path), {});
    await writeTimes(path, {
      b: { seconds: 1.26, cpuSeconds: 0 },
      a: { seconds: 2, cpuSeconds: 1 },
    });
    const times = await readTimes(path);
    assert.deepEqual(times, {
      a: { seconds: 2, cpuSeconds: 1 },
      b: { seconds: 1.3, cpuSeconds: 0 },
    });
    assert.deepEqual(Object.keys(times), ["a", "b"]);
    await Deno.writeTextFile(path, `{"a":{"seconds":"1"},"b":null,`);
    assert.deepEqual(await readTimes(path), {});
    await Deno.writeTextFile(path, `{"a":{"seconds":"1"},"b":null}`);
    assert.deepEqual(await readTimes(path), {});
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
