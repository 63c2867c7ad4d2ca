/**
 * What a reload has to tell the workers: only what differs, cut into slices that a worker applies between two events.
 * Pure. A pool's own worker learns of it before the others do, so that none hands a client over to a worker that does
 * not know the pool yet.
 */

import { isDeepStrictEqual } from "node:util";
import { shapeOf } from "../auth/mock_password.ts";
import { poolKey } from "../config/homes.ts";
import type { AuthQuerySettings, PoolSettings, Settings } from "../config/settings.ts";
import { usersOf } from "../config/shared_pool.ts";
import type { PoolPlace, SettingsChange } from "../mail.ts";

/** Names in one slice; some ten microseconds each for a worker. */
const SLICE_ENTRIES = 40;

/** A change of the whole process, and what it comes to. */
export interface ProcessChange extends SettingsChange {
  /** `pools` that were not there before. */
  added: ReadonlySet<PoolSettings>;
}

/** What differs between the settings in force and new ones. */
export function settingsChange(before: Settings, after: Settings): ProcessChange {
  const known = new Map(before.pools.map((pool) => [poolKey(pool.database, pool.user), pool]));
  const places: PoolPlace[] = [];
  const pools: PoolSettings[] = [];
  const added = new Set<PoolSettings>();
  for (const pool of after.pools) {
    const key = poolKey(pool.database, pool.user);
    const old = known.get(key);
    known.delete(key);
    if (old === undefined) added.add(pool);
    else if (isDeepStrictEqual(old, pool)) continue;
    pools.push(pool);
    const place = placeOf(pool);
    if (old === undefined || !isDeepStrictEqual(placeOf(old), place)) places.push(place);
  }
  return {
    general: isDeepStrictEqual(before.general, after.general) ? undefined : after.general,
    places,
    pools,
    added,
    gone: Array.from(known.values(), ({ database, user }) => ({ database, user })),
    ...authQueryChange(before.auth_queries, after.auth_queries),
  };
}

function authQueryChange(
  before: readonly AuthQuerySettings[],
  after: readonly AuthQuerySettings[],
): Pick<SettingsChange, "authQueries" | "goneAuthQueries"> {
  const known = new Map(before.map((each) => [each.database, each]));
  const authQueries = after.filter((each) => {
    const old = known.get(each.database);
    known.delete(each.database);
    return !isDeepStrictEqual(old, each);
  });
  return { authQueries, goneAuthQueries: [...known.keys()] };
}

function placeOf(pool: PoolSettings): PoolPlace {
  const { database, user, home } = pool;
  const logins = usersOf(pool).map(({ user, password }) => ({ user, shape: shapeOf(password) }));
  return { database, user, home, logins };
}

/** Whether there is anything to tell. */
export function isEmpty(
  { general, places, pools, gone, authQueries, goneAuthQueries }: SettingsChange,
): boolean {
  const lists = [places, pools, gone, authQueries, goneAuthQueries];
  return general === undefined && lists.every((list) => list.length === 0);
}

/** First round for a worker: general settings, its own pools with their places, and its auth_queries. */
export function ownSlices(change: SettingsChange, worker: number): SettingsChange[] {
  const slicer = new Slicer(change.general);
  for (const each of change.authQueries) {
    if (each.home === worker) slicer.next().authQueries.push(each);
  }
  for (const pool of change.pools) {
    if (pool.home !== worker) continue;
    const slice = slicer.next();
    slice.pools.push(pool);
    slice.places.push(placeOf(pool));
  }
  return slicer.slices;
}

/**
 * Second round: where the pools of other workers are, and then what is gone, so that a user who changes over to a pool
 * that several share is known all the time.
 */
export function otherSlices(change: SettingsChange, worker: number): SettingsChange[] {
  const slicer = new Slicer(undefined);
  for (const place of change.places) {
    if (place.home !== worker) slicer.next().places.push(place);
  }
  for (const each of change.authQueries) {
    if (each.home !== worker) slicer.next().authQueries.push(each);
  }
  for (const gone of change.gone) slicer.next().gone.push(gone);
  for (const gone of change.goneAuthQueries) slicer.next().goneAuthQueries.push(gone);
  return slicer.slices;
}

function sliceOf(general: SettingsChange["general"]): SettingsChange {
  return { general, places: [], pools: [], gone: [], authQueries: [], goneAuthQueries: [] };
}

class Slicer {
  readonly slices: SettingsChange[] = [];
  #room = 0;

  constructor(general: SettingsChange["general"]) {
    if (general === undefined) return;
    this.slices.push(sliceOf(general));
  }

  /** The slice that takes one more entry. */
  next(): SettingsChange {
    if (this.#room === 0) {
      this.slices.push(sliceOf(undefined));
      this.#room = SLICE_ENTRIES;
    }
    this.#room--;
    return this.slices[this.slices.length - 1] as SettingsChange;
  }
}
