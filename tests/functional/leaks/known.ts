/** What is not as it should be yet, by its reason: ways, with their forms. */

import type { Known } from "./crossing.ts";

/** What of one client reaches another one. */
export const KNOWN_LEAKS: Known = {};

/** Where a client sees other things than at a direct connection. */
export const KNOWN_DIFFERENCES: Known = {};
