// hot path
/**
 * Clients that wait for a server: strictly first come, first served. The entries are links in a list, so that leaving
 * from the middle (client gone, canceled) costs as little as being served.
 */

import type { ServerConnection } from "../server/connection.ts";
import type { LoginFailure } from "../server/login.ts";
import type { Reason } from "../reasons.ts";

/** One that waits; implemented by a client session. The list owns the three fields. */
export interface Waiter {
  waitNext: Waiter | undefined;
  waitPrevious: Waiter | undefined;
  /** When the waiting began, on the reactor's clock; 0 when it does not wait. */
  waitSinceMs: number;
  /** A server is checked out for this waiter. */
  serverReady(server: ServerConnection): void;
  /** There will be none. `failure` is PostgreSQL's refusal, if that is the cause. */
  checkOutFailed(reason: Reason, first: string, second: string, failure?: LoginFailure): void;
  /** The pool's parameters came with an upgrade: who waits for nothing else leaves the queue. */
  parametersKnown(): void;
}

export class Waiting {
  #head: Waiter | undefined = undefined;
  #last: Waiter | undefined = undefined;
  length = 0;

  /** `since` is the present, but for one that has waited in another process: it comes before those that are younger. */
  push(waiter: Waiter, since: number): void {
    waiter.waitSinceMs = since === 0 ? -1 : since;
    let previous = this.#last;
    while (previous !== undefined && previous.waitSinceMs > since) previous = previous.waitPrevious;
    const next = previous === undefined ? this.#head : previous.waitNext;
    waiter.waitPrevious = previous;
    waiter.waitNext = next;
    if (previous === undefined) this.#head = waiter;
    else previous.waitNext = waiter;
    if (next === undefined) this.#last = waiter;
    else next.waitPrevious = waiter;
    this.length++;
  }

  /** The one that has waited longest. */
  first(): Waiter | undefined {
    return this.#head;
  }

  /** How long that is. */
  longestMs(now: number): number {
    return this.#head === undefined ? 0 : now - this.#head.waitSinceMs;
  }

  shift(): Waiter | undefined {
    const waiter = this.#head;
    if (waiter !== undefined) this.remove(waiter);
    return waiter;
  }

  /** Takes a waiter out; harmless when it is not in the list. */
  remove(waiter: Waiter): void {
    if (waiter.waitSinceMs === 0) return;
    if (waiter.waitPrevious === undefined) this.#head = waiter.waitNext;
    else waiter.waitPrevious.waitNext = waiter.waitNext;
    if (waiter.waitNext === undefined) this.#last = waiter.waitPrevious;
    else waiter.waitNext.waitPrevious = waiter.waitPrevious;
    waiter.waitNext = undefined;
    waiter.waitPrevious = undefined;
    waiter.waitSinceMs = 0;
    this.length--;
  }

  /** Takes all out, in their order. */
  takeAll(): Waiter[] {
    const all = [...this];
    for (const waiter of all) this.remove(waiter);
    return all;
  }

  *[Symbol.iterator](): Iterator<Waiter> {
    for (let waiter = this.#head; waiter !== undefined; waiter = waiter.waitNext) yield waiter;
  }
}
