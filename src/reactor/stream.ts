// hot path
/**
 * Byte streams over connected sockets. All connections of a worker read into one large buffer and write straight from
 * it to their peer; only what a peer does not take is copied (outbox.ts). Bytes in `readBuffer` are valid until the
 * next `receive` of any stream of this worker.
 */

import * as libc from "../os/libc.ts";
import type { Fd } from "../os/fd.ts";

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
  /** Reads into `readBuffer` at `offset` (< READ_BYTES): bytes read, 0 at the end of the stream, or −errno. */
  receive(offset: number): number;
  /** Writes `bytes[start..end)`: bytes taken, or −errno. */
  send(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): number;
}

/** A plain socket. */
export class PlainStream implements ByteStream {
  readonly fd: Fd;

  constructor(fd: Fd) {
    this.fd = fd;
  }

  receive(offset: number): number {
    if (offset === 0) return libc.recvTo(this.fd, readBufferAt, READ_BYTES);
    return libc.recv(this.fd, readBuffer.subarray(offset), READ_BYTES);
  }

  send(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): number {
    if (start === 0) {
      if (bytes === readBuffer) return libc.sendFrom(this.fd, readBufferAt, end);
      if (bytes === writeBuffer) return libc.sendFrom(this.fd, writeBufferAt, end);
      return libc.send(this.fd, bytes, end);
    }
    return libc.send(this.fd, bytes.subarray(start, end), end - start);
  }
}
