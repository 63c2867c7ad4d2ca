import assert from "node:assert/strict";
import type { PoolSettings } from "../config/settings.ts";
import type { Log } from "../log/log.ts";
import { type Reason, REASONS } from "../reasons.ts";
import type { Reactor } from "../reactor/reactor.ts";
import { Timers } from "../reactor/timers.ts";
import { Coordinator, type DatabaseLimit } from "./coordinator.ts";
import type { LimitedPool, Share } from "./share.ts";

/** Time and ends of turns, as a test has them pass. */
class Clock {
  now = 100_000;
  readonly timers = new Timers();
  #atEnd: (() => void)[] = [];

  at(at: number, fire: () => void) {
    return this.timers.add(at, fire);
  }

  atEndOfTurn(action: () => void): void {
    this.#atEnd.push(action);
  }

  endTurn(): void {
    while (this.#atEnd.length > 0) this.#atEnd.shift()!();
  }

  pass(ms: number): void {
    const end = this.now + ms;
    for (let next = this.timers.next(); next <= end; next = this.timers.next()) {
      this.now = next;
      this.timers.expire(next);
      this.endTurn();
    }
    this.now = end;
  }
}

interface FakeServer {
  readonly state: { createdAtMs: number; usedAtMs: number };
  readonly pool: FakePool;
  busy: boolean;
  close(reason: Reason, detail: string): void;
}

class World {
  readonly clock = new Clock();
  readonly coordinator = new Coordinator({
    reactor: this.clock as unknown as Reactor,
    log: { info: () => {} } as unknown as Log,
  });
  readonly pools: FakePool[] = [];
  /** `user: reason` of each server that was closed. */
  readonly closed: string[] = [];

  pool(user: string, settings: Partial<PoolSettings> = {}, database = "db"): FakePool {
    const pool = new FakePool(this, {
      database,
      user,
      min_pool_size: 0,
      max_db_connections: 0,
      max_user_connections: 0,
      min_connection_lifetime: 30_000,
      reserve_pool_size: 0,
      reserve_pool_timeout: 3000,
      min_guaranteed_pool_size: 0,
      ...settings,
    } as PoolSettings);
    this.pools.push(pool);
    return pool;
  }

  row(database = "db"): DatabaseLimit {
    return [...this.coordinator.databases()].find((row) => row.database === database)!;
  }

  get counts(): number[] {
    const { current, reserveUsed, evictions, reserveGrants } = this.row();
    return [current, reserveUsed, evictions, reserveGrants];
  }

  /** What must hold at the end of any turn. */
  check(): void {
    this.clock.endTurn();
    for (const { share, servers } of this.pools) assert.equal(share.held, servers.length);
    for (const row of this.coordinator.databases()) {
      const pools = this.pools.filter(({ settings }) => settings.database === row.database);
      assert.equal(row.current, pools.reduce((sum, { servers }) => sum + servers.length, 0));
    }
  }
}

/** A pool whose clients wait since a given time and whose servers are made at once. */
class FakePool implements LimitedPool {
  readonly seated = 0;
  settings: PoolSettings;
  readonly share: Share;
  readonly servers: FakeServer[] = [];
  waits: number[] = [];
  expected = 0;
  moved = false;
  transactionTime = 0;
  readonly #world: World;

  constructor(world: World, settings: PoolSettings) {
    this.#world = world;
    this.settings = settings;
    this.share = world.coordinator.join(this);
  }

  get name(): string {
    return `${this.settings.user}@${this.settings.database}`;
  }

  get size(): number {
    return this.servers.length;
  }

  get waiting(): number {
    return this.waits.length;
  }

  longestWaitMs(now: number): number {
    return this.waits.length === 0 ? 0 : now - this.waits[0]!;
  }

  idleServers(): FakeServer[] {
    return this.servers.filter(({ busy }) => !busy);
  }

  grow(): void {
    while (this.waits.length > 0 && this.share.take()) {
      this.waits.shift();
      this.arrive("busy");
    }
  }

  /** A client asks; says whether it got a server at once. */
  ask(): boolean {
    const idle = this.idleServers().pop();
    if (idle !== undefined) {
      idle.busy = true;
      return true;
    }
    this.waits.push(this.#world.clock.now);
    const before = this.size;
    this.grow();
    return this.size > before;
  }

  arrive(use: "busy" | "idle", age = 0): FakeServer {
    const { clock, closed } = this.#world;
    const server: FakeServer = {
      state: { createdAtMs: clock.now - age, usedAtMs: clock.now - age },
      pool: this,
      busy: use === "busy",
      close: ({ name }) => {
        const at = this.servers.indexOf(server);
        if (at < 0) return;
        this.servers.splice(at, 1);
        closed.push(`${this.settings.user}: ${name}`);
        this.share.count();
      },
    };
    this.servers.push(server);
    this.share.count();
    return server;
  }

  /** Busy servers come back: to those who wait, or to rest. */
  giveBack(count = Infinity): void {
    for (const server of this.servers) {
      if (!server.busy || count-- <= 0) continue;
      if (this.waits.shift() !== undefined) continue;
      server.busy = false;
      server.state.usedAtMs = this.#world.clock.now;
      if (this.share.contended) this.share.changed();
    }
    this.#world.check();
  }

  close(server: FakeServer): void {
    server.close(REASONS.serverLost, "");
  }
}

const MAX_2 = { max_db_connections: 2 };

Deno.test("coordinator: without a limit all is counted and nothing refused", () => {
  const world = new World();
  const a = world.pool("a");
  for (let i = 0; i < 100; i++) assert.ok(a.ask());
  assert.deepEqual([...world.coordinator.databases()], []);
  assert.ok(!a.share.contended);
  // Turned on, it knows them all.
  a.settings = { ...a.settings, ...MAX_2 };
  a.share.apply();
  assert.equal(world.row().current, 100);
  assert.ok(a.share.over);
});

Deno.test("coordinator: no more than max, whoever asks; a place that is given goes to who waits longest", () => {
  const world = new World();
  const [a, b, c] = ["a", "b", "c"].map((user) => world.pool(user, MAX_2)) as FakePool[];
  assert.ok(a!.ask() && a!.ask());
  assert.ok(!c!.ask());
  world.clock.pass(5);
  assert.ok(!b!.ask());
  world.clock.pass(5);
  assert.ok(!a!.ask());
  assert.deepEqual(world.counts, [2, 0, 0, 0]);
  a!.close(a!.servers[0]!);
  // Nobody is let past before the turn ends.
  assert.ok(!b!.ask());
  world.check();
  assert.deepEqual([a!.size, b!.size, c!.size], [1, 0, 1]);
  assert.equal(c!.share.refusedBy, undefined);
  a!.close(a!.servers[0]!);
  world.check();
  assert.deepEqual([a!.size, b!.size, c!.size], [0, 1, 1]);
  assert.deepEqual(world.closed, ["a: server_lost", "a: server_lost"]);
});

Deno.test("coordinator: an idle server of another user is closed once it is old enough", () => {
  const world = new World();
  const a = world.pool("a", MAX_2);
  const b = world.pool("b", MAX_2);
  a.ask();
  a.ask();
  world.clock.pass(10_000);
  a.giveBack();
  // tests/CHECKLIST.md 124: younger than min_connection_lifetime.
  assert.ok(!b.ask());
  world.clock.pass(19_999);
  assert.equal(b.size, 0);
  // tests/CHECKLIST.md 123: nothing but time has passed.
  world.clock.pass(1);
  assert.deepEqual([a.size, b.size], [1, 1]);
  assert.deepEqual(world.closed, ["a: evicted"]);
  // tests/CHECKLIST.md 127: one after the other.
  assert.ok(b.ask());
  assert.deepEqual([a.size, b.size], [0, 2]);
  assert.deepEqual(world.counts, [2, 0, 2, 0]);
});

Deno.test("coordinator: who waits is woken when another user's server becomes idle", () => {
  const world = new World();
  const a = world.pool("a", MAX_2);
  const b = world.pool("b", MAX_2);
  a.ask();
  a.ask();
  world.clock.pass(60_000);
  assert.ok(!b.ask());
  a.giveBack(1);
  assert.deepEqual([a.size, b.size, b.waiting], [1, 1, 0]);
});

Deno.test("coordinator: a place that becomes free is taken, and nobody is closed for it", () => {
  const world = new World();
  const a = world.pool("a", MAX_2);
  const b = world.pool("b", MAX_2);
  a.ask();
  a.ask();
  world.clock.pass(60_000);
  assert.ok(!b.ask());
  a.close(a.servers[0]!);
  a.servers[0]!.busy = false;
  world.check();
  assert.deepEqual([a.size, b.size], [1, 1]);
  assert.deepEqual(world.closed, ["a: server_lost"]);
});

Deno.test("coordinator: servers in use, the user's own, and those of a minimum are not closed", () => {
  const world = new World();
  const settings = { max_db_connections: 4, min_guaranteed_pool_size: 1 };
  const a = world.pool("a", settings);
  const b = world.pool("b", { ...settings, min_pool_size: 2 });
  const c = world.pool("c", settings);
  a.arrive("idle", 60_000);
  b.arrive("idle", 60_000);
  b.arrive("idle", 60_000);
  c.arrive("busy", 60_000);
  assert.ok(!c.ask());
  assert.deepEqual(world.closed, []);
  b.arrive("busy", 60_000);
  world.check();
  assert.ok(world.row().current > world.row().max);
  b.servers[2]!.busy = false;
  b.close(b.servers[2]!);
  world.check();
  assert.equal(c.waiting, 1);
});

Deno.test("coordinator: slow pools give first, then those with most to spare, their oldest", () => {
  const world = new World();
  const settings = { max_db_connections: 6 };
  const [a, b, c, d] = ["a", "b", "c", "d"].map((user) => world.pool(user, settings)) as FakePool[];
  a!.arrive("idle", 60_000);
  b!.arrive("idle", 50_000);
  b!.arrive("idle", 70_000);
  b!.arrive("idle", 60_000);
  c!.arrive("idle", 60_000);
  c!.arrive("idle", 60_000);
  const ages = b!.servers.map(({ state }) => state.createdAtMs);
  assert.ok(d!.ask());
  assert.deepEqual(b!.servers.map(({ state }) => state.createdAtMs), [ages[0], ages[2]]);
  a!.transactionTime = 5;
  assert.ok(d!.ask());
  assert.equal(a!.size, 0);
  // As slow, but it has nothing that is old enough.
  a!.transactionTime = 5;
  d!.waits = [];
  assert.ok(d!.ask());
  assert.deepEqual([b!.size, c!.size, d!.size], [1, 2, 3]);
});

Deno.test("coordinator: the reserve is used before anybody is closed, and given back", () => {
  const world = new World();
  const settings = { max_db_connections: 2, reserve_pool_size: 1 };
  const a = world.pool("a", settings);
  const b = world.pool("b", settings);
  a.arrive("idle", 60_000);
  a.arrive("busy", 60_000);
  assert.ok(b.ask());
  assert.deepEqual(world.counts, [3, 1, 0, 1]);
  // Full as well: now an idle one goes.
  assert.ok(b.ask());
  assert.deepEqual(world.counts, [3, 1, 1, 1]);
  assert.ok(!b.ask());
  // tests/CHECKLIST.md 126: the servers of session-mode clients are never idle.
  assert.deepEqual(world.closed, ["a: evicted"]);
  // tests/CHECKLIST.md 120: whichever is closed, the others are within max.
  b.waits = [];
  a.close(a.servers[0]!);
  world.check();
  assert.deepEqual(world.counts, [2, 0, 1, 1]);
});

Deno.test("coordinator: idle servers beyond max are closed after min_connection_lifetime, min_pool_size is kept", () => {
  const world = new World();
  const settings = { max_db_connections: 2, reserve_pool_size: 2 };
  const a = world.pool("a", settings);
  const b = world.pool("b", { ...settings, min_pool_size: 2 });
  for (const pool of [a, a, b, b]) assert.ok(pool.ask());
  a.giveBack();
  b.giveBack();
  world.clock.pass(29_999);
  world.coordinator.retain();
  assert.equal(world.row().current, 4);
  world.clock.pass(1);
  world.coordinator.retain();
  world.check();
  assert.deepEqual([a.size, b.size], [0, 2]);
  assert.deepEqual(world.counts, [2, 0, 0, 2]);
});

Deno.test("coordinator: a user below its minimum comes first, then for the reserve the longest queue", () => {
  const world = new World();
  const settings = { max_db_connections: 3, reserve_pool_size: 1 };
  const a = world.pool("a", settings);
  const b = world.pool("b", settings);
  const c = world.pool("c", { ...settings, min_guaranteed_pool_size: 1 });
  for (let i = 0; i < 4; i++) assert.ok(a.ask());
  assert.ok(!a.ask());
  world.clock.pass(1);
  assert.ok(!b.ask() && !b.ask() && !b.ask());
  world.clock.pass(1);
  assert.ok(!c.ask());
  a.close(a.servers[0]!);
  world.check();
  assert.deepEqual([a.size, b.size, c.size], [3, 0, 1]);
  // The reserve's place.
  a.close(a.servers[0]!);
  world.check();
  assert.deepEqual([a.size, b.size, c.size], [2, 1, 1]);
});

Deno.test("coordinator: one's place in line is not another's burden when it does not want it any more", () => {
  const world = new World();
  const a = world.pool("a", MAX_2);
  const b = world.pool("b", MAX_2);
  const c = world.pool("c", MAX_2);
  a.ask();
  a.ask();
  b.ask();
  world.clock.pass(1);
  c.ask();
  b.waits = [];
  a.close(a.servers[0]!);
  world.check();
  assert.deepEqual([a.size, b.size, c.size], [1, 0, 1]);
  assert.ok(!b.share.contended);
});

Deno.test("coordinator: max_user_connections counts over databases and closes the longest idle one elsewhere", () => {
  const world = new World();
  const settings = { max_user_connections: 2 };
  const x = world.pool("a", settings, "x");
  const y = world.pool("a", settings, "y");
  const z = world.pool("a", { ...settings, min_pool_size: 1 }, "z");
  const other = world.pool("b", { max_user_connections: 2 }, "x");
  assert.ok(x.ask() && y.ask());
  assert.ok(!z.ask());
  assert.ok(other.ask() && other.ask());
  assert.equal(z.share.exhausted()!.second, "max_user_connections=2");
  // Whatever its age: it is the user's own.
  y.giveBack();
  assert.deepEqual([x.size, y.size, z.size], [1, 0, 1]);
  z.giveBack();
  assert.ok(!y.ask(), "z's one is its min_pool_size");
  x.giveBack();
  assert.deepEqual([x.size, y.size, z.size], [0, 1, 1]);
  assert.deepEqual(world.closed, ["a: evicted", "a: evicted"]);
});

Deno.test("coordinator: both limits at once: nothing is closed for one of them unless the other gives, too", () => {
  const world = new World();
  const both = { max_user_connections: 1, max_db_connections: 1 };
  const ax = world.pool("a", both, "x");
  const by = world.pool("b", both, "y");
  const ay = world.pool("a", both, "y");
  assert.ok(ax.ask());
  assert.ok(by.ask());
  ax.giveBack();
  assert.ok(!ay.ask());
  assert.deepEqual(world.closed, []);
  assert.equal(ay.share.refusedBy!.of, "database");
  by.close(by.servers[0]!);
  world.check();
  assert.deepEqual([ax.size, ay.size, by.size], [0, 1, 0]);
});

Deno.test("coordinator: servers are warmed within max only, and not while others wait", () => {
  const world = new World();
  const settings = { max_db_connections: 2, reserve_pool_size: 2 };
  const a = world.pool("a", settings);
  const b = world.pool("b", settings);
  assert.ok(a.share.takeAhead() && a.share.takeAhead(2) && !a.share.takeAhead(3));
  a.ask();
  assert.ok(b.share.takeAhead() && !b.share.takeAhead(2));
  a.ask();
  assert.ok(!b.share.takeAhead());
});

Deno.test("coordinator: servers that arrive count and are never refused; expected ones keep their places", () => {
  const world = new World();
  const a = world.pool("a", MAX_2);
  const b = world.pool("b", MAX_2);
  b.expected = Infinity;
  assert.ok(!a.ask());
  b.expected = 2;
  b.share.changed();
  world.check();
  assert.equal(a.size, 0);
  b.arrive("idle", 60_000);
  b.expected = 1;
  b.arrive("idle", 60_000);
  b.expected = 0;
  b.arrive("busy", 60_000);
  b.share.changed();
  assert.ok(b.share.over);
  world.check();
  // The surplus goes, and then the one that makes room.
  assert.deepEqual(world.closed, ["b: surplus", "b: evicted"]);
  assert.deepEqual([a.size, b.size], [1, 1]);
});

Deno.test("coordinator: a lower max closes idle servers at once, a higher one serves those who wait", () => {
  const world = new World();
  const settings = { max_db_connections: 4 };
  const a = world.pool("a", settings);
  const b = world.pool("b", settings);
  for (let i = 0; i < 4; i++) a.ask();
  a.giveBack(3);
  assert.ok(!b.ask());
  const apply = (max: number) => {
    for (const pool of [a, b]) {
      pool.settings = { ...pool.settings, max_db_connections: max };
      pool.share.apply();
    }
    world.check();
  };
  apply(2);
  assert.deepEqual([a.size, b.size, world.row().max], [2, 0, 2]);
  apply(3);
  assert.deepEqual([a.size, b.size], [2, 1]);
  b.ask();
  apply(0);
  assert.equal(world.row(), undefined);
  assert.deepEqual([a.size, b.size], [2, 2]);
  assert.ok(!a.share.contended);
});

Deno.test("coordinator: a pool that ends counts until its servers are closed, and its counts stay", () => {
  const world = new World();
  const a = world.pool("a", MAX_2);
  const b = world.pool("b", MAX_2);
  a.arrive("busy", 0);
  a.arrive("idle", 60_000);
  assert.ok(b.ask());
  b.share.end();
  assert.equal(world.row().current, 2);
  b.close(b.servers[0]!);
  assert.deepEqual(world.counts, [1, 0, 1, 0]);
  a.close(a.servers[0]!);
  a.share.end();
  assert.equal(world.row(), undefined);
});

Deno.test("coordinator: what a client is told", () => {
  const world = new World();
  const settings = { max_db_connections: 1, reserve_pool_size: 1 };
  const a = world.pool("a", settings);
  const b = world.pool("b", settings);
  assert.equal(a.share.exhausted(), undefined);
  a.ask();
  a.ask();
  assert.ok(!b.ask());
  assert.ok(b.share.hopeless && !a.share.hopeless);
  assert.deepEqual(b.share.exhausted(), {
    first: 'to database "db"',
    second: 'max_db_connections=1, user="b", reserve 1/1',
    log: 'database "db" EXHAUSTED, active=1/1 reserve=1/1 total=2',
  });
  assert.equal(world.row().exhaustions, 1);
});

Deno.test("coordinator: whatever happens, the sums are right, the ceiling holds and nobody waits beside a free place", () => {
  for (let seed = 1; seed <= 200; seed++) {
    let random = seed * 7919;
    const chance = (below: number) => {
      random = (random * 1103515245 + 12345) & 0x7fffffff;
      return (random >> 8) % below;
    };
    const world = new World();
    const settings = {
      max_db_connections: 1 + chance(5),
      reserve_pool_size: chance(3),
      max_user_connections: chance(2) * (1 + chance(4)),
      min_guaranteed_pool_size: chance(2),
      min_connection_lifetime: chance(100),
    };
    for (const database of ["x", "y"]) {
      for (const user of ["a", "b", "c"]) world.pool(user, settings, database);
    }
    for (let step = 0; step < 200; step++) {
      const pool = world.pools[chance(world.pools.length)]!;
      const server = pool.servers[chance(Math.max(1, pool.size))];
      const what = chance(6);
      if (what <= 1) pool.ask();
      else if (what === 2) pool.giveBack(1 + chance(3));
      else if (what === 3 && server !== undefined) pool.close(server);
      else if (what === 4) world.coordinator.retain();
      else world.clock.pass(chance(60));
      world.check();
      checkLimits(world, settings);
    }
  }
});

function checkLimits(world: World, settings: Partial<PoolSettings>): void {
  const ceiling = settings.max_db_connections! + settings.reserve_pool_size!;
  const most = settings.max_user_connections || Infinity;
  const total = (pools: FakePool[]) => pools.reduce((sum, { size }) => sum + size, 0);
  const inDatabase = (database: string) =>
    total(world.pools.filter((pool) => pool.settings.database === database));
  const ofUser = (user: string) => total(world.pools.filter((pool) => pool.settings.user === user));
  for (const pool of world.pools) {
    const { database, user } = pool.settings;
    assert.ok(inDatabase(database) <= ceiling);
    assert.ok(ofUser(user) <= most);
    if (pool.waiting === 0) continue;
    assert.ok(inDatabase(database) === ceiling || ofUser(user) === most, "waits beside a place");
  }
}
