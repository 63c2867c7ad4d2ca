/**
 * Reads the fields of one frontend message's body in order. Whatever does not fit the body is refused with 08P01, as
 * PostgreSQL does; `end()` refuses bytes left over.
 */

import { Refusal } from "./refusal.ts";

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The body of a message, without type and length. */
export class MessageBody {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** One byte. */
  byte(): number {
    return this.#bytes[this.#take(1)];
  }

  /** An unsigned count of 16 bits. */
  uint16(): number {
    return this.#view.getUint16(this.#take(2));
  }

  /** A signed number of 32 bits. */
  int32(): number {
    return this.#view.getInt32(this.#take(4));
  }

  /** A string up to its NUL. */
  string(): string {
    const stop = this.#bytes.indexOf(0, this.#at);
    if (stop < 0) throw new Refusal("08P01", "invalid string in message");
    const bytes = this.#bytes.subarray(this.#at, stop);
    this.#at = stop + 1;
    try {
      return decoder.decode(bytes);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      throw new Refusal("22021", 'invalid byte sequence for encoding "UTF8"');
    }
  }

  /** Passes over `length` bytes. */
  skip(length: number): void {
    this.#take(length);
  }

  /** The message must be over. */
  end(): void {
    if (this.#at !== this.#bytes.length) throw new Refusal("08P01", "invalid message format");
  }

  #take(length: number): number {
    if (length < 0 || this.#at + length > this.#bytes.length) {
      throw new Refusal("08P01", "insufficient data left in message");
    }
    const at = this.#at;
    this.#at += length;
    return at;
  }
}
