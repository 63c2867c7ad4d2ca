/**
 * Keeps the limits over several pools: `max_db_connections` with its reserve for all users of a database,
 * `max_user_connections` for one user in all databases; share.ts has a pool's part in them. All pools under one limit
 * live on one worker (config/homes.ts), so it is plain data.
 *
 * What must hold: a pool counts with every server that it has or is connecting, idle or not; servers that arrive by an
 * upgrade are never refused; while a pool stands in a limit's queue no place under that limit is free, so nobody is let
 * past; whatever may free a place (a server closed or gone idle, one old enough to be closed, new settings) has the queue
 * served when the turn ends.
 *
 * ```
 *            may connect                         refused                       served, best first
 *   [pool] ──────────────▶ place, reserve or ─────────────▶ [queue of the limit] ─────────────────▶ asks again
 *                          another pool's idle server
 * ```
 */

import type { PoolSettings } from "../config/settings.ts";
import type { Log } from "../log/log.ts";
import { REASONS } from "../reasons.ts";
import type { Reactor } from "../reactor/reactor.ts";
import { guaranteed } from "./capacity.ts";
import { Seats } from "./seats.ts";
import {
  addTo,
  Limit,
  type LimitCounts,
  type LimitedPool,
  type LimitedServer,
  reserveUsed,
  Share,
  type ShareKeeper,
} from "./share.ts";

const TARGET = "pg_doorman::pool::pool_coordinator";

/** A database under a limit, for SHOW POOL_COORDINATOR. */
export interface DatabaseLimit extends LimitCounts {
  database: string;
  max: number;
  current: number;
  reserve: number;
  reserveUsed: number;
}

export class Coordinator implements ShareKeeper {
  readonly seats: Seats = new Seats();
  readonly #reactor: Reactor;
  readonly #log: Log;
  readonly #databases = new Map<string, Limit>();
  readonly #users = new Map<string, Limit>();
  /** Limits whose queue is served, or whose surplus is closed, when the turn ends. */
  readonly #changed = new Set<Limit>();
  /** The pool at the head of the queue that is being served. */
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
    this.#leaveQueue(share);
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
      const limit = this.#queueBefore(share);
      if (limit !== undefined) return this.#refuse(share, limit);
    }
    const refusing = this.#makeRoom(share);
    if (refusing !== undefined) return this.#refuse(share, refusing);
    this.#leaveQueue(share);
    return true;
  }

  #queueBefore({ database, user }: Share): Limit | undefined {
    if (database.queue.size > 0) return database;
    return user.queue.size > 0 ? user : undefined;
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
    this.#leaveQueue(share);
    share.refusedBy = limit;
    share.refusedAtMs = this.#reactor.now;
    limit.queue.add(share);
    return false;
  }

  #leaveQueue(share: Share): void {
    share.refusedBy?.queue.delete(share);
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

  // ── the queue ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** Something under the limit has changed: the queue is served when the turn ends. */
  changed(limit: Limit): void {
    if (limit.queue.size === 0 && !limit.over) return;
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
      this.#leaveQueue(share);
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
    for (const share of limit.queue) {
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
        if (owner.held <= guaranteed(owner.pool.settings, guarantee)) continue;
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
