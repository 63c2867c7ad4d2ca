/**
 * Which pool is where: the home of every pool by (database, user), who logs in to which, and the pools that live on this
 * worker. A reload comes as slices that name only what differs; a pool that is gone from the configuration is retired: it takes no new
 * client, lives on for those it has, and ends with the last of them. One that comes back meanwhile is the same pool.
 */

import type { PasswordShape, PoolSettings, Settings } from "../config/settings.ts";
import { usersOf } from "../config/shared_pool.ts";
import type { PoolEnvironment, PoolOwner } from "../pool/environment.ts";
import { Pool } from "../pool/pool.ts";
import type { PoolLookup } from "../client/context.ts";
import { shapeOf } from "../auth/mock_password.ts";
import type { FoundUser } from "../pool/auth_query/answer.ts";
import type { PoolPlace, SettingsChange } from "../mail.ts";

/** Pools that something is done for in one go, where it is done for all: more would keep clients waiting. */
export const POOLS_AT_ONCE = 64;

const TARGET = "pg_doorman::pool";

function key(database: string, user: string): string {
  return `${database}\0${user}`;
}

/** What a directory needs of its worker. */
export interface DirectoryEnvironment extends PoolEnvironment, PoolOwner<Pool> {
  /** The pool's home is another worker from now on. */
  relocate(pool: Pool, home: number): void;
  /** Users who are in no configuration. */
  readonly authQueries: {
    /** Who would know; `undefined`: nobody. */
    find(database: string): PoolLookup | undefined;
    /** Whether there are any here. */
    readonly any: boolean;
  };
}

/** What a pool was made by that is in no configuration: `database` is the auth_query's. */
export interface DynamicOrigin {
  readonly database: string;
  readonly found: FoundUser;
}

export class Directory {
  readonly #index: number;
  readonly #environment: DirectoryEnvironment;
  /** By database and user of the pool. */
  readonly #places = new Map<string, PoolPlace>();
  /** By database, then who logs in. */
  readonly #logins = new Map<string, Map<string, { place: PoolPlace; shape: PasswordShape }>>();
  #everybody: PasswordShape[] | undefined;
  readonly #pools = new Map<string, Pool>();
  readonly #retired = new Map<string, Pool>();
  /** Pools that are in no configuration. */
  readonly #dynamic = new Map<Pool, DynamicOrigin>();
  /** On their way to another worker. */
  readonly #leaving = new Set<Pool>();

  constructor(
    index: number,
    environment: DirectoryEnvironment,
    { settings, successor }: { settings: Settings; successor: boolean },
  ) {
    this.#index = index;
    this.#environment = environment;
    for (const pool of settings.pools) {
      this.#place(placeOf(pool));
      if (pool.home === index) this.#add(pool, successor);
    }
  }

  find(database: string, user: string): PoolLookup {
    const users = this.#logins.get(database);
    const place = users?.get(user)?.place;
    if (place === undefined) {
      const lookup = this.#environment.authQueries.find(database);
      if (lookup !== undefined) return lookup;
      if (users === undefined) return { kind: "no_database", known: this.#shapes };
      return { kind: "no_user", known: Array.from(users.values(), ({ shape }) => shape) };
    }
    if (place.home !== this.#index) return { kind: "elsewhere", worker: place.home };
    return { kind: "here", pool: this.here(database, place.user)! };
  }

  /** The pool, if it is here and takes clients. */
  here(database: string, user: string): Pool | undefined {
    return this.#pools.get(key(database, user));
  }

  /** Which worker has a pool; `undefined`: there is none. */
  homeOf({ database, user }: { database: string; user: string }): number | undefined {
    return this.#places.get(key(database, user))?.home;
  }

  /** Of all users, for those who name no database of ours: kept, since anybody may ask. */
  get #shapes(): readonly PasswordShape[] {
    this.#everybody ??= Array.from(this.#logins.values(), (users) => [...users.values()])
      .flat().map(({ shape }) => shape);
    return this.#everybody;
  }

  /** Whether this worker is to accept clients: it is some pool's home, or there is no pool and it is the first. */
  get accepts(): boolean {
    if (this.#pools.size > 0 || this.#environment.authQueries.any) return true;
    return this.#places.size === 0 && this.#index === 0;
  }

  /** Every pool of this worker, retired ones included. */
  *all(): Iterable<Pool> {
    yield* this.#pools.values();
    yield* this.#retired.values();
    yield* this.#leaving;
  }

  /** The pools that a command names; all of them without a database. */
  *named(database: string | undefined): Iterable<Pool> {
    for (const pool of this.all()) {
      if (database === undefined || pool.settings.database === database) yield pool;
    }
  }

  /** Applies one slice of a reload. */
  apply({ places, pools, gone }: Pick<SettingsChange, "places" | "pools" | "gone">): void {
    for (const settings of pools) {
      const known = this.#pools.get(key(settings.database, settings.user)) ??
        this.#revive(settings);
      // Its home was elsewhere: it moves here.
      const moving = this.homeOf(settings) ?? this.#index;
      if (known === undefined) this.#add(settings, moving !== this.#index);
      else {
        // From now on it is in the configuration.
        this.#dynamic.delete(known);
        known.apply(settings);
      }
    }
    // A place is found by clients only once its pool is there.
    for (const place of places) this.#place(place);
    for (const { database, user } of gone) this.#remove(database, user);
  }

  #place(place: PoolPlace): void {
    if (place.home !== this.#index) this.#leave(place);
    const { database } = place;
    const users = this.#logins.get(database) ?? new Map();
    this.#forgetLogins(place);
    for (const { user, shape } of place.logins) users.set(user, { place, shape });
    this.#logins.set(database, users);
    this.#places.set(key(database, place.user), place);
  }

  /** Those who still log in to this pool, and not to another one by now. */
  #forgetLogins({ database, user: ofPool }: { database: string; user: string }): void {
    this.#everybody = undefined;
    const known = this.#places.get(key(database, ofPool));
    const users = this.#logins.get(database);
    for (const { user } of known?.logins ?? []) {
      if (users?.get(user)?.place === known) users!.delete(user);
    }
    if (users?.size === 0) this.#logins.delete(database);
  }

  // ── pools that are in no configuration ──────────────────────────────────────────────────────────────────────────

  /** Servers are `expected` from another worker or process that has them. */
  addDynamic(settings: PoolSettings, origin: DynamicOrigin, servers: "none" | "expected"): Pool {
    const known = this.#revive(settings);
    if (known === undefined) this.#add(settings, servers === "expected");
    else known.apply(settings);
    const pool = this.here(settings.database, settings.user)!;
    this.#dynamic.set(pool, origin);
    return pool;
  }

  /** What the pool was made by; `undefined`: it is in the configuration. */
  originOf(pool: Pool): DynamicOrigin | undefined {
    return this.#dynamic.get(pool);
  }

  /** A client enters, who was looked up by this. */
  setOrigin(pool: Pool, origin: DynamicOrigin): void {
    this.#dynamic.delete(pool);
    this.#dynamic.set(pool, origin);
  }

  /** Those of one auth_query that take clients; whose last login is longest ago comes first. */
  *dynamic(database: string): Iterable<Pool> {
    for (const [pool, origin] of this.#dynamic) {
      if (origin.database === database && this.here(...nameOf(pool)) === pool) yield pool;
    }
  }

  /** Pools that another process has, too, or makes by these auth_queries. */
  going(
    pools: readonly { database: string; user: string }[],
    authQueries: readonly string[],
  ): Pool[] {
    const configured = pools.flatMap(({ database, user }) => this.here(database, user) ?? []);
    const dynamic = authQueries.flatMap((database) => [...this.dynamic(database)]);
    return [...new Set([...configured, ...dynamic])];
  }

  /** Takes no more clients, and ends with the last that it has. */
  retireDynamic(pool: Pool): void {
    this.#dynamic.delete(pool);
    this.#retire(pool);
  }

  /** Nobody uses it. */
  endDynamic(pool: Pool): void {
    this.#dynamic.delete(pool);
    this.#pools.delete(key(...nameOf(pool)));
    pool.close();
    this.#environment.log.debug(TARGET, `[${pool.name}] dynamic pool removed: nobody uses it`);
  }

  /** Its users are looked up by another worker from now on. */
  moveDynamic(pool: Pool, home: number): void {
    const [database, user] = nameOf(pool);
    this.#leave({ database, user, home });
  }

  /** The pool moves, unless it is on its way to another process already. */
  #leave({ database, user, home }: Pick<PoolPlace, "database" | "user" | "home">): void {
    const name = key(database, user);
    const pool = this.#pools.get(name);
    if (pool === undefined || pool.moved) return;
    this.#pools.delete(name);
    this.#leaving.add(pool);
    this.#environment.relocate(pool, home);
  }

  /** Nothing of the pool is left here. */
  left(pool: Pool): void {
    this.#leaving.delete(pool);
    this.#dynamic.delete(pool);
    pool.close();
  }

  #add(settings: PoolSettings, expecting = false): void {
    const pool = new Pool(settings, this.#environment);
    if (expecting) pool.moving.expect();
    this.#pools.set(key(settings.database, settings.user), pool);
    pool.warm();
  }

  #revive({ database, user }: PoolSettings): Pool | undefined {
    const name = key(database, user);
    const pool = this.#retired.get(name);
    if (pool === undefined) return undefined;
    this.#retired.delete(name);
    pool.retired = false;
    this.#pools.set(name, pool);
    this.#environment.log.info(
      TARGET,
      `[${pool.name}] back in the configuration: no longer retired`,
    );
    return pool;
  }

  #remove(database: string, user: string): void {
    this.#forgetLogins({ database, user });
    this.#places.delete(key(database, user));
    const pool = this.here(database, user);
    if (pool !== undefined) this.#retire(pool);
  }

  #retire(pool: Pool): void {
    const name = key(...nameOf(pool));
    this.#pools.delete(name);
    pool.retired = true;
    this.#retired.set(name, pool);
    this.#environment.log.info(
      TARGET,
      `[${pool.name}] removed from the configuration: retired, ` +
        `${pool.clients} clients go on until they leave`,
    );
    this.dismiss(pool);
  }

  /** Ends a retired pool that has no client left. */
  dismiss(pool: Pool): void {
    const { database, user } = pool.settings;
    const name = key(database, user);
    if (pool.clients > 0 || this.#retired.get(name) !== pool) return;
    this.#retired.delete(name);
    pool.close();
    this.#environment.log.info(TARGET, `[${pool.name}] retired pool ended`);
  }
}

function placeOf(pool: PoolSettings): PoolPlace {
  const { database, user, home } = pool;
  const logins = usersOf(pool).map(({ user, password }) => ({ user, shape: shapeOf(password) }));
  return { database, user, home, logins };
}

function nameOf({ settings: { database, user } }: Pool): [database: string, user: string] {
  return [database, user];
}
