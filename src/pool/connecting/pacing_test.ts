import assert from "node:assert/strict";
import { Pacing } from "./pacing.ts";
import { type Waiter, Waiting } from "../waiting.ts";
import type { PoolSettings } from "../../config/settings.ts";
import { type Timer, Timers } from "../../reactor/timers.ts";
import type { Reactor } from "../../reactor/reactor.ts";

class Bench {
  now = 1000;
  readonly timers = new Timers();
  readonly waiting = new Waiting();
  readonly settings: PoolSettings;
  readonly counters = { meanXactMs: undefined as number | undefined };
  readonly creation = { connecting: 0, resting: false, openMs: Infinity };
  paused = false;
  moved = false;
  retired = false;
  expected = 0;
  /** Connected servers, and how many of them run something. */
  connected = 0;
  working = 0;
  readonly checking = 0;
  readonly share = { take: () => true, takeAhead: () => true };
  readonly pacing: Pacing;

  constructor(change: Partial<PoolSettings>) {
    this.settings = {
      min_pool_size: 0,
      max_db_connections: 0,
      credentials: { kind: "none" },
      pool_size: 20,
      scaling_warm_pool_ratio: 20,
      scaling_fast_retries: 10,
      scaling_max_parallel_creates: 2,
      max_concurrent_creates: 4,
      query_wait_timeout: 5000,
      ...change,
    } as PoolSettings;
    const at = (when: number, fire: () => void): Timer => this.timers.add(when, fire);
    // deno-lint-ignore no-this-alias
    const bench = this;
    const reactor = {
      at,
      get now() {
        return bench.now;
      },
    } as unknown as Reactor;
    const parts = {
      waiting: this.waiting,
      creation: this.creation,
      patience: { watch() {} },
      reactor,
    };
    this.pacing = new Pacing(
      this as unknown as ConstructorParameters<typeof Pacing>[0],
      parts as unknown as ConstructorParameters<typeof Pacing>[1],
    );
  }

  get size(): number {
    return this.connected + this.creation.connecting;
  }

  *servers(): Iterable<{ owed: { length: number } }> {
    for (let i = 0; i < this.connected; i++) yield { owed: { length: i < this.working ? 1 : 0 } };
  }

  connect(): void {
    this.creation.connecting++;
  }

  /** So many come and wait. */
  queue(count: number): void {
    for (let i = 0; i < count; i++) {
      const waiter = { waitSinceMs: 0 } as Waiter;
      this.waiting.push(waiter, this.now);
      this.pacing.queued();
      this.pacing.grow();
    }
  }

  /** Milliseconds until a connection is begun. */
  untilConnecting(): number {
    let waited = 0;
    while (this.creation.connecting === 0) {
      this.pass(1, "hang");
      assert.ok(++waited < 1000);
    }
    return waited;
  }

  /** Time goes on; connections that are begun are there at once, or hang. */
  pass(ms: number, connections: "connect" | "hang" = "connect"): void {
    for (let i = 0; i < ms; i++) {
      this.now++;
      this.timers.expire(this.now);
      while (connections === "connect" && this.creation.connecting > 0) {
        this.creation.connecting--;
        this.connected++;
        this.working++;
        this.waiting.shift();
        this.pacing.grow();
      }
    }
  }
}

Deno.test("pacing: a cold pool opens connections at once, as many as the gate lets through", () => {
  const bench = new Bench({});
  bench.queue(5);
  assert.equal(bench.creation.connecting, 2);
  assert.equal(bench.pacing.counters.gate_waits, 3);
  assert.equal(bench.pacing.counters.creates, 2);
  assert.equal(bench.pacing.counters.create_fallback, 0);
});

for (
  const [key, other] of [
    ["scaling_max_parallel_creates", "max_concurrent_creates"],
    ["max_concurrent_creates", "scaling_max_parallel_creates"],
  ] as const
) {
  for (const most of [1, 3]) {
    Deno.test(`pacing: no more than ${key} = ${most} at the same time`, () => {
      const bench = new Bench({ [key]: most, [other]: 10 });
      bench.queue(8);
      assert.equal(bench.creation.connecting, most);
    });
  }
}

Deno.test("pacing: from scaling_warm_pool_ratio on a waiter has its chance before one is opened", () => {
  for (const [ratio, threshold] of [[20, 4], [50, 10], [0, 1], [95, 19]] as const) {
    for (const connected of [threshold - 1, threshold]) {
      const bench = new Bench({ scaling_warm_pool_ratio: ratio, pool_size: 21 });
      bench.connected = bench.working = connected;
      bench.queue(1);
      assert.equal(bench.creation.connecting, connected < threshold ? 1 : 0, `${ratio}%`);
      bench.pass(79, "hang");
      assert.equal(bench.creation.connecting, connected < threshold ? 1 : 0, `${ratio}%`);
      bench.pass(42, "hang");
      assert.equal(bench.creation.connecting, 1);
    }
  }
});

Deno.test("pacing: the chance lasts about twice as long as transactions take, within bounds", () => {
  const cases: [mean: number | undefined, least: number, most: number][] = [
    [undefined, 80, 120],
    [0.1, 5, 5],
    [30, 48, 72],
    [100, 160, 240],
    [10_000, 500, 500],
  ];
  for (const [mean, least, most] of cases) {
    const seen = new Set<number>();
    for (let i = 0; i < 30; i++) {
      const bench = new Bench({});
      bench.counters.meanXactMs = mean;
      bench.connected = bench.working = 4;
      bench.queue(1);
      const waited = bench.untilConnecting();
      assert.ok(waited >= least && waited <= most + 1, `${mean}: ${waited}`);
      seen.add(waited);
    }
    if (most > least) assert.ok(seen.size > 1, "all at the same moment");
  }
});

Deno.test("pacing: scaling_fast_retries counts where there are no statistics; 0: at once", () => {
  for (const [retries, least, most] of [[0, 0, 0], [2, 16, 24], [30, 240, 360]] as const) {
    const bench = new Bench({ scaling_fast_retries: retries });
    bench.connected = bench.working = 4;
    bench.queue(1);
    const waited = bench.untilConnecting();
    assert.ok(waited >= least && waited <= most + 1, `${retries}: ${waited}`);
    assert.equal(bench.pacing.counters.create_fallback, 1);
    assert.equal(bench.pacing.counters.antic_timeout, retries === 0 ? 0 : 1);
  }
});

Deno.test("pacing: a burst that the warm pool serves in time opens nothing", () => {
  const bench = new Bench({});
  bench.counters.meanXactMs = 20;
  bench.connected = bench.working = 4;
  bench.queue(12);
  for (let i = 0; i < 30; i++) {
    bench.pass(1);
    if (i % 10 === 9) {
      for (let served = 0; served < 4; served++) {
        bench.waiting.shift();
        bench.pacing.handedOn();
      }
    }
  }
  bench.pass(500);
  assert.equal(bench.connected, 4);
  assert.deepEqual(
    [bench.pacing.counters.antic_notify, bench.pacing.counters.creates],
    [12, 0],
  );
});

Deno.test("pacing: a burst that is too much for it opens connections for all that wait, a few at a time", () => {
  const bench = new Bench({});
  bench.connected = bench.working = 4;
  bench.queue(10);
  bench.pass(121);
  assert.equal(bench.connected, 14);
  assert.equal(bench.waiting.length, 0);
  assert.equal(bench.pacing.counters.antic_timeout, 10);
});

Deno.test("pacing: nobody waits for longer than a connection takes to be opened", () => {
  for (const [openMs, least, most] of [[0, 0, 0], [7, 7, 7], [300, 80, 120]] as const) {
    const bench = new Bench({});
    bench.creation.openMs = openMs;
    bench.connected = bench.working = 4;
    bench.queue(1);
    const waited = bench.untilConnecting();
    assert.ok(waited >= least && waited <= most + 1, `${openMs}: ${waited}`);
    assert.equal(bench.pacing.counters.antic_timeout, openMs === 0 ? 0 : 1);
  }
});

Deno.test("pacing: under max_db_connections servers that come back are waited for, however fast PostgreSQL is", () => {
  const bench = new Bench({ max_db_connections: 50 });
  bench.creation.openMs = 1;
  bench.connected = bench.working = 4;
  bench.queue(1);
  assert.ok(bench.untilConnecting() >= 80);
});

Deno.test("pacing: nobody waits for servers whose clients think", () => {
  const bench = new Bench({});
  bench.connected = 4;
  bench.queue(1);
  assert.equal(bench.creation.connecting, 1);
});

Deno.test("pacing: the chance never costs the waiter its last half second", () => {
  for (const [timeout, least, most] of [[0, 0, 0], [400, 0, 0], [550, 45, 52]] as const) {
    const bench = new Bench({ query_wait_timeout: timeout });
    bench.connected = bench.working = 4;
    bench.queue(1);
    const waited = bench.untilConnecting();
    assert.ok(waited >= least && waited <= most, `${timeout}: ${waited}`);
  }
});

Deno.test("pacing: the pool is warmed through the same gate, and what it keeps back is counted", () => {
  const bench = new Bench({ min_pool_size: 6 });
  bench.pacing.warm();
  assert.equal(bench.creation.connecting, 2);
  assert.equal(bench.pacing.counters.replenish_def, 1);
  for (let i = 0; i < 5; i++) {
    bench.pass(1);
    bench.pacing.warm();
  }
  assert.equal(bench.size, 6);
  bench.connected = 0;
  bench.paused = true;
  bench.pacing.warm();
  assert.equal(bench.size, 0);
});

Deno.test("pacing: a gate that holds for long is counted", () => {
  const bench = new Bench({ scaling_max_parallel_creates: 1 });
  bench.connected = bench.working = 4;
  bench.queue(2);
  bench.pass(300, "hang");
  assert.equal(bench.creation.connecting, 1);
  bench.creation.connecting = 0;
  bench.connected++;
  bench.waiting.shift();
  bench.pacing.grow();
  assert.equal(bench.creation.connecting, 1);
  assert.equal(bench.pacing.counters.gate_budget_ex, 1);
});
