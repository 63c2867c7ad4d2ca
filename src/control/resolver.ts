/**
 * Host names of servers to addresses, for workers, which can't await: through the system's resolver, so that
 * `/etc/hosts` and search domains count. Answers are kept for a moment, so that a burst of connects asks once.
 */

import { lookup } from "node:dns/promises";

const KEEP_MS = 5000;

export class Resolver {
  readonly #known = new Map<string, { at: number; answer: Promise<string[]> }>();

  /** All addresses of a host, in the order that the system prefers. Rejects with the resolver's error. */
  resolve(host: string): Promise<string[]> {
    const now = performance.now();
    const known = this.#known.get(host);
    if (known !== undefined && now - known.at < KEEP_MS) return known.answer;
    const answer = lookup(host, { all: true }).then((all) => all.map(({ address }) => address));
    this.#known.set(host, { at: now, answer });
    // A failure is not kept: the next attempt asks again.
    answer.catch(() => this.#known.delete(host));
    return answer;
  }
}
