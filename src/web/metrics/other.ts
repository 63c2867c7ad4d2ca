/**
 * A bound on how many pools have series of their own: what is beyond it is summed up as user `other` of database `other`.
 * A monitoring system keeps each series that it has ever seen, and pools may come and go without end.
 *
 * What must hold: as long as a pool lives it is either told by itself or part of `other`, and the sums of `other` do not
 * fall when one of its pools ends. Both go along in a binary upgrade.
 */

import { mergePools } from "../../admin/show/gathered_pools.ts";
import type { PoolRow } from "../../mail.ts";
import { addScaling, addSums, noScaling, noSums, type PoolSums } from "../../stats/counters.ts";
import type { ScalingCounters } from "../../stats/counters.ts";

/** What pools beyond the bound are called. */
export const OTHER = "other";

/** What travels to the next process. */
export interface OtherSnapshot {
  /** Pools with series of their own, and those without. */
  named: string[];
  others: string[];
  /** What ended pools have left to the sums of `other`. */
  ended: { total: PoolSums; scaling: ScalingCounters };
}

function keyOf({ database, user }: { database: string; user: string }): string {
  return `${database}\0${user}`;
}

export class OtherPools {
  readonly #named = new Set<string>();
  /** Pools in `other` as they were seen last; `undefined`: by the process before. */
  #others = new Map<string, PoolRow | undefined>();
  #ended: OtherSnapshot["ended"] = { total: noSums(), scaling: noScaling() };

  /** Of another process. */
  takeOver({ named, others, ended }: OtherSnapshot): void {
    for (const key of named) this.#named.add(key);
    for (const key of others) this.#others.set(key, undefined);
    this.#ended = {
      // Of a program that counted less.
      total: addSums(this.#ended.total, { ...noSums(), ...ended.total }),
      scaling: addScaling(this.#ended.scaling, { ...noScaling(), ...ended.scaling }),
    };
  }

  snapshot(): OtherSnapshot {
    return { named: [...this.#named], others: [...this.#others.keys()], ended: this.#ended };
  }

  /**
   * The rows with at most `most` of their own (0: all), the rest as one; and how many those are. `moving`: pools are on
   * their way to another process, so that one that is missing has not ended.
   */
  bound(
    rows: readonly PoolRow[],
    { most, moving }: { most: number; moving: boolean },
  ): { rows: PoolRow[]; beyond: number } {
    const own: PoolRow[] = [];
    const others = new Map<string, PoolRow>();
    const alive = new Set(rows.map(keyOf));
    if (!moving) { for (const key of this.#named) if (!alive.has(key)) this.#named.delete(key); }
    for (const row of rows) {
      const key = keyOf(row);
      const room = most === 0 || this.#named.size < most;
      if (room && !this.#others.has(key)) this.#named.add(key);
      if (this.#named.has(key)) own.push(row);
      else others.set(key, row);
    }
    for (const [key, row] of this.#others) {
      if (row === undefined || alive.has(key)) continue;
      if (moving) others.set(key, row);
      else this.#end(row);
    }
    this.#others = others;
    let sum: PoolRow | undefined;
    for (const row of others.values()) sum = sum === undefined ? row : mergePools(sum, row);
    if (sum === undefined) return { rows: own, beyond: 0 };
    const sizes = [...others.values()].reduce((all, { pool_size }) => all + pool_size, 0);
    own.push({
      ...sum,
      database: OTHER,
      user: OTHER,
      pool_size: sizes,
      total: addSums(sum.total, this.#ended.total),
      scaling: {
        ...addScaling(sum.scaling, this.#ended.scaling),
        inflight: sum.scaling.inflight,
      },
    });
    return { rows: own, beyond: others.size };
  }

  /** Whether some pool of the database is told by itself. */
  namesDatabase(database: string): boolean {
    for (const key of this.#named) if (key.startsWith(`${database}\0`)) return true;
    return false;
  }

  /** The names under which something of the pool is told. */
  calledAs(pool: { database: string; user: string }): { database: string; user: string } {
    const { database, user } = pool;
    return this.#others.has(keyOf(pool)) ? { database: OTHER, user: OTHER } : { database, user };
  }

  #end({ total, scaling, prepared }: PoolRow): void {
    const { prepared_hits, prepared_misses } = total;
    this.#ended = {
      total: addSums(this.#ended.total, {
        ...total,
        prepared_hits: prepared_hits + prepared.hits,
        prepared_misses: prepared_misses + prepared.misses,
      }),
      scaling: addScaling(this.#ended.scaling, scaling),
    };
  }
}
