/**
 * What travels together, and when it may: batches are bounded by bytes and descriptors, and so is what is under way. A large
 * session goes alone and by a way of its own, behind the small ones that are there and passed by those that come: nobody
 * waits for another's megabytes.
 */

import type { FrozenItem } from "../../mail.ts";
import { sizeOf } from "./blobs.ts";

/** Descriptors of one batch: the kernel passes 253 in a message. */
const MOST_DESCRIPTORS = 200;
/** Bytes of one batch, unless it is one thing. */
export const MOST_BATCH_BYTES = 4 * 1024 * 1024;
/** Bytes under way before more is packed. */
const MOST_BYTES_UNDER_WAY = 16 * 1024 * 1024;
/** From here on a session is large. */
export const LARGE_BYTES = 1024 * 1024;
/** Large sessions under way: one is packed while another is unpacked. */
const MOST_LARGE_UNDER_WAY = 2;

/** What travels together. */
export interface Batch<Held> {
  held: Held[];
  bytes: number;
  /** It is one large session. */
  large: boolean;
}

/** All of it in batches, the large ones last; `tooLarge` is called with what has more than `most` bytes. */
export function inBatches<Held extends { item: FrozenItem }>(
  all: readonly Held[],
  most: number,
  tooLarge: (held: Held) => void,
): Batch<Held>[] {
  const batches: Batch<Held>[] = [];
  const large: Batch<Held>[] = [];
  let held: Held[] = [];
  let descriptors = 0;
  let bytes = 0;
  for (const one of all) {
    const size = sizeOf(one.item);
    if (size > most) {
      tooLarge(one);
      continue;
    }
    // Of what is no session others need something.
    if (size > LARGE_BYTES && one.item.type === "session") {
      large.push({ held: [one], bytes: size, large: true });
      continue;
    }
    const full = descriptors + one.item.fds.length > MOST_DESCRIPTORS ||
      bytes + size > MOST_BATCH_BYTES;
    if (full && held.length > 0) {
      batches.push({ held, bytes, large: false });
      held = [];
      descriptors = 0;
      bytes = 0;
    }
    held.push(one);
    descriptors += one.item.fds.length;
    bytes += size;
  }
  if (held.length > 0) batches.push({ held, bytes, large: false });
  return [...batches, ...large];
}

/** Numbers of batches that are to go, and what is under way. */
export class BatchQueue {
  readonly #small: { number: number; bytes: number }[] = [];
  readonly #large: number[] = [];
  #bytesUnderWay = 0;
  #largeUnderWay = 0;

  add(number: number, { bytes, large }: Batch<unknown>): void {
    if (large) this.#large.push(number);
    else this.#small.push({ number, bytes });
  }

  /** The next one that may go; it is under way from now on. */
  next(): number | undefined {
    const [first] = this.#small;
    if (first !== undefined) {
      const under = this.#bytesUnderWay;
      if (under > 0 && under + first.bytes > MOST_BYTES_UNDER_WAY) return undefined;
      this.#bytesUnderWay += first.bytes;
      return this.#small.shift()!.number;
    }
    if (this.#large.length === 0 || this.#largeUnderWay >= MOST_LARGE_UNDER_WAY) return undefined;
    this.#largeUnderWay++;
    return this.#large.shift();
  }

  /** One that was under way has come. */
  arrived({ bytes, large }: Batch<unknown>): void {
    if (large) this.#largeUnderWay--;
    else this.#bytesUnderWay -= bytes;
  }

  clear(): void {
    this.#small.length = 0;
    this.#large.length = 0;
  }
}
