/**
 * What the control plane orders: commands on the pools of a database or of all, and the end of sessions.
 */

import type { Session } from "../../client/session.ts";
import { Stage } from "../../client/state.ts";
import type { Log } from "../../log/log.ts";
import { cancelRunning } from "../../pool/canceling.ts";
import type { Pool } from "../../pool/pool.ts";
import { REASONS } from "../../reasons.ts";

const TARGET = "pg_doorman::admin";

/** Returns the number of pools that it concerned. */
export function commandPools(
  name: "pause" | "resume" | "reconnect" | "enable" | "disable",
  pools: Iterable<Pool>,
  log: Log,
): number {
  let touched = 0;
  for (const pool of pools) {
    touched++;
    if (name === "enable" || name === "disable") pool.disabled = name === "disable";
    else pool[name]();
    log.info(TARGET, `${name.toUpperCase()}: [${pool.name}]`);
  }
  return touched;
}

/** Ends clients and servers of these pools, and says how many pools that are. */
export function killPools(
  named: Iterable<Pool>,
  sessions: Iterable<Session>,
  log: Log,
): number {
  const pools = new Set(named);
  for (const pool of pools) cancelRunning(pool);
  for (const session of [...sessions]) {
    if (session.pool === undefined || !pools.has(session.pool)) continue;
    session.fail("FATAL", REASONS.adminShutdown, "", "");
  }
  for (const pool of pools) {
    pool.kill();
    log.info(TARGET, `KILL: [${pool.name}]`);
  }
  return pools.size;
}

/** Ends one client and what it runs; a server of its own goes with it. Says how many there were. */
export function killClient(session: Session | undefined): number {
  if (session === undefined || session.state.stage >= Stage.Closing) return 0;
  const { pool, server } = session;
  const running = server !== undefined && server.owed.length > 0 && server.cancelsUnderWay === 0;
  if (running) pool?.cancel(server);
  session.fail("FATAL", REASONS.adminShutdown, "", "");
  return 1;
}

/** Sends those home who are at rest; the others follow when they have finished what they do. */
export function sendHomeAtRest(sessions: Iterable<Session>): void {
  for (const session of [...sessions]) {
    if (session.atRest) session.fail("FATAL", REASONS.shuttingDown, "", "");
  }
}

/** Sends everybody home: what could not move in time. */
export function sendHome(sessions: Iterable<Session>): number {
  for (const session of [...sessions]) session.fail("FATAL", REASONS.adminShutdown, "", "");
  return 0;
}
