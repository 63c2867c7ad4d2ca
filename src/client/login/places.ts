/**
 * Places of `max_connections`, for all workers together, and of `max_db_client_connections` and
 * `max_user_client_connections`, whose pools live on one worker. A client has one from the moment that its credentials
 * are found right until it is told goodbye. Log-ins under way have none: whoever does not finish his must not keep out
 * others. How many of those there are is the worker's matter (worker/logins.ts).
 */

import type { GeneralSettings } from "../../config/settings.ts";
import { usersOf } from "../../config/shared_pool.ts";
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

/** Who has or wants a place. */
interface SeatedSession {
  readonly state: { readonly user: string; readonly stage: number };
  readonly pool: CountingPool | undefined;
}

/** How many places are taken. */
export function placesTaken({ shared }: Pick<Places, "shared">): number {
  return Atomics.load(shared, Shared.LoggedIn);
}

/** Why the pool takes no more clients of this user, if so. */
export function poolFull(
  { share, settings }: Omit<CountingPool, "seated">,
  user: string,
): { reason: Reason; name: string; max: number } | undefined {
  const { max_db_client_connections } = settings;
  if (max_db_client_connections > 0 && share.database.clients >= max_db_client_connections) {
    const { database } = settings;
    return { reason: REASONS.databaseFull, name: database, max: max_db_client_connections };
  }
  const max = usersOf(settings).find((one) => one.user === user)?.max_user_client_connections ?? 0;
  if (max > 0 && share.seats.of(user) >= max) return { reason: REASONS.userFull, name: user, max };
  return undefined;
}

function seat({ pool, state }: SeatedSession, by: 1 | -1): void {
  if (pool === undefined) return;
  pool.seated += by;
  pool.share.seats.change(state.user, by);
}

/** Takes a place, if there is one. */
export function takePlace(
  session: SeatedSession & { readonly context: Pick<Places, "tally" | "general"> },
): boolean {
  const { tally, general } = session.context;
  if (!tally.addBelow("LoggedIn", general.max_connections)) return false;
  seat(session, 1);
  return true;
}

/** The session comes from another worker or process, and brings its place if it has one. */
export function bringPlace(
  session: SeatedSession & { readonly context: Pick<Places, "tally"> },
): void {
  if (!hasPlace(session.state.stage)) return;
  session.context.tally.add("LoggedIn", 1);
  seat(session, 1);
}

/** The session ends, or lives on elsewhere; its stage is still what it was. */
export function leavePlace(
  session: SeatedSession & { readonly context: Pick<Places, "tally"> },
): void {
  if (!hasPlace(session.state.stage)) return;
  session.context.tally.add("LoggedIn", -1);
  seat(session, -1);
}

/** Whether a session in this stage has a place. */
export function hasPlace(stage: number): boolean {
  return stage >= Stage.Preparing && stage < Stage.Closing;
}
