import assert from "node:assert/strict";
import {
  guaranteed,
  hasPlace,
  isOver,
  isShort,
  isWarm,
  type SizedPool,
  surplus,
} from "./capacity.ts";

function pool(size: number, change: Partial<SizedPool["settings"]> = {}, expected = 0): SizedPool {
  const settings = { pool_size: 10, min_pool_size: 3, scaling_warm_pool_ratio: 20, ...change };
  return { settings, size, expected };
}

Deno.test("capacity: there is place up to pool_size, and what is still to come takes its own", () => {
  assert.ok(hasPlace(pool(9)));
  assert.ok(!hasPlace(pool(10)));
  assert.ok(hasPlace(pool(6, {}, 3)));
  assert.ok(!hasPlace(pool(6, {}, 4)));
  assert.ok(!hasPlace(pool(0, {}, Infinity)));
});

Deno.test("capacity: more than pool_size is over it, but not what is about to be closed", () => {
  assert.ok(!isOver(pool(10), 0));
  assert.ok(isOver(pool(11), 0));
  assert.ok(!isOver(pool(13), 3));
});

Deno.test("capacity: short of min_pool_size, and what may go beyond it", () => {
  assert.ok(isShort(pool(2)));
  assert.ok(!isShort(pool(3)));
  assert.ok(!isShort(pool(1, {}, 2)));
  assert.equal(surplus(pool(5)), 2);
  assert.equal(surplus(pool(3)), 0);
});

Deno.test("capacity: warm from scaling_warm_pool_ratio on, never without a server", () => {
  for (
    const [ratio, pool_size, threshold] of [
      [20, 10, 2],
      [20, 21, 4],
      [0, 10, 1],
      [100, 10, 10],
      [20, 2, 1],
    ] as const
  ) {
    const change = { pool_size, scaling_warm_pool_ratio: ratio };
    assert.ok(!isWarm(pool(threshold - 1, change)), `${ratio} % of ${pool_size}`);
    assert.ok(isWarm(pool(threshold, change)), `${ratio} % of ${pool_size}`);
  }
});

Deno.test("capacity: the greater of the two minima is guaranteed", () => {
  const both = { min_pool_size: 2, min_guaranteed_pool_size: 5 };
  assert.equal(guaranteed(both), 5);
  assert.equal(guaranteed(both, "min_pool_size"), 2);
  assert.equal(guaranteed({ min_pool_size: 7, min_guaranteed_pool_size: 5 }), 7);
});
