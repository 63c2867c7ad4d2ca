/**
 * The long byte arrays of frozen things go apart from them: into a memory file whose descriptor travels with the batch.
 * So the two control planes pass on a few words for each, however many megabytes a client has prepared or half sent, and
 * the bytes are copied once by the worker that freezes and once by the one that thaws, a few megabytes a turn: other
 * clients are served in between.
 *
 * In the place of each stands `{ "$blob": [at, length, room] }`: bytes at the beginning of a longer buffer, for what is still
 * to come, get one of that length. A program of before that gives them none.
 */

import type { FrozenItem } from "../../mail.ts";
import type { Fd } from "../../os/fd.ts";
import * as libc from "../../os/libc.ts";
import { createMemoryFile, forgetAt, readAt, writeAt } from "../../os/memory_file.ts";

const BLOB = "$blob";
/** Shorter ones are cheaper as they are. */
const LEAST_BYTES = 1024;
/**
 * Written or read before other things have their turn: about a millisecond, since each page is a new one. Who answers
 * requests meanwhile is to have most of the time.
 */
export const BYTES_A_TURN = 512 * 1024;
/** Fewer are given back with the file. */
const LEAST_FORGOTTEN_BYTES = 64 * 1024;
/** What a value takes beside its bytes and characters, roughly. */
const BESIDE_BYTES = 16;

/** Bytes that a frozen thing has, roughly. */
export function sizeOf(value: unknown): number {
  if (typeof value === "string") return value.length + BESIDE_BYTES;
  if (typeof value !== "object" || value === null) return BESIDE_BYTES;
  if (value instanceof Uint8Array) return value.length + BESIDE_BYTES;
  let size = BESIDE_BYTES;
  if (Array.isArray(value)) { for (const each of value) size += sizeOf(each); }
  else if (value instanceof Map) {
    for (const [key, each] of value) size += sizeOf(key) + sizeOf(each);
  } else {
    const fields = value as Record<string, unknown>;
    for (const key in fields) size += sizeOf(fields[key]);
  }
  return size;
}

/** Items without their long byte arrays, and the file that has them; no file when there are none. */
export interface Packed {
  items: FrozenItem[];
  blobs: Fd | undefined;
}

/** Makes items into what travels. The given ones stay as they are. */
export class Packing {
  readonly #items: FrozenItem[];
  #fd: Fd | undefined = undefined;
  #failed = false;
  /** Where the next bytes go, and what is to be written yet. */
  #at = 0;
  readonly #unwritten: { bytes: Uint8Array; at: number }[] = [];

  constructor(items: readonly FrozenItem[]) {
    this.#items = this.#strip(items) as FrozenItem[];
  }

  /** Does as much of it as one turn has time for: whether it is done. */
  step(): boolean {
    let left = BYTES_A_TURN;
    for (let next; (next = this.#unwritten[0]) !== undefined && !this.#failed;) {
      if (left === 0) return false;
      const count = Math.min(left, next.bytes.length);
      left -= count;
      this.#failed = this.#fd === undefined ||
        !writeAt(this.#fd, next.bytes.subarray(0, count), next.at);
      next.bytes = next.bytes.subarray(count);
      next.at += count;
      if (next.bytes.length === 0) this.#unwritten.shift();
    }
    return true;
  }

  /** What `step` has come to; `undefined` when there is no room for the bytes. */
  take(): Packed | undefined {
    if (!this.#failed) return { items: this.#items, blobs: this.#fd };
    this.abandon();
    return undefined;
  }

  /** It is needed no more. */
  abandon(): void {
    if (this.#fd !== undefined) libc.close(this.#fd);
    this.#fd = undefined;
  }

  #strip(value: unknown): unknown {
    if (typeof value !== "object" || value === null) return value;
    if (value instanceof Uint8Array) return value.length < LEAST_BYTES ? value : this.#put(value);
    // Parameters: strings, and the same map for most sessions.
    if (value instanceof Map) return value;
    if (Array.isArray(value)) return value.map((each) => this.#strip(each));
    const stripped: Record<string, unknown> = {};
    const fields = value as Record<string, unknown>;
    for (const key in fields) stripped[key] = this.#strip(fields[key]);
    return stripped;
  }

  #put(bytes: Uint8Array): unknown {
    this.#fd ??= createMemoryFile();
    const at = this.#at;
    this.#unwritten.push({ bytes, at });
    this.#at += bytes.length;
    const room = bytes.byteOffset === 0 ? bytes.buffer.byteLength : bytes.length;
    return { [BLOB]: [at, bytes.length, room] };
  }
}

/** Gives items their bytes back, in place. */
export class Unpacking {
  readonly #blobs: Fd;
  /** What is to be read yet. */
  #unread: { bytes: Uint8Array<ArrayBuffer>; at: number }[] = [];
  /** Of the turn that is under way. */
  #left = BYTES_A_TURN;

  constructor(blobs: Fd) {
    this.#blobs = blobs;
  }

  /** The next item. Throws when there is no memory for its bytes. */
  begin(item: FrozenItem): void {
    this.#unread = [];
    this.#fill(item);
  }

  /** Does as much of it as the turn has time for: whether it is whole. Throws when its bytes are not there. */
  step(): boolean {
    for (let next; (next = this.#unread[0]) !== undefined;) {
      if (this.#left === 0) return false;
      const count = Math.min(this.#left, next.bytes.length);
      this.#left -= count;
      readAt(this.#blobs, next.bytes.subarray(0, count), next.at);
      if (count >= LEAST_FORGOTTEN_BYTES) forgetAt(this.#blobs, count, next.at);
      next.bytes = next.bytes.subarray(count);
      next.at += count;
      if (next.bytes.length === 0) this.#unread.shift();
    }
    return true;
  }

  /** Another turn has begun. */
  nextTurn(): void {
    this.#left = BYTES_A_TURN;
  }

  #fill(value: unknown): unknown {
    if (typeof value !== "object" || value === null) return value;
    if (value instanceof Uint8Array || value instanceof Map) return value;
    if (Array.isArray(value)) {
      for (let i = 0; i < value.length; i++) value[i] = this.#fill(value[i]);
      return value;
    }
    const fields = value as Record<string, unknown>;
    const blob = fields[BLOB];
    if (Array.isArray(blob)) {
      const [at, length, room = length] = blob as [number, number, number?];
      const bytes = new Uint8Array(room).subarray(0, length);
      this.#unread.push({ bytes, at });
      return bytes;
    }
    for (const key in fields) fields[key] = this.#fill(fields[key]);
    return fields;
  }
}
