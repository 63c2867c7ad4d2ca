/**
 * The end of server connections: which idle ones have lived or rested long enough, and the line that is logged.
 */

import { oneLine } from "../log/one_line.ts";
import { type Reason, REASONS, reasonText } from "../reasons.ts";
import { ServerStage, type ServerState } from "../server/state.ts";

/** A server connection, as far as its end is concerned. */
export interface ClosingServer {
  readonly state: Pick<
    ServerState,
    "createdAtMs" | "usedAtMs" | "uses" | "lifetimeMs" | "idleLimitMs" | "stage" | "pid"
  >;
  close(reason: Reason, detail: string): void;
}

/** Of `idle`, oldest first: those past their lifetime, and up to `spare` of those that were idle too long. */
export function expiredServers<Server extends ClosingServer>(
  idle: readonly Server[],
  spare: number,
  now: number,
): Server[] {
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

/** That a server connection has begun. */
export function openedLine(
  { pid, addressText }: Pick<ServerState, "pid" | "addressText">,
  { size, settings }: { size: number; settings: { pool_size: number } },
): string {
  return `new server connection pid=${pid} to ${addressText}, size=${size}/${settings.pool_size}`;
}

/** How a server connection ended. */
export function closedLine(
  { state }: ClosingServer,
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
export function closeUnlinked(servers: Iterable<ClosingServer>): void {
  for (const server of [...servers]) {
    const { stage } = server.state;
    if (stage === ServerStage.Cleaning || stage === ServerStage.Draining) {
      server.close(REASONS.poolClosed, "");
    }
  }
}

/** A limit of its own for each server, ±20 %, so that they do not all end together. */
export function spread(ms: number): number {
  return ms === 0 ? 0 : Math.max(1, Math.round(ms * (0.8 + 0.4 * Math.random())));
}

/** Fresh limits for every server where new settings differ from those of before. */
export function giveLimits(
  servers: Iterable<ClosingServer>,
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
