// hot path
/**
 * io_uring for one thing: many sends by one system call. Every send is told not to wait, so all of them are through
 * when the call returns, and nothing is ever under way between two calls. See io_uring_setup(2), io_uring_enter(2) and
 * the structs of <linux/io_uring.h>, which are the same on all architectures.
 */

import type { Fd } from "./fd.ts";
import { ENOSYS } from "./errno.ts";
import * as libc from "./libc.ts";
import {
  IORING_ENTER_REGISTERED_RING,
  IORING_REGISTER_RING_FDS,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
} from "./layout.ts";

/** `struct io_uring_params`, and where in it, in words, the offsets of the two rings are. */
const PARAMS_WORDS = 30;
const SUBMISSION_OFFSETS = 10;
const COMPLETION_OFFSETS = 20;
const SQE_WORDS = 16;
const CQE_WORDS = 4;
const OPCODE_SEND = 26;
/** SINGLE_MMAP, and FAST_POLL, which tells that the kernel (5.7) knows OPCODE_SEND. */
const NEEDED_FEATURES = 1 << 0 | 1 << 5;
const OFFSET_RINGS = 0;
const OFFSET_ENTRIES = 0x10000000;
/** SUBMIT_ALL, SINGLE_ISSUER and DEFER_TASKRUN: from Linux 6.1 on; older ones are asked for a ring without. */
const WISHED_FLAGS = 1 << 7 | 1 << 12 | 1 << 13;

export class SendRing {
  /** What each send took, or −errno, by its number in the batch. */
  readonly results: Int32Array<ArrayBuffer>;
  /** The ring's number in this thread, or its descriptor, and what tells the kernel which. */
  readonly #ringNumber: number;
  readonly #how: number;
  #entries: Uint32Array;
  #ring: Uint32Array;
  #submissionTailAt: number;
  #submissionMask: number;
  #completionHeadAt: number;
  #completionTailAt: number;
  #completionMask: number;
  #completionsAt: number;
  #tail = 0;

  private constructor(
    fd: Fd,
    params: Uint32Array<ArrayBuffer>,
    rings: ArrayBuffer,
    entries: ArrayBuffer,
  ) {
    const most = params[0];
    const [, submissionTail, submissionMask, , , , array] = params.subarray(SUBMISSION_OFFSETS);
    const [completionHead, completionTail, completionMask, , , first] = params.subarray(
      COMPLETION_OFFSETS,
    );
    const registered = register(fd);
    this.#ringNumber = registered < 0 ? fd : registered;
    this.#how = registered < 0 ? 0 : IORING_ENTER_REGISTERED_RING;
    this.#ring = new Uint32Array(rings);
    this.#entries = new Uint32Array(entries);
    this.#submissionTailAt = submissionTail / 4;
    this.#submissionMask = this.#ring[submissionMask / 4];
    this.#completionHeadAt = completionHead / 4;
    this.#completionTailAt = completionTail / 4;
    this.#completionMask = this.#ring[completionMask / 4];
    this.#completionsAt = first / 4;
    this.results = new Int32Array(most);
    for (let i = 0; i < most; i++) {
      this.#ring[array / 4 + i] = i;
      this.#entries[i * SQE_WORDS] = OPCODE_SEND;
      this.#entries[i * SQE_WORDS + 7] = MSG_NOSIGNAL | MSG_DONTWAIT;
    }
  }

  /** A ring for `most` sends at once (a power of two), or −errno: the kernel has none, or does not allow it. */
  static open(most: number): SendRing | number {
    const params = new Uint32Array(PARAMS_WORDS);
    params[2] = WISHED_FLAGS;
    let fd = libc.ioUringSetup(most, params);
    if (fd < 0) {
      params.fill(0);
      fd = libc.ioUringSetup(most, params);
    }
    if (fd < 0) return fd;
    const ring = SendRing.#map(fd as Fd, params);
    if (typeof ring === "number") libc.close(fd as Fd);
    return ring;
  }

  static #map(fd: Fd, params: Uint32Array<ArrayBuffer>): SendRing | number {
    if ((params[5] & NEEDED_FEATURES) !== NEEDED_FEATURES) return -ENOSYS;
    const submissions = params[SUBMISSION_OFFSETS + 6] + params[0] * 4;
    const completions = params[COMPLETION_OFFSETS + 5] + params[1] * CQE_WORDS * 4;
    const rings = libc.mapShared(fd, Math.max(submissions, completions), OFFSET_RINGS);
    if (typeof rings === "number") return rings;
    const entries = libc.mapShared(fd, params[0] * SQE_WORDS * 4, OFFSET_ENTRIES);
    return typeof entries === "number" ? entries : new SendRing(fd, params, rings, entries);
  }

  /** Puts a send of `length` bytes from the address `high * 2³² + low` at place `index` of the batch. */
  add(index: number, fd: Fd, low: number, high: number, length: number): void {
    const entries = this.#entries;
    const at = (this.#tail + index & this.#submissionMask) * SQE_WORDS;
    entries[at + 1] = fd;
    entries[at + 4] = low;
    entries[at + 5] = high;
    entries[at + 6] = length;
    entries[at + 8] = index;
  }

  /** The send at place `index` of the batch is of so many bytes. */
  resize(index: number, length: number): void {
    this.#entries[(this.#tail + index & this.#submissionMask) * SQE_WORDS + 6] = length;
  }

  /** Does the `count` sends of the batch. Returns how many were begun, or −errno; what was not has no result. */
  submit(count: number): number {
    const ring = this.#ring;
    const began = this.#tail;
    this.#tail = began + count | 0;
    ring[this.#submissionTailAt] = this.#tail;
    const submitted = libc.ioUringEnter(this.#ringNumber, this.#how, count, 0);
    let missing = Math.max(0, submitted) - this.#reap();
    while (missing > 0) {
      if (libc.ioUringEnter(this.#ringNumber, this.#how, 0, missing) < 0) break;
      missing -= this.#reap();
    }
    if (submitted !== count) {
      // The kernel looks at what it has not begun no more.
      this.#tail = began + Math.max(0, submitted) | 0;
      ring[this.#submissionTailAt] = this.#tail;
    }
    return submitted;
  }

  /** Takes note of what is through: how many sends. */
  #reap(): number {
    const ring = this.#ring;
    const from = ring[this.#completionHeadAt];
    const to = ring[this.#completionTailAt];
    for (let head = from; head !== to; head = head + 1 >>> 0) {
      const at = this.#completionsAt + (head & this.#completionMask) * CQE_WORDS;
      this.results[ring[at]] = ring[at + 2];
    }
    ring[this.#completionHeadAt] = to;
    return to - from | 0;
  }
}

/**
 * Registers a ring with this thread and closes its descriptor: the number that it goes by from now on, or −errno and
 * nothing has changed. Linux 5.18 and later; what is mapped of the ring stays, see io_uring_close_ring_fd(3).
 */
function register(fd: Fd): number {
  // struct io_uring_rsrc_update: the number wished for (any), nothing, the descriptor.
  const wish = Uint32Array.of(0xffff_ffff, 0, fd, 0);
  const result = libc.ioUringRegister(fd, IORING_REGISTER_RING_FDS, wish);
  if (result !== 1) return Math.min(result, -1);
  libc.close(fd);
  return wish[0];
}
