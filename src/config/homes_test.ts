import assert from "node:assert/strict";
import { assignHomes, poolKey } from "./homes.ts";
import type { PoolSettings } from "./settings.ts";

/** `user@database`, with `d` for a limit of the database and `u` for one of the user. */
function poolsOf(names: string[]): PoolSettings[] {
  return names.map((name) => {
    const [, user, database, limits] = /^(\w+)@(\w+) ?(\w*)$/.exec(name)!;
    return {
      user,
      database,
      home: -1,
      max_db_connections: limits!.includes("d") ? 5 : 0,
      max_user_connections: limits!.includes("u") ? 5 : 0,
      max_db_client_connections: limits!.includes("D") ? 5 : 0,
      max_user_client_connections: limits!.includes("U") ? 5 : 0,
    } as PoolSettings;
  });
}

function homesOf(names: string[], homes = new Map<string, number>(), workers = 4): number[] {
  const pools = poolsOf(names);
  assignHomes(pools, { workers, homes });
  for (const { database, user, home } of pools) {
    assert.equal(homes.get(poolKey(database, user)), home);
  }
  return pools.map(({ home }) => home);
}

Deno.test("homes: the pools of a database with a limit live together, the others spread", () => {
  assert.deepEqual(homesOf(["a@x d", "b@x d", "c@x d", "a@y", "b@y", "c@y"]), [0, 0, 0, 1, 2, 3]);
});

Deno.test("homes: the pools of a user with a limit live together", () => {
  assert.deepEqual(homesOf(["a@x u", "b@x", "a@y u", "b@y", "a@z u"]), [0, 1, 0, 2, 0]);
});

Deno.test("homes: limits on clients tie pools together, too", () => {
  assert.deepEqual(homesOf(["a@x D", "b@x D", "a@y", "b@y"]), [0, 0, 1, 2]);
  assert.deepEqual(homesOf(["a@x U", "b@x", "a@y U", "b@y"]), [0, 1, 0, 2]);
});

Deno.test("homes: groups that overlap are one group", () => {
  const names = ["a@x d", "b@x du", "c@y", "b@y u", "b@z du", "d@z d", "e@e d", "f@e d"];
  assert.deepEqual(homesOf(names), [0, 0, 1, 0, 0, 0, 2, 2]);
  // Whatever the order is that they are found in.
  const turned = homesOf([...names].reverse()).reverse();
  assert.equal(new Set([0, 1, 3, 4, 5].map((i) => turned[i])).size, 1);
});

Deno.test("homes: a new pool of a group joins it, a new limit moves as few as possible", () => {
  const homes = new Map<string, number>();
  assert.deepEqual(homesOf(["a@x d", "b@x d", "c@y"], homes), [0, 0, 1]);
  assert.deepEqual(homesOf(["a@x d", "b@x d", "c@x d", "c@y"], homes), [0, 0, 0, 1]);
  const spread = new Map([["x\0a", 0], ["x\0b", 2], ["x\0c", 2], ["y\0a", 3]]);
  assert.deepEqual(homesOf(["a@x d", "b@x d", "c@x d", "a@y"], spread), [2, 2, 2, 3]);
  // The limit is gone: nobody moves for that.
  assert.deepEqual(homesOf(["a@x", "b@x", "c@x", "a@y"], spread), [2, 2, 2, 3]);
});

Deno.test("homes: groups that come together spread over the workers", () => {
  const names = ["a@x", "b@x", "c@x", "a@y", "b@y", "c@y", "a@z", "b@z", "c@z"];
  const homes = new Map<string, number>();
  assert.deepEqual(homesOf(names, homes), [0, 1, 2, 3, 0, 1, 2, 3, 0]);
  const tied = homesOf(names.map((name) => `${name} u`), homes);
  assert.deepEqual(tied, [0, 1, 2, 0, 1, 2, 0, 1, 2]);
});

Deno.test("homes: fewer workers than before", () => {
  const homes = new Map([["x\0a", 3], ["x\0b", 0]]);
  assert.deepEqual(homesOf(["a@x d", "b@x d", "c@y"], homes, 2), [0, 0, 1]);
});
