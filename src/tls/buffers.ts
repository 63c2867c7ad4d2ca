// hot path
/**
 * Where ciphertext of all connections of a worker is for a moment: received and to be opened, sealed and to be sent. State
 * of the thread, as `readBuffer` is. And pointers into them, made once for where they are mostly needed.
 */

import { CHUNK_BYTES, copyToChunk, giveChunk } from "../reactor/chunks.ts";
import { READ_BYTES, readBuffer, writeBuffer } from "../reactor/stream.ts";

export const HEADER_BYTES = 5;
/** Plaintext that is sealed in one go, at most. */
export const BATCH_BYTES: number = READ_BYTES;

/** What was received and is to be opened, from its beginning on; with what was left of the last read. */
export const received: Uint8Array<ArrayBuffer> = new Uint8Array(2 * READ_BYTES);
/** What was sealed and is to be sent: a batch in the smallest records that a client may ask for, and messages of ours. */
export const sealed: Uint8Array<ArrayBuffer> = new Uint8Array(BATCH_BYTES + BATCH_BYTES / 8);

export const receivedAt: Deno.PointerObject = Deno.UnsafePointer.of(received)!;
export const sealedAt: Deno.PointerObject = Deno.UnsafePointer.of(sealed)!;
const readBufferAt = Deno.UnsafePointer.of(readBuffer)!;
const writeBufferAt = Deno.UnsafePointer.of(writeBuffer)!;
/** Where the ciphertext of a first record begins. */
const firstReceived = Deno.UnsafePointer.offset(receivedAt, HEADER_BYTES)!;
const firstSealed = Deno.UnsafePointer.offset(sealedAt, HEADER_BYTES)!;

/** Room for any record, for parts of long ones: taken and given back, since each read of a long result has one. */
const ROOM_BYTES = HEADER_BYTES + 2 ** 14 + 2048;
const MOST_FREE = 16;
const free: Uint8Array<ArrayBuffer>[] = [];

/** A copy of `received[start..end)`, part of a record, at the beginning of a buffer. */
export function keepReceived(start: number, end: number): Uint8Array<ArrayBuffer> {
  if (end - start <= CHUNK_BYTES || end - start > ROOM_BYTES) {
    return copyToChunk(received, start, end);
  }
  const room = free.pop() ?? new Uint8Array(ROOM_BYTES);
  room.set(received.subarray(start, end));
  return room;
}

/** The buffer is not used any more. */
export function giveReceived(room: Uint8Array<ArrayBuffer>): void {
  if (room.length !== ROOM_BYTES) giveChunk(room);
  else if (free.length < MOST_FREE) free.push(room);
}

export function pointerInReceived(at: number): Deno.PointerObject {
  return at === HEADER_BYTES ? firstReceived : Deno.UnsafePointer.offset(receivedAt, at)!;
}

export function pointerInSealed(at: number): Deno.PointerObject {
  return at === HEADER_BYTES ? firstSealed : Deno.UnsafePointer.offset(sealedAt, at)!;
}

export function pointerInReadBuffer(at: number): Deno.PointerObject {
  return at === 0 ? readBufferAt : Deno.UnsafePointer.offset(readBufferAt, at)!;
}

/** Where `bytes` is the worker's read or write buffer, a pointer to the byte at `at`. */
export function pointerIn(bytes: Uint8Array, at: number): Deno.PointerObject | undefined {
  if (bytes === readBuffer) return pointerInReadBuffer(at);
  if (bytes !== writeBuffer) return undefined;
  return at === 0 ? writeBufferAt : Deno.UnsafePointer.offset(writeBufferAt, at)!;
}

/** The whole length of the record that `bytes[0..end)` begins with, as far as its header is there; else 0. */
export function recordLength(bytes: Uint8Array, end: number): number {
  return end < HEADER_BYTES ? 0 : HEADER_BYTES + (bytes[3] << 8 | bytes[4]);
}
