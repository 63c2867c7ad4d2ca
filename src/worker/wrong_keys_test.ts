import assert from "node:assert/strict";
import { WrongKeys } from "./wrong_keys.ts";

/** How many are taken at `now`, of 300. */
function taken(keys: WrongKeys, now: number, address: (n: number) => string): number {
  let count = 0;
  for (let i = 0; i < 300; i++) {
    if (keys.exceeded(address(i), now)) continue;
    keys.note(address(i), now);
    count++;
  }
  return count;
}

Deno.test("wrong keys: 100 at once, and one more each 100 ms, from each address", () => {
  const keys = new WrongKeys();
  assert.equal(taken(keys, 1000, () => "10.0.0.1"), 100);
  assert.equal(taken(keys, 1099, () => "10.0.0.1"), 0);
  assert.equal(taken(keys, 1500, () => "10.0.0.1"), 5);
  assert.equal(taken(keys, 1500, () => "10.0.0.2"), 100);
  assert.equal(taken(keys, 1500, () => ""), 100);
  assert.equal(taken(keys, 1_000_000, () => "10.0.0.1"), 100);
});

Deno.test("wrong keys: a network of IPv6 is one sender", () => {
  const keys = new WrongKeys();
  assert.equal(taken(keys, 0, (n) => `2001:db8::${n}`), 100);
  assert.ok(keys.exceeded("2001:db8:0:0:ffff::1", 0));
  assert.ok(!keys.exceeded("2001:db8:0:1::1", 0));
});

Deno.test("wrong keys: of many addresses those that were last are remembered", () => {
  const keys = new WrongKeys();
  taken(keys, 0, () => "10.0.0.1");
  for (let i = 0; i < 999; i++) keys.note(`10.1.${i >> 8}.${i & 255}`, 1);
  assert.ok(keys.exceeded("10.0.0.1", 1));
  keys.note("10.2.0.1", 1);
  assert.ok(!keys.exceeded("10.0.0.1", 1));
});
