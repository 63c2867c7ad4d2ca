import assert from "node:assert/strict";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { byLength, next, readTimes, runBeside, writeTimes } from "./test_times.ts";

const TIMES = {
  "busy": { seconds: 60, cpuSeconds: 90 },
  "half": { seconds: 20, cpuSeconds: 10 },
  "other half": { seconds: 10, cpuSeconds: 5 },
  "waits": { seconds: 40, cpuSeconds: 4 },
  "tests/systemd/a": { seconds: 8, cpuSeconds: 0 },
  "tests/packaging/b": { seconds: 7, cpuSeconds: 0 },
};
const TWO_CORES = { times: TIMES, cores: 2 };

Deno.test("test times: the longest begins, then the first that the machine has room for", () => {
  const left = byLength(Object.keys(TIMES), TIMES);
  assert.deepEqual(left.slice(0, 3), ["busy", "waits", "half"]);
  assert.equal(next(left, new Set(), TWO_CORES), "busy");
  assert.equal(next(left.slice(1), new Set(["busy"]), TWO_CORES), "waits");
  assert.equal(next(["half", "other half"], new Set(["busy"]), TWO_CORES), undefined);
  assert.equal(next(["half"], new Set(["waits", "other half"]), TWO_CORES), "half");
  assert.equal(next(["busy", "half"], new Set(["waits"]), TWO_CORES), "busy");
  assert.equal(next(["waits"], new Set(["a", "b", "c", "d"]), TWO_CORES), undefined);
});

Deno.test("test times: one that nobody has measured counts for a whole processor", () => {
  assert.equal(next(["new"], new Set(["half"]), TWO_CORES), "new");
  assert.equal(next(["new"], new Set(["newer"]), TWO_CORES), undefined);
});

Deno.test("test times: what the machine has once is used by one file at a time", () => {
  const [one, other] = ["tests/systemd/a", "tests/packaging/b"];
  assert.equal(next([other, "waits"], new Set([one]), TWO_CORES), "waits");
  assert.equal(next([other], new Set(["waits"]), TWO_CORES), other);
});

Deno.test("test times: what was measured once names files that are there", async () => {
  const root = fileURLToPath(new URL("..", import.meta.url));
  const times = await readTimes(join(root, "tests/times.json"));
  assert.ok(Object.keys(times).length > 50);
  for (const file of Object.keys(times)) assert.ok(Deno.statSync(join(root, file)).isFile, file);
});

Deno.test("test times: every file runs once, never more at a time than there is room for", async () => {
  const running = new Set<string>();
  const done: string[] = [];
  let most = 0;
  await runBeside(Object.keys(TIMES), TWO_CORES, async (file) => {
    running.add(file);
    most = Math.max(most, running.size);
    assert.ok(!running.has("busy") || !running.has("half"));
    for (let i = 0; i < 5; i++) await Promise.resolve();
    running.delete(file);
    done.push(file);
  });
  assert.deepEqual(done.toSorted(), Object.keys(TIMES).toSorted());
  assert.ok(most > 1);
});

Deno.test("test times: a file whose run throws fails the whole", async () => {
  const run = () => Promise.reject(new Error("no"));
  await assert.rejects(runBeside(["half", "waits"], TWO_CORES, run), /no/);
});

Deno.test("test times: come back as written; what is no such file is none", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = join(folder, "times.json");
    assert.deepEqual(await readTimes(path), {});
    writeTimes(path, {
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
