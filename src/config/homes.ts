/**
 * Which worker owns which pool. Pools that share a limit on server connections live on one worker, so that the limit is
 * plain data of one thread: the pools of a database with `max_db_connections` or `max_db_client_connections`, and
 * those of a user with `max_user_connections` or `max_user_client_connections`. Where such groups overlap they are one group. All other pools stay where they are, and new
 * ones go to the worker with the fewest.
 */

import type { PoolSettings } from "./settings.ts";

/** Identity of a pool: its database and user as one string. */
export function poolKey(database: string, user: string): string {
  return `${database}\0${user}`;
}

/** Sets `home` of every pool; `homes` has those of every pool seen so far, and is brought up to date. */
export function assignHomes(
  pools: readonly PoolSettings[],
  { workers, homes }: { workers: number; homes: Map<string, number> },
): void {
  const counts = new Array<number>(workers).fill(0);
  const knownHome = ({ database, user }: PoolSettings): number | undefined => {
    const home = homes.get(poolKey(database, user));
    return home === undefined || home >= workers ? undefined : home;
  };
  const place = (group: readonly PoolSettings[], home: number): void => {
    counts[home] = (counts[home] as number) + group.length;
    for (const pool of group) {
      pool.home = home;
      homes.set(poolKey(pool.database, pool.user), home);
    }
  };
  const homeless: PoolSettings[][] = [];
  for (const group of groupsOf(pools)) {
    const home = mostCommon(group.map(knownHome), counts);
    if (home === undefined) homeless.push(group);
    else place(group, home);
  }
  for (const group of homeless) place(group, counts.indexOf(Math.min(...counts)));
}

/** The home of most of them, so that few pools move; of several such the one with the fewest pools. */
function mostCommon(
  homes: readonly (number | undefined)[],
  counts: readonly number[],
): number | undefined {
  const votes = new Map<number, number>();
  for (const home of homes) {
    if (home !== undefined) votes.set(home, (votes.get(home) ?? 0) + 1);
  }
  let best: number | undefined;
  for (const [home, count] of votes) {
    const most = best === undefined ? 0 : votes.get(best)!;
    if (count > most || (count === most && counts[home]! < counts[best!]!)) best = home;
  }
  return best;
}

/** Pools that have to live together, in the order of their first one. */
function groupsOf(pools: readonly PoolSettings[]): PoolSettings[][] {
  // A forest: each pool points to one of its group, the first one to itself.
  const towards = pools.map((_, i) => i);
  const rootOf = (i: number): number => {
    while (towards[i] !== i) {
      towards[i] = towards[towards[i]!]!;
      i = towards[i]!;
    }
    return i;
  };
  const firstOf = new Map<string, number>();
  const tie = (limit: string, i: number): void => {
    const first = firstOf.get(limit);
    if (first === undefined) {
      firstOf.set(limit, i);
      return;
    }
    const [a, b] = [rootOf(first), rootOf(i)];
    towards[Math.max(a, b)] = Math.min(a, b);
  };
  // One without a user stands for the pools of everybody who is looked up.
  const anybody = pools.some(({ user }) => user === "") && pools.some(limitsUsers);
  pools.forEach((pool, i) => {
    tie(`pool ${poolKey(pool.database, pool.user)}`, i);
    if (pool.max_db_connections > 0 || pool.max_db_client_connections > 0) {
      tie(`database ${pool.database}`, i);
    }
    if (anybody && (pool.user === "" || limitsUsers(pool))) tie("users", i);
    else if (limitsUsers(pool)) tie(`user ${pool.user}`, i);
    for (const { user, max_user_client_connections } of pool.users ?? []) {
      if (max_user_client_connections > 0) tie(anybody ? "users" : `user ${user}`, i);
    }
  });
  const groups = new Map<number, PoolSettings[]>();
  pools.forEach((pool, i) => {
    const root = rootOf(i);
    const group = groups.get(root);
    if (group === undefined) groups.set(root, [pool]);
    else group.push(pool);
  });
  return [...groups.values()];
}

function limitsUsers(
  { max_user_connections, max_user_client_connections }: PoolSettings,
): boolean {
  return max_user_connections > 0 || max_user_client_connections > 0;
}
