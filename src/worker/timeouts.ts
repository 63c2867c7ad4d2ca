/**
 * Looks now and then which clients of this worker are over a limit of their pool (client/timeouts.ts). Two rounds, each with
 * one timer that runs only where a limit is set: over the servers in use and those who wait, and over all clients for
 * those that have none or do not use it. A round returns at the first deadline that it has seen, or when the shortest limit could be over
 * for what begins behind its back.
 */

import { checkIdle, checkLinked, checkOutdated, tellWaiting } from "../client/timeouts.ts";
import { Session } from "../client/session.ts";
import type { Pool } from "../pool/pool.ts";
import type { Reactor } from "../reactor/reactor.ts";
import type { Timer } from "../reactor/timers.ts";

/** A round comes as often as a tenth of the shortest limit, within these bounds. */
const SHORTEST_PAUSE_MS = 10;
const LONGEST_PAUSE_MS = 1000;
/** Far enough for no limit to be noticed late, near enough for any timer. */
const LONGEST_SLEEP_MS = 3_600_000;

/** How often clients of servers that are to be replaced are looked for, where that is asked for. */
const FAST_CLOSE_MS = 500;

/** What there is to look at. */
export interface LimitedPlace {
  readonly reactor: Reactor;
  pools(): Iterable<Pool>;
  sessions(): Iterable<Session>;
}

export class Limits {
  readonly #place: LimitedPlace;
  #linkedTimer: Timer | undefined = undefined;
  #idleTimer: Timer | undefined = undefined;

  constructor(place: LimitedPlace) {
    this.#place = place;
  }

  /** Settings have changed, or clients have come that may be overdue already. */
  lookSoon(): void {
    const soon = this.#place.reactor.now + SHORTEST_PAUSE_MS;
    if (this.#linkedTimer === undefined || this.#linkedTimer.at > soon) this.#linkedAt(soon);
    if (this.#idleTimer === undefined || this.#idleTimer.at > soon) this.#idleAt(soon);
  }

  #linkedAt(at: number): void {
    this.#linkedTimer?.cancel();
    this.#linkedTimer = this.#place.reactor.at(at, () => this.#lookAtLinked());
  }

  #idleAt(at: number): void {
    this.#idleTimer?.cancel();
    this.#idleTimer = this.#place.reactor.at(at, () => this.#lookAtIdle());
  }

  #lookAtLinked(): void {
    const { now } = this.#place.reactor;
    let shortest = Infinity;
    let next = Infinity;
    for (const pool of this.#place.pools()) {
      const { settings } = pool;
      const limit = Math.min(
        settings.query_timeout || Infinity,
        settings.transaction_timeout || Infinity,
        settings.idle_transaction_timeout || Infinity,
      );
      if (limit !== Infinity) next = Math.min(next, lookAtServers(pool, now));
      const notifyMs = settings.query_wait_notify || Infinity;
      if (notifyMs !== Infinity) next = Math.min(next, lookAtWaiting(pool, now));
      const fastCloseMs = settings.server_fast_close ? FAST_CLOSE_MS : Infinity;
      if (fastCloseMs !== Infinity) lookAtOutdated(pool);
      shortest = Math.min(shortest, limit, notifyMs, fastCloseMs);
    }
    const at = nextRound(now, next, shortest);
    if (at === Infinity) this.#linkedTimer = undefined;
    else this.#linkedAt(at);
  }

  #lookAtIdle(): void {
    const { now } = this.#place.reactor;
    let shortest = Infinity;
    for (const { settings } of this.#place.pools()) {
      shortest = Math.min(
        shortest,
        settings.client_idle_timeout || Infinity,
        settings.idle_transaction_timeout || Infinity,
        settings.transaction_timeout || Infinity,
      );
    }
    if (shortest === Infinity) {
      this.#idleTimer = undefined;
      return;
    }
    let next = Infinity;
    for (const session of this.#place.sessions()) next = Math.min(next, checkIdle(session, now));
    this.#idleAt(nextRound(now, next, shortest));
  }
}

function lookAtServers(pool: Pool, now: number): number {
  let next = Infinity;
  for (const { link } of pool.servers()) {
    if (link instanceof Session) next = Math.min(next, checkLinked(link, now));
  }
  return next;
}

function lookAtOutdated(pool: Pool): void {
  for (const server of [...pool.servers()]) {
    if (server.link instanceof Session) checkOutdated(server.link, server);
  }
}

/** Those who wait are in the order of their deadlines. */
function lookAtWaiting(pool: Pool, now: number): number {
  const limitMs = pool.settings.query_wait_notify;
  const overdue: Session[] = [];
  let next = Infinity;
  for (const waiter of pool.waiters()) {
    const session = waiter as Session;
    if (now - session.waitStartMs < limitMs) {
      next = session.waitStartMs + limitMs;
      break;
    }
    if (!session.state.toldWaiting) overdue.push(session);
  }
  // Telling may find a client gone, which leaves the queue then.
  for (const session of overdue) tellWaiting(session, now - session.waitStartMs);
  return next;
}

/** When the next round is, `Infinity` where no limit is set. */
export function nextRound(now: number, next: number, shortest: number): number {
  if (shortest === Infinity) return Infinity;
  const pause = Math.max(SHORTEST_PAUSE_MS, Math.min(LONGEST_PAUSE_MS, shortest / 10));
  return now + Math.max(pause, Math.min(next - now, shortest, LONGEST_SLEEP_MS));
}
