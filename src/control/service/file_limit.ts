/**
 * The limit of open files against what this process needs: itself, the connections of clients, and those to PostgreSQL.
 * Where it does not hold all of them, some are kept for servers: a client that is let in has to be served.
 */

import { EXIT } from "../../cli/args.ts";
import type { PoolSettings, Settings } from "../../config/settings.ts";
import type { Log } from "../../log/log.ts";
import { openDescriptors, raiseFileLimit, setCloseOnExec } from "../../os/descriptors.ts";
import { Shared } from "../../stats/shared.ts";
import { ListenError } from "./listeners.ts";

/** The runtime's four, an epoll and an eventfd; a ring's where the kernel does not number it. */
const WORKER = 7;
/** While a worker starts: the ring, and the runtime's copies of the standard streams. */
const STARTING_WORKER = 10;
/** Names looked up, files read at a reload, cancel requests, those who are told that there is no room, an upgrade. */
const SPARE = 32;
/** Less is no service. */
const LEAST_FOR_PEERS = 8;
/** Of Int32Array. */
const MOST = 2 ** 31 - 1;

/** What a process's descriptors are for. */
export interface Need {
  /** What it has open before its workers run, those apart. */
  own: number;
  workers: number;
  /** Connections of clients. */
  clients: number;
  /** Connections to PostgreSQL. */
  servers: number;
}

/** What a limit leaves for whom. */
export interface Shares {
  clients: number;
  servers: number;
  /** The limit that would hold all. */
  wanted: number;
}

/** The least limit that such a process starts with. */
export function leastLimit({ own, workers }: Pick<Need, "own" | "workers">): number {
  return own + Math.max(workers * STARTING_WORKER, workers * WORKER + SPARE + LEAST_FOR_PEERS);
}

/** Servers get what they need, up to half of what there is; the rest is for clients. */
export function shareOut(limit: number, { own, workers, clients, servers }: Need): Shares {
  const fixed = own + workers * WORKER + SPARE;
  const rest = Math.max(0, limit - fixed);
  const forServers = Math.min(servers, Math.floor(rest / 2));
  return { clients: rest - forServers, servers: forServers, wanted: fixed + clients + servers };
}

/** How many connections to PostgreSQL the pools may have at once, with a LISTEN connection each. */
export function mostServers(pools: readonly PoolSettings[]): number {
  const databases = new Map<string, { sum: number; most: number }>();
  let servers = pools.length;
  for (const { database, pool_size, max_db_connections, reserve_pool_size } of pools) {
    const most = max_db_connections === 0 ? Infinity : max_db_connections + reserve_pool_size;
    const of = databases.get(database) ?? { sum: 0, most };
    databases.set(database, of);
    of.sum += pool_size;
  }
  for (const { sum, most } of databases.values()) servers += Math.min(sum, most);
  return servers;
}

export class FileLimit {
  readonly #limit: number;
  readonly #own: number;
  readonly #workers: number;

  /** Raises the limit as far as it goes. To be made before the workers start. `more`: what will be open beside them. */
  constructor(workers: number, more: number) {
    this.#limit = raiseFileLimit();
    this.#own = openDescriptors().length + more;
    this.#workers = workers;
  }

  /** Throws where the workers would find no descriptors to start with. */
  check(): void {
    const least = leastLimit({ own: this.#own, workers: this.#workers });
    if (this.#limit >= least) return;
    throw new ListenError(
      `the limit of open files is ${this.#limit}, ${this.#workers} workers need at least ${least}: ` +
        "raise it (LimitNOFILE=, ulimit -n) or set a smaller worker_threads",
      EXIT.os,
      undefined,
    );
  }

  /** Tells the workers how many clients there is room for, and the log if that is not what the settings allow. */
  apply({ general, pools }: Settings, shared: SharedArrayBuffer, log: Log): void {
    const shares = shareOut(this.#limit, {
      own: this.#own,
      workers: this.#workers,
      clients: general.max_connections,
      servers: mostServers(pools),
    });
    const most = Math.max(1, Math.min(MOST, shares.clients));
    Atomics.store(new Int32Array(shared), Shared.MostClients, most);
    if (this.#limit >= shares.wanted) return;
    log.warn(
      "pg_doorman::app",
      `the limit of open files is ${this.#limit}: room for ${shares.clients} clients beside ` +
        `${shares.servers} server connections, more clients get 53300; max_connections = ` +
        `${general.max_connections} and the pools want ${shares.wanted}: raise LimitNOFILE= or ` +
        "ulimit -n, or lower max_connections",
    );
  }
}

/**
 * What this process was started with beyond its standard streams goes to nobody that it starts. It stays open here: a lock
 * that a wrapper such as flock(1) gave along is held by it.
 */
export function keepFromChildren(): void {
  for (const fd of openDescriptors()) if (fd > 2) setCloseOnExec(fd, "on");
}
