import assert from "node:assert/strict";
import { type Reason, REASONS } from "../reasons.ts";
import { newServerState, type ServerState } from "../server/state.ts";
import { Timers } from "../reactor/timers.ts";
import { type PooledServer, Servers, type ServersPool } from "./servers.ts";

/** A server that is nothing but its state. */
class FakeServer implements PooledServer {
  readonly doomed = false;
  readonly state: ServerState;
  reason: Reason | undefined = undefined;

  constructor(change: Partial<ServerState>) {
    this.state = { ...newServerState(1, 0), ...change };
  }

  close(reason: Reason): void {
    this.reason = reason;
  }
}

/** Servers of a pool, and the few things that matter of it. */
class Bench {
  now = 0;
  warmed = 0;
  readonly timers = new Timers();
  readonly pool = {
    settings: {
      pool_size: 10,
      min_pool_size: 0,
      scaling_warm_pool_ratio: 20,
      server_digest: "",
      server_round_robin: false,
    },
    size: 0,
    waiting: 0,
    retired: false,
    warm: () => {
      this.warmed++;
    },
  };
  readonly servers: Servers<FakeServer>;

  constructor(change: Partial<ServersPool["settings"]> = {}) {
    Object.assign(this.pool.settings, change);
    // deno-lint-ignore no-this-alias
    const bench = this;
    const reactor = {
      get now() {
        return bench.now;
      },
      at: (when: number, fire: () => void) => this.timers.add(when, fire),
    };
    this.servers = new Servers<FakeServer>(
      this.pool,
      reactor as unknown as ConstructorParameters<typeof Servers>[1],
    );
  }

  /** So many idle servers, the first one is idle longest. */
  rest(count: number, change: Partial<ServerState> = {}): FakeServer[] {
    return Array.from({ length: count }, () => {
      const server = new FakeServer({ digest: "", ...change });
      this.servers.add(server);
      this.servers.rest(server);
      this.pool.size++;
      return server;
    });
  }

  /** One turn of the event loop. */
  turn(): void {
    this.timers.expire(++this.now);
  }
}

Deno.test("servers: the last to come is the next to go, with server_round_robin the first", () => {
  for (const [server_round_robin, order] of [[false, [2, 1, 0]], [true, [0, 1, 2]]] as const) {
    const bench = new Bench({ server_round_robin });
    const resting = bench.rest(3);
    const taken = resting.map(() => bench.servers.takeIdle());
    assert.deepEqual(taken, order.map((i) => resting[i]));
    assert.equal(bench.servers.takeIdle(), undefined);
    assert.equal(bench.servers.all.size, 3);
  }
});

Deno.test("servers: a stale one is closed on the way", () => {
  const bench = new Bench();
  const [good] = bench.rest(1);
  const [ofOldEpoch] = bench.rest(1, { epoch: -1 });
  const [ofOldLogin] = bench.rest(1, { digest: "of before" });
  assert.equal(bench.servers.takeIdle(), good);
  assert.equal(ofOldEpoch.reason, REASONS.serverReplaced);
  assert.equal(ofOldLogin.reason, REASONS.serverReplaced);
  assert.equal(good.reason, undefined);
});

Deno.test("servers: one past its lifetime is used while somebody waits, and only then", () => {
  const bench = new Bench();
  const [server] = bench.rest(1, { lifetimeMs: 1000 });
  bench.now = 1001;
  assert.equal(bench.servers.stale(server), REASONS.serverLifetime);
  bench.pool.waiting = 1;
  assert.equal(bench.servers.stale(server), undefined);
});

Deno.test("servers: gone means no more idle either, and is said once", () => {
  const bench = new Bench();
  const [one, other] = bench.rest(2);
  assert.ok(bench.servers.remove(other));
  assert.ok(!bench.servers.remove(other));
  assert.deepEqual(bench.servers.idle, [one]);
  assert.deepEqual([...bench.servers.all], [one]);
});

Deno.test("servers: after RECONNECT all idle ones are out of use at once, and closed a few in each turn", () => {
  const bench = new Bench({ pool_size: 100 });
  const old = bench.rest(40);
  bench.servers.epoch++;
  bench.servers.closeStale();
  assert.equal(bench.servers.idle.length, 0);
  const closed = () => old.filter(({ reason }) => reason !== undefined).length;
  assert.equal(closed(), 16);
  bench.turn();
  assert.equal(closed(), 32);
  assert.equal(bench.warmed, 0);
  bench.turn();
  assert.equal(closed(), 40);
  assert.equal(bench.warmed, 1);
  assert.ok(old.every(({ reason }) => reason === REASONS.serverReplaced));
});

Deno.test("servers: a smaller pool_size takes out as many as are too many", () => {
  const bench = new Bench({ pool_size: 10 });
  bench.rest(10);
  bench.pool.settings.pool_size = 7;
  bench.servers.closeStale();
  assert.equal(bench.servers.idle.length, 7);
});

Deno.test("servers: all that is out of use is closed before the pool moves", () => {
  const bench = new Bench({ pool_size: 100 });
  const old = bench.rest(40);
  bench.servers.epoch++;
  bench.servers.closeStale();
  bench.servers.closeOutdated();
  assert.ok(old.every(({ reason }) => reason !== undefined));
});

Deno.test("servers: what is expired leaves min_pool_size", () => {
  const bench = new Bench({ min_pool_size: 2 });
  const resting = bench.rest(5, { idleLimitMs: 1000, uses: 1 });
  bench.now = 1001;
  assert.deepEqual(bench.servers.expired(), resting.slice(0, 3));
});
