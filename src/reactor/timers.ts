/**
 * Timers of one reactor: a binary heap by deadline. Most deadlines of the pooler are in queues whose order is already
 * theirs (waiters of a pool), so few timers exist at a time; cancelled ones stay in the heap until they come up.
 */

/** A deadline on the reactor's clock (milliseconds) and what happens then. */
export class Timer {
  readonly at: number;
  fire: (() => void) | undefined;

  constructor(at: number, fire: () => void) {
    this.at = at;
    this.fire = fire;
  }

  /** Keeps the timer from firing; harmless when it has fired. */
  cancel(): void {
    this.fire = undefined;
  }
}

export class Timers {
  #heap: Timer[] = [];

  add(at: number, fire: () => void): Timer {
    const timer = new Timer(at, fire);
    const heap = this.#heap;
    let i = heap.length;
    heap.push(timer);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (heap[parent].at <= timer.at) break;
      heap[i] = heap[parent];
      i = parent;
    }
    heap[i] = timer;
    return timer;
  }

  /** Deadline of the first timer that is still wanted, or `Infinity`. */
  next(): number {
    const heap = this.#heap;
    while (heap.length > 0 && heap[0].fire === undefined) this.#pop();
    return heap.length > 0 ? heap[0].at : Infinity;
  }

  /** Fires every timer whose deadline is not after `now`. */
  expire(now: number): void {
    while (this.next() <= now) {
      const timer = this.#pop();
      const fire = timer.fire!;
      timer.fire = undefined;
      fire();
    }
  }

  /** Timers in the heap, cancelled ones included; for tests and leak checks. */
  get size(): number {
    return this.#heap.length;
  }

  #pop(): Timer {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop()!;
    const n = heap.length;
    if (n > 0) {
      let i = 0;
      for (;;) {
        let child = 2 * i + 1;
        if (child >= n) break;
        if (child + 1 < n && heap[child + 1].at < heap[child].at) child++;
        if (heap[child].at >= last.at) break;
        heap[i] = heap[child];
        i = child;
      }
      heap[i] = last;
    }
    return first;
  }
}
