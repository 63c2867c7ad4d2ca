import assert from "node:assert/strict";
import { isOld, Replacement } from "./replacement.ts";
import { ServerStage } from "../../server/state.ts";
import { noScaling, type ScalingCounters } from "../../stats/counters.ts";

const HOUR = 3_600_000;

interface Old {
  state: { createdAtMs: number; lifetimeMs: number; stage: number };
}

function server(lifetimeMs = HOUR): Old {
  return { state: { createdAtMs: 1000, lifetimeMs, stage: ServerStage.Linked } };
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

/** A pool in use, with one thing changed, whose connections end as the test says. */
class Bench {
  readonly counters: ScalingCounters = noScaling();
  readonly replacement: Replacement;
  /** How the logins under way are told of their end. */
  readonly logins: ((failure: object | undefined) => void)[] = [];

  constructor(change: Record<string, unknown> = {}) {
    const pool = { paused: false, size: 8, idle: 1, waiting: 0, free: 2, ...change };
    const opening = {
      hasRoom: true,
      gateFull: false,
      connecting: 0,
      connect: (ended: (failure: object | undefined) => void) => this.logins.push(ended),
      ...change,
    };
    const share = { takeAhead: (free = 1) => pool.free >= free };
    this.replacement = new Replacement({ ...pool, share }, opening, this.counters);
  }

  /** Begun, in time, failed, skipped. */
  get counts(): number[] {
    const { replace_begun, replace_in_time, replace_failed, replace_skipped } = this.counters;
    return [replace_begun, replace_in_time, replace_failed, replace_skipped];
  }
}

/** Whether an old server that is lent twice is replaced once, or not at all. */
function opened(change: Record<string, unknown> = {}): boolean {
  const bench = new Bench(change);
  const old = server();
  bench.replacement.consider(old);
  bench.replacement.consider(old);
  const yes = bench.logins.length === 1;
  assert.deepEqual(bench.counts, yes ? [1, 0, 0, 0] : [0, 0, 0, 2]);
  return yes;
}

Deno.test("replacement: only where it is of use, and within every limit", () => {
  assert.ok(opened());
  assert.ok(!opened({ paused: true }));
  assert.ok(!opened({ waiting: 1 }));
  assert.ok(!opened({ hasRoom: false }));
  assert.ok(!opened({ gateFull: true }));
  assert.ok(!opened({ connecting: 3 }));
  assert.ok(opened({ connecting: 2 }));
  assert.ok(!opened({ idle: 2 }));
  assert.ok(!opened({ free: 1 }));
});

Deno.test("replacement: what became of it is counted, and a failed one is tried again", () => {
  const bench = new Bench();
  const [inTime, late] = [server(), server()];
  for (const each of [inTime, late]) bench.replacement.consider(each);
  bench.logins[0]!({ message: "no" });
  assert.deepEqual(bench.counts, [2, 0, 1, 0]);
  bench.replacement.consider(inTime);
  assert.equal(bench.logins.length, 3);
  late.state.stage = ServerStage.Closed;
  for (const login of bench.logins.slice(1)) login(undefined);
  assert.deepEqual(bench.counts, [3, 1, 1, 0]);
  bench.replacement.consider(inTime);
  assert.equal(bench.logins.length, 3);
});
