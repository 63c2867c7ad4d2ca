/**
 * Frames on the socket between an old process and its successor: `u32 length, u32 kind, payload`, descriptors on the
 * first byte. A frame is taken whole or not at all. What the kinds mean is in `control/upgrade.ts`; what holds here is
 * order, bounds, and that no descriptor is lost or left open.
 */

import type { Fd } from "../os/fd.ts";
import * as libc from "../os/libc.ts";
import { receiveWithDescriptors, sendWithDescriptors } from "../os/fd_passing.ts";
import { decode, encode } from "./codec.ts";

/** Version of the snapshots in the frames. A process that does not know it refuses them. */
export const SNAPSHOT_VERSION = 1;

/** Longest frame: a batch of sessions with full buffers. */
const MOST_FRAME_BYTES = 256 * 1024 * 1024;
const RECEIVE_BYTES = 1024 * 1024;
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
} as const;

/** A frame as it was received. */
export interface Frame {
  kind: number;
  payload: unknown;
  descriptors: Fd[];
}

export class FrameSocket {
  readonly #socket: Fd;
  #pending: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #descriptors: Fd[] = [];
  #sending: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(socket: Fd) {
    this.#socket = socket;
  }

  /** Sends a frame behind those that wait. Rejects when the other process is gone. */
  send(kind: number, payload: unknown, descriptors: readonly Fd[] = []): Promise<void> {
    const body = encode(payload);
    const frame = new Uint8Array(HEADER_BYTES + body.length);
    const view = new DataView(frame.buffer);
    view.setUint32(0, frame.length);
    view.setUint32(4, kind);
    frame.set(body, HEADER_BYTES);
    const sent = this.#sending.then(() => sendWithDescriptors(this.#socket, frame, descriptors));
    this.#sending = sent.catch(() => {});
    return sent;
  }

  /** The next frame; `undefined` when the other process has closed its end, in the middle of a frame or not. */
  async receive(): Promise<Frame | undefined> {
    for (;;) {
      const frame = this.#take();
      if (frame !== undefined) return frame;
      const { bytes, descriptors } = await receiveWithDescriptors(this.#socket, RECEIVE_BYTES)
        .catch(() => ({ bytes: new Uint8Array(0), descriptors: [] as Fd[] }));
      this.#descriptors.push(...descriptors);
      if (bytes.length === 0) {
        this.#dropDescriptors();
        return undefined;
      }
      const joined = new Uint8Array(this.#pending.length + bytes.length);
      joined.set(this.#pending);
      joined.set(bytes, this.#pending.length);
      this.#pending = joined;
    }
  }

  /** A frame's descriptors come with its first byte, and the kernel never joins two that have some. */
  #take(): Frame | undefined {
    const bytes = this.#pending;
    if (bytes.length < HEADER_BYTES) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const length = view.getUint32(0);
    if (length < HEADER_BYTES || length > MOST_FRAME_BYTES) {
      this.#dropDescriptors();
      throw new Error(`a frame of ${length} bytes`);
    }
    if (bytes.length < length) return undefined;
    const kind = view.getUint32(4);
    const payload = decode(bytes.subarray(HEADER_BYTES, length));
    this.#pending = bytes.slice(length);
    const count = descriptorCount(payload);
    const descriptors = this.#descriptors.splice(0, count);
    return { kind, payload, descriptors };
  }

  #dropDescriptors(): void {
    for (const fd of this.#descriptors) libc.close(fd);
    this.#descriptors = [];
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    libc.close(this.#socket);
  }
}

/** How many descriptors a payload says it came with. */
function descriptorCount(payload: unknown): number {
  if (typeof payload !== "object" || payload === null) return 0;
  const { descriptors } = payload as { descriptors?: unknown };
  return typeof descriptors === "number" && Number.isSafeInteger(descriptors) ? descriptors : 0;
}
