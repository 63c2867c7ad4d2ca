import assert from "node:assert/strict";
import { hasToStay, Serving } from "./first_process.ts";

Deno.test("first process: it stays where its end would be taken for everybody's", () => {
  const cases: [pid: number, parentPid: number, env: Record<string, string>, stays: boolean][] = [
    [1, 0, {}, true],
    [1, 0, { NOTIFY_SOCKET: "/run/x" }, true],
    [7, 1, {}, true],
    // systemd hears who serves.
    [7, 1, { NOTIFY_SOCKET: "/run/x" }, false],
    [7, 5, {}, false],
    // It is the one that serves.
    [7, 1, { PG_DOORMAN_FIRST_PROCESS: "5" }, false],
  ];
  for (const [pid, parentPid, env, stays] of cases) {
    assert.equal(
      hasToStay({ pid, parentPid, env: (name) => env[name] }),
      stays,
      `${pid} ${parentPid}`,
    );
  }
});

Deno.test("first process: the newest serves, and it is over with the last one's status", () => {
  const serving = new Serving();
  serving.told("10\n");
  serving.told("11\n12\n");
  assert.equal(serving.newest, 12);
  serving.ended(99, 1);
  serving.ended(11, 3);
  // Its successor failed.
  serving.told("10\n");
  assert.deepEqual([...serving.all], [12, 10]);
  serving.ended(12, 137);
  assert.ok(!serving.over);
  serving.ended(10, 0);
  assert.deepEqual([serving.over, serving.status, serving.newest], [true, 0, undefined]);
});

Deno.test("first process: who ended before he was known is not waited for", async () => {
  const child = new Deno.Command("true").spawn();
  await child.status;
  const serving = new Serving();
  serving.told(`${child.pid}\n${Deno.pid}\n`);
  serving.forgetGone(child.pid);
  assert.deepEqual([...serving.all], [child.pid, Deno.pid]);
  serving.forgetGone(undefined);
  assert.deepEqual([...serving.all], [Deno.pid]);
});
