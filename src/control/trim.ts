/**
 * Gives memory that the allocator keeps for later back to the system. The engine's own goes by itself; what clients had
 * prepared lies among other things in the allocator's arenas, which it does not shrink but at their ends.
 */

import { trimMemory } from "../os/allocator.ts";

/** Threads of the engine free what was collected meanwhile. */
const LATER_MS = 1000;

let timer: number | undefined;

/** Soon, once for all who ask until then. */
export function trimLater(): void {
  timer ??= setTimeout(async () => {
    await trimMemory();
    timer = undefined;
  }, LATER_MS);
  Deno.unrefTimer(timer);
}
