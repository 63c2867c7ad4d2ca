/**
 * How many servers a pool may have and should have: the only place that compares anything with `pool_size` or
 * `min_pool_size`. Servers on their way count like those that are there.
 */

import type { PoolSettings } from "../config/settings.ts";

/** A pool, as far as its number of servers is concerned. */
export interface SizedPool {
  readonly settings: Pick<PoolSettings, "pool_size" | "min_pool_size" | "scaling_warm_pool_ratio">;
  /** Servers that are connected or connecting. */
  readonly size: number;
  /** Servers that another process still has and will send. */
  readonly expected: number;
}

/** What a pool may keep when others need a place. */
type Guarantees = Pick<PoolSettings, "min_pool_size" | "min_guaranteed_pool_size">;

/** Whether `pool_size` allows one more. */
export function hasPlace({ settings, size, expected }: SizedPool): boolean {
  return size + expected < settings.pool_size;
}

/** Whether there are more than `pool_size`, those that are about to be closed not counted. */
export function isOver({ settings, size }: Omit<SizedPool, "expected">, closing: number): boolean {
  return size - closing > settings.pool_size;
}

/** Whether there are fewer than `min_pool_size`. */
export function isShort({ settings, size, expected }: SizedPool): boolean {
  return size + expected < settings.min_pool_size;
}

/** So many may be closed that nobody needs. */
export function surplus({ settings, size }: Omit<SizedPool, "expected">): number {
  return size - settings.min_pool_size;
}

/** Whether so many are there that one may be expected to come back. */
export function isWarm({ settings, size }: Omit<SizedPool, "expected">): boolean {
  const { pool_size, scaling_warm_pool_ratio } = settings;
  return size >= Math.max(1, Math.floor(pool_size * scaling_warm_pool_ratio / 100));
}

/** What the pool keeps although another one needs a place, by this guarantee. */
export function guaranteed(
  settings: Guarantees,
  by: keyof Guarantees = "min_guaranteed_pool_size",
): number {
  return Math.max(settings[by], settings.min_pool_size);
}
