/**
 * Memory that was let go of goes back to the system. The engine collects garbage when it needs room, and a worker that
 * its clients have left needs none: what they had prepared would stay for hours. So when much was let go of, and nothing
 * more follows for a moment, a collection is asked for, and the control plane to give back what the allocator keeps.
 */

import type { WorkerToControl } from "../mail.ts";
import type { Reactor } from "../reactor/reactor.ts";
import type { PreparedMemory } from "../stats/prepared_memory.ts";
import type { Sessions } from "./sessions.ts";
import type { StatementTexts } from "./statement_texts.ts";

const LOOK_MS = 2000;
/** A collection holds everybody up for some ten milliseconds: not for less. */
const WORTH_BYTES = 32 * 1024 * 1024;
/** Less in one round is no more than the usual coming and going. */
const STILL_BYTES = 1024 * 1024;
/** What a client takes beside its statements. */
const CLIENT_BYTES = 4096;

/** The engine's, where it was asked for (tools/build.ts). */
const collect = (globalThis as { gc?: () => void }).gc;

/** What is looked at. */
export interface MemoryPlace {
  readonly reactor: Pick<Reactor, "now" | "at">;
  readonly preparedMemory: Pick<PreparedMemory, "released">;
  readonly clients: Pick<Sessions, "left">;
  readonly texts: Pick<StatementTexts, "forgetUnused">;
  readonly longBytes: number;
  toControl(mail: WorkerToControl): void;
}

export class Memory {
  readonly #place: MemoryPlace;
  readonly #collect: (() => void) | undefined;
  /** All that was let go of at the last look, and since the last collection. */
  #seen = 0;
  #released = 0;
  #longBytes = 0;
  #longReleased = 0;

  constructor(place: MemoryPlace, collector: (() => void) | undefined = collect) {
    this.#place = place;
    this.#collect = collector;
  }

  start(): void {
    if (this.#collect === undefined) return;
    const { reactor } = this.#place;
    reactor.at(reactor.now + LOOK_MS, () => {
      this.look();
      this.start();
    });
  }

  /** One round. */
  look(): void {
    const { preparedMemory, clients, longBytes, texts } = this.#place;
    if (longBytes < this.#longBytes) this.#longReleased += this.#longBytes - longBytes;
    this.#longBytes = longBytes;
    const all = preparedMemory.released + clients.left * CLIENT_BYTES + this.#longReleased;
    const gained = all - this.#seen;
    this.#seen = all;
    this.#released += gained;
    if (gained > STILL_BYTES || this.#released < WORTH_BYTES) return;
    this.#released = 0;
    texts.forgetUnused();
    this.#collect!();
    this.#place.toControl({ kind: "collected" });
  }
}
