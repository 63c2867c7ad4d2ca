/**
 * Binary upgrade, old process: freezes the sessions and servers of this worker between two events and mails them in
 * batches. Nothing is forgotten before the new process has thawed it: until `taken` a frozen thing stays here, out of the
 * event loop, and comes back as it was if it can't be thawed there, or if the new process fails. Only what that one had
 * begun to thaw (`acknowledged`) is lost then: it may have spoken with the client already.
 *
 * ```
 *   start ─▶ pools with their servers, linked and waiting sessions ─▶ the others, batch by batch ─▶ what was in the way
 *                     (at once: their clients would notice a pause)       (idle: nobody waits)      (logins, cancels)
 * ```
 *
 * To a program without TLS clients with TLS stay, and so do the pools (not `whole`): the others go one by one, with the
 * server that they have at the moment.
 *
 * Batches are bounded by bytes as by number, and so is what is under way: whoever is frozen waits behind that much and no
 * more. A large session goes alone and by a way of its own, the idle ones last, and is passed by what is small: nobody waits
 * for another's megabytes. One too large for any way stays and finishes here.
 */

import type { MovingRow, WorkerToControl } from "../../mail.ts";
import type { Reactor } from "../../reactor/reactor.ts";
import type { ByteStream } from "../../reactor/stream.ts";
import type { Timer } from "../../reactor/timers.ts";
import type { Session } from "../../client/session.ts";
import { Stage } from "../../client/state.ts";
import type { Pool } from "../../pool/pool.ts";
import type { ServerConnection } from "../../server/connection.ts";
import { REASONS } from "../../reasons.ts";
import { ServerStage } from "../../server/state.ts";
import { TlsStream } from "../../tls/stream.ts";
import type { Directory, DynamicOrigin } from "../directory.ts";
import { type Batch, BatchQueue, inBatches, LARGE_BYTES, MOST_BATCH_BYTES } from "./batches.ts";
import { Packing, sizeOf } from "./blobs.ts";
import { type Held, heldPool, keeper, lost, putBack } from "./held.ts";

const IDLE_BATCH = 50;
/** Of one thing with its long byte arrays apart: as much as both processes have to have at once. */
const MOST_BYTES_APART = 1024 * 1024 * 1024;
/** Of one thing in a frame, which has them in base64, and which programs of any age take up to 256 MB. */
const MOST_BYTES_IN_FRAME = 128 * 1024 * 1024;
/** Batches under way before more idle sessions are frozen. */
const MOST_UNDER_WAY = 2;
const LOOK_AGAIN_MS = 20;
/** Pause before a batch that did not get through is sent again. */
const AGAIN_MS = 50;

/** What travels together, until it is known to live. */
interface SentBatch extends Batch<Held> {
  /** The new process has it whole but for these, and thaws it. */
  acknowledged: readonly number[] | undefined;
}

export class Departure {
  readonly #reactor: Reactor;
  readonly #index: number;
  readonly #sessions: ReadonlyMap<number, Session>;
  readonly #directory: Directory;
  readonly #post: (mail: WorkerToControl) => void;
  readonly #apart: boolean;
  readonly #tls: boolean;
  readonly #whole: boolean;
  /** Not acknowledged. */
  readonly #batches = new Map<number, SentBatch>();
  /** Those of them that are to be mailed when others have come. */
  readonly #queue = new BatchQueue();
  readonly #frozen = new Set<Session>();
  readonly #stranded = new Set<Pool>();
  readonly #done: (() => void) | undefined;
  readonly #pools = new Set<Pool>();
  /** Databases whose auth_query the new process has, too. */
  #authQueries: readonly string[] = [];
  #candidates: Session[] = [];
  #lastBatch = 0;
  #ended = false;
  #sweepTimer: Timer | undefined;
  #movedClients = 0;
  #movedServers = 0;

  constructor(
    worker: {
      reactor: Reactor;
      index: number;
      sessions: ReadonlyMap<number, Session>;
      directory: Directory;
      post: (mail: WorkerToControl) => void;
      /** Long byte arrays go by a file of their own. */
      apart: boolean;
      /** Connections with TLS are taken where it leads. */
      tls: boolean;
      /** Pools go, with all that they have; if not, they stay, and clients go without. */
      whole: boolean;
      /** Only pools move, no sessions that have none yet; called when nothing of them is left. */
      done?: () => void;
    },
  ) {
    this.#reactor = worker.reactor;
    this.#index = worker.index;
    this.#sessions = worker.sessions;
    this.#directory = worker.directory;
    this.#post = worker.post;
    this.#apart = worker.apart;
    this.#tls = worker.tls;
    this.#whole = worker.whole;
    this.#done = worker.done;
  }

  /** Begins with the pools that the new process has, too, or can make by these auth_queries. */
  start(
    pools: readonly { database: string; user: string }[],
    authQueries: readonly string[],
  ): void {
    this.#authQueries = authQueries;
    this.begin(this.#directory.going(pools, authQueries));
  }

  /** A pool was made meanwhile: it follows. */
  joined(pool: Pool, { database }: DynamicOrigin): void {
    if (this.#ended || !this.#authQueries.includes(database)) return;
    // Its first client is about to enter.
    this.#reactor.atEndOfTurn(() => {
      if (!this.#ended && !pool.moved) this.begin([pool]);
    });
  }

  /** Begins with these pools. */
  begin(pools: readonly Pool[]): void {
    const linked = new Map<Pool, Session[]>();
    for (const session of this.#sessions.values()) {
      if (session.server === undefined || session.pool === undefined) continue;
      const known = linked.get(session.pool);
      if (known === undefined) linked.set(session.pool, [session]);
      else known.push(session);
    }
    // Thousands of pools, most of them empty, are not as many batches.
    this.#ship(pools.flatMap((pool) => {
      this.#pools.add(pool);
      return this.#freezePool(pool, linked.get(pool) ?? []);
    }));
    this.#sweep();
  }

  #freezePool(pool: Pool, linked: Session[]): Held[] {
    const { database, user } = pool.settings;
    const snapshot = this.#whole ? pool.moving.begin() : pool.moving.copy();
    const held = [heldPool(pool, snapshot, this.#directory.originOf(pool))];
    if (!this.#whole) return held.concat(this.#freezeClients(pool, linked));
    const listener = this.#listenerGoes(pool) ? pool.listener.freeze() : undefined;
    if (listener !== undefined) {
      held.push({
        item: {
          type: "listener",
          database,
          user,
          fds: [listener.fd],
          listener: listener.snapshot,
        },
        pool,
        session: undefined,
        server: undefined,
      });
    }
    for (const server of [...pool.servers()]) {
      if (server.link !== undefined || server.cancelsUnderWay > 0) continue;
      if (this.#goes(server)) held.push(this.#freezeServer(pool, server));
      // What is not at rest is closed when it is.
      else if (server.state.stage === ServerStage.Idle) server.close(REASONS.serverStays, "");
    }
    return held.concat(this.#freezeClients(pool, linked));
  }

  #freezeClients(pool: Pool, linked: Session[]): Held[] {
    const going = linked.filter((session) => this.#mayGo(session));
    return going.map((session) => this.#freezeSession(session)).concat(this.#freezeWaiters(pool));
  }

  /** Whoever does not know TLS would take its records for plain bytes. */
  #goes({ stream }: { readonly stream: ByteStream }): boolean {
    return this.#tls || !(stream instanceof TlsStream);
  }

  /** Else it stays, with all who listen by it. */
  #listenerGoes({ listener }: Pool): boolean {
    return this.#whole && [...listener.servers()].every((server) => this.#goes(server));
  }

  /** What it is can't be told there. */
  #stays(session: Session): boolean {
    const { pool, state } = session;
    return !this.#goes(session) ||
      state.listens !== undefined && pool !== undefined && !this.#listenerGoes(pool);
  }

  /** It has got TLS when nobody had any and the pools were gone already: there is nothing here for it. */
  #endIfLate(session: Session): boolean {
    if (!this.#whole || this.#goes(session)) return false;
    session.fail("FATAL", REASONS.adminShutdown, "", "");
    return true;
  }

  #freezeServer(pool: Pool, server: ServerConnection): Held {
    const { database, user } = pool.settings;
    pool.takeOut(server);
    const fds = [server.stream.fd];
    const snapshot = server.freeze();
    return {
      item: { type: "server", database, user, fds, server: snapshot },
      pool,
      session: undefined,
      server,
    };
  }

  #freezeSession(session: Session): Held {
    const { pool, server } = session;
    // Several users may share a pool.
    const { database, user } = pool?.settings ?? session.state;
    const fds: number[] = [session.stream.fd];
    if (pool !== undefined) pool.leaveQueue(session);
    if (server !== undefined) {
      keeper(session, pool!).takeOut(server);
      fds.push(server.stream.fd);
      // Its place is free for those who stay.
      if (!this.#whole) this.#reactor.atEndOfTurn(() => pool!.grow());
    }
    this.#frozen.add(session);
    const snapshot = session.freeze();
    return {
      item: { type: "session", database, user, fds, session: snapshot },
      pool,
      session,
      server,
    };
  }

  #freezeWaiters(pool: Pool): Held[] {
    const waiters = [...pool.waiters()] as Session[];
    return waiters.filter((one) => !this.#endIfLate(one) && this.#goes(one))
      .map((one) => this.#freezeSession(one));
  }

  /** A client of a moved pool wants a server: it goes where they are, when this turn is over. */
  strand(pool: Pool): void {
    if (this.#stranded.size === 0) {
      this.#reactor.atEndOfTurn(() => {
        const pools = [...this.#stranded];
        this.#stranded.clear();
        for (const one of pools) if (one.moved) this.#ship(this.#freezeWaiters(one));
      });
    }
    this.#stranded.add(pool);
  }

  /** What was in the way of a server is over. */
  late(pool: Pool, server: ServerConnection | undefined): void {
    // The caller is in the middle of its work with the server.
    this.#reactor.atEndOfTurn(() => {
      if (!pool.moved || this.#ended) return;
      if (server === undefined) this.#ship([lost(pool)]);
      // Closed since then, or gone by another way.
      else if (server.state.stage === ServerStage.Closed || !pool.moving.has(server)) return;
      else if (server.link === undefined) {
        if (this.#goes(server)) this.#ship([this.#freezeServer(pool, server)]);
        else server.close(REASONS.serverStays, "");
      } else {
        const session = server.link as Session;
        if (this.#mayGo(session)) this.#ship([this.#freezeSession(session)]);
      }
    });
  }

  // ── batches ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #ship(held: Held[]): void {
    const most = this.#apart ? MOST_BYTES_APART : MOST_BYTES_IN_FRAME;
    for (const batch of inBatches(held, most, (one) => this.#keep(one))) {
      const number = ++this.#lastBatch;
      this.#batches.set(number, { ...batch, acknowledged: undefined });
      this.#queue.add(number, batch);
    }
    this.#mailNext();
  }

  #mailNext(): void {
    for (let number; (number = this.#queue.next()) !== undefined;) {
      this.#mail(number, this.#batches.get(number)!);
    }
  }

  #mail(number: number, batch: SentBatch): void {
    const items = batch.held.map(({ item }) => item);
    const { large } = batch;
    if (!this.#apart) {
      this.#post({ kind: "frozen", batch: number, large, blobs: undefined, items });
      return;
    }
    const packing = new Packing(items);
    const step = () => {
      if (this.#batches.get(number) !== batch) packing.abandon();
      else if (!packing.step()) this.#reactor.atEndOfTurn(step);
      else {
        // Without room for their bytes apart they go with them: it is tried, and refused if that is too much.
        const packed = packing.take();
        this.#post({ kind: "frozen", batch: number, large, blobs: undefined, items, ...packed });
      }
    };
    step();
  }

  /** The new process had no room for it: all of it is here still, and out of the event loop. */
  notTaken(batch: number): void {
    this.#reactor.at(this.#reactor.now + AGAIN_MS, () => {
      const again = this.#batches.get(batch);
      if (again !== undefined) this.#mail(batch, again);
    });
  }

  /** Freezes idle sessions while few batches are under way, and looks again for those that could not be frozen. */
  #sweep(): void {
    if (this.#ended) return;
    while (this.#batches.size < MOST_UNDER_WAY) {
      const held: Held[] = [];
      let bytes = 0;
      while (held.length < IDLE_BATCH && bytes < MOST_BATCH_BYTES) {
        const session = this.#candidates.pop();
        if (session === undefined) break;
        if (!this.#mayGo(session)) continue;
        const frozen = this.#freezeSession(session);
        bytes += sizeOf(frozen.item);
        held.push(frozen);
      }
      if (held.length === 0) break;
      this.#ship(held);
    }
    if (this.#candidates.length > 0) return;
    if (this.#done !== undefined && this.#empty) {
      this.#ended = true;
      this.#done();
      return;
    }
    const small: Session[] = [];
    for (const session of this.#sessions.values()) {
      if (this.#endIfLate(session) || !this.#mayGo(session)) continue;
      (likelyBytes(session) > LARGE_BYTES ? this.#candidates : small).push(session);
    }
    // The last are the first to go.
    for (const session of small) this.#candidates.push(session);
    if (this.#candidates.length > 0 && this.#batches.size < MOST_UNDER_WAY) {
      this.#reactor.atEndOfTurn(() => this.#sweep());
    } else this.#sweepLater();
  }

  get #empty(): boolean {
    if (this.#batches.size > 0) return false;
    for (const { size, clients } of this.#pools) if (size + clients > 0) return false;
    return true;
  }

  /** Sessions come late, too: from another worker, or when their login is through. */
  #sweepLater(): void {
    this.#sweepTimer?.cancel();
    this.#sweepTimer = this.#reactor.at(this.#reactor.now + LOOK_AGAIN_MS, () => this.#sweep());
  }

  #mayGo(session: Session): boolean {
    const { server } = session;
    if (this.#stays(session) || server !== undefined && !this.#goes(server)) return false;
    return session.movable && !this.#frozen.has(session) &&
      (session.pool === undefined ? this.#done === undefined : this.#pools.has(session.pool));
  }

  /** The new process is about to thaw these, but for those it refuses. */
  acknowledged(batch: number, refused: readonly number[]): void {
    const known = this.#batches.get(batch);
    if (known !== undefined) known.acknowledged = refused;
  }

  /** These live in the new process: here they are forgotten. */
  taken(batch: number, refused: readonly number[]): void {
    const known = this.#batches.get(batch);
    if (known === undefined) return;
    this.#batches.delete(batch);
    this.#queue.arrived(known);
    known.held.forEach((one, i) => {
      const stays = refused.includes(i) || known.acknowledged?.includes(i) === true;
      if (stays) this.#keep(one);
      else this.#forget(one);
    });
    this.#mailNext();
    this.#sweep();
  }

  #forget({ item, pool, session, server }: Held): void {
    if (session !== undefined) {
      this.#movedClients++;
      if (server !== undefined) this.#movedServers++;
      this.#frozen.delete(session);
      session.forget();
    } else if (server !== undefined) {
      this.#movedServers++;
      server.forget();
    } else if (item.type === "listener") {
      this.#movedServers++;
      pool!.listener.forget();
    }
  }

  /** A refused one stays for good: `#frozen` still has it, so that it is not tried again. */
  #keep(held: Held): void {
    putBack(held);
    held.session?.unfreeze();
    // Nobody would use it here, and it would be waited for.
    if (held.session === undefined) held.server?.close(REASONS.poolClosed, "");
  }

  /** The new process is gone. */
  failed(): void {
    this.#ended = true;
    this.#sweepTimer?.cancel();
    const batches = Array.from(this.#batches.values(), ({ held, acknowledged }) => {
      if (acknowledged === undefined) return held;
      held.forEach((one, i) => {
        if (!acknowledged.includes(i)) this.#forget(one);
      });
      return held.filter((_, i) => acknowledged.includes(i));
    });
    this.#batches.clear();
    this.#queue.clear();
    this.#frozen.clear();
    for (const pool of this.#pools) pool.moving.end();
    // Servers first: a client that waits must not have another one made meanwhile.
    for (const held of batches) held.forEach(putBack);
    for (const held of batches) for (const { session } of held) session?.unfreeze();
    for (const pool of this.#pools) pool.moving.goOn();
  }

  /** What is still here. */
  row(): MovingRow {
    const row: MovingRow = {
      unknownPool: 0,
      unknownFormat: 0,
      underWay: 0,
      refused: 0,
      consoles: 0,
      late: this.#batches.size,
      frozen: 0,
      movedClients: this.#movedClients,
      movedServers: this.#movedServers,
      worker: this.#index,
    };
    for (const session of this.#sessions.values()) {
      if (session.frozen) continue;
      if (session.state.stage === Stage.Admin) row.consoles++;
      else if (this.#frozen.has(session)) row.refused++;
      else if (this.#stays(session)) row.unknownFormat++;
      else if (session.pool === undefined || this.#pools.has(session.pool)) row.underWay++;
      else row.unknownPool++;
    }
    for (const { held, acknowledged } of this.#batches.values()) {
      held.forEach(({ session, server }, i) => {
        const theirs = acknowledged?.includes(i) === false;
        if (session !== undefined) row[theirs ? "movedClients" : "frozen"]++;
        if (server !== undefined && theirs) row.movedServers++;
      });
    }
    for (const pool of this.#pools) if (this.#whole) row.late += pool.size;
    return row;
  }
}

/** What a session would have, or more: a text that it shares is another's to bring. */
function likelyBytes({ state, kept }: Session): number {
  return state.statementBytes + (state.unnamed?.length ?? 0) + (kept?.length ?? 0);
}
