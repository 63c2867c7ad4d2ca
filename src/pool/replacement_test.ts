import assert from "node:assert/strict";
import { isOld, Replacement } from "./replacement.ts";
import { noScaling } from "../stats/counters.ts";

const HOUR = 3_600_000;

function server(lifetimeMs = HOUR): { state: { createdAtMs: number; lifetimeMs: number } } {
  return { state: { createdAtMs: 1000, lifetimeMs } };
}

Deno.test("replacement: in the last twentieth of a life that is not short", () => {
  const cases: [lifetimeMs: number, part: number, wanted: boolean][] = [
    [HOUR, 0.94, false],
    [HOUR, 0.95, true],
    [HOUR, 0.999, true],
    [HOUR, 1, false],
    [60_000, 0.97, true],
    [59_999, 0.97, false],
    [0, 1, false],
  ];
  for (const [lifetimeMs, part, wanted] of cases) {
    const now = 1000 + lifetimeMs * part;
    assert.equal(isOld(server(lifetimeMs), now), wanted, `${lifetimeMs} ${part}`);
  }
});

/** What a pool in use does about an old server, with one thing changed. */
function opened(change: Record<string, unknown> = {}): boolean {
  const counters = noScaling();
  let count = 0;
  const pool = { paused: false, size: 8, idle: 1, waiting: 0, free: 2, ...change };
  const opening = {
    hasRoom: true,
    gateFull: false,
    connecting: 0,
    connect: () => count++,
    ...change,
  };
  const share = { takeAhead: (free = 1) => pool.free >= free };
  const replacement = new Replacement({ ...pool, share }, opening, counters);
  const old = server();
  replacement.consider(old);
  replacement.consider(old);
  // Once for each server.
  assert.deepEqual([counters.replaced, counters.replace_skipped], count === 1 ? [1, 0] : [0, 2]);
  return count === 1;
}

Deno.test("replacement: only where it is of use, and within every limit", () => {
  assert.equal(opened(), true);
  assert.equal(opened({ paused: true }), false);
  assert.equal(opened({ waiting: 1 }), false);
  assert.equal(opened({ hasRoom: false }), false);
  assert.equal(opened({ gateFull: true }), false);
  assert.equal(opened({ connecting: 3 }), false);
  assert.equal(opened({ connecting: 2 }), true);
  assert.equal(opened({ idle: 2 }), false);
  assert.equal(opened({ free: 1 }), false);
});
