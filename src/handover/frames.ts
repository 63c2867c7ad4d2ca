/**
 * Frames on the socket between an old process and its successor: `u32 length, u32 kind, payload`, descriptors on the
 * first byte. A frame is taken whole or not at all. What the kinds mean is in `control/upgrade/upgrade.ts`; what holds here is
 * order, bounds, and that no descriptor is lost or left open.
 */

import type { Fd } from "../os/fd.ts";
import * as libc from "../os/libc.ts";
import { receiveWithDescriptors, sendWithDescriptors } from "../os/fd_passing.ts";
import { SHUT_RDWR } from "../os/layout.ts";
import { decode, encode } from "./codec.ts";

/** Longest frame: a batch of sessions with full buffers. */
const MOST_FRAME_BYTES = 256 * 1024 * 1024;
const RECEIVE_BYTES = 256 * 1024;
const HEADER_BYTES = 8;

/** Kinds of frames. */
export const FrameKind = {
  /** Old → new: what must be known before the workers start. */
  Init: 1,
  /** New → old: workers run, nothing is accepted yet. */
  Ready: 2,
  /** Old → new: nobody else accepts any more. */
  Begin: 3,
  /** Old → new: a batch of frozen sessions and servers. */
  Batch: 4,
  /** New → old: the batch is taken; from here on its sessions live there. */
  Taken: 5,
  /** New → old: a CancelRequest that nobody knows here. */
  Cancel: 6,
  /** Old → new: no more batches will come. */
  Done: 7,
  /** New → old: the batch is thawed, but for these: they come back. Who does not know it has forgotten all of them. */
  Thawed: 8,
} as const;

/** A frame as it was received. */
export interface Frame {
  kind: number;
  payload: unknown;
  /** `undefined`: this process could not have all of them, having too many open; what came is closed. */
  descriptors: Fd[] | undefined;
}

export class FrameSocket {
  readonly #socket: Fd;
  /** What was received and not taken, in its pieces. */
  #pieces: Uint8Array<ArrayBuffer>[] = [];
  #received = 0;
  /** Descriptors by the frame that they came with. */
  #descriptors: Fd[][] = [];
  #sending: Promise<void> = Promise.resolve();
  #closed = false;
  /** Calls of the kernel that other threads are in. */
  #calls = 0;
  /** Bytes of all frames that were sent. */
  sentBytes = 0;

  constructor(socket: Fd) {
    this.#socket = socket;
  }

  /**
   * Sends a frame behind those that wait. Rejects when the other process is gone; throws a RangeError, and sends nothing,
   * when the payload is too much for one.
   */
  send(kind: number, payload: unknown, descriptors: readonly Fd[] = []): Promise<void> {
    const body = encode(payload);
    if (HEADER_BYTES + body.length > MOST_FRAME_BYTES) {
      throw new RangeError(`${body.length} bytes are too much for a frame`);
    }
    const frame = new Uint8Array(HEADER_BYTES + body.length);
    const view = new DataView(frame.buffer);
    view.setUint32(0, frame.length);
    view.setUint32(4, kind);
    frame.set(body, HEADER_BYTES);
    this.sentBytes += frame.length;
    const sent = this.#sending.then(() =>
      this.#call(() => sendWithDescriptors(this.#socket, frame, descriptors))
    );
    this.#sending = sent.catch(() => {});
    return sent;
  }

  /**
   * The next frame; `undefined` when the other process has closed its end, in the middle of a frame or not, and when what
   * it sends is no frame.
   */
  async receive(): Promise<Frame | undefined> {
    for (;;) {
      const length = this.#nextLength();
      if (length < 0) break;
      if (length > 0 && this.#received >= length) return this.#take(length);
      const received = await this.#call(() => receiveWithDescriptors(this.#socket, RECEIVE_BYTES))
        .catch(() => undefined);
      if (received?.descriptors !== undefined) this.#descriptors.push(received.descriptors);
      if (received === undefined || received.bytes.length === 0) break;
      this.#pieces.push(received.bytes);
      this.#received += received.bytes.length;
    }
    for (const fds of this.#descriptors.splice(0)) closeAll(fds);
    return undefined;
  }

  /** Length of the frame that begins with what is there: 0 when that is not known yet, −1 when it can't be one. */
  #nextLength(): number {
    if (this.#received < HEADER_BYTES) return 0;
    if (this.#pieces[0].length < HEADER_BYTES) this.#join();
    const [bytes] = this.#pieces;
    const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
    return length < HEADER_BYTES || length > MOST_FRAME_BYTES ? -1 : length;
  }

  /** A frame's descriptors come with its first byte, and the kernel never joins two that have some. */
  #take(length: number): Frame | undefined {
    this.#join();
    const [bytes] = this.#pieces;
    const kind = new DataView(bytes.buffer, bytes.byteOffset).getUint32(4);
    const rest = bytes.subarray(length);
    this.#pieces = rest.length > 0 ? [rest] : [];
    this.#received = rest.length;
    let payload: unknown;
    try {
      payload = decode(bytes.subarray(HEADER_BYTES, length));
    } catch {
      return undefined;
    }
    const count = descriptorCount(payload);
    const descriptors = count === 0 ? [] : this.#descriptors.shift() ?? [];
    if (descriptors.length === count) return { kind, payload, descriptors };
    closeAll(descriptors);
    return { kind, payload, descriptors: undefined };
  }

  #join(): void {
    if (this.#pieces.length === 1) return;
    const joined = new Uint8Array(this.#received);
    let at = 0;
    for (const piece of this.#pieces) {
      joined.set(piece, at);
      at += piece.length;
    }
    this.#pieces = [joined];
  }

  async #call<T>(call: () => Promise<T>): Promise<T> {
    if (this.#closed) throw new Error("the other process has gone, or is not spoken to any more");
    this.#calls++;
    try {
      return await call();
    } finally {
      this.#calls--;
      if (this.#closed && this.#calls === 0) libc.close(this.#socket);
    }
  }

  /**
   * Ends what is under way, and nothing that waits is sent any more. The descriptor lives until the last call is back:
   * its number would be the next client's, and that client would get the frames.
   */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    libc.shutdown(this.#socket, SHUT_RDWR);
    if (this.#calls === 0) libc.close(this.#socket);
  }
}

function closeAll(fds: readonly Fd[]): void {
  for (const fd of fds) libc.close(fd);
}

/** How many descriptors a payload says it came with. */
function descriptorCount(payload: unknown): number {
  if (typeof payload !== "object" || payload === null) return 0;
  const { descriptors } = payload as { descriptors?: unknown };
  return typeof descriptors === "number" && Number.isSafeInteger(descriptors) ? descriptors : 0;
}
