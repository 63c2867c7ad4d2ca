/**
 * Which pool is where: the settings of every pool by (database, user), and the pools that live on this worker. New
 * settings replace old ones pool by pool; a pool that is gone from them is retired and ends with its last client.
 */

import type { PoolSettings, Settings } from "../config/settings.ts";
import { Pool, type PoolEnvironment } from "../pool/pool.ts";
import type { PoolLookup } from "../client/context.ts";

function key(database: string, user: string): string {
  return `${database}\0${user}`;
}

export class Directory {
  readonly #index: number;
  readonly #environment: PoolEnvironment;
  #settings = new Map<string, PoolSettings>();
  #kinds = new Map<string, PoolSettings["password"]["kind"][]>();
  #pools = new Map<string, Pool>();
  #retired = new Set<Pool>();

  constructor(index: number, environment: PoolEnvironment) {
    this.#index = index;
    this.#environment = environment;
  }

  find(database: string, user: string): PoolLookup {
    const kinds = this.#kinds.get(database);
    if (kinds === undefined) return { kind: "no_database" };
    const settings = this.#settings.get(key(database, user));
    if (settings === undefined) return { kind: "no_user", kinds };
    if (settings.home !== this.#index) return { kind: "elsewhere", worker: settings.home };
    return { kind: "here", pool: this.#pools.get(key(database, user))! };
  }

  /** Every pool of this worker, retired ones included. */
  *all(): Iterable<Pool> {
    yield* this.#pools.values();
    yield* this.#retired;
  }

  /** The pools that a command names; all of them without a database. */
  *named(database: string | undefined): Iterable<Pool> {
    for (const pool of this.all()) {
      if (database === undefined || pool.settings.database === database) yield pool;
    }
  }

  apply(settings: Settings): void {
    const fresh = new Map<string, PoolSettings>();
    this.#kinds.clear();
    for (const pool of settings.pools) {
      fresh.set(key(pool.database, pool.user), pool);
      const kinds = this.#kinds.get(pool.database);
      if (kinds === undefined) this.#kinds.set(pool.database, [pool.password.kind]);
      else kinds.push(pool.password.kind);
    }
    this.#settings = fresh;
    for (const [name, pool] of this.#pools) {
      const now = fresh.get(name);
      if (now === undefined || now.home !== this.#index) this.#retire(name, pool);
    }
    for (const [name, pool] of fresh) {
      if (pool.home !== this.#index) continue;
      const known = this.#pools.get(name);
      if (known === undefined) {
        const made = new Pool(pool, this.#environment);
        this.#pools.set(name, made);
        made.warm();
      } else known.apply(pool);
    }
  }

  #retire(name: string, pool: Pool): void {
    this.#pools.delete(name);
    pool.retired = true;
    this.#retired.add(pool);
    this.dismiss(pool);
  }

  /** Ends a retired pool that has no client left. */
  dismiss(pool: Pool): void {
    if (!pool.retired || pool.clients > 0 || !this.#retired.has(pool)) return;
    this.#retired.delete(pool);
    pool.close();
  }
}
