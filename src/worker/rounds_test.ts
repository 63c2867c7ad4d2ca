import assert from "node:assert/strict";
import { retain } from "./rounds.ts";
import type { Pool } from "../pool/pool.ts";
import { type Reason, REASONS } from "../reasons.ts";

/** A pool of which all that matters here is what it would close and what it was told to do. */
class FakePool {
  readonly closed: Reason[] = [];
  readonly #count: number;
  readonly #lifetimeMs: number;
  warmed = 0;

  constructor(count: number, lifetimeMs: number = 0) {
    this.#count = count;
    this.#lifetimeMs = lifetimeMs;
  }

  expired() {
    return Array.from({ length: this.#count - this.closed.length }, () => ({
      state: { lifetimeMs: this.#lifetimeMs, createdAtMs: 0 },
      close: (reason: Reason) => this.closed.push(reason),
    }));
  }

  warm(): void {
    this.warmed++;
  }
}

function round(pools: FakePool[], most: number): number[] {
  const before = pools.map(({ closed }) => closed.length);
  retain(pools as unknown as Pool[], most, 1000);
  return pools.map(({ closed }, i) => closed.length - before[i]);
}

Deno.test("rounds: the quota is for all pools together, and spent it is not unlimited", () => {
  for (let i = 0; i < 50; i++) {
    const pools = [new FakePool(5), new FakePool(5), new FakePool(5)];
    assert.equal(round(pools, 3).reduce((sum, n) => sum + n), 3);
    assert.equal(round(pools, 7).reduce((sum, n) => sum + n), 7);
  }
});

Deno.test("rounds: no pool has the quota to itself round after round", () => {
  const pools = [new FakePool(300), new FakePool(300), new FakePool(300)];
  for (let i = 0; i < 200; i++) round(pools, 1);
  for (const { closed } of pools) assert.ok(closed.length > 20, String(closed.length));
});

Deno.test("rounds: 0 is no limit, and every pool that was trimmed is filled up in the same round", () => {
  const pools = [new FakePool(50), new FakePool(0), new FakePool(1)];
  assert.deepEqual(round(pools, 0), [50, 0, 1]);
  assert.deepEqual(pools.map(({ warmed }) => warmed), [1, 1, 1]);
  assert.deepEqual(round([new FakePool(9)], 3), [3]);
});

Deno.test("rounds: what has lived too long is told from what was idle", () => {
  const [old, idle] = [new FakePool(1, 10), new FakePool(1)];
  round([old, idle], 0);
  assert.deepEqual([old.closed, idle.closed], [[REASONS.serverLifetime], [REASONS.serverIdle]]);
});
