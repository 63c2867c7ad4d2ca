import assert from "node:assert/strict";
import { levelFilter } from "../log/filter.ts";
import { createRecordLog } from "../log/log.ts";
import { Losses } from "./losses.ts";
import type { Circumstances } from "./supervisor.ts";

/** Workers of which one thread after the other is lost. */
class Threads {
  readonly lines: string[] = [];
  readonly told: string[] = [];
  mayReplace = true;
  serving = true;
  starts: () => Promise<void> = () => Promise.resolve();
  readonly losses: Losses;

  constructor() {
    this.losses = new Losses({
      log: createRecordLog({
        filter: levelFilter("info"),
        emit: ({ message }) => this.lines.push(message),
        callSites: "error",
      }),
      supervisor: {
        workers: 2,
        serves: () => this.serving,
        giveUp: (worker) => {
          this.told.push(`give up ${worker}`);
          return { busyWith: "10.0.0.1:5", connections: 3 };
        },
        replace: (worker) => {
          this.told.push(`replace ${worker}`);
          return this.starts();
        },
      },
      circumstances: () => ({}) as Circumstances,
      mayReplace: () => this.mayReplace,
      lost: (worker) => void this.told.push(`lost ${worker}`),
      replaced: (worker) => void this.told.push(`replaced ${worker}`),
      failedToStart: () => void this.told.push("failed to start"),
    });
  }
}

Deno.test("losses: what hangs is given up, told of with whom it dealt with, and replaced", async () => {
  const threads = new Threads();
  threads.losses.hangs(1, 10_000);
  await Promise.resolve();
  assert.deepEqual(threads.told, ["give up 1", "lost 1", "replaced 1", "replace 1"]);
  assert.equal(threads.losses.count, 1);
  assert.match(
    threads.lines[0]!,
    /^worker 1 is given up with its 3 connections, .*: it has not answered for 10000 ms while it dealt with 10.0.0.1:5$/,
  );
  assert.match(threads.lines[1]!, /^worker 1 is another thread now/);
});

Deno.test("losses: one that has no thread, or not yet, is not given up for its silence", () => {
  const threads = new Threads();
  threads.serving = false;
  threads.losses.hangs(1, 10_000);
  assert.deepEqual(threads.told, []);
});

Deno.test("losses: a worker that fails before anybody was served ends the process", () => {
  const threads = new Threads();
  threads.serving = false;
  threads.losses.died(0, "Error: no");
  assert.deepEqual(threads.told, ["failed to start"]);
});

Deno.test("losses: while clients move to another process nobody is replaced, and afterwards all are", async () => {
  const threads = new Threads();
  threads.mayReplace = false;
  threads.losses.died(1, "Error: no");
  assert.deepEqual(threads.told.splice(0), ["give up 1", "lost 1"]);
  threads.losses.replaceAll();
  assert.deepEqual(threads.told, []);
  threads.mayReplace = true;
  threads.losses.replaceAll();
  await Promise.resolve();
  assert.deepEqual(threads.told, ["replaced 1", "replace 1"]);
});

// What is put off is not waited for.
const soon = "losses: one that is lost soon after its start is not replaced at once";
Deno.test({ name: soon, sanitizeOps: false, sanitizeResources: false }, async () => {
  const threads = new Threads();
  threads.starts = () => Promise.reject(new Error("no"));
  threads.losses.died(1, "Error: no");
  threads.serving = false;
  await Promise.resolve();
  threads.told.length = 0;
  threads.losses.died(1, "Error: no");
  assert.deepEqual(threads.told, ["give up 1", "lost 1"]);
});
