/**
 * A pool goes to another process, and comes from one: what it gives up and takes in, and what it waits for meanwhile. Who
 * moves when is decided above (worker/moving/).
 *
 * What must hold: while a pool is moved, or expects servers that another process still has, it opens none in their place.
 */

import type { Reactor } from "../reactor/reactor.ts";
import type { ServerState } from "../server/state.ts";
import { ServerStage } from "../server/state.ts";
import type { PooledServer, Servers } from "./servers.ts";
import {
  learnFrom,
  type PoolSnapshot,
  snapshotOf,
  thawInto,
  type TravelingPool,
} from "./snapshot.ts";
import type { Waiting } from "./waiting.ts";

/** A server connection that moves. */
export interface MovingServer extends PooledServer {
  readonly state: ServerState;
  readonly owed: { readonly length: number };
}

/** What is needed of a pool, and what is changed of it. */
export interface MovingPool<Server> extends TravelingPool {
  moved: boolean;
  expected: number;
  grow(): void;
  warm(): void;
  /** Takes a server in. */
  adopt(server: Server): Server;
  /** Nothing is owed: cleans the server if need be, and offers it. */
  afterUse(server: Server): void;
}

/** The parts of the pool that are told. */
export interface MovingParts<Server extends MovingServer> {
  readonly servers: Servers<Server>;
  readonly waiting: Waiting;
  readonly reactor: Pick<Reactor, "atEndOfTurn">;
  readonly patience: { watch(): void; stop(): void };
  readonly pacing: { stop(): void };
  readonly creation: { stopRetrying(): void };
  readonly deadlines: { limit(server: Server, ms: number): void };
  readonly checks: { end(server: Server): boolean; resume(server: Server): void };
  readonly listener: { expect(): void; expectNothing(): void; goOn(): void };
}

export class Moving<Server extends MovingServer> {
  readonly #pool: MovingPool<Server>;
  readonly #parts: MovingParts<Server>;

  constructor(pool: MovingPool<Server>, parts: MovingParts<Server>) {
    this.#pool = pool;
    this.#parts = parts;
  }

  // ── to another process ──────────────────────────────────────────────────────────────────────────────────────────

  /** Gives the pool up: from here on every server and waiter that is taken out goes to another process. */
  begin(): PoolSnapshot {
    const { servers, patience, pacing, creation } = this.#parts;
    servers.closeOutdated();
    this.#pool.moved = true;
    patience.stop();
    pacing.stop();
    creation.stopRetrying();
    return snapshotOf(this.#pool);
  }

  /** What another process should have of the pool although it stays: of its servers none is to be expected. */
  copy(): PoolSnapshot {
    return { ...snapshotOf(this.#pool), servers: 0 };
  }

  /** The other process is gone: what was frozen here is put back next, then `goOn`. */
  end(): void {
    this.#pool.moved = false;
  }

  /** All that was frozen is back. */
  goOn(): void {
    this.#parts.patience.watch();
    this.#pool.grow();
    this.#pool.warm();
    this.#parts.listener.goOn();
  }

  has(server: Server): boolean {
    return this.#parts.servers.all.has(server);
  }

  /** Takes a server that is about to be frozen out of the pool; `putBack` is the way back. */
  takeOut(server: Server): void {
    const { servers, checks } = this.#parts;
    servers.remove(server);
    checks.end(server);
    this.#pool.share.count();
    server.state.epoch = server.state.epoch === servers.epoch ? 0 : -1;
  }

  putBack(server: Server): void {
    const { servers } = this.#parts;
    servers.add(server);
    this.#pool.share.count();
    if (server.state.epoch === 0) server.state.epoch = servers.epoch;
    this.#resume(server);
  }

  // ── from another process ────────────────────────────────────────────────────────────────────────────────────────

  /** Until another process says how many servers it will send, none is made here. */
  expect(): void {
    this.#pool.expected = Infinity;
    this.#parts.listener.expect();
  }

  /** The pool's own part of what was expected is here; its servers follow. */
  thaw(snapshot: PoolSnapshot): void {
    const pool = this.#pool;
    pool.expected = snapshot.servers;
    thawInto(pool, snapshot);
    this.#growLater();
    if (pool.defaults === undefined) return;
    for (const waiter of [...this.#parts.waiting]) waiter.parametersKnown();
  }

  /** A server connection from another process. */
  adopt(server: Server): void {
    if (server.state.epoch === 0) server.state.epoch = this.#parts.servers.epoch;
    learnFrom(this.#pool, server.state);
    this.#pool.adopt(server);
    this.arrived();
    this.#resume(server);
  }

  /** One of the servers to come is here, or will never be. */
  arrived(): void {
    const pool = this.#pool;
    pool.expected = Math.max(0, pool.expected - 1);
    this.#growLater();
  }

  /** Nothing more will come. */
  expectNothing(): void {
    const pool = this.#pool;
    pool.statements.arrivalsEnd();
    this.#parts.listener.expectNothing();
    if (pool.expected === 0) return;
    pool.expected = 0;
    this.#growLater();
  }

  /** When all that has come in this turn is in its place. */
  #growLater(): void {
    this.#pool.share.changed();
    this.#parts.reactor.atEndOfTurn(() => {
      this.#pool.grow();
      this.#pool.warm();
    });
  }

  #resume(server: Server): void {
    const { state } = server;
    const { stage, usedAtMs } = state;
    if (stage === ServerStage.Idle) {
      this.#pool.afterUse(server);
      // It has rested as long as it has: nobody used it.
      if (state.stage === ServerStage.Idle) state.usedAtMs = usedAtMs;
    } else if (stage === ServerStage.Cleaning || stage === ServerStage.Draining) {
      this.#parts.deadlines.limit(server, this.#pool.settings.connect_timeout);
      this.#parts.checks.resume(server);
      if (stage === ServerStage.Cleaning && server.owed.length === 0) this.#pool.afterUse(server);
    }
  }
}
