/**
 * A listener changes over from one connection to the next: both hear everything, and the mark tells what is whose. Up to
 * the mark the old line counts, behind it the next one; what the next one has heard behind the mark waits until the old
 * one has come there.
 */

import type { Timer } from "../../reactor/timers.ts";
import type { ListeningLine } from "./line.ts";

const MOST_HELD_BYTES = 1024 * 1024;

/** What to do with a notification. */
export const Hearing = { Pass: 0, Drop: 1, Over: 2, TooMuch: 3 } as const;

export class LineSwitch {
  readonly line: ListeningLine;
  /** Payload of the mark; empty until it was sent. */
  mark = "";
  /** The old line has come to the mark, the next one. */
  byOld = false;
  byNext = false;
  readonly held: Uint8Array<ArrayBuffer>[] = [];
  readonly #timer: Timer;
  #heldBytes = 0;

  constructor(line: ListeningLine, timer: Timer) {
    this.line = line;
    this.#timer = timer;
  }

  stop(): void {
    this.#timer.cancel();
  }

  /** The notification `bytes[start..end)` came by `line`; `mark` is its payload if it is a mark. */
  hear(
    line: ListeningLine,
    mark: string,
    bytes: Uint8Array<ArrayBuffer>,
    start: number,
    end: number,
  ): number {
    const next = line === this.line;
    if (mark !== "" && mark === this.mark) {
      if (next) this.byNext = true;
      else this.byOld = true;
      return this.byOld && this.byNext ? Hearing.Over : Hearing.Drop;
    }
    if (!next) return this.byOld ? Hearing.Drop : Hearing.Pass;
    if (!this.byNext) return Hearing.Drop;
    this.held.push(bytes.slice(start, end));
    this.#heldBytes += end - start;
    return this.#heldBytes > MOST_HELD_BYTES ? Hearing.TooMuch : Hearing.Drop;
  }
}
