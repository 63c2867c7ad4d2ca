/**
 * Clients that have logged in, by user, in all pools of a worker: several users may share a pool, and a user may be in
 * several. All pools of a user with a limit live on one worker (config/homes.ts).
 */

import type { UserSeats } from "./share.ts";

export class Seats implements UserSeats {
  readonly #counts = new Map<string, number>();

  of(user: string): number {
    return this.#counts.get(user) ?? 0;
  }

  /** One more, or one less. */
  change(user: string, by: 1 | -1): void {
    const count = this.of(user) + by;
    if (count === 0) this.#counts.delete(user);
    else this.#counts.set(user, count);
  }
}
