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
}

export class Waiting {
  #head: Waiter | undefined = undefined;
  #last: Waiter | undefined = undefined;
  length = 0;

  push(waiter: Waiter, now: number): void {
    waiter.waitSinceMs = now;
    waiter.waitNext = undefined;
    waiter.waitPrevious = this.#last;
    if (this.#last === undefined) this.#head = waiter;
    else this.#last.waitNext = waiter;
    this.#last = waiter;
    this.length++;
  }

  /** The one that has waited longest. */
  first(): Waiter | undefined {
    return this.#head;
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
