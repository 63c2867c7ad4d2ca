import assert from "node:assert/strict";

/** Timers of ten seconds, which go by when a test says so. */
export class Periods {
  #timers: { ms: number; action: () => void }[] = [];

  readonly later = (ms: number, action: () => void): void => {
    this.#timers.push({ ms, action });
  };

  /** Lets ten seconds go by. */
  period(): void {
    const timers = this.#timers;
    this.#timers = [];
    for (const { ms, action } of timers) {
      assert.equal(ms, 10_000);
      action();
    }
  }

  get timers(): number {
    return this.#timers.length;
  }
}
