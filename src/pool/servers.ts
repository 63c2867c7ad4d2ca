/**
 * The servers of a pool: all that are connected, and of these the idle ones, in their order. Tells which must not be used
 * again, and closes those.
 *
 * What must hold: whoever is idle is in `all`, too; a closed server is in neither.
 */

import type { PoolSettings } from "../config/settings.ts";
import type { Reactor } from "../reactor/reactor.ts";
import { type Reason, REASONS } from "../reasons.ts";
import { ServerStage, type ServerState } from "../server/state.ts";
import { isOver, type SizedPool, surplus } from "./capacity.ts";
import { type ClosingServer, expiredServers } from "./lifetime.ts";

/** A server connection, as far as its place in the pool is concerned. */
export interface PooledServer extends ClosingServer {
  readonly state:
    & ClosingServer["state"]
    & Pick<ServerState, "epoch" | "digest">;
  /** It has said FATAL: its end is coming. */
  readonly doomed: boolean;
}

/** What is needed of a pool. */
export interface ServersPool extends Omit<SizedPool, "expected"> {
  readonly settings:
    & SizedPool["settings"]
    & Pick<PoolSettings, "server_digest" | "server_round_robin">;
  readonly waiting: number;
  readonly retired: boolean;
  /** There are fewer now. */
  warm(): void;
}

/** So many server connections are closed in one go; each costs some 20 µs, and clients of other pools wait meanwhile. */
const CLOSES_A_TURN = 16;

export class Servers<Server extends PooledServer> {
  readonly all = new Set<Server>();
  /** What RECONNECT and other changes of the login tell servers by. */
  epoch = 0;
  readonly #pool: ServersPool;
  readonly #reactor: Reactor;
  #idle: Server[] = [];
  /** Out of use and not closed yet: a few are, in each turn. */
  readonly #outdated: Server[] = [];
  #closing = false;

  constructor(pool: ServersPool, reactor: Reactor) {
    this.#pool = pool;
    this.#reactor = reactor;
  }

  get idle(): readonly Server[] {
    return this.#idle;
  }

  add(server: Server): void {
    this.all.add(server);
  }

  /** Says whether it was here. */
  remove(server: Server): boolean {
    const at = this.#idle.indexOf(server);
    if (at >= 0) this.#idle.splice(at, 1);
    return this.all.delete(server);
  }

  /** Sets the stage of a server: nobody else does, but the connection itself at its end. */
  moveTo(server: Server, stage: number): void {
    server.state.stage = stage;
  }

  /** A clean server that nobody waits for. */
  rest(server: Server): void {
    this.moveTo(server, ServerStage.Idle);
    this.#idle.push(server);
  }

  /** The next idle server; stale ones are closed on the way. */
  takeIdle(): Server | undefined {
    for (;;) {
      const server = this.#pool.settings.server_round_robin ? this.#idle.shift() : this.#idle.pop();
      if (server === undefined) return undefined;
      const stale = this.stale(server);
      if (stale === undefined) return server;
      server.close(stale, "");
    }
  }

  /** Why a server must not be used again, if so. */
  stale(server: Server): Reason | undefined {
    const pool = this.#pool;
    const { state, doomed } = server;
    if (doomed) return REASONS.serverLost;
    if (this.isOutdated(server) || isOver(pool, this.#outdated.length)) {
      return REASONS.serverReplaced;
    }
    // Under pressure an old server is better than none; the limit holds again when nobody waits.
    const age = this.#reactor.now - state.createdAtMs;
    const old = state.lifetimeMs > 0 && age > state.lifetimeMs && pool.waiting === 0;
    return old ? REASONS.serverLifetime : undefined;
  }

  /** Idle servers past `idle_timeout` or `server_lifetime`, oldest first. */
  expired(): Server[] {
    return expiredServers(this.#idle, surplus(this.#pool), this.#reactor.now);
  }

  /** It was made by other settings, or before a RECONNECT. */
  isOutdated({ state }: Server): boolean {
    return state.epoch !== this.epoch || state.digest !== this.#pool.settings.server_digest;
  }

  /** Takes every stale server out of use now, and closes them a few in each turn. */
  closeStale(): void {
    const kept: Server[] = [];
    for (const server of this.#idle) {
      if (this.stale(server) === undefined) kept.push(server);
      else this.#outdated.push(server);
    }
    this.#idle = kept;
    if (!this.#closing) this.#closeSome();
  }

  /** Closes those that are out of use now: what is left of the pool is about to move. */
  closeOutdated(): void {
    this.#close(this.#outdated.length);
  }

  #closeSome(): void {
    this.#close(CLOSES_A_TURN);
    this.#closing = this.#outdated.length > 0;
    // A timer for now would be served in this turn, too.
    if (this.#closing) this.#reactor.at(this.#reactor.now + 1, () => this.#closeSome());
    else this.#pool.warm();
  }

  #close(most: number): void {
    const reason = this.#pool.retired ? REASONS.poolClosed : REASONS.serverReplaced;
    for (let i = 0; i < most && this.#outdated.length > 0; i++) {
      // Closed by PostgreSQL in the meantime: then this does nothing.
      this.#outdated.pop()!.close(reason, "");
    }
  }
}
