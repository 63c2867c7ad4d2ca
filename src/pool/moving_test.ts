import assert from "node:assert/strict";
import { Counters, noScaling } from "../stats/counters.ts";
import { newServerState, ServerStage, type ServerState } from "../server/state.ts";
import { parameterSet } from "../server/parameters.ts";
import { poolSettings } from "../testing/settings.ts";
import { Moving, type MovingPool, type MovingServer } from "./moving.ts";
import type { Servers } from "./servers.ts";
import { noCounts } from "./share.ts";
import type { Waiter } from "./waiting.ts";

class FakeServer implements MovingServer {
  readonly doomed = false;
  readonly state: ServerState;
  readonly owed: { length: number };

  constructor(stage: number, change: Partial<ServerState> = {}, owed = 0) {
    this.state = { ...newServerState(1, 0), stage, ...change };
    this.owed = { length: owed };
  }

  close(): void {}
}

/** A pool of which all that matters is what it is told. */
class Bench {
  readonly told: string[] = [];
  readonly #atEnd: (() => void)[] = [];
  readonly all = new Set<FakeServer>();
  readonly waiting: Pick<Waiter, "parametersKnown">[] = [];
  epoch = 3;
  readonly pool: MovingPool<FakeServer> & { size: number };
  readonly moving: Moving<FakeServer>;

  constructor() {
    const say = (what: string) => () => void this.told.push(what);
    this.pool = {
      settings: poolSettings({}),
      paused: false,
      clientKey: undefined,
      defaults: undefined,
      reported: new Set<string>(),
      counters: new Counters(),
      size: 2,
      statements: { freezeAll: () => [], thawAll() {}, arrivalsEnd: say("statements") },
      share: { counts: noCounts(), count() {}, changed() {}, addCounts() {} },
      pacing: { counters: noScaling() },
      moved: false,
      expected: 0,
      grow: say("grow"),
      warm: say("warm"),
      adopt: (server: FakeServer) => {
        this.all.add(server);
        return server;
      },
      afterUse: (server: FakeServer) => {
        this.told.push("after use");
        server.state.stage = ServerStage.Idle;
        server.state.usedAtMs = 9999;
      },
    } as unknown as MovingPool<FakeServer> & { size: number };
    // deno-lint-ignore no-this-alias
    const bench = this;
    this.moving = new Moving(this.pool, {
      servers: {
        all: this.all,
        get epoch() {
          return bench.epoch;
        },
        add: (server: FakeServer) => this.all.add(server),
        remove: (server: FakeServer) => this.all.delete(server),
        closeOutdated: say("close outdated"),
      } as unknown as Servers<FakeServer>,
      waiting: this.waiting as never,
      reactor: { atEndOfTurn: (action) => void this.#atEnd.push(action) },
      patience: { watch: say("watch"), stop: say("patience stops") },
      pacing: { stop: say("pacing stops") },
      creation: { stopRetrying: say("creation stops") },
      deadlines: { limit: say("limit") },
      checks: { end: () => false, resume() {} },
      listener: {
        expect: say("listener expects"),
        expectNothing: say("listener expects nothing"),
        goOn: say("listener goes on"),
      },
    });
  }

  /** What was told until the turn ended. */
  turn(): string[] {
    for (const action of this.#atEnd.splice(0)) action();
    return this.told.splice(0);
  }
}

Deno.test("moving: a pool that goes opens nothing more, and says how many servers will follow", () => {
  const bench = new Bench();
  const snapshot = bench.moving.begin();
  assert.ok(bench.pool.moved);
  assert.equal(snapshot.servers, 2);
  assert.deepEqual(bench.turn(), [
    "close outdated",
    "patience stops",
    "pacing stops",
    "creation stops",
  ]);
  bench.moving.end();
  assert.ok(!bench.pool.moved);
  bench.moving.goOn();
  assert.deepEqual(bench.turn(), ["watch", "grow", "warm", "listener goes on"]);
});

Deno.test("moving: a server travels as one of its pool's epoch or as one that is not used again", () => {
  const bench = new Bench();
  const [good, old] = [3, 2].map((epoch) => new FakeServer(ServerStage.Linked, { epoch }));
  for (const server of [good!, old!]) {
    bench.all.add(server);
    bench.moving.takeOut(server);
  }
  assert.deepEqual([good!.state.epoch, old!.state.epoch, bench.all.size], [0, -1, 0]);
  const other = new Bench();
  other.epoch = 8;
  for (const server of [good!, old!]) other.moving.adopt(server);
  assert.deepEqual([good!.state.epoch, old!.state.epoch, other.all.size], [8, -1, 2]);
});

Deno.test("moving: put back, a server has rested as long as it has", () => {
  const bench = new Bench();
  const server = new FakeServer(ServerStage.Idle, { epoch: 0, usedAtMs: 17 });
  bench.moving.putBack(server);
  assert.equal(server.state.epoch, 3);
  assert.equal(server.state.usedAtMs, 17);
});

Deno.test("moving: what a server was doing for the pool goes on, within a limit of time", () => {
  for (const stage of [ServerStage.Cleaning, ServerStage.Draining]) {
    const bench = new Bench();
    bench.moving.adopt(new FakeServer(stage, {}, 1));
    assert.deepEqual(bench.turn(), ["limit", "grow", "warm"]);
  }
  // It was waiting for a cancel request alone.
  const bench = new Bench();
  bench.moving.adopt(new FakeServer(ServerStage.Cleaning));
  assert.deepEqual(bench.turn(), ["limit", "after use", "grow", "warm"]);
});

Deno.test("moving: a pool that expects servers opens none until the last is here or lost", () => {
  const bench = new Bench();
  bench.moving.expect();
  assert.equal(bench.pool.expected, Infinity);
  assert.deepEqual(bench.turn(), ["listener expects"]);
  const other = new Bench();
  bench.moving.thaw(other.moving.begin());
  assert.equal(bench.pool.expected, 2);
  bench.moving.arrived();
  bench.moving.adopt(new FakeServer(ServerStage.Linked));
  assert.equal(bench.pool.expected, 0);
  bench.moving.arrived();
  assert.equal(bench.pool.expected, 0);
});

Deno.test("moving: the end of what comes is the end of what is expected", () => {
  const bench = new Bench();
  bench.pool.expected = 5;
  bench.moving.expectNothing();
  assert.equal(bench.pool.expected, 0);
  assert.deepEqual(bench.turn(), ["statements", "listener expects nothing", "grow", "warm"]);
  bench.moving.expectNothing();
  assert.deepEqual(bench.turn(), ["statements", "listener expects nothing"]);
});

Deno.test("moving: who waits for parameters alone has them with the pool's own part", () => {
  const bench = new Bench();
  let known = 0;
  bench.waiting.push({ parametersKnown: () => void known++ });
  const other = new Bench();
  bench.moving.thaw(other.moving.begin());
  assert.equal(known, 0);
  other.pool.defaults = parameterSet(new Map([["TimeZone", "UTC"]]));
  bench.moving.thaw(other.moving.begin());
  assert.equal(known, 1);
  assert.equal(bench.pool.defaults?.values.get("TimeZone"), "UTC");
});
