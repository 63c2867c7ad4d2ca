/**
 * What a check-in sends to undo what a client left on a server: what was changed and no more, so that a
 * clean server costs no round trip. A client that left in the middle leaves replies, too: they are read and dropped
 * first.
 */

import type { PoolSettings } from "../config/settings.ts";
import { TransactionStatus } from "../protocol/codes.ts";
import type { ReceivedError } from "../protocol/error_response.ts";
import { Owed } from "../protocol/owed_replies.ts";
import { type Reason, REASONS } from "../reasons.ts";
import type { ServerConnection } from "../server/connection.ts";
import { onlyReported, type ParameterSet } from "../server/parameters.ts";
import { takeAll } from "../server/statements/on_server.ts";
import { checkUnclearable, isLeftover } from "./unclearable.ts";
import { learnDefaults, type LearningPool } from "./defaults.ts";
import { Dirty, DIRTY_DISCARD, DIRTY_PARAMETERS, type ServerState } from "../server/state.ts";

const NONE: readonly string[] = [];

/** What is believed of a server behind a statement. */
type Effect = (state: ServerState, reported: ReadonlySet<string>) => void;

/** The parameters are what the server has by itself. Those that are reported were told of. */
const parametersReset: Effect = (state, reported) => {
  state.parameters = onlyReported(state.parameters, reported);
  state.own = [];
};
const statementsGone: Effect = (state) => takeAll(state, []);
/** Nothing is believed of it but by its bit. */
const nothingMore: Effect = () => {};

/** What is sent for which bits, in this order, and what it makes of what is believed. Each undoes no more than it says. */
const STATEMENTS: readonly [bits: number, sql: string, effect: Effect][] = [
  // RESET ALL leaves the role and the session's user alone.
  [DIRTY_PARAMETERS, "RESET ROLE;RESET SESSION AUTHORIZATION;RESET ALL;", parametersReset],
  [Dirty.Prepare, "DEALLOCATE ALL;", statementsGone],
  [Dirty.Declare, "CLOSE ALL;", nothingMore],
  [Dirty.Listen | Dirty.Unlisten, "UNLISTEN *;", nothingMore],
];
/** In place of all of these. It can't run in a transaction block, so it is a query of its own. */
const DISCARD: typeof STATEMENTS[number] = [DIRTY_DISCARD, "DISCARD ALL", (state, reported) => {
  parametersReset(state, reported);
  statementsGone(state, reported);
}];

/** Those that a server in this state needs. */
function needed({ dirty }: ServerState): readonly typeof STATEMENTS[number][] {
  if ((dirty & DIRTY_DISCARD) !== 0) return [DISCARD];
  return STATEMENTS.filter(([bits]) => (dirty & bits) !== 0);
}

/** What decides whether anything is cleaned. */
type CleaningSettings = Pick<PoolSettings, "cleanup_server_connections" | "session_isolation">;

interface CleanedPool {
  readonly settings: CleaningSettings;
  readonly defaults: ParameterSet | undefined;
}

/** Whether servers are cleaned, and asked what is left on them. */
export function cleans(settings: CleaningSettings): boolean {
  return settings.cleanup_server_connections || settings.session_isolation === "strict";
}

/**
 * The queries for a server in this state, none when it is clean. An open transaction is rolled back in any case;
 * `cleanup_server_connections = false` leaves all else as it is.
 */
export function cleanupQueries(
  state: ServerState,
  { settings, defaults }: CleanedPool,
): readonly string[] {
  // The common case makes no garbage.
  if (state.status === TransactionStatus.Idle && state.dirty === 0) return NONE;
  const queries: string[] = [];
  if (state.status !== TransactionStatus.Idle) queries.push("ROLLBACK");
  if (!cleans(settings)) return queries;
  const query = needed(state).map(([, sql]) => sql).join("");
  if (query !== "") queries.push(query);
  if (query === DISCARD[1] && settings.session_isolation === "strict") {
    queries.push(checkUnclearable(defaults ?? state.parameters));
  }
  return queries;
}

/** Begins to drop what is owed to a client that is gone; closes the server, and says no, when that can't be done. */
export function startDraining(server: ServerConnection): boolean {
  const { owed, state } = server;
  if (owed.copyIn || server.congested) {
    server.close(REASONS.serverUnusable, "its client left in the middle of a message or a COPY");
    return false;
  }
  if (state.unsynced && !owed.skipping && owed.lastKind() !== Owed.Sync) {
    // A Sync would commit what the client has not asked to: at a direct connection its end undoes it.
    server.runOwn("ROLLBACK");
    server.syncOwn();
  } else if (owed.skipping || owed.lastKind() === Owed.Close) {
    // Nothing of the client's came behind a Close of the pooler's own: PostgreSQL answers no sooner.
    server.syncOwn();
  }
  server.resumeReading();
  return true;
}

/** Why a server is closed that answers them so. */
export function cleanupFailure(error: ReceivedError): Reason {
  return isLeftover(error) ? REASONS.serverNotCleared : REASONS.serverCleanupFailed;
}

/** The queries are through: what the server has now, and what the pool learns of that. */
export function markClean(state: ServerState, pool: LearningPool & CleanedPool): void {
  const done = cleans(pool.settings) ? needed(state) : [];
  for (const [, , effect] of done) effect(state, pool.reported);
  state.dirty = 0;
  learnDefaults(pool, state);
}
