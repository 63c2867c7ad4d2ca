import assert from "node:assert/strict";
import { PreparedMemory } from "./prepared_memory.ts";
import { Shared, SHARED_WORDS } from "./shared.ts";

Deno.test("prepared memory: all workers see the sum, and nothing is left when all is gone", () => {
  const shared = new Int32Array(new SharedArrayBuffer(SHARED_WORDS * 4));
  const one = new PreparedMemory(shared);
  const two = new PreparedMemory(shared);
  for (let i = 0; i < 1000; i++) {
    one.add(100);
    two.add(3000);
  }
  assert.ok(Math.abs(one.total - 3_100_000) <= 2 * 1024);
  assert.equal(one.total, two.total);
  // More than an Int32 of bytes.
  two.add(8_000_000_000);
  assert.ok(one.total > 8_000_000_000);
  two.add(-8_000_000_000);
  for (let i = 0; i < 1000; i++) {
    one.add(-100);
    two.add(-3000);
  }
  assert.equal(Atomics.load(shared, Shared.PreparedKiB), 0);
});
