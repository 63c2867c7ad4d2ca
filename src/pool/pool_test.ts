import assert from "node:assert/strict";
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
