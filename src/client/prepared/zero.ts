// hot path
/** Where a name or a text ends. */

/** The place of the next terminator, `stop` if there is none. */
export function zeroAt(bytes: Uint8Array, at: number, stop: number): number {
  while (at < stop && bytes[at] !== 0) at++;
  return at;
}
