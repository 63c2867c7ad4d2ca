import assert from "node:assert/strict";
import fc from "fast-check";
import { type Timer, Timers } from "./timers.ts";

Deno.test("timers: none is due", () => {
  const timers = new Timers();
  assert.equal(timers.next(), Infinity);
  timers.expire(1e9);
});

Deno.test("timers: fire once, in the order of their deadlines, and not before", () => {
  const deadlines = fc.array(fc.nat({ max: 50 }), { maxLength: 60 });
  const moments = fc.array(fc.nat({ max: 60 }), { maxLength: 8 });
  fc.assert(fc.property(deadlines, deadlines, moments, (ats, cancelled, times) => {
    const timers = new Timers();
    const fired: number[] = [];
    const made: Timer[] = ats.map((at) => timers.add(at, () => fired.push(at)));
    const dropped = new Set(cancelled.filter((i) => i < made.length));
    for (const i of dropped) made[i].cancel();
    const wanted = ats.filter((_, i) => !dropped.has(i)).sort((a, b) => a - b);
    for (const now of times.sort((a, b) => a - b)) {
      timers.expire(now);
      assert.deepEqual(fired, wanted.filter((at) => at <= now));
      assert.equal(timers.next(), wanted.find((at) => at > now) ?? Infinity);
    }
  }));
});

Deno.test("timers: one that is set while others fire waits for its own time", () => {
  const timers = new Timers();
  const fired: string[] = [];
  timers.add(1, () => {
    fired.push("first");
    timers.add(2, () => fired.push("at once"));
    timers.add(11, () => fired.push("later"));
  });
  const other = timers.add(3, () => fired.push("never"));
  timers.add(2, () => other.cancel());
  timers.expire(10);
  assert.deepEqual(fired, ["first", "at once"]);
  assert.equal(timers.next(), 11);
});

Deno.test("timers: cancelled ones leave the heap, and cancelling late is harmless", () => {
  const timers = new Timers();
  const all = Array.from({ length: 1000 }, (_, i) => timers.add(i, () => {}));
  for (const timer of all) timer.cancel();
  assert.equal(timers.next(), Infinity);
  assert.equal(timers.size, 0);
  let count = 0;
  const timer = timers.add(1, () => count++);
  timers.expire(1);
  timer.cancel();
  timers.expire(2);
  assert.equal(count, 1);
});

Deno.test("timers: what is left after one throws fires at the next turn", () => {
  const timers = new Timers();
  let fired = false;
  timers.add(1, () => {
    throw new Error("defect");
  });
  timers.add(2, () => fired = true);
  assert.throws(() => timers.expire(5), /defect/);
  timers.expire(5);
  assert.ok(fired);
});
