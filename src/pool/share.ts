/**
 * A pool's part in the limits over several pools: what it counts with, what it may ask for, and what its clients are
 * told when there is no place. coordinator.ts decides.
 */

import type { PoolSettings } from "../config/settings.ts";
import type { Reason } from "../reasons.ts";
import type { Timer } from "../reactor/timers.ts";
import { guaranteed } from "./capacity.ts";

/** An idle server that may have to go for another pool's. */
export interface LimitedServer {
  readonly state: { readonly createdAtMs: number; readonly usedAtMs: number };
  close(reason: Reason, detail: string): void;
}

/** What the coordinator needs of a pool. */
export interface LimitedPool {
  readonly settings: PoolSettings;
  readonly name: string;
  /** Servers that it has or is connecting. */
  readonly size: number;
  /** Servers that another process still has and will send. */
  readonly expected: number;
  readonly waiting: number;
  /** Clients that have logged in. */
  readonly seated: number;
  /** It lives on elsewhere, with its counts. */
  readonly moved: boolean;
  /** Mean time of a transaction, 0 when unknown. Slow pools give their servers first. */
  readonly transactionTime: number;
  longestWaitMs(now: number): number;
  idleServers(): readonly LimitedServer[];
  /** There may be a place now. */
  grow(): void;
}

/** Events of one database since the start. */
export interface LimitCounts {
  evictions: number;
  reserveGrants: number;
  exhaustions: number;
}

/** Clients that have logged in, by user. */
export interface UserSeats {
  of(user: string): number;
  change(user: string, by: 1 | -1): void;
}

/** Who keeps the limits. */
export interface ShareKeeper {
  readonly seats: UserSeats;
  /** Whether the pool gets a place; if not, it is asked to grow later. */
  take(share: Share): boolean;
  /** It has more or fewer servers. */
  count(share: Share): void;
  /** Something under the limit has changed. */
  changed(limit: Limit): void;
  /** New settings. */
  apply(share: Share): void;
  end(share: Share): void;
}

/** One limit and those under it. */
export class Limit {
  readonly of: "database" | "user";
  readonly name: string;
  /** 0: no limit, only counted. */
  max = 0;
  reserve = 0;
  total = 0;
  readonly shares = new Set<Share>();
  /** Pools that were refused. */
  readonly queue = new Set<Share>();
  /** Counts of pools that are gone. */
  readonly before: LimitCounts = noCounts();
  /** When the youngest server that is kept for its age alone may be closed. */
  timer: Timer | undefined = undefined;

  constructor(of: "database" | "user", name: string) {
    this.of = of;
    this.name = name;
  }

  /** Clients of all pools under it. */
  get clients(): number {
    let count = 0;
    for (const { pool } of this.shares) count += pool.seated;
    return count;
  }

  get over(): boolean {
    return this.max > 0 && this.total > this.max + this.reserve;
  }

  /** Places under `max` that are free; negative when the reserve is in use. */
  get free(): number {
    if (this.max === 0) return Infinity;
    let taken = this.total;
    for (const { pool } of this.shares) taken += pool.expected;
    return this.max - taken;
  }
}

/** A pool's part in the two limits that it is under. */
export class Share {
  readonly pool: LimitedPool;
  readonly database: Limit;
  readonly user: Limit;
  readonly counts: LimitCounts = noCounts();
  /** Servers that it counts with. */
  held = 0;
  /** The limit in whose queue it stands. */
  refusedBy: Limit | undefined = undefined;
  refusedAtMs = 0;
  ended = false;
  readonly #keeper: ShareKeeper;

  constructor(pool: LimitedPool, limits: [database: Limit, user: Limit], keeper: ShareKeeper) {
    this.pool = pool;
    [this.database, this.user] = limits;
    this.#keeper = keeper;
  }

  /** Clients by user. */
  get seats(): UserSeats {
    return this.#keeper.seats;
  }

  /** Whether the pool may connect a server for somebody who waits. If not, it is asked to grow later. */
  take(): boolean {
    return this.#keeper.take(this);
  }

  /** Whether it may connect one ahead: only while `free` places are. Nobody is closed for it. */
  takeAhead(free = 1): boolean {
    return this.database.free >= free && this.user.free >= free &&
      this.database.queue.size === 0 && this.user.queue.size === 0;
  }

  /** The pool has more or fewer servers. */
  count(): void {
    this.#keeper.count(this);
  }

  /** A server has become idle, or fewer are expected. */
  changed(): void {
    this.#keeper.changed(this.database);
    this.#keeper.changed(this.user);
  }

  /** Somebody waits for a place under one of its limits. */
  get contended(): boolean {
    return this.database.queue.size > 0 || this.user.queue.size > 0;
  }

  /** There are more servers than allowed: what comes back is closed. */
  get over(): boolean {
    return this.database.over || this.user.over;
  }

  /** Refused by the database's limit, and nothing of its own will come back. */
  get hopeless(): boolean {
    return this.refusedBy?.of === "database" && this.held === 0 && this.pool.expected === 0;
  }

  /** New settings. */
  apply(): void {
    this.#keeper.apply(this);
  }

  /** The pool ends: its servers still count until they are closed. */
  end(): void {
    this.#keeper.end(this);
  }

  /** Takes over what another process has counted. */
  addCounts(counts: LimitCounts): void {
    addTo(this.counts, counts);
  }

  /** A client is refused for want of a place: what it is told, or `undefined` if that is not why. */
  exhausted(): { first: string; second: string; log: string } | undefined {
    const limit = this.refusedBy;
    if (limit === undefined) return undefined;
    const { user } = this.pool.settings;
    const { max, reserve, total, name } = limit;
    if (limit.of === "user") {
      return {
        first: `of user "${user}"`,
        second: `max_user_connections=${max}`,
        log: `user "${name}" EXHAUSTED, total=${total} max_user_connections=${max}`,
      };
    }
    this.counts.exhaustions++;
    const used = reserveUsed(limit);
    const also = reserve > 0 ? `, reserve ${used}/${reserve}` : "";
    return {
      first: `to database "${name}"`,
      second: `max_db_connections=${max}, user="${user}"${also}`,
      log: `database "${name}" EXHAUSTED, active=${total - used}/${max} ` +
        `reserve=${used}/${reserve} total=${total}`,
    };
  }

  /** What eviction leaves alone. */
  get minimum(): number {
    return guaranteed(this.pool.settings);
  }

  /** Servers that it may lose. */
  get spare(): number {
    return Math.max(0, this.held - this.minimum);
  }
}

/** Places of the reserve that are in use: all that is beyond `max`, whenever it was opened. */
export function reserveUsed({ total, max }: Limit): number {
  return Math.max(0, total - max);
}

/** Nothing has happened yet. */
export function noCounts(): LimitCounts {
  return { evictions: 0, reserveGrants: 0, exhaustions: 0 };
}

/** Adds `counts` to `sum`. */
export function addTo(sum: LimitCounts, counts: LimitCounts): void {
  sum.evictions += counts.evictions;
  sum.reserveGrants += counts.reserveGrants;
  sum.exhaustions += counts.exhaustions;
}
