/** The pooler's end of a socket that takes as much as a test chooses, and brings the pieces that it chooses. */

import assert from "node:assert/strict";
import { EAGAIN, EPIPE } from "../os/errno.ts";
import type { Fd } from "../os/fd.ts";
import { EPOLLIN, EPOLLOUT, EPOLLRDHUP } from "../os/layout.ts";
import { concat, concatAll } from "../protocol/testing/wire.ts";
import { MOST_POSTED_BYTES, type Sender } from "../reactor/posts.ts";
import { type ByteStream, READ_BYTES, readBuffer } from "../reactor/stream.ts";

/** Sends of this turn that were put off. */
export const putOff: Set<FakeStream> = new Set<FakeStream>();

/** The pooler's end of a socket. Every other one puts its sends off. */
export class FakeStream implements ByteStream {
  readonly fd: Fd;
  readonly unsent: number = 0;
  readonly waiting: number = 0;
  /** What the pooler has written. */
  #written: Uint8Array[] = [];
  #incoming: Uint8Array[] = [];
  #posted: { bytes: Uint8Array<ArrayBuffer>; sender: Sender } | undefined = undefined;
  /** No more bytes will come. */
  ended = false;
  /** Sends fail: the peer is gone. */
  broken = false;
  /** A send fails by this errno, once, as the kernel tells it; the end of the stream follows. */
  error = 0;
  /** Bytes that the next sends take, one number a send; when there is none, `usually`. */
  appetite: number[] = [];
  usually = Infinity;

  constructor(fd: number) {
    this.fd = fd as Fd;
  }

  /** Bytes for the pooler to read, in one piece or several. */
  push(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#incoming.push(bytes);
  }

  /** All that was written and not fetched yet. */
  fetch(): Uint8Array {
    const bytes = concatAll(this.#written);
    this.#written = [];
    return bytes;
  }

  /** Bytes that the pooler has left unread. */
  get unread(): number {
    return this.#incoming.reduce((sum, piece) => sum + piece.length, 0);
  }

  get events(): number {
    const readable = this.#incoming.length > 0 || this.ended;
    return (readable ? EPOLLIN : 0) | (this.ended ? EPOLLRDHUP : 0) | EPOLLOUT;
  }

  receive(offset: number): number {
    assert.ok(offset <= READ_BYTES, `no room to read at ${offset}`);
    const piece = this.#incoming.shift();
    if (piece === undefined) return this.ended ? 0 : -EAGAIN;
    const most = piece.subarray(0, READ_BYTES);
    readBuffer.set(most, offset);
    // Bytes behind what was read are whatever they were.
    readBuffer.fill(0xee, offset + most.length, offset + most.length + 16);
    if (piece.length > most.length) this.#incoming.unshift(piece.subarray(most.length));
    return most.length;
  }

  post(bytes: Uint8Array<ArrayBuffer>, start: number, end: number, sender: Sender): number {
    if (this.fd % 2 === 0 || end - start > MOST_POSTED_BYTES) return this.send(bytes, start, end);
    const posted = this.#posted;
    if (posted?.sender === sender) {
      posted.bytes = concat(posted.bytes, bytes.subarray(start, end));
      return end - start;
    }
    if (!this.settle()) return -EAGAIN;
    this.#posted = { bytes: bytes.slice(start, end), sender };
    putOff.add(this);
    return end - start;
  }

  settle(): boolean {
    const posted = this.#posted;
    if (posted === undefined) return true;
    this.#posted = undefined;
    putOff.delete(this);
    const { bytes, sender } = posted;
    const taken = Math.max(0, this.send(bytes, 0, bytes.length));
    const all = taken === bytes.length;
    if (!all) sender.notTaken(bytes, taken, bytes.length);
    bytes.fill(0xee);
    return all;
  }

  send(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): number {
    if (!this.settle()) return -EAGAIN;
    if (this.broken) return -EPIPE;
    if (this.error !== 0) {
      const { error } = this;
      this.error = 0;
      this.ended = true;
      return -error;
    }
    const most = this.appetite.shift() ?? this.usually;
    if (most <= 0) return -EAGAIN;
    const piece = bytes.slice(start, Math.min(end, start + most));
    this.#written.push(piece);
    return piece.length;
  }

  flush(): number {
    return 0;
  }

  copyWaiting(): Uint8Array | undefined {
    return undefined;
  }

  /** What it was copied for has it from now on. */
  forgetWaiting(): void {}

  sayEnd(): void {}

  end(): void {}
}
