// hot path
/**
 * Small buffers for bytes that must outlive the read buffer's next use (a request that waits for a server). Taken and
 * given back, since a fresh ArrayBuffer each time is a malloc and work for the garbage collector.
 */

import { copyBytes } from "./copy.ts";

/** Up to here a chunk is taken; what is longer has a buffer of its own. */
export const CHUNK_BYTES = 2048;
const MOST_FREE = 512;

const free: Uint8Array<ArrayBuffer>[] = [];

/** A buffer with a copy of `bytes[start..end)` at its beginning. */
export function copyToChunk(
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  end: number,
): Uint8Array<ArrayBuffer> {
  const length = end - start;
  if (length > CHUNK_BYTES) return bytes.slice(start, end);
  const chunk = free.pop() ?? new Uint8Array(CHUNK_BYTES);
  copyBytes(chunk, 0, bytes, start, end);
  return chunk;
}

/** The buffer is not used any more. */
export function giveChunk(chunk: Uint8Array<ArrayBuffer>): void {
  if (chunk.length === CHUNK_BYTES && free.length < MOST_FREE) free.push(chunk);
}
