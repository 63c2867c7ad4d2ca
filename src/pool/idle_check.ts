/**
 * Servers that have rested for `server_idle_check_timeout` are checked before they are lent: a firewall may have forgotten
 * the connection without a word. As many are as are lent, each for one client; the check itself is no use of the server.
 *
 * A check that is late is not counted on any more: a server that is gone says nothing until `connect_timeout` is over, and
 * its client had better be served by another way.
 */

import type { PoolSettings } from "../config/settings.ts";
import type { Reactor } from "../reactor/reactor.ts";
import type { Timer } from "../reactor/timers.ts";
import { TransactionStatus } from "../protocol/codes.ts";
import { ServerStage, type ServerState } from "../server/state.ts";

/** No answer for so long: late. */
const LATE_MS = 500;

/** A server that is checked. */
export interface CheckedServer {
  readonly state: ServerState;
  readonly owed: { readonly length: number };
  runOwn(sql: string): void;
}

/** What is needed of a pool. */
export interface CheckingPool {
  readonly settings: Pick<PoolSettings, "server_idle_check_timeout" | "connect_timeout">;
  /** A check is late: whoever has counted on it is to be served otherwise. */
  serve(): void;
}

/** What closes a server that never answers. */
interface CheckDeadlines<Server> {
  limit(server: Server, ms: number): void;
}

export class IdleChecks<Server extends CheckedServer> {
  /** Checks that are counted on: each brings a server for one client. */
  coming = 0;
  readonly #pool: CheckingPool;
  readonly #reactor: Pick<Reactor, "now" | "at">;
  readonly #deadlines: CheckDeadlines<Server>;
  /** `undefined`: late. */
  readonly #underWay = new Map<Server, Timer | undefined>();

  constructor(
    pool: CheckingPool,
    reactor: Pick<Reactor, "now" | "at">,
    deadlines: CheckDeadlines<Server>,
  ) {
    this.#pool = pool;
    this.#reactor = reactor;
    this.#deadlines = deadlines;
  }

  /** Servers that are checked now, late ones included. */
  get underWay(): number {
    return this.#underWay.size;
  }

  /** Whether a server has rested for so long that it may be gone. One that nobody has used yet has not rested. */
  isDoubtful({ state }: Server): boolean {
    const { server_idle_check_timeout } = this.#pool.settings;
    return server_idle_check_timeout > 0 && state.uses > 0 &&
      this.#reactor.now - state.usedAtMs > server_idle_check_timeout;
  }

  /** Asks a server for an answer that was idle and is being cleaned now. */
  begin(server: Server): void {
    server.runOwn(";");
    this.#deadlines.limit(server, this.#pool.settings.connect_timeout);
    this.#watch(server);
  }

  /** A server comes from another process: its check may be under way. */
  resume(server: Server): void {
    const { stage, dirty, status } = server.state;
    // What is cleaned is dirty, or in a transaction, until the last answer is there.
    const checked = stage === ServerStage.Cleaning && server.owed.length > 0 && dirty === 0 &&
      status === TransactionStatus.Idle;
    if (checked) this.#watch(server);
  }

  #watch(server: Server): void {
    this.coming++;
    const late = () => {
      this.coming--;
      this.#underWay.set(server, undefined);
      this.#pool.serve();
    };
    this.#underWay.set(server, this.#reactor.at(this.#reactor.now + LATE_MS, late));
  }

  /** The server has answered, is closed or goes elsewhere. Says whether it was being checked. */
  end(server: Server): boolean {
    if (this.#underWay.size === 0 || !this.#underWay.has(server)) return false;
    const timer = this.#underWay.get(server);
    this.#underWay.delete(server);
    if (timer === undefined) return true;
    timer.cancel();
    this.coming--;
    return true;
  }
}
