// hot path
/**
 * Copies short runs of bytes. For those a loop beats `set`, which needs a view of the source.
 */

/** Up to here. */
const LOOP_BYTES = 128;

/** Copies `source[start..end)` to `target[at..]`. */
export function copyBytes(
  target: Uint8Array,
  at: number,
  source: Uint8Array,
  start: number,
  end: number,
): void {
  const count = end - start;
  if (count <= LOOP_BYTES) {
    for (let i = 0; i < count; i++) target[at + i] = source[start + i];
  } else target.set(source.subarray(start, end), at);
}
