/**
 * Places of `max_connections`, for all workers together, and of `max_db_client_connections` and
 * `max_user_client_connections`, whose pools live on one worker. A client has one from the moment that its credentials
 * are found right until it is told goodbye. Log-ins under way have none: whoever does not finish his must not keep out
 * others. How many of those there are is the worker's matter (worker/logins.ts).
 */

import type { GeneralSettings } from "../../config/settings.ts";
import type { Pool } from "../../pool/pool.ts";
import { type Reason, REASONS } from "../../reasons.ts";
import { Shared, type Tally } from "../../stats/shared.ts";
import { Stage } from "../state.ts";

interface Places {
  readonly shared: Int32Array;
  readonly tally: Tally;
  readonly general: Pick<GeneralSettings, "max_connections">;
}

/** A pool whose clients are counted. */
type CountingPool = Pick<Pool, "share" | "settings" | "seated">;

/** How many places are taken. */
export function placesTaken({ shared }: Pick<Places, "shared">): number {
  return Atomics.load(shared, Shared.LoggedIn);
}

/** Why the pool takes no more clients, if so. */
export function poolFull(
  { share, settings }: Omit<CountingPool, "seated">,
): { reason: Reason; name: string; max: number } | undefined {
  const { max_db_client_connections, max_user_client_connections } = settings;
  if (max_db_client_connections > 0 && share.database.clients >= max_db_client_connections) {
    const { database } = settings;
    return { reason: REASONS.databaseFull, name: database, max: max_db_client_connections };
  }
  if (max_user_client_connections > 0 && share.user.clients >= max_user_client_connections) {
    return { reason: REASONS.userFull, name: settings.user, max: max_user_client_connections };
  }
  return undefined;
}

/** Takes a place, if there is one. */
export function takePlace({ tally, general }: Places, pool: CountingPool | undefined): boolean {
  if (!tally.addBelow("LoggedIn", general.max_connections)) return false;
  if (pool !== undefined) pool.seated++;
  return true;
}

/** The session comes from another worker or process, and brings its place if it has one. */
export function bringPlace(
  { tally }: Pick<Places, "tally">,
  stage: number,
  pool: CountingPool | undefined,
): void {
  if (!hasPlace(stage)) return;
  tally.add("LoggedIn", 1);
  if (pool !== undefined) pool.seated++;
}

/** The session ends, or lives on elsewhere; its stage is still what it was. */
export function leavePlace(
  { context, state, pool }: {
    context: Pick<Places, "tally">;
    state: { stage: number };
    pool: CountingPool | undefined;
  },
): void {
  if (!hasPlace(state.stage)) return;
  context.tally.add("LoggedIn", -1);
  if (pool !== undefined) pool.seated--;
}

function hasPlace(stage: number): boolean {
  return stage >= Stage.Preparing && stage < Stage.Closing;
}
