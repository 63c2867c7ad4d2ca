/**
 * The long byte arrays of frozen things go apart from them: into a memory file whose descriptor travels with the batch.
 * So the two control planes pass on a few words for each, however many megabytes a client has prepared or half sent, and
 * the bytes are copied once by the worker that freezes and once by the one that thaws.
 *
 * In the place of each stands `{ "$blob": [at, length] }`.
 */

import type { FrozenItem } from "../../mail.ts";
import type { Fd } from "../../os/fd.ts";
import * as libc from "../../os/libc.ts";
import { createMemoryFile, readAt, writeAt } from "../../os/memory_file.ts";

const BLOB = "$blob";
/** Shorter ones are cheaper as they are. */
const LEAST_BYTES = 1024;
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

/** The items as they travel; `undefined` when there is no room for their bytes. The given ones stay as they are. */
export function pack(items: readonly FrozenItem[]): Packed | undefined {
  const packing = new Packing();
  const packed = packing.strip(items) as FrozenItem[];
  if (!packing.failed) return { items: packed, blobs: packing.fd };
  if (packing.fd !== undefined) libc.close(packing.fd);
  return undefined;
}

class Packing {
  fd: Fd | undefined = undefined;
  failed = false;
  #at = 0;

  strip(value: unknown): unknown {
    if (typeof value !== "object" || value === null) return value;
    if (value instanceof Uint8Array) return value.length < LEAST_BYTES ? value : this.#put(value);
    // Parameters: strings, and the same map for most sessions.
    if (value instanceof Map) return value;
    if (Array.isArray(value)) return value.map((each) => this.strip(each));
    const stripped: Record<string, unknown> = {};
    const fields = value as Record<string, unknown>;
    for (const key in fields) stripped[key] = this.strip(fields[key]);
    return stripped;
  }

  #put(bytes: Uint8Array): unknown {
    if (this.failed) return undefined;
    this.fd ??= createMemoryFile();
    const at = this.#at;
    if (this.fd === undefined || !writeAt(this.fd, bytes, at)) this.failed = true;
    this.#at += bytes.length;
    return { [BLOB]: [at, bytes.length] };
  }
}

/** Gives an item its bytes back, in place. Throws when they are not there, or too many for this process. */
export function unpack(item: FrozenItem, blobs: Fd): void {
  fill(item, blobs);
}

function fill(value: unknown, blobs: Fd): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Uint8Array || value instanceof Map) return value;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) value[i] = fill(value[i], blobs);
    return value;
  }
  const fields = value as Record<string, unknown>;
  const blob = fields[BLOB];
  if (Array.isArray(blob)) {
    const [at, length] = blob as [number, number];
    return readAt(blobs, length, at);
  }
  for (const key in fields) fields[key] = fill(fields[key], blobs);
  return fields;
}
