import assert from "node:assert/strict";
import type { PoolSettings } from "../config/settings.ts";
import { REASONS } from "../reasons.ts";
import { Timers } from "../reactor/timers.ts";
import { noSums } from "../stats/counters.ts";
import type { LoginFailure } from "../server/login.ts";
import { poolSettings } from "../testing/settings.ts";
import { Patience } from "./wait_timeout.ts";
import { type Waiter, Waiting } from "./waiting.ts";

const REFUSED: LoginFailure = {
  kind: "failed",
  code: "53300",
  message: "connection refused",
  transient: true,
};

/** A pool that serves nobody. */
class Bench {
  now = 1000;
  readonly timers = new Timers();
  readonly waiting = new Waiting();
  readonly warnings: string[] = [];
  readonly told: string[] = [];
  readonly creation: {
    connecting: number;
    resolving: number;
    fetching: number;
    lastFailure?: LoginFailure;
  } = {
    connecting: 0,
    resolving: 0,
    fetching: 0,
  };
  readonly pool;
  readonly patience: Patience;

  constructor(change: Partial<PoolSettings> = {}) {
    this.pool = {
      settings: poolSettings({ pool_size: 3, server_host: "db.example", ...change }),
      name: "me@db",
      counters: { total: noSums() },
      size: 3,
      idle: 0,
      expected: 0,
      checking: 0,
      paused: false,
      share: { hopeless: false, exhausted: () => undefined },
    };
    // deno-lint-ignore no-this-alias
    const bench = this;
    const reactor = {
      get now() {
        return bench.now;
      },
      at: (when: number, fire: () => void) => this.timers.add(when, fire),
      atEndOfTurn: (action: () => void) => action(),
    };
    this.patience = new Patience(
      this.pool as unknown as ConstructorParameters<typeof Patience>[0],
      { waiting: this.waiting, creation: this.creation } as unknown as ConstructorParameters<
        typeof Patience
      >[1],
      {
        reactor,
        log: { warn: (_target: string, text: string) => this.warnings.push(text) },
      } as unknown as ConstructorParameters<typeof Patience>[2],
    );
  }

  /** What a client is told that waits in vain. */
  wait(): string {
    const waiter = {
      waitSinceMs: 0,
      checkOutFailed: ({ name }: { name: string }, first: string, second: string) =>
        this.told.push(name === REASONS.waitTimeout.name ? second : first),
    } as unknown as Waiter;
    this.waiting.push(waiter, this.now);
    this.patience.watch();
    this.now += this.pool.settings.query_wait_timeout;
    this.timers.expire(this.now);
    return this.told.pop()!;
  }
}

Deno.test("wait timeout: in use is what is in use", () => {
  const bench = new Bench();
  assert.equal(bench.wait(), "timeout, all 3 server connections are in use");
  assert.match(bench.warnings[0]!, /checkout timeout after 5000ms: timeout, all 3 .*size=3\/3/);
  assert.equal(bench.pool.counters.total.errors, 1);
  assert.equal(bench.pool.counters.total.errors_53, 1);
  bench.creation.connecting = 1;
  assert.equal(bench.wait(), "timeout, all 2 server connections are in use, 1 being opened");
});

Deno.test("wait timeout: a name that is not resolved yet is no connection in use", () => {
  const bench = new Bench();
  Object.assign(bench.creation, { connecting: 3, resolving: 3 });
  assert.equal(bench.wait(), 'the name "db.example" is being resolved');
  bench.creation.resolving = 0;
  assert.equal(bench.wait(), "a server connection to db.example:5432 is being opened");
});

Deno.test("wait timeout: with other servers at work the last failure is why there are no more", () => {
  const bench = new Bench();
  bench.pool.size = 1;
  bench.creation.lastFailure = REFUSED;
  assert.equal(bench.wait(), "connection refused");
  // Without any it is what the client is told with its own SQLSTATE.
  bench.pool.size = 0;
  assert.match(bench.wait(), /^connection refused \(query_wait_timeout of 5000 ms is over\)$/);
});

Deno.test("wait timeout: paused, checked, on the way from another process", () => {
  const bench = new Bench();
  bench.pool.checking = 1;
  assert.equal(bench.wait(), "an idle server connection is being checked");
  bench.pool.expected = 2;
  assert.equal(bench.wait(), "the server connections are still in another process");
  bench.pool.paused = true;
  assert.equal(bench.wait(), "the pool is paused");
});

Deno.test("wait timeout: what has not been opened is not in use", () => {
  const bench = new Bench();
  bench.pool.size = 0;
  assert.equal(bench.wait(), "no server connection has been opened");
});
