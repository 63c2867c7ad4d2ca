/**
 * What a peer did not take: copied here, sent on when its socket is writable. While an outbox stands, its owner stops
 * reading from the source, so it holds little more than one read (`READ_BYTES`) and the pooler's own small messages. A
 * stream may hold back bytes as well (`unsent`): they go first, and as long as there are any the outbox stands.
 */

import { wouldBlock } from "../os/libc.ts";
import type { ByteStream } from "./stream.ts";

export class Outbox {
  #bytes: Uint8Array<ArrayBuffer> | undefined;
  #start = 0;
  #end = 0;
  /** Bytes that the stream held back when it was last asked; 1 if it was not asked yet. */
  #heldBack = 0;

  /** Bytes not sent yet, the stream's own among them: 0 when all has been taken. */
  get length(): number {
    return this.#own + this.#heldBack;
  }

  get #own(): number {
    return this.#end - this.#start;
  }

  /** Adds `bytes[start..end)`, copied. An empty range says that the stream holds something back. */
  append(bytes: Uint8Array, start: number, end: number): void {
    const added = end - start;
    if (added === 0) {
      this.#heldBack ||= 1;
      return;
    }
    if (this.#bytes === undefined || this.#end + added > this.#bytes.length) {
      const room = new Uint8Array(Math.max(1024, 2 * (this.#own + added)));
      if (this.#bytes !== undefined) room.set(this.#bytes.subarray(this.#start, this.#end));
      this.#end = this.#own;
      this.#start = 0;
      this.#bytes = room;
    }
    this.#bytes.set(bytes.subarray(start, end), this.#end);
    this.#end += added;
  }

  /** Sends what the stream takes: 0, or −errno when the stream is broken. */
  flush(stream: Pick<ByteStream, "send" | "flush" | "unsent">): number {
    const broken = stream.flush();
    if (broken < 0) return broken;
    this.#heldBack = stream.unsent;
    while (this.#start < this.#end && this.#heldBack === 0) {
      const sent = stream.send(this.#bytes!, this.#start, this.#end);
      if (sent < 0) return wouldBlock(sent) ? 0 : sent;
      this.#start += sent;
      this.#heldBack = stream.unsent;
    }
    if (this.#start < this.#end) return 0;
    this.#bytes = undefined;
    this.#start = 0;
    this.#end = 0;
    return 0;
  }

  /** A copy of what is not sent yet, without the stream's own. */
  freeze(): Uint8Array | undefined {
    return this.#own === 0 ? undefined : this.#bytes!.slice(this.#start, this.#end);
  }
}
