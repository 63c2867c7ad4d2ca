/**
 * Limits over several pools: `max_db_connections` with its reserve for all users of a database, `max_user_connections`
 * for one user in all databases. All pools under one limit live on one worker (config/homes.ts), so it is plain data.
 *
 * What must hold: a pool counts with every server that it has or is connecting, idle or not; servers that arrive by an
 * upgrade are never refused; while a pool stands in a limit's line no place under that limit is free, so nobody is let
 * past; whatever may free a place (a server closed or gone idle, one old enough to be closed, new settings) has the line
 * served when the turn ends.
 *
 * ```
 *            may connect                         refused                       served, best first
 *   [pool] ──────────────▶ place, reserve or ─────────────▶ [line of the limit] ─────────────────▶ asks again
 *                          another pool's idle server
 * ```
 */

import type { PoolSettings } from "../config/settings.ts";
import type { Log } from "../log/log.ts";
import { type Reason, REASONS } from "../reasons.ts";
import type { Reactor } from "../reactor/reactor.ts";
import type { Timer } from "../reactor/timers.ts";

const TARGET = "pg_doorman::pool::pool_coordinator";

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

/** A database under a limit, for SHOW POOL_COORDINATOR. */
export interface DatabaseLimit extends LimitCounts {
  database: string;
  max: number;
  current: number;
  reserve: number;
  reserveUsed: number;
}

/** One limit and those under it. */
class Limit {
  readonly of: "database" | "user";
  readonly name: string;
  /** 0: no limit, only counted. */
  max = 0;
  reserve = 0;
  total = 0;
  readonly shares = new Set<Share>();
  /** Pools that were refused. */
  readonly line = new Set<Share>();
  /** Counts of pools that are gone. */
  readonly before: LimitCounts = noCounts();
  /** When the youngest server that is kept for its age alone may be closed. */
  timer: Timer | undefined = undefined;

  constructor(of: "database" | "user", name: string) {
    this.of = of;
    this.name = name;
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
  /** The limit in whose line it stands. */
  refusedBy: Limit | undefined = undefined;
  refusedAtMs = 0;
  ended = false;
  readonly #coordinator: Coordinator;

  constructor(pool: LimitedPool, limits: [database: Limit, user: Limit], coordinator: Coordinator) {
    this.pool = pool;
    [this.database, this.user] = limits;
    this.#coordinator = coordinator;
  }

  /** Whether the pool may connect a server for somebody who waits. If not, it is asked to grow later. */
  take(): boolean {
    return this.#coordinator.take(this);
  }

  /** Whether it may connect one ahead: only while `free` places are. Nobody is closed for it. */
  takeAhead(free = 1): boolean {
    return this.database.free >= free && this.user.free >= free &&
      this.database.line.size === 0 && this.user.line.size === 0;
  }

  /** The pool has more or fewer servers. */
  count(): void {
    this.#coordinator.count(this);
  }

  /** A server has become idle, or fewer are expected. */
  changed(): void {
    this.#coordinator.changed(this.database);
    this.#coordinator.changed(this.user);
  }

  /** Somebody waits for a place under one of its limits. */
  get contended(): boolean {
    return this.database.line.size > 0 || this.user.line.size > 0;
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
    this.#coordinator.apply(this);
  }

  /** The pool ends: its servers still count until they are closed. */
  end(): void {
    this.#coordinator.end(this);
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
    const { min_pool_size, min_guaranteed_pool_size } = this.pool.settings;
    return Math.max(min_pool_size, min_guaranteed_pool_size);
  }

  /** Servers that it may lose. */
  get spare(): number {
    return Math.max(0, this.held - this.minimum);
  }
}

export class Coordinator {
  readonly #reactor: Reactor;
  readonly #log: Log;
  readonly #databases = new Map<string, Limit>();
  readonly #users = new Map<string, Limit>();
  /** Limits whose line is served, or whose surplus is closed, when the turn ends. */
  readonly #changed = new Set<Limit>();
  /** The pool at the head of the line that is being served. */
  #served: Share | undefined = undefined;

  constructor({ reactor, log }: { reactor: Reactor; log: Log }) {
    this.#reactor = reactor;
    this.#log = log;
  }

  /** A new pool. */
  join(pool: LimitedPool): Share {
    const { database, user } = pool.settings;
    const share = new Share(pool, [
      limitOf(this.#databases, "database", database),
      limitOf(this.#users, "user", user),
    ], this);
    share.database.shares.add(share);
    share.user.shares.add(share);
    this.apply(share);
    return share;
  }

  apply(share: Share): void {
    const { database, user, pool: { settings } } = share;
    database.max = settings.max_db_connections;
    database.reserve = database.max === 0 ? 0 : settings.reserve_pool_size;
    user.max = settings.max_user_connections;
    this.changed(database);
    this.changed(user);
  }

  end(share: Share): void {
    share.ended = true;
    this.#leaveLine(share);
    this.count(share);
  }

  count(share: Share): void {
    const { database, user, pool } = share;
    const more = pool.size - share.held;
    share.held = pool.size;
    database.total += more;
    user.total += more;
    if (more < 0) share.changed();
    if (share.ended && share.held === 0) this.#forget(share);
  }

  #forget(share: Share): void {
    for (
      const [limit, limits] of [[share.database, this.#databases], [
        share.user,
        this.#users,
      ]] as const
    ) {
      if (!limit.shares.delete(share)) continue;
      if (!share.pool.moved) addTo(limit.before, share.counts);
      if (limit.shares.size > 0) continue;
      limit.timer?.cancel();
      limits.delete(limit.name);
    }
  }

  // ── places ──────────────────────────────────────────────────────────────────────────────────────────────────────

  take(share: Share): boolean {
    if (share === this.#served) {
      // One at a time: then it is seen again whose turn it is.
      this.#served = undefined;
    } else {
      const line = this.#lineBefore(share);
      if (line !== undefined) return this.#refuse(share, line);
    }
    const refusing = this.#makeRoom(share);
    if (refusing !== undefined) return this.#refuse(share, refusing);
    this.#leaveLine(share);
    return true;
  }

  #lineBefore({ database, user }: Share): Limit | undefined {
    if (database.line.size > 0) return database;
    return user.line.size > 0 ? user : undefined;
  }

  /** Makes sure that there is a place under both limits; otherwise nothing has changed, and the limit is told. */
  #makeRoom(share: Share): Limit | undefined {
    const { database, user, pool } = share;
    const { free } = database;
    const inReserve = free <= 0 && free > -database.reserve;
    let ofDatabase: Found | undefined;
    let ofUser: Found | undefined;
    if (user.free <= 0) {
      ofUser = user.free < 0 ? undefined : this.#longestIdle(share);
      if (ofUser === undefined) return user;
    }
    if (free <= 0 && !inReserve) {
      ofDatabase = free < -database.reserve ? undefined : this.#evictable(share);
      if (ofDatabase === undefined) return database;
    }
    if (inReserve) {
      share.counts.reserveGrants++;
      this.#log.info(
        TARGET,
        `[pool: ${database.name}] reserve connection for ${pool.name}, ` +
          `reserve=${reserveUsed(database) + 1}/${database.reserve}`,
      );
    }
    if (ofDatabase !== undefined) share.counts.evictions++;
    for (const found of [ofDatabase, ofUser]) {
      found?.server.close(REASONS.serverEvicted, pool.name);
    }
    return undefined;
  }

  #refuse(share: Share, limit: Limit): false {
    if (share.refusedBy === limit) return false;
    this.#leaveLine(share);
    share.refusedBy = limit;
    share.refusedAtMs = this.#reactor.now;
    limit.line.add(share);
    return false;
  }

  #leaveLine(share: Share): void {
    share.refusedBy?.line.delete(share);
    share.refusedBy = undefined;
  }

  /** Another user's server that may go: of the slowest pool, then of the one that has most to spare, its oldest. */
  #evictable(share: Share): Found | undefined {
    const { now } = this.#reactor;
    let best: Found | undefined;
    let nextMs = Infinity;
    for (const owner of share.database.shares) {
      if (owner === share || owner.spare === 0) continue;
      const server = oldest(owner.pool.idleServers());
      if (server === undefined) continue;
      const fromMs = server.state.createdAtMs + owner.pool.settings.min_connection_lifetime;
      if (fromMs > now) nextMs = Math.min(nextMs, fromMs);
      else if (best === undefined || givesBefore(owner, best.owner)) best = { owner, server };
    }
    if (best === undefined && nextMs !== Infinity) this.#lookAgain(share.database, nextMs);
    return best;
  }

  #lookAgain(limit: Limit, atMs: number): void {
    const { timer } = limit;
    if (timer?.fire !== undefined && timer.at <= atMs) return;
    timer?.cancel();
    limit.timer = this.#reactor.at(atMs, () => this.changed(limit));
  }

  /** The user's server that has been idle longest in another database. Its age does not matter: nobody else gains. */
  #longestIdle(share: Share): Found | undefined {
    let best: Found | undefined;
    for (const owner of share.user.shares) {
      if (owner === share || owner.spare === 0) continue;
      for (const server of owner.pool.idleServers()) {
        if (best !== undefined && best.server.state.usedAtMs <= server.state.usedAtMs) continue;
        best = { owner, server };
      }
    }
    return best;
  }

  // ── the line ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Something under the limit has changed: the line is served when the turn ends. */
  changed(limit: Limit): void {
    if (limit.line.size === 0 && !limit.over) return;
    if (this.#changed.size === 0) this.#reactor.atEndOfTurn(() => this.#serveAll());
    this.#changed.add(limit);
  }

  #serveAll(): void {
    const limits = [...this.#changed];
    this.#changed.clear();
    for (const limit of limits) {
      if (limit.over) this.#closeSurplus(limit, limit.max + limit.reserve, () => 0);
      this.#serve(limit);
    }
  }

  #serve(limit: Limit): void {
    const elsewhere = new Set<Share>();
    for (;;) {
      const share = this.#next(limit, elsewhere);
      if (share === undefined) return;
      const { refusedAtMs, held } = share;
      this.#leaveLine(share);
      this.#served = share;
      share.pool.grow();
      this.#served = undefined;
      if (share.held > held) continue;
      // It may not want one any more, or rest after a failure.
      if (share.refusedBy === undefined) continue;
      share.refusedAtMs = refusedAtMs;
      // What it was refused for is true of all behind it.
      if (share.refusedBy === limit) return;
      elsewhere.add(share);
    }
  }

  /**
   * Whose turn it is: a user below its minimum comes first, then, for the reserve, the longest queue, then the client that
   * has waited longest.
   */
  #next(limit: Limit, except: ReadonlySet<Share>): Share | undefined {
    const { now } = this.#reactor;
    const ofReserve = limit.reserve > 0 && limit.total >= limit.max;
    const isBefore = (a: Share, b: Share): boolean => {
      const below = Number(a.held < a.minimum) - Number(b.held < b.minimum);
      if (below !== 0) return below > 0;
      const longer = ofReserve ? queued(a) - queued(b) : 0;
      return longer !== 0 ? longer > 0 : a.pool.longestWaitMs(now) > b.pool.longestWaitMs(now);
    };
    let best: Share | undefined;
    for (const share of limit.line) {
      if (except.has(share)) continue;
      if (best === undefined || isBefore(share, best)) best = share;
    }
    return best;
  }

  // ── surplus ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** From time to time: servers beyond `max_db_connections` that have not been needed for a while are closed. */
  retain(): void {
    for (const limit of this.#databases.values()) {
      if (limit.max === 0 || limit.total <= limit.max) continue;
      this.#closeSurplus(
        limit,
        limit.max,
        ({ min_connection_lifetime }) => min_connection_lifetime,
      );
    }
  }

  /**
   * Closes servers that were idle so long, the longest first, until `ceiling` is kept: those beyond their user's guarantee,
   * then whatever is beyond `min_pool_size`.
   */
  #closeSurplus(limit: Limit, ceiling: number, idleMs: (settings: PoolSettings) => number): void {
    const until = (pool: LimitedPool) => this.#reactor.now - idleMs(pool.settings);
    const idle = [...limit.shares].flatMap((owner) =>
      [...owner.pool.idleServers()].filter(({ state }) => state.usedAtMs <= until(owner.pool))
        .map((server) => ({ owner, server }))
    ).sort((a, b) => a.server.state.usedAtMs - b.server.state.usedAtMs);
    for (const guarantee of ["min_guaranteed_pool_size", "min_pool_size"] as const) {
      for (const { owner, server } of idle) {
        if (limit.total <= ceiling) return;
        const { settings } = owner.pool;
        if (owner.held <= Math.max(settings[guarantee], settings.min_pool_size)) continue;
        server.close(REASONS.serverSurplus, "");
      }
    }
  }

  // ── figures ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The databases that have a limit. */
  *databases(): Iterable<DatabaseLimit> {
    for (const limit of this.#databases.values()) {
      if (limit.max === 0) continue;
      const counts = { ...limit.before };
      for (const share of limit.shares) addTo(counts, share.counts);
      yield {
        database: limit.name,
        max: limit.max,
        current: limit.total,
        reserve: limit.reserve,
        reserveUsed: reserveUsed(limit),
        ...counts,
      };
    }
  }
}

interface Found {
  owner: Share;
  server: LimitedServer;
}

/** Places of the reserve that are in use: all that is beyond `max`, whenever it was opened. */
function reserveUsed({ total, max }: Limit): number {
  return Math.max(0, total - max);
}

function limitOf(limits: Map<string, Limit>, of: Limit["of"], name: string): Limit {
  let limit = limits.get(name);
  if (limit === undefined) limits.set(name, limit = new Limit(of, name));
  return limit;
}

function oldest(servers: readonly LimitedServer[]): LimitedServer | undefined {
  let found: LimitedServer | undefined;
  for (const server of servers) {
    if (found === undefined || server.state.createdAtMs < found.state.createdAtMs) found = server;
  }
  return found;
}

function givesBefore(a: Share, b: Share): boolean {
  const [slow, other] = [a.pool.transactionTime, b.pool.transactionTime];
  return slow === other ? a.spare > b.spare : slow > other;
}

/** Clients that wait beyond what the pool has. */
function queued({ pool, held }: Share): number {
  return Math.max(0, pool.waiting - held);
}

/** Nothing has happened yet. */
export function noCounts(): LimitCounts {
  return { evictions: 0, reserveGrants: 0, exhaustions: 0 };
}

function addTo(sum: LimitCounts, counts: LimitCounts): void {
  sum.evictions += counts.evictions;
  sum.reserveGrants += counts.reserveGrants;
  sum.exhaustions += counts.exhaustions;
}
