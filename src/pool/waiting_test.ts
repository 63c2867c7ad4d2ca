import assert from "node:assert/strict";
import fc from "fast-check";
import { type Waiter, Waiting } from "./waiting.ts";

function makeWaiter(): Waiter {
  const unused = () => {
    throw new Error("the list itself tells nobody");
  };
  return {
    waitNext: undefined,
    waitPrevious: undefined,
    waitSinceMs: 0,
    serverReady: unused,
    checkOutFailed: unused,
    parametersKnown: unused,
  };
}

Deno.test("waiting: first come, first served, with leavers from anywhere", () => {
  const step = fc.oneof(
    fc.constant({ kind: "push" as const }),
    fc.constant({ kind: "shift" as const }),
    fc.nat({ max: 20 }).map((which) => ({ kind: "remove" as const, which })),
  );
  fc.assert(fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
    const waiting = new Waiting();
    const model: Waiter[] = [];
    const known: Waiter[] = [];
    let now = 1;
    for (const taken of steps) {
      if (taken.kind === "push") {
        // One that has left may come again.
        const waiter = known.find((w) => !model.includes(w)) ?? makeWaiter();
        if (!known.includes(waiter)) known.push(waiter);
        waiting.push(waiter, now++);
        model.push(waiter);
      } else if (taken.kind === "shift") {
        assert.equal(waiting.shift(), model.shift());
      } else if (known.length > 0) {
        const waiter = known[taken.which % known.length];
        waiting.remove(waiter);
        if (model.includes(waiter)) model.splice(model.indexOf(waiter), 1);
      }
      assert.equal(waiting.length, model.length);
      assert.equal(waiting.first(), model[0]);
      for (const waiter of known) {
        assert.equal(waiter.waitSinceMs > 0, model.includes(waiter));
        if (model.includes(waiter)) continue;
        assert.equal(waiter.waitNext, undefined);
        assert.equal(waiter.waitPrevious, undefined);
      }
    }
    while (model.length > 0) assert.equal(waiting.shift(), model.shift());
    assert.equal(waiting.shift(), undefined);
  }));
});
