/**
 * What a check-in sends to undo what a client left on a server: what was changed and no more, so that a
 * clean server costs no round trip. A client that left in the middle leaves replies, too: they are read and dropped
 * first.
 */

import { TransactionStatus } from "../protocol/codes.ts";
import { Owed } from "../protocol/owed_replies.ts";
import { REASONS } from "../reasons.ts";
import type { ServerConnection } from "../server/connection.ts";
import { onlyReported } from "../server/parameters.ts";
import { takeAll } from "../server/statements/on_server.ts";
import { Dirty, DIRTY_DISCARD, type ServerState } from "../server/state.ts";

const NONE: readonly string[] = [];

/**
 * The queries for a server in this state, none when it is clean. An open transaction is rolled back in any case;
 * `cleanup_server_connections = false` leaves all else as it is.
 */
export function cleanupQueries(state: ServerState, cleanup: boolean): readonly string[] {
  // The common case makes no garbage.
  if (state.status === TransactionStatus.Idle && state.dirty === 0) return NONE;
  const queries: string[] = [];
  if (state.status !== TransactionStatus.Idle) queries.push("ROLLBACK");
  if ((state.dirty & ~(Dirty.Reset | Dirty.Default)) === 0 || !cleanup) return queries;
  if ((state.dirty & DIRTY_DISCARD) !== 0) {
    // It can't run in a transaction block, so it is a query of its own.
    queries.push("DISCARD ALL");
    return queries;
  }
  // RESET ALL leaves the role and the session's user alone.
  let query = "RESET ROLE;";
  if ((state.dirty & (Dirty.Set | Dirty.Config)) !== 0) {
    query += "RESET SESSION AUTHORIZATION;RESET ALL;";
  }
  if ((state.dirty & Dirty.Prepare) !== 0) query += "DEALLOCATE ALL;";
  if ((state.dirty & Dirty.Declare) !== 0) query += "CLOSE ALL;";
  if ((state.dirty & (Dirty.Listen | Dirty.Unlisten)) !== 0) query += "UNLISTEN *;";
  queries.push(query);
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
  } else if (owed.skipping) server.syncOwn();
  server.resumeReading();
  return true;
}

/** The queries are through: what the server has now. `reported` names what a reset has told of. */
export function markClean(state: ServerState, reported: ReadonlySet<string>): void {
  if ((state.dirty & (Dirty.Set | Dirty.Config | DIRTY_DISCARD)) !== 0) {
    state.parameters = onlyReported(state.parameters, reported);
  }
  if ((state.dirty & (Dirty.Prepare | DIRTY_DISCARD)) !== 0) takeAll(state, []);
  state.dirty = 0;
}
