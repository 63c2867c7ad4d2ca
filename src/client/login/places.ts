/**
 * Places of `max_connections`, for all workers together. A client has one from the moment that its credentials are found
 * right until it is told goodbye. Log-ins under way have none: whoever does not finish his must not keep out others.
 * How many of those there are is the worker's matter (worker/logins.ts).
 */

import type { GeneralSettings } from "../../config/settings.ts";
import { Shared } from "../../stats/shared.ts";
import { Stage } from "../state.ts";

interface Places {
  readonly shared: Int32Array;
  readonly general: Pick<GeneralSettings, "max_connections">;
}

/** How many places are taken. */
export function placesTaken({ shared }: Places): number {
  return Atomics.load(shared, Shared.LoggedIn);
}

/** Takes a place, if there is one. */
export function takePlace({ shared, general }: Places): boolean {
  for (;;) {
    const taken = Atomics.load(shared, Shared.LoggedIn);
    if (taken >= general.max_connections) return false;
    if (Atomics.compareExchange(shared, Shared.LoggedIn, taken, taken + 1) === taken) return true;
  }
}

/** The session comes from another worker or process, and brings its place if it has one. */
export function bringPlace({ shared }: Places, stage: number): void {
  if (hasPlace(stage)) Atomics.add(shared, Shared.LoggedIn, 1);
}

/** The session ends, or lives on elsewhere; its stage is still what it was. */
export function leavePlace(
  { context, state }: { context: Pick<Places, "shared">; state: { stage: number } },
): void {
  if (hasPlace(state.stage)) Atomics.sub(context.shared, Shared.LoggedIn, 1);
}

function hasPlace(stage: number): boolean {
  return stage >= Stage.Preparing && stage < Stage.Closing;
}
