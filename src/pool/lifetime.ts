/**
 * The end of server connections: which idle ones have lived or rested long enough, how many are closed at a time, and
 * the line that is logged.
 */

import type { Reactor } from "../reactor/reactor.ts";
import { oneLine } from "../log/one_line.ts";
import { type Reason, REASONS, reasonText } from "../reasons.ts";
import type { ServerConnection } from "../server/connection.ts";
import { ServerStage } from "../server/state.ts";

/** Of `idle`, oldest first: those past their lifetime, and up to `spare` of those that were idle too long. */
export function expiredServers(
  idle: readonly ServerConnection[],
  spare: number,
  now: number,
): ServerConnection[] {
  return [...idle]
    .sort((a, b) => a.state.createdAtMs - b.state.createdAtMs)
    .filter(({ state }) => {
      if (state.lifetimeMs > 0 && now - state.createdAtMs > state.lifetimeMs) return true;
      // One that nobody has used yet was made to be there.
      const rested = state.idleLimitMs > 0 && state.uses > 0 &&
        now - state.usedAtMs > state.idleLimitMs;
      return rested && spare-- > 0;
    });
}

/** How a server connection ended. */
export function closedLine(
  { state }: ServerConnection,
  reason: Reason,
  detail: string,
  now: number,
): string {
  const said = reason.text.includes("{0}") || detail === ""
    ? reasonText(reason, detail)
    : `${reasonText(reason)}: ${detail}`;
  const age = Math.round(now - state.createdAtMs);
  return `pid=${state.pid} server connection closed: ${oneLine(said)}, session=${age}ms`;
}

/** Closes those that are at work for a pool that ends. */
export function closeUnlinked(servers: Iterable<ServerConnection>): void {
  for (const server of [...servers]) {
    const { stage } = server.state;
    if (stage === ServerStage.Cleaning || stage === ServerStage.Draining) {
      server.close(REASONS.poolClosed, "");
    }
  }
}

/** So many server connections are closed in one go; each costs some 20 µs, and clients of other pools wait meanwhile. */
const CLOSES_A_TURN = 16;

/** Servers that are out of use and not closed yet: a few are, in each turn. */
export class Outdated {
  readonly #pool: { readonly retired: boolean; warm(): void };
  readonly #reactor: Reactor;
  #servers: ServerConnection[] = [];
  #underWay = false;

  constructor(pool: { readonly retired: boolean; warm(): void }, reactor: Reactor) {
    this.#pool = pool;
    this.#reactor = reactor;
  }

  get length(): number {
    return this.#servers.length;
  }

  add(server: ServerConnection): void {
    this.#servers.push(server);
  }

  /** Goes on by itself until none is left. */
  closeSome(): void {
    if (!this.#underWay) this.#close();
  }

  /** Closes all of them now: what is left of the pool is about to move. */
  closeAll(): void {
    this.#closeSeveral(this.#servers.length);
  }

  #closeSeveral(most: number): void {
    const reason = this.#pool.retired ? REASONS.poolClosed : REASONS.serverReplaced;
    for (let i = 0; i < most && this.#servers.length > 0; i++) {
      // Closed by PostgreSQL in the meantime: then this does nothing.
      this.#servers.pop()!.close(reason, "");
    }
  }

  #close(): void {
    this.#closeSeveral(CLOSES_A_TURN);
    this.#underWay = this.#servers.length > 0;
    if (this.#underWay) this.#reactor.at(this.#reactor.now, () => this.#close());
    else this.#pool.warm();
  }
}

/** A limit of its own for each server, ±20 %, so that they do not all end together. */
export function spread(ms: number): number {
  return ms === 0 ? 0 : Math.max(1, Math.round(ms * (0.8 + 0.4 * Math.random())));
}

/** Fresh limits for every server where new settings differ from those of before. */
export function giveLimits(
  servers: Iterable<ServerConnection>,
  before: { server_lifetime: number; idle_timeout: number },
  after: { server_lifetime: number; idle_timeout: number },
): void {
  for (const { state } of servers) {
    if (after.server_lifetime !== before.server_lifetime) {
      state.lifetimeMs = spread(after.server_lifetime);
    }
    if (after.idle_timeout !== before.idle_timeout) state.idleLimitMs = spread(after.idle_timeout);
  }
}
