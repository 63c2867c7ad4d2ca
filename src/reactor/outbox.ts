/**
 * What a peer did not take: copied here, sent on when its socket is writable. While an outbox stands, its owner stops
 * reading from the source, so it holds little more than one read (`READ_BYTES`) and the pooler's own small messages. A
 * stream may hold back bytes as well (`unsent`): they go first, and as long as there are any the outbox stands.
 *
 * A range longer than any buffer that is used again (`MOST_REUSED_BYTES`) is not copied: it stays as it is until it is sent.
 */

import { wouldBlock } from "../os/libc.ts";
import type { ByteStream } from "./stream.ts";

/** Buffers for several messages have at most so many bytes: what is longer is one message's own. */
export const MOST_REUSED_BYTES = 1024 * 1024;
/** Sent at one time, so that others have their turn. */
const MOST_SENT_BYTES = 1024 * 1024;
const LEAST_ROOM = 1024;
const NOTHING = new Uint8Array(0);

/** `bytes[start..end)` */
interface Range {
  bytes: Uint8Array<ArrayBuffer>;
  start: number;
  end: number;
  /** A copy: what comes behind it may be added. */
  copied: boolean;
}

export class Outbox {
  readonly #ranges: Range[] = [];
  #own = 0;
  /** Bytes that the stream held back when it was last asked; 1 if it was not asked yet. */
  #heldBack = 0;

  /** One that has these bytes, or none, and then the stream holds something back. */
  static standing(bytes: Uint8Array | undefined): Outbox {
    const outbox = new Outbox();
    outbox.append((bytes ?? NOTHING) as Uint8Array<ArrayBuffer>, 0, bytes?.length ?? 0);
    return outbox;
  }

  /** Bytes not sent yet, the stream's own among them: 0 when all has been taken. */
  get length(): number {
    return this.#own + this.#heldBack;
  }

  /** Adds `bytes[start..end)`, copied unless it is long. An empty range says that the stream holds something back. */
  append(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): void {
    const added = end - start;
    if (added === 0) {
      this.#heldBack ||= 1;
      return;
    }
    this.#own += added;
    if (added > MOST_REUSED_BYTES) {
      this.#ranges.push({ bytes, start, end, copied: false });
      return;
    }
    const last = this.#roomFor(added);
    last.bytes.set(bytes.subarray(start, end), last.end);
    last.end += added;
  }

  #roomFor(added: number): Range {
    const last = this.#ranges.at(-1);
    if (last === undefined || !last.copied) {
      const bytes = new Uint8Array(Math.max(LEAST_ROOM, 2 * added));
      const range = { bytes, start: 0, end: 0, copied: true };
      this.#ranges.push(range);
      return range;
    }
    if (last.end + added > last.bytes.length) {
      const kept = last.end - last.start;
      const room = new Uint8Array(Math.max(LEAST_ROOM, 2 * (kept + added)));
      room.set(last.bytes.subarray(last.start, last.end));
      last.bytes = room;
      last.start = 0;
      last.end = kept;
    }
    return last;
  }

  /** Sends what the stream takes: 0, or −errno when the stream is broken. */
  flush(stream: Pick<ByteStream, "send" | "flush" | "unsent">): number {
    const broken = stream.flush();
    if (broken < 0) return broken;
    this.#heldBack = stream.unsent;
    let left = MOST_SENT_BYTES;
    for (let first; (first = this.#ranges[0]) !== undefined && this.#heldBack === 0 && left > 0;) {
      const sent = stream.send(first.bytes, first.start, Math.min(first.end, first.start + left));
      if (sent < 0) return wouldBlock(sent) ? 0 : sent;
      first.start += sent;
      left -= sent;
      this.#own -= sent;
      this.#heldBack = stream.unsent;
      if (first.start === first.end) this.#ranges.shift();
    }
    return 0;
  }

  /** What is not sent yet, without the stream's own: to be read before anything is sent on. */
  freeze(): Uint8Array | undefined {
    const [first, second] = this.#ranges;
    if (first === undefined) return undefined;
    if (second === undefined) {
      const { bytes, start, end, copied } = first;
      return copied ? bytes.slice(start, end) : bytes.subarray(start, end);
    }
    const all = new Uint8Array(this.#own);
    let at = 0;
    for (const { bytes, start, end } of this.#ranges) {
      all.set(bytes.subarray(start, end), at);
      at += end - start;
    }
    return all;
  }
}
