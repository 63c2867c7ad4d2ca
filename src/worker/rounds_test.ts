import assert from "node:assert/strict";
import { closePeriod, retain, Rounds, takeClosing } from "./rounds.ts";
import { levelFilter } from "../log/filter.ts";
import { createRecordLog } from "../log/log.ts";
import { RecentTimes } from "../stats/recent_times.ts";
import { Shared, SHARED_WORDS } from "../stats/shared.ts";
import type { Pool } from "../pool/pool.ts";
import { type Reason, REASONS } from "../reasons.ts";
import { FakeReactor } from "../testing/fake_reactor.ts";

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
  let quota = most || Infinity;
  retain(pools as unknown as Pool[], () => quota-- > 0, 1000);
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

/** Rounds of a worker without pools: when each of them comes. */
class Clock {
  readonly reactor = new FakeReactor();
  readonly general = {
    retain_connections_time: 1000,
    retain_connections_max: 0,
    query_interner_gc_interval_seconds: 12,
    query_interner_anon_idle_ttl_seconds: 60,
  };
  readonly log = createRecordLog({ filter: levelFilter("info"), emit: () => {} });
  readonly shared = new Int32Array(SHARED_WORDS);
  readonly sessions = new Map();
  readonly #came: string[] = [];
  readonly coordinator = { retain: () => this.#comes("retain") };
  readonly authQueries = { executors: () => [], collect: () => {} };
  readonly texts = {
    sweep: (_: unknown, ttlMs: number) => {
      this.#comes(`sweep ${ttlMs}`);
      return { named: 2, anonymous: 3 };
    },
  };
  readonly directory = {
    all: (): Iterable<Pool> => {
      this.#comes("pools");
      return [];
    },
  };
  readonly rounds = new Rounds(this);

  #comes(what: string): void {
    this.#came.push(`${this.reactor.now} ${what}`);
  }

  wait(ms: number): string[] {
    const until = this.reactor.now + ms;
    for (;;) {
      const next = this.reactor.timers.next();
      if (next > until) break;
      this.reactor.now = next;
      this.reactor.timers.expire(next);
    }
    this.reactor.now = until;
    return this.#came.splice(0);
  }
}

Deno.test("rounds: each comes again after its own period", () => {
  const clock = new Clock();
  clock.reactor.now = 0;
  clock.rounds.start();
  const came = clock.wait(15_000);
  const times = (what: string) => came.filter((one) => one.endsWith(what)).map(parseFloat);
  assert.deepEqual(times("retain"), Array.from({ length: 15 }, (_, i) => (i + 1) * 1000));
  assert.deepEqual(times("sweep 60000"), [3000, 6000, 9000, 12_000, 15_000]);
  assert.equal(clock.shared[Shared.NamedEvictions], 10);
  assert.equal(clock.shared[Shared.AnonymousEvictions], 15);
  // With each retain, and for the averages at the end.
  assert.equal(times("pools").length, 16);
});

Deno.test("rounds: another period of retain counts from now on, and the old one is over", () => {
  const clock = new Clock();
  clock.reactor.now = 0;
  clock.rounds.start();
  clock.wait(500);
  clock.general.retain_connections_time = 2000;
  clock.rounds.retainLater();
  const came = clock.wait(5000).filter((one) => one.endsWith("retain"));
  assert.deepEqual(came.map(parseFloat), [2500, 4500]);
});

Deno.test("rounds: a period that ends is told of pools with clients", () => {
  const lines: string[] = [];
  const log = createRecordLog({
    filter: levelFilter("info"),
    emit: ({ message }) => lines.push(message),
  });
  let closed = 0;
  const averages = { query_count: 5, xact_count: 2, wait_time: 1500 };
  const times = new RecentTimes();
  for (let i = 1; i <= 100; i++) times.addQuery(i * 10);
  times.addWait(25);
  const counters = { closePeriod: () => closed++, averages, times };
  const pool = { name: "me@db", clients: 3, waiting: 1, size: 2, idle: 1, counters };
  closePeriod([pool, { ...pool, clients: 0 }] as unknown as Pool[], log);
  assert.equal(closed, 2);
  assert.deepEqual(lines, [
    "[me@db] qps=5 tps=2 | clients=3 wait=1 | servers=2 idle=1 | " +
    "query_ms p50=0.50 p90=0.90 p95=0.95 p99=0.98 | " +
    "xact_ms p50=0.00 p90=0.00 p95=0.00 p99=0.00 | " +
    "wait_ms p50=0.03 p90=0.03 p95=0.03 p99=0.03 | avg_wait=1.500ms",
  ]);
});

Deno.test("rounds: retain_connections_max is for the workers together, in each period anew", () => {
  const shared = new Int32Array(SHARED_WORDS);
  const round = (most: number, clockMs: number) => {
    const pool = new FakePool(5);
    const mayClose = () => takeClosing(shared, most, { periodMs: 30_000, clockMs });
    retain([pool] as unknown as Pool[], mayClose, 1000);
    return pool.closed.length;
  };
  // Three workers, a moment apart.
  const start = 30_000 * 57_000_000;
  assert.deepEqual([0, 10, 900].map((ms) => round(7, start + ms)), [5, 2, 0]);
  assert.deepEqual([30_000, 30_001].map((ms) => round(3, start + ms)), [3, 0]);
  assert.deepEqual([60_000, 60_001].map((ms) => round(0, start + ms)), [5, 5]);
});
