/**
 * What a check-in sends to undo what a client left on a server: what was changed and no more. Spec pooling.md §3.7.
 */

import { TransactionStatus } from "../protocol/codes.ts";
import { Dirty, type ServerState } from "../server/state.ts";

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
  if ((state.dirty & ~Dirty.Reset) === 0 || !cleanup) return queries;
  if ((state.dirty & Dirty.All) !== 0) {
    // It can't run in a transaction block, so it is a query of its own.
    queries.push("DISCARD ALL");
    return queries;
  }
  // RESET ALL leaves the role and the session's user alone.
  let query = "RESET ROLE;";
  if ((state.dirty & Dirty.Set) !== 0) query += "RESET SESSION AUTHORIZATION;RESET ALL;";
  if ((state.dirty & Dirty.Prepare) !== 0) query += "DEALLOCATE ALL;";
  if ((state.dirty & Dirty.Declare) !== 0) query += "CLOSE ALL;";
  if ((state.dirty & Dirty.Listen) !== 0) query += "UNLISTEN *;";
  queries.push(query);
  return queries;
}
