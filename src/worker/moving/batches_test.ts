import assert from "node:assert/strict";
import type { FrozenItem } from "../../mail.ts";
import { BatchQueue, inBatches } from "./batches.ts";

function held(bytes: number, type: "session" | "server" = "session", fds = 1): {
  item: FrozenItem;
} {
  const content = new Uint8Array(bytes);
  const item = { type, database: "db", user: "me", fds: Array(fds).fill(7), [type]: content };
  return { item: item as unknown as FrozenItem };
}

function divided(all: { item: FrozenItem }[]): [count: number, large: boolean][] {
  const batches = inBatches(all, 50_000_000, () => assert.fail("none is too large"));
  return batches.map(({ held, large }) => [held.length, large]);
}

Deno.test("batches: a large session goes alone, behind the small ones", () => {
  const all = [held(10), held(2_000_000), held(10), held(30_000_000), held(10)];
  assert.deepEqual(divided(all), [[3, false], [1, true], [1, true]]);
});

Deno.test("batches: a server goes in its turn, however large it is", () => {
  const all = [held(3_000_000, "server"), held(3_000_000, "server"), held(10)];
  assert.deepEqual(divided(all), [[1, false], [2, false]]);
});

Deno.test("batches: they end with their descriptors", () => {
  const all = Array.from({ length: 150 }, () => held(10, "session", 2));
  assert.deepEqual(divided(all), [[100, false], [50, false]]);
});

Deno.test("batches: what is too large is in none", () => {
  const refused: unknown[] = [];
  const large = held(3000);
  const batches = inBatches([held(10), large, held(10)], 1000, (one) => refused.push(one));
  assert.deepEqual(batches.map(({ held }) => held.length), [2]);
  assert.deepEqual(refused, [large]);
});

Deno.test("batches: small ones wait for small ones alone, large ones for all", () => {
  const queue = new BatchQueue();
  const small = { held: [], bytes: 10_000_000, large: false };
  const large = { held: [], bytes: 60_000_000, large: true };
  [large, small, small, large, large].forEach((batch, i) => queue.add(i + 1, batch));
  const next = () => queue.next() ?? 0;
  assert.deepEqual([next(), next()], [2, 0], "bytes under way are bounded");
  queue.arrived(small);
  assert.deepEqual([next(), next(), next(), next()], [3, 1, 4, 0], "two large ones at a time");
  queue.add(6, small);
  assert.equal(next(), 0);
  queue.arrived(large);
  assert.equal(next(), 0, "the small one is before it");
  queue.arrived(small);
  assert.deepEqual([next(), next(), next()], [6, 5, 0]);
  queue.add(7, large);
  queue.clear();
  queue.arrived(large);
  assert.equal(next(), 0);
});
