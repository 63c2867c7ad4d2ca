/**
 * The beginning of a message that is needed whole and is longer than what is read in one go: in a buffer of its own, which
 * has room for all of it and one read more, so that what comes is copied once and never again.
 */

import { readLength } from "../protocol/codes.ts";
import { READ_BYTES, readBuffer } from "../reactor/stream.ts";

export interface LongTail {
  bytes: Uint8Array<ArrayBuffer>;
  /** Of them are there. */
  length: number;
  /** It is looked at when so many are. */
  need: number;
}

/** `bytes[at..end)` as the beginning of a message of `need` bytes. */
export function longTail(
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  end: number,
  need: number,
): LongTail {
  const room = new Uint8Array(need + READ_BYTES);
  room.set(bytes.subarray(at, end));
  return { bytes: room, length: end - at, need };
}

/** One that has travelled: its buffer has travelled with it, or is made again. */
export function arrivedTail(bytes: Uint8Array<ArrayBuffer>): LongTail {
  const { length } = bytes;
  // Not so long that it must be the beginning of one message: it is looked at with what comes next.
  const need = length <= readBuffer.length
    ? length + 1
    : Math.max(length, readLength(bytes, 1)) + 1;
  if (bytes.byteOffset !== 0 || bytes.buffer.byteLength < need + READ_BYTES) {
    return longTail(bytes, 0, length, need);
  }
  return { bytes: new Uint8Array(bytes.buffer), length, need };
}

/**
 * What was kept, as it travels, with what waits behind it. A long one is not copied: who freezes does not touch it before it
 * is there.
 */
export function leavingTail(
  bytes: Uint8Array<ArrayBuffer> | undefined,
  length: number,
  need: number,
  waiting: Uint8Array | undefined,
): Uint8Array | undefined {
  if (waiting === undefined) return need > 0 ? bytes!.subarray(0, length) : bytes?.slice(0, length);
  if (bytes === undefined) return waiting;
  const all = new Uint8Array(length + waiting.length);
  all.set(bytes.subarray(0, length));
  all.set(waiting, length);
  return all;
}
