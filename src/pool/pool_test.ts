import assert from "node:assert/strict";
import type { PoolSettings } from "../config/settings.ts";
import { type Reason, REASONS } from "../reasons.ts";
import type { ServerConnection } from "../server/connection.ts";
import { ServerStage } from "../server/state.ts";
import { poolSettings } from "../testing/settings.ts";
import { World } from "../testing/world.ts";
import type { Waiter } from "./waiting.ts";

/** One that waits, and what came of it. */
class Client implements Waiter {
  waitNext: Waiter | undefined = undefined;
  waitPrevious: Waiter | undefined = undefined;
  waitSinceMs = 0;
  server: ServerConnection | undefined = undefined;
  failed: [Reason, string, string] | undefined = undefined;

  serverReady(server: ServerConnection): void {
    this.server = server;
  }

  checkOutFailed(reason: Reason, first: string, second: string): void {
    this.failed = [reason, first, second];
  }

  parametersKnown(): void {}

  /** Wants a server of the pool. */
  checkOut({ pool }: World): this {
    this.server = pool.checkOut(this);
    return this;
  }
}

/** Counts the connections that the pool begins from now on; none of them ends. */
function countConnects(world: World): () => number {
  let count = 0;
  world.addresses = () => void count++;
  return () => count;
}

/** Time goes on. */
function pass(world: World, ms: number): void {
  world.reactor.now += ms;
  world.reactor.timers.expire(world.reactor.now);
  world.settle();
}

Deno.test("pool: a server goes from hand to hand, in the order of those who wait", () => {
  const world = new World({ pool_size: 1 });
  const server = world.addServer().connection;
  const [one, two, three] = [1, 2, 3].map(() => new Client().checkOut(world));
  assert.equal(one!.server, server);
  assert.deepEqual([two!.server, three!.server, world.pool.waiting], [undefined, undefined, 2]);
  world.pool.checkIn(server);
  assert.equal(two!.server, server);
  assert.equal(three!.server, undefined);
  world.pool.leaveQueue(three!);
  world.pool.checkIn(server);
  assert.equal(world.pool.idle, 1);
  assert.equal(three!.server, undefined);
});

Deno.test("pool: nobody gets a server of a paused pool, and resumed it serves those who wait at once", () => {
  const world = new World({ pool_size: 2 });
  world.addServer();
  world.addServer();
  world.pool.pause();
  const clients = [1, 2].map(() => new Client().checkOut(world));
  assert.deepEqual(clients.map(({ server }) => server), [undefined, undefined]);
  world.pool.resume();
  assert.ok(clients.every(({ server }) => server !== undefined));
});

Deno.test("pool: after RECONNECT idle servers end now, and lent ones when they come back", () => {
  const world = new World({ pool_size: 2 });
  const [one, other] = [world.addServer().connection, world.addServer().connection];
  const client = new Client().checkOut(world);
  assert.equal(client.server, other);
  world.pool.reconnect();
  assert.equal(one.state.stage, ServerStage.Closed);
  assert.equal(other.state.stage, ServerStage.Linked);
  world.pool.checkIn(other);
  assert.equal(other.state.stage, ServerStage.Closed);
  assert.equal(world.pool.size, 0);
});

Deno.test("pool: what was opened by settings of before is not lent by those of now", () => {
  const world = new World();
  const server = world.addServer().connection;
  world.pool.apply(poolSettings({ server_digest: "another login" }));
  assert.equal(server.state.stage, ServerStage.Closed);
  assert.equal(world.pool.defaults, undefined);
});

Deno.test("pool: a server that its client left in a transaction is rolled back before anybody has it", () => {
  const world = new World({ pool_size: 1 });
  const server = world.addServer();
  const first = new Client().checkOut(world);
  server.model.status = "T";
  first.server!.state.status = "T".charCodeAt(0);
  world.pool.checkIn(first.server!);
  const next = new Client().checkOut(world);
  assert.equal(next.server, undefined);
  world.settle();
  assert.equal(next.server, server.connection);
  assert.equal(server.model.status, "I");
});

Deno.test("pool: one that does not come to its end with cleaning is closed", () => {
  const world = new World({ pool_size: 1, connect_timeout: 3000 });
  const { connection } = world.addServer();
  const client = new Client().checkOut(world);
  connection.state.status = "T".charCodeAt(0);
  world.pool.checkIn(client.server!);
  world.reactor.now += 3000;
  world.reactor.timers.expire(world.reactor.now);
  assert.equal(connection.state.stage, ServerStage.Closed);
});

Deno.test("pool: waiting ends after query_wait_timeout, for each by itself", () => {
  const world = new World({ pool_size: 1, query_wait_timeout: 5000 });
  world.addServer();
  new Client().checkOut(world);
  const one = new Client().checkOut(world);
  pass(world, 2000);
  const other = new Client().checkOut(world);
  pass(world, 3000);
  assert.equal(one.failed?.[0], REASONS.waitTimeout);
  assert.equal(other.failed, undefined);
  pass(world, 2000);
  assert.equal(other.failed?.[0], REASONS.waitTimeout);
});

Deno.test("pool: closed, it refuses those who wait and keeps no idle server", () => {
  const world = new World({ pool_size: 1 });
  const { connection } = world.addServer();
  const holder = new Client().checkOut(world);
  const waiter = new Client().checkOut(world);
  world.pool.close();
  assert.equal(waiter.failed?.[0], REASONS.poolRetired);
  assert.equal(connection.state.stage, ServerStage.Linked);
  world.pool.checkIn(holder.server!);
  assert.equal(connection.state.stage, ServerStage.Closed);
});

/** A pool whose servers were all used and are idle for more than `server_idle_check_timeout`. */
function rested(servers: number, change: Partial<PoolSettings> = {}): World {
  const world = new World({
    server_idle_check_timeout: 60_000,
    pool_size: servers,
    max_concurrent_creates: 4,
    scaling_max_parallel_creates: 4,
    ...change,
  });
  for (let i = 0; i < servers; i++) {
    Object.assign(world.addServer().connection.state, { uses: 1, idleLimitMs: 600_000 });
  }
  world.reactor.now += 61_000;
  return world;
}

function checking({ servers }: World): number {
  return servers.filter(({ connection }) => connection.state.stage === ServerStage.Cleaning).length;
}

Deno.test("pool: after a rest only what is lent is checked first, and no other is opened for it", () => {
  const world = rested(4, { pool_size: 10 });
  const connecting = countConnects(world);
  const client = new Client().checkOut(world);
  assert.deepEqual([client.server, checking(world), world.pool.idle], [undefined, 1, 3]);
  const another = new Client().checkOut(world);
  assert.equal(checking(world), 2);
  world.settle();
  assert.ok(client.server !== undefined && another.server !== undefined);
  assert.deepEqual([world.pool.size, connecting()], [4, 0]);
});

Deno.test("pool: a client with a query a minute holds one server, whatever others once needed", () => {
  const world = rested(4);
  for (let minute = 0; minute < 12; minute++) {
    const client = new Client().checkOut(world);
    world.settle();
    world.pool.checkIn(client.server!);
    for (const server of world.pool.expired()) server.close(REASONS.serverIdle, "");
    pass(world, 61_000);
  }
  assert.equal(world.pool.size, 1);
});

Deno.test("pool: a check is no use: whoever has given up leaves the server as idle as it was", () => {
  const world = rested(1);
  const { state } = world.servers[0]!.connection;
  const { usedAtMs } = state;
  const client = new Client().checkOut(world);
  world.pool.leaveQueue(client);
  world.settle();
  assert.deepEqual([state.stage, state.usedAtMs], [ServerStage.Idle, usedAtMs]);
});

Deno.test("pool: a check that fails or takes too long makes way for a new connection", () => {
  for (const dead of ["closed", "silent"]) {
    const world = rested(4, { pool_size: 10 });
    const connecting = countConnects(world);
    const client = new Client().checkOut(world);
    const checked = world.servers.find(({ connection }) =>
      connection.state.stage === ServerStage.Cleaning
    )!;
    if (dead === "closed") checked.connection.close(REASONS.serverUnusable, "gone");
    else {
      world.reactor.now += 500;
      world.reactor.timers.expire(world.reactor.now);
    }
    assert.equal(connecting(), 1, dead);
    assert.equal(checking(world), dead === "closed" ? 0 : 1);
    assert.equal(client.failed, undefined);
  }
});

Deno.test("pool: without room for a new connection the next idle one is checked when a check is late", () => {
  const world = rested(2);
  const client = new Client().checkOut(world);
  assert.equal(checking(world), 1);
  world.reactor.now += 500;
  world.reactor.timers.expire(world.reactor.now);
  assert.equal(checking(world), 2);
  world.settle();
  assert.ok(client.server !== undefined);
  assert.deepEqual([world.pool.idle, world.pool.size], [1, 2]);
});

Deno.test("pool: a check goes on in another process, and is no use there either", () => {
  const world = rested(1);
  const { usedAtMs } = world.servers[0]!.connection.state;
  world.pool.leaveQueue(new Client().checkOut(world));
  world.move();
  world.settle();
  const { state } = world.servers[0]!.connection;
  assert.deepEqual([state.stage, state.usedAtMs], [ServerStage.Idle, usedAtMs]);
});

Deno.test("pool: with query_wait_timeout = 0 the server that is being checked is waited for", () => {
  const world = rested(1, { query_wait_timeout: 0 });
  const client = new Client().checkOut(world);
  pass(world, 1);
  assert.deepEqual([client.failed, client.server !== undefined], [undefined, true]);
});
