/**
 * Limits for what servers do on the pool's behalf (cleaning, checks, dropping a result that nobody waits for): one timer
 * for all servers of a pool, armed only while there is something to watch.
 */

import type { Reactor } from "../reactor/reactor.ts";
import type { Timer } from "../reactor/timers.ts";
import { REASONS } from "../reasons.ts";
import type { ServerConnection } from "../server/connection.ts";
import { ServerStage } from "../server/state.ts";

export class Deadlines {
  readonly #reactor: Reactor;
  readonly #servers: ReadonlySet<ServerConnection>;
  #timer: Timer | undefined;

  constructor(reactor: Reactor, servers: ReadonlySet<ServerConnection>) {
    this.#reactor = reactor;
    this.#servers = servers;
  }

  /** Closes the server unless what it is doing for the pool is through in `ms`. */
  limit(server: ServerConnection, ms: number): void {
    server.deadlineMs = this.#reactor.now + ms;
    this.#timer ??= this.#reactor.at(server.deadlineMs, () => this.#closeOverdue());
  }

  #closeOverdue(): void {
    const { now } = this.#reactor;
    this.#timer = undefined;
    let next = Infinity;
    for (const server of [...this.#servers]) {
      const { stage } = server.state;
      if (stage !== ServerStage.Cleaning && stage !== ServerStage.Draining) continue;
      if (server.deadlineMs <= now) {
        const what = stage === ServerStage.Draining
          ? "a result that nobody waits for takes too long"
          : "no answer to the pooler's own query";
        server.close(REASONS.serverUnusable, what);
      } else next = Math.min(next, server.deadlineMs);
    }
    if (next !== Infinity) this.#timer ??= this.#reactor.at(next, () => this.#closeOverdue());
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}
