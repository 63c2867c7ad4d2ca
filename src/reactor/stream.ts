// hot path
/**
 * Byte streams over connected sockets. All connections of a worker read into one large buffer and write straight from
 * it to their peer; only what a peer does not take is copied (outbox.ts). Bytes in `readBuffer` are valid until the
 * next `receive` of any stream of this worker.
 */

import * as libc from "../os/libc.ts";
import { EAGAIN } from "../os/errno.ts";
import type { Fd } from "../os/fd.ts";
import { currentBatch, isLast, isPutOff, post, postMore, type Sender, settle } from "./posts.ts";

/** Most bytes of one read. */
export const READ_BYTES = 65_536;

/** The worker's read buffer: room for bytes kept from the last read, then for a whole new one. */
export const readBuffer: Uint8Array<ArrayBuffer> = new Uint8Array(2 * READ_BYTES);
const readBufferAt = libc.pointerTo(readBuffer);

/** Room to put together what is sent in one piece; whoever uses it sends it before he returns. */
export const writeBuffer: Uint8Array<ArrayBuffer> = new Uint8Array(READ_BYTES);
const writeBufferAt = libc.pointerTo(writeBuffer);

/** What a connection reads from and writes to. */
export interface ByteStream {
  readonly fd: Fd;
  /** Bytes that count as taken and that the kernel has not taken: the stream's own, not its owner's. */
  readonly unsent: number;
  /**
   * Reads at most `most` (≤ READ_BYTES) bytes into `readBuffer` at `offset` (< READ_BYTES): bytes read, 0 at the end of the
   * stream, or −errno.
   */
  receive(offset: number, most?: number): number;
  /** Bytes that the next `receive` has without its socket, which may not be readable: there were more than were asked for. */
  readonly waiting: number;
  /** A copy of them, which is to travel. */
  copyWaiting(): Uint8Array | undefined;
  /** Writes `bytes[start..end)`: bytes taken, or −errno. Even if all were, some may be left in `unsent`. */
  send(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): number;
  /**
   * As `send`, or put off (posts.ts): then all counts as taken, and `sender` hears of what was not. It hears of an empty
   * range when something is left in `unsent`.
   */
  post(bytes: Uint8Array<ArrayBuffer>, start: number, end: number, sender: Sender): number;
  /** Does what is put off on this stream: whether all of it was taken. */
  settle(): boolean;
  /** Sends of `unsent` what the kernel takes: 0, or −errno when the stream is broken. */
  flush(): number;
  /** Tells the peer that nothing more comes, if the stream has a way to say so; half-closing the socket is not its matter. */
  sayEnd(): void;
  /** Frees what the stream has, before its socket is closed or when it has moved away; nothing is sent. */
  end(): void;
}

/** The sends of a stream that are put off: one at a time on its socket, and done before anything else is sent there. */
export abstract class PuttingOff implements Sender {
  readonly fd: Fd;
  /** The batch of its last post, and whose bytes that were. */
  #batch = 0;
  #sender: Sender | undefined = undefined;
  #refused = false;

  constructor(fd: Fd) {
    this.fd = fd;
  }

  /** Of what was put off the kernel has not taken `bytes[start..end)`; the sender is to hear of it. */
  protected abstract refused(
    bytes: Uint8Array<ArrayBuffer>,
    start: number,
    end: number,
    sender: Sender,
  ): void;

  /** Puts off a send of `bytes[start..end)`, when all before it is settled. */
  protected putOff(
    bytes: Uint8Array<ArrayBuffer>,
    start: number,
    end: number,
    sender: Sender,
  ): void {
    this.#sender = sender;
    this.#batch = post(this.fd, bytes, start, end, this);
  }

  /** Whether a send of so many bytes for this sender can go in one piece with what is put off: then by `postMore`. */
  protected goesOn(sender: Sender, bytes: number): boolean {
    return this.#batch === currentBatch() && this.#sender === sender && isLast(this, bytes);
  }

  settle(): boolean {
    if (this.#batch !== currentBatch()) return true;
    this.#refused = false;
    settle();
    return !this.#refused;
  }

  notTaken(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): void {
    this.#refused = true;
    this.refused(bytes, start, end, this.#sender!);
  }
}

/** A plain socket. */
export class PlainStream extends PuttingOff implements ByteStream {
  readonly unsent: number = 0;
  readonly waiting: number = 0;

  copyWaiting(): undefined {}

  receive(offset: number, most: number = READ_BYTES): number {
    if (offset === 0) return libc.recvTo(this.fd, readBufferAt, most);
    return libc.recv(this.fd, readBuffer.subarray(offset), most);
  }

  post(bytes: Uint8Array<ArrayBuffer>, start: number, end: number, sender: Sender): number {
    if (!isPutOff(end - start)) return this.send(bytes, start, end);
    if (this.goesOn(sender, end - start)) {
      postMore(bytes, start, end);
      return end - start;
    }
    if (!this.settle()) return -EAGAIN;
    this.putOff(bytes, start, end, sender);
    return end - start;
  }

  protected refused(
    bytes: Uint8Array<ArrayBuffer>,
    start: number,
    end: number,
    sender: Sender,
  ): void {
    sender.notTaken(bytes, start, end);
  }

  send(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): number {
    if (!this.settle()) return -EAGAIN;
    if (start === 0) {
      if (bytes === readBuffer) return libc.sendFrom(this.fd, readBufferAt, end);
      if (bytes === writeBuffer) return libc.sendFrom(this.fd, writeBufferAt, end);
      return libc.send(this.fd, bytes, end);
    }
    return libc.send(this.fd, bytes.subarray(start, end), end - start);
  }

  flush(): number {
    return 0;
  }

  sayEnd(): void {}

  end(): void {}
}
