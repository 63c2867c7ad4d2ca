/**
 * What a peer did not take: copied here, sent on when its socket is writable. While an outbox stands, its owner stops
 * reading from the source, so it holds little more than one read (`READ_BYTES`) and the pooler's own small messages.
 */

import { wouldBlock } from "../os/libc.ts";
import type { ByteStream } from "./stream.ts";

export class Outbox {
  #bytes: Uint8Array<ArrayBuffer> | undefined;
  #start = 0;
  #end = 0;

  /** Bytes not sent yet. */
  get length(): number {
    return this.#end - this.#start;
  }

  /** Adds `bytes[start..end)`, copied. */
  append(bytes: Uint8Array, start: number, end: number): void {
    const added = end - start;
    if (this.#bytes === undefined || this.#end + added > this.#bytes.length) {
      const room = new Uint8Array(Math.max(1024, 2 * (this.length + added)));
      if (this.#bytes !== undefined) room.set(this.#bytes.subarray(this.#start, this.#end));
      this.#end = this.length;
      this.#start = 0;
      this.#bytes = room;
    }
    this.#bytes.set(bytes.subarray(start, end), this.#end);
    this.#end += added;
  }

  /** Sends what the stream takes: 0, or −errno when the stream is broken. */
  flush(stream: Pick<ByteStream, "send">): number {
    while (this.#start < this.#end) {
      const sent = stream.send(this.#bytes!, this.#start, this.#end);
      if (sent < 0) return wouldBlock(sent) ? 0 : sent;
      this.#start += sent;
    }
    this.#bytes = undefined;
    this.#start = 0;
    this.#end = 0;
    return 0;
  }

  /** A copy of what is not sent yet. */
  freeze(): Uint8Array | undefined {
    return this.length === 0 ? undefined : this.#bytes!.slice(this.#start, this.#end);
  }
}
