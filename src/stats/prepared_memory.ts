/**
 * What the named statements of all clients of the process take of memory. Each worker counts its own, to the byte, and
 * adds what has changed to the sum that all share, in KiB.
 */

import { Shared, Tally } from "./shared.ts";

export class PreparedMemory {
  readonly #shared: Int32Array;
  readonly #tally: Tally;
  #bytes = 0;
  #toldKiB = 0;
  /** All that it has ever shrunk by. */
  released = 0;

  constructor(shared: Int32Array, tally: Tally = new Tally(shared)) {
    this.#shared = shared;
    this.#tally = tally;
  }

  /** This worker's part has grown, or shrunk. */
  add(bytes: number): void {
    this.#bytes += bytes;
    if (bytes < 0) this.released -= bytes;
    const kib = Math.ceil(this.#bytes / 1024);
    if (kib === this.#toldKiB) return;
    this.#tally.add("PreparedKiB", kib - this.#toldKiB);
    this.#toldKiB = kib;
  }

  /** Bytes of all workers. */
  get total(): number {
    return Atomics.load(this.#shared, Shared.PreparedKiB) * 1024;
  }
}
