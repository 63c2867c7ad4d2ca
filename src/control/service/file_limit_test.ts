import assert from "node:assert/strict";
import type { PoolSettings } from "../../config/settings.ts";
import { leastLimit, mostServers, shareOut } from "./file_limit.ts";

const NEED = { own: 20, workers: 2, clients: 1000, servers: 40 };

function pool(database: string, more: Partial<PoolSettings> = {}): PoolSettings {
  const defaults = { database, pool_size: 10, max_db_connections: 0, reserve_pool_size: 0 };
  return { ...defaults, ...more } as PoolSettings;
}

Deno.test("file limit: servers get theirs, clients the rest", () => {
  const { clients, servers, wanted } = shareOut(500, NEED);
  assert.equal(servers, 40);
  assert.equal(clients, 500 - (wanted - 1040) - 40);
  assert.equal(shareOut(wanted, NEED).clients, 1000);
});

Deno.test("file limit: servers take no more than half", () => {
  const { clients, servers } = shareOut(500, { ...NEED, servers: 10_000 });
  assert.ok(clients === servers || clients === servers + 1, `${clients} ${servers}`);
  assert.deepEqual(shareOut(30, NEED), {
    clients: 0,
    servers: 0,
    wanted: shareOut(30, NEED).wanted,
  });
});

Deno.test("file limit: the least one leaves room for somebody", () => {
  for (const workers of [1, 2, 32]) {
    const least = leastLimit({ own: 20, workers });
    const { clients, servers } = shareOut(least, { ...NEED, workers });
    assert.ok(clients >= 4 && servers >= 4, `${workers}: ${clients} ${servers}`);
  }
});

Deno.test("file limit: a database has no more servers than its limit and reserve", () => {
  assert.equal(mostServers([pool("a"), pool("b")]), 22);
  const shared = { max_db_connections: 15, reserve_pool_size: 2 };
  assert.equal(mostServers([pool("a", shared), pool("a", shared), pool("b")]), 30);
});
