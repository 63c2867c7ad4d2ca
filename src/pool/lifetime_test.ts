import assert from "node:assert/strict";
import { expiredServers, spread } from "./lifetime.ts";
import { World } from "../testing/world.ts";
import { Stage } from "../client/state.ts";
import { frontend } from "../protocol/testing/wire.ts";
import { REASONS } from "../reasons.ts";
import type { ServerConnection } from "../server/connection.ts";
import { newServerState, ServerStage, type ServerState } from "../server/state.ts";

const MINUTE = 60_000;

function idle(change: Partial<ServerState>): ServerConnection {
  const state = { ...newServerState(1, 0), uses: 1, ...change };
  return { state } as unknown as ServerConnection;
}

Deno.test("retain: limits of 0 close nothing, however old and unused", () => {
  const servers = [idle({ lifetimeMs: 0, idleLimitMs: 0 })];
  assert.deepEqual(expiredServers(servers, 10, 1e12), []);
  assert.equal(spread(0), 0);
});

Deno.test("retain: a server that nobody has used yet is no idle one, but it has a lifetime", () => {
  const warm = idle({ uses: 0, idleLimitMs: MINUTE });
  assert.deepEqual(expiredServers([warm], 10, 60 * MINUTE), []);
  const old = idle({ uses: 0, idleLimitMs: MINUTE, lifetimeMs: 5 * MINUTE });
  assert.deepEqual(expiredServers([old], 0, 60 * MINUTE), [old]);
});

Deno.test("retain: idle ones go down to what is to be kept, the oldest first; old ones go anyway", () => {
  const servers = [3, 1, 2].map((createdAtMs) => idle({ createdAtMs, idleLimitMs: MINUTE }));
  assert.deepEqual(expiredServers(servers, 2, 2 * MINUTE), [servers[1], servers[2]]);
  assert.deepEqual(expiredServers(servers, 0, 2 * MINUTE), []);
  for (const { state } of servers) state.lifetimeMs = MINUTE;
  assert.equal(expiredServers(servers, 0, 2 * MINUTE).length, 3);
});

Deno.test("retain: every server has a limit of its own, a fifth around what is configured", () => {
  const limits = Array.from({ length: 1000 }, () => spread(10_000));
  assert.ok(Math.min(...limits) >= 8000 && Math.max(...limits) <= 12_000);
  assert.ok(Math.min(...limits) < 8500 && Math.max(...limits) > 11_500, "they end together");
  assert.ok(new Set(limits).size > 500);
});

Deno.test("retain: while somebody waits, servers past their time are used and not closed; then they go", () => {
  const world = new World({ server_lifetime: MINUTE, idle_timeout: MINUTE, pool_size: 1 });
  const server = world.addServer();
  Object.assign(server.connection.state, { lifetimeMs: MINUTE, idleLimitMs: MINUTE, uses: 1 });
  const clients = [1, 2, 3].map(() => world.addClient(frontend("Q", "rows 1")));
  for (const client of clients) {
    world.clientSends(client, Infinity);
    world.dispatch(client.stream);
  }
  world.reactor.now += 10 * MINUTE;
  assert.equal(clients[2].session.state.stage, Stage.Waiting);
  assert.deepEqual(world.pool.expired(), []);
  world.settle();
  // All three were served by the one server, and it was closed behind the last.
  for (const { received } of clients) assert.ok(received.length > 0);
  assert.equal(server.connection.state.stage, ServerStage.Closed);
  assert.equal(server.connection.state.uses, 4);
});

Deno.test("retain: idle servers of a paused pool for which clients wait are not trimmed", () => {
  const world = new World({ pool_size: 2 });
  for (const { connection } of [world.addServer(), world.addServer()]) {
    Object.assign(connection.state, { lifetimeMs: MINUTE, idleLimitMs: MINUTE, uses: 1 });
  }
  world.reactor.now += 10 * MINUTE;
  assert.equal(world.pool.expired().length, 2);
  world.pool.pause();
  const client = world.addClient(frontend("Q", "rows 1"));
  world.clientSends(client, Infinity);
  world.dispatch(client.stream);
  assert.equal(client.session.state.stage, Stage.Waiting);
  assert.deepEqual(world.pool.expired(), []);
  client.session.close(REASONS.clientGone, "");
  assert.equal(world.pool.expired().length, 2);
});
