/** So many of something a second, as many at once; who comes beyond that waits his turn. */

const SECOND_MS = 1000;

export class Pace {
  readonly #eachMs: number;
  readonly #now: () => number;
  /** When the last one is due if they come evenly. */
  #dueMs = -Infinity;

  constructor(aSecond: number, now: () => number = () => performance.now()) {
    this.#eachMs = SECOND_MS / aSecond;
    this.#now = now;
  }

  /** Takes the next one; how many milliseconds until it may go on. */
  take(): number {
    const now = this.#now();
    this.#dueMs = Math.max(this.#dueMs, now - SECOND_MS) + this.#eachMs;
    return Math.max(0, this.#dueMs - now);
  }

  /** Resolves when one more may go on. */
  async next(): Promise<void> {
    const waitMs = this.take();
    if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
  }
}
