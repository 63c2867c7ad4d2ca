// hot path
/**
 * Sends that are put off to the end of a turn and done there by one system call (os/io_uring.ts). The kernel has less to
 * do for them, and above all a peer that one of them wakes does not push this thread off its processor before the rest
 * of the turn is through. Where there is no io_uring nothing is put off.
 *
 * A post counts as taken. What the kernel then does not take goes back to its sender before anything else is sent on
 * that socket. State of the thread, as the read buffer is.
 */

import { SendRing } from "../os/io_uring.ts";
import type { Fd } from "../os/fd.ts";
import * as libc from "../os/libc.ts";
import { copyBytes } from "./copy.ts";

/** Whose bytes are sent. */
export interface Sender {
  /** Of what was posted the kernel has not taken `bytes[start..end)`; valid during the call, which sends nothing. */
  notTaken(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): void;
}

/** More is better sent at once: a system call matters little then, and the copy would. */
export const MOST_POSTED_BYTES = 4096;
/** So many wait at most, so that the first does not wait for long. A power of two. */
const MOST_POSTS = 64;
const WORD = 2 ** 32;

/** What was posted, copied: its source may be written over before the turn ends. */
const bytes = new Uint8Array(65_536);
const address = Number(Deno.UnsafePointer.value(libc.pointerTo(bytes)));
const low = address % WORD;
const high = Math.floor(address / WORD);
/** Bytes, and posts, that wait. */
let length = 0;
let count = 0;
const starts = new Int32Array(MOST_POSTS);
const ends = new Int32Array(MOST_POSTS);
const senders: (Sender | undefined)[] = new Array(MOST_POSTS).fill(undefined);

let ring: SendRing | undefined;
let wanted = false;
let batch = 1;

/** Puts sends off from now on, or no more: 0, or −errno where the kernel has no io_uring for this process. */
export function putOff(on: boolean): number {
  wanted = false;
  if (!on) return 0;
  if (ring === undefined) {
    const opened = SendRing.open(MOST_POSTS);
    if (typeof opened === "number") return opened;
    ring = opened;
  }
  wanted = true;
  return 0;
}

/** Whether a send of so many bytes is put off. */
export function isPutOff(count: number): boolean {
  return wanted && count <= MOST_POSTED_BYTES;
}

/** Rises whenever what was put off is done. */
export function currentBatch(): number {
  return batch;
}

/** Puts off a send of `source[start..end)` on a socket that has none in the current batch. Returns the batch. */
export function post(
  fd: Fd,
  source: Uint8Array<ArrayBuffer>,
  start: number,
  end: number,
  sender: Sender,
): number {
  const size = end - start;
  if (count === MOST_POSTS || length + size > bytes.length) settle();
  const at = length;
  copyBytes(bytes, at, source, start, end);
  length += size;
  ring!.add(count, fd, low + at, low + at < WORD ? high : high + 1, size);
  starts[count] = at;
  ends[count] = length;
  senders[count] = sender;
  count++;
  return batch;
}

/** Whether the last that was put off is this sender's, with room for so many bytes behind it. */
export function isLast(sender: Sender, room: number): boolean {
  return count > 0 && senders[count - 1] === sender && length + room <= bytes.length;
}

/** Adds to what was put off last: both go out in one piece. */
export function postMore(source: Uint8Array<ArrayBuffer>, start: number, end: number): void {
  const last = count - 1;
  copyBytes(bytes, length, source, start, end);
  length += end - start;
  ends[last] = length;
  ring!.resize(last, length - starts[last]);
}

/** So much work that takes some ten microseconds is done while something waits. */
const MOST_STEPS = 8;
let steps = 0;

/** Something that takes some ten microseconds comes: nothing that was put off waits for many of those. */
export function settleSoon(): void {
  if (count > 0 && ++steps >= MOST_STEPS) settle();
}

/** Does what was put off. Whoever is about to do something that takes its time does this first. */
export function settle(): void {
  steps = 0;
  if (count === 0) return;
  const begun = ring!.submit(count);
  const { results } = ring!;
  for (let i = 0; i < count; i++) {
    // An error comes again, and is dealt with, when the sender tries to send the rest.
    const from = starts[i] + (i < begun ? Math.max(0, results[i]) : 0);
    const sender = senders[i]!;
    senders[i] = undefined;
    if (from < ends[i]) sender.notTaken(bytes, from, ends[i]);
  }
  count = 0;
  length = 0;
  batch++;
}
