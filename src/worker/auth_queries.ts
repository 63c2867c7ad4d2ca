/**
 * The auth_queries of this worker, where those of the others are, and the pools of users who were found. Such a pool is
 * made when its first client has proven itself, and removed when it has neither clients nor connections; it lives in the
 * directory (directory.ts) beside those of the configuration, and moves like them.
 */

import type { Looked } from "../auth/lookup_cache.ts";
import type { PoolLookup, UserLookup } from "../client/context.ts";
import { ANY_DATABASE } from "../config/auth_query.ts";
import type { AuthQuerySettings, PoolSettings } from "../config/settings.ts";
import type { Log } from "../log/log.ts";
import type { AuthQueryRow, SettingsChange, WorkerCommand } from "../mail.ts";
import type { FoundUser } from "../pool/auth_query/answer.ts";
import { AuthQuery } from "../pool/auth_query/auth_query.ts";
import type { PoolEnvironment, PoolOwner } from "../pool/environment.ts";
import { Pool } from "../pool/pool.ts";
import { oneLine } from "../log/one_line.ts";
import { bytesOfText } from "../protocol/text_bytes.ts";
import { REASONS } from "../reasons.ts";
import type { Directory, DynamicOrigin } from "./directory.ts";

const TARGET = "pg_doorman::auth";
/** PostgreSQL refuses the password: it may be another one by now. */
const REFUSED_PASSWORD = new Set(["28P01", "28000"]);

/** PostgreSQL's longest name (`NAMEDATALEN`). */
const NAME_BYTES = 63;

type Name = { database: string; user: string };

/** What is needed of the worker. */
export interface AuthQueryPlace extends PoolEnvironment, PoolOwner<Pool> {
  readonly index: number;
  readonly log: Log;
  readonly directory: Pick<
    Directory,
    | "here"
    | "addDynamic"
    | "originOf"
    | "setOrigin"
    | "dynamic"
    | "retireDynamic"
    | "moveDynamic"
    | "endDynamic"
  >;
  /** A pool that was not there when the others began to move, if they do. */
  dynamicAdded(pool: Pool, origin: DynamicOrigin): void;
}

export class AuthQueries {
  readonly #place: AuthQueryPlace;
  /** Of all workers, by database. */
  readonly #settings = new Map<string, AuthQuerySettings>();
  /** By database; those that are not named: as `undefined` says. */
  readonly #disabled = new Map<string | undefined, boolean>();
  /** Of this worker. */
  readonly #here = new Map<string, { users: Users; executor: Pool }>();

  constructor(place: AuthQueryPlace) {
    this.#place = place;
  }

  get any(): boolean {
    return this.#here.size > 0;
  }

  /** Who would know the users of a database. */
  find(database: string): PoolLookup | undefined {
    const settings = this.#settingsOf(database);
    if (settings === undefined) return undefined;
    const here = this.#here.get(settings.database);
    return here === undefined
      ? { kind: "elsewhere", worker: settings.home }
      : { kind: "lookup", users: here.users };
  }

  #settingsOf(database: string): AuthQuerySettings | undefined {
    const own = this.#settings.get(database);
    if (own !== undefined) return own;
    const any = this.#settings.get(ANY_DATABASE);
    if (any === undefined || any.others.includes(database)) return undefined;
    return mayBeDatabase(database) ? any : undefined;
  }

  /** The pools of connections that look up. */
  *executors(): Iterable<Pool> {
    for (const { executor } of this.#here.values()) yield executor;
  }

  /** Of the console's orders, what concerns the connections that look up, and pools that are yet to be made. */
  obey({ name, database }: WorkerCommand): void {
    switch (name) {
      case "reconnect":
        for (const [own, { executor }] of this.#here) {
          if (database === undefined || database === own) executor.reconnect();
        }
        return;
      case "enable":
      case "disable":
        // One for all databases leaves nothing of what was said of single ones.
        if (database === undefined) this.#disabled.clear();
        this.#disabled.set(database, name === "disable");
    }
  }

  /** DISABLE: nobody may log in to the database. */
  isDisabled(database: string): boolean {
    return this.#disabled.get(database) ?? this.#disabled.get(undefined) ?? false;
  }

  rows(): AuthQueryRow[] {
    return Array.from(this.#here.values(), ({ users }) => users.row());
  }

  // ── settings ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Applies what a reload has changed, or what there is at the start. */
  apply(
    { authQueries, goneAuthQueries }: Pick<SettingsChange, "authQueries" | "goneAuthQueries">,
  ): void {
    for (const database of goneAuthQueries) {
      this.#settings.delete(database);
      this.#end(database, (pool) => this.#place.directory.retireDynamic(pool));
    }
    for (const settings of authQueries) {
      const { database, home } = settings;
      this.#settings.set(database, settings);
      if (home !== this.#place.index) {
        this.#end(database, (pool) => this.#place.directory.moveDynamic(pool, home));
        continue;
      }
      const here = this.#here.get(database);
      if (here === undefined) this.#begin(settings);
      else this.#change(here, settings);
    }
  }

  #begin(settings: AuthQuerySettings): void {
    const executor = new Pool(settings.executor, this.#place);
    const users = new Users(settings, this.#place, {
      executor,
      isDisabled: (database) => this.isDisabled(database),
    });
    this.#here.set(settings.database, { users, executor });
  }

  #change({ users, executor }: { users: Users; executor: Pool }, settings: AuthQuerySettings) {
    executor.apply(settings.executor);
    users.change(settings);
    this.#place.log.info(
      TARGET,
      `auth_query of database "${settings.database}" has changed: its users are looked up anew`,
    );
  }

  #end(database: string, leave: (pool: Pool) => void): void {
    const here = this.#here.get(database);
    if (here === undefined) return;
    this.#here.delete(database);
    for (const pool of [...this.#place.directory.dynamic(database)]) leave(pool);
    here.users.query.ended = true;
    // Who waits for an answer is told that there is none, and asks anew.
    here.executor.close();
  }

  // ── pools ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Pools that have come with their clients, from another process or worker. */
  arrived(name: Name, origin: DynamicOrigin): Pool | undefined {
    return this.#here.get(origin.database)?.users.arrived(name, origin);
  }

  /** Removes pools that nobody uses. */
  collect(): void {
    for (const { users } of this.#here.values()) users.collect();
  }
}

/** The users of one auth_query, and their pools. */
class Users implements UserLookup {
  readonly query: AuthQuery;
  readonly #place: AuthQueryPlace;
  readonly #isDisabled: (database: string) => boolean;

  constructor(
    settings: AuthQuerySettings,
    place: AuthQueryPlace,
    { executor, isDisabled }: { executor: Pool; isDisabled: (database: string) => boolean },
  ) {
    const { reactor, log } = place;
    this.#place = place;
    this.#isDisabled = isDisabled;
    this.query = new AuthQuery(settings, { reactor, log, executor });
  }

  get ended(): boolean {
    return this.query.ended;
  }

  get shapes(): UserLookup["shapes"] {
    return this.query.shapes;
  }

  find({ database, user }: Name, told: (looked: Looked<FoundUser>) => void) {
    const pool = this.query.shared ? undefined : this.#place.directory.here(database, user);
    const failure = pool?.lastFailure;
    const origin = pool && this.#place.directory.originOf(pool);
    if (origin === undefined || failure === undefined || !REFUSED_PASSWORD.has(failure.code)) {
      return this.query.find(user, told);
    }
    const seen = { kind: "found", found: origin.found } as const;
    return this.query.refetch(user, seen, told);
  }

  refetch(...asked: Parameters<UserLookup["refetch"]>) {
    return this.query.refetch(...asked);
  }

  count(what: Parameters<UserLookup["count"]>[0]): void {
    this.query.count(what);
  }

  // ── pools ───────────────────────────────────────────────────────────────────────────────────────────────────────

  enter({ database, user }: Name, found: FoundUser): ReturnType<UserLookup["enter"]> {
    const { directory } = this.#place;
    if (this.query.ended) return { reason: REASONS.noPool, first: database, second: user };
    const shared = this.query.settings.template.user;
    const pool = directory.here(database, shared || user);
    const origin = pool && directory.originOf(pool);
    // One of the configuration is as that says.
    if (pool !== undefined && origin === undefined) return pool;
    if (pool !== undefined && (this.query.shared || origin!.found === found)) {
      directory.setOrigin(pool, origin!);
      return pool;
    }
    const settings = this.query.poolSettings({ database, user }, found);
    if ("fault" in settings) {
      return { reason: REASONS.lookupFailed, first: user, second: settings.fault };
    }
    const made = { database: this.query.settings.database, found };
    if (pool !== undefined) {
      pool.apply(settings);
      directory.setOrigin(pool, made);
      return pool;
    }
    if (this.#full && !this.#makeRoom()) {
      const { max_dynamic_pools } = this.query.settings;
      return { reason: REASONS.tooManyPools, first: database, second: String(max_dynamic_pools) };
    }
    const added = this.#add(settings, made, "none");
    this.#place.log.debug(TARGET, `[${added.name}] dynamic pool made`);
    this.#place.dynamicAdded(added, made);
    return added;
  }

  #add(settings: PoolSettings, origin: DynamicOrigin, servers: "none" | "expected"): Pool {
    if (this.#counts) this.query.count("dynamic_pools_created");
    const { home } = this.query.settings;
    const pool = this.#place.directory.addDynamic({ ...settings, home }, origin, servers);
    pool.disabled ||= this.#isDisabled(settings.database);
    return pool;
  }

  /** The one that all users share is as good as configured. */
  get #counts(): boolean {
    return !this.query.shared || this.query.settings.database === ANY_DATABASE;
  }

  get #current(): number {
    let count = 0;
    for (const _ of this.#pools()) count++;
    return this.#counts ? count : 0;
  }

  get #full(): boolean {
    return this.#current >= this.query.settings.max_dynamic_pools;
  }

  #pools(): Iterable<Pool> {
    return this.#place.directory.dynamic(this.query.settings.database);
  }

  arrived({ database, user }: Name, origin: DynamicOrigin): Pool | undefined {
    const name = { database, user };
    const settings = this.query.poolSettings(name, origin.found);
    if ("fault" in settings || settings.user !== user) return undefined;
    return this.#add(settings, origin, "expected");
  }

  /** Removes pools that nobody uses and that have no connection. */
  collect(): void {
    if (!this.#counts) return;
    for (const pool of [...this.#pools()]) {
      if (isUnused(pool) && pool.size + pool.settings.min_pool_size === 0) this.#remove(pool);
    }
  }

  /** Removes the pool that nobody has used for longest, with its connections. */
  #makeRoom(): boolean {
    for (const pool of this.#pools()) {
      if (!isUnused(pool)) continue;
      this.#remove(pool);
      return true;
    }
    return false;
  }

  #remove(pool: Pool): void {
    this.query.count("dynamic_pools_destroyed");
    this.#place.directory.endDynamic(pool);
  }

  /** New settings: pools that are made in the same way get them, the others take no more clients. */
  change(settings: AuthQuerySettings): void {
    const { directory, log } = this.#place;
    const before = this.query.settings.template.user;
    const pools = [...this.#pools()];
    this.query.apply(settings);
    for (const pool of pools) {
      const { found } = directory.originOf(pool)!;
      const { database, user } = pool.settings;
      const fresh = this.query.poolSettings({ database, user }, found);
      if (before === settings.template.user && !("fault" in fresh)) {
        pool.apply({ ...fresh, home: settings.home });
        continue;
      }
      if ("fault" in fresh) log.warn(TARGET, `[${pool.name}] ${oneLine(fresh.fault)}`);
      if (this.#counts) this.query.count("dynamic_pools_destroyed");
      directory.retireDynamic(pool);
    }
  }

  row(): AuthQueryRow {
    const { query } = this;
    const { counts, dropped, settings } = query;
    return {
      database: settings.database,
      cache_entries: query.remembered,
      ...counts,
      dynamic_pools_current: this.#current,
      dropped: { ...dropped },
      worker: this.#place.index,
    };
  }
}

function isUnused({ clients, waiting, expected, paused, disabled, moved }: Pool): boolean {
  return clients + waiting + expected === 0 && !paused && !disabled && !moved;
}

/** PostgreSQL cuts longer names: several would lead to the same database. */
function mayBeDatabase(name: string): boolean {
  return name.length <= NAME_BYTES && bytesOfText(name).length <= NAME_BYTES;
}
