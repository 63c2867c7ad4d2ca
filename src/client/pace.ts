// hot path
/**
 * How many bytes of a client are looked at in one go. 64 kB of a result are nothing; 64 kB of the smallest messages are
 * 2,000 statements to prepare, for which all other clients of the worker would wait. A client whose last bytes took too
 * long is read in smaller pieces, and others have their turn in between.
 */

import { READ_BYTES } from "../reactor/stream.ts";

/** What one client may take of a turn. */
const MOST_MS = 5;
const LEAST_BYTES = 1024;
/** Fewer are not worth the look at the clock, unless no more were asked for. */
export const WORTH_BYTES = 8192;

/** How many bytes to read next time, when `count` of at most `most` took so long. */
export function paced(most: number, count: number, ms: number): number {
  if (ms > MOST_MS) return Math.max(LEAST_BYTES, Math.min(most, Math.floor(count * MOST_MS / ms)));
  return most === READ_BYTES ? most : Math.min(READ_BYTES, most * 2);
}
