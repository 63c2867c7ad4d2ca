/** A stream that gives few bytes at a time of what its socket had, as one of TLS records may: the rest waits in it. */

import { EAGAIN } from "../os/errno.ts";
import { readBuffer } from "../reactor/stream.ts";
import { FakeStream } from "./fake_stream.ts";

const NOTHING = new Uint8Array(0);
/** How many it gives, in turn. */
const GIVEN = [1, 40, 7, 300, 5];

export class HoardingStream extends FakeStream {
  override waiting: number = 0;
  #kept: Uint8Array = NOTHING;
  #reads = 0;

  override receive(offset: number): number {
    if (this.waiting === 0) {
      const n = super.receive(offset);
      if (n <= 0) return n;
      this.#keep(readBuffer.slice(offset, offset + n));
    }
    const given = this.#kept.subarray(0, GIVEN[this.#reads++ % GIVEN.length]);
    readBuffer.set(given, offset);
    readBuffer.fill(0xee, offset + given.length, offset + given.length + 16);
    this.#keep(this.#kept.subarray(given.length));
    return given.length === 0 ? -EAGAIN : given.length;
  }

  #keep(bytes: Uint8Array): void {
    this.#kept = bytes;
    this.waiting = bytes.length;
  }

  override copyWaiting(): Uint8Array | undefined {
    return this.waiting === 0 ? undefined : this.#kept.slice();
  }

  override forgetWaiting(): void {
    this.#keep(NOTHING);
  }
}
