// hot path
/**
 * What a server lacks of a session's prepared statements goes in front of the message that needs it, and the least used
 * ones make room for it.
 */

import { Owed, SWALLOW } from "../../protocol/owed_replies.ts";
import type { ServerConnection } from "../../server/connection.ts";
import {
  isThere,
  put,
  type Statement,
  statementName,
  surplus,
  take,
  tracked,
} from "../../server/statements/on_server.ts";
import type { ClientView } from "../parts.ts";
import { add, flush, sendClose, sendDescribe, sendFlush, sendParse } from "../relay/gather.ts";
import { BIND_AND_EXECUTE, CHANGED } from "./changed_shape.ts";
import { GONE } from "./deallocate.ts";

/** The part of a session that this file sees. */
interface Session extends Pick<ClientView, "pool"> {}

/**
 * Puts the statement on the server if it is not there. `false`: since the client has learnt what the statement returns
 * the schema has changed, so PostgreSQL is asked first whether it would return the same here. (A server that has the
 * statement checks that by itself: "cached plan must not change result type".)
 */
export function provide(
  session: Session,
  server: ServerConnection,
  statement: Statement,
): boolean {
  if (isThere(server.state, statement)) {
    server.state.prepareHits++;
    return true;
  }
  server.state.prepareMisses++;
  makeRoom(session, server);
  sendParse(server, statement.name, statement.query.body);
  server.owed.track(Owed.Parse | SWALLOW, tracked({ put: statement.id }));
  put(server.state, statement.id);
  const known = statement.shape !== undefined;
  if (known && session.pool!.statements.isCurrent(statement)) return true;
  describe(server, statement);
  if (known) sendFlush(server);
  return !known;
}

/** Asks what the statement returns; the answer is the pooler's. */
export function describe(server: ServerConnection, statement: Statement): void {
  sendDescribe(server, statement.name);
  server.owed.track(Owed.DescribeStatement | SWALLOW, tracked({ described: statement }));
}

/**
 * The statement would return something else than its client knows: PostgreSQL is made to say what it says where it had
 * the statement before, and skips to the next Sync.
 */
export function refuseShape(server: ServerConnection, statement: Statement): void {
  take(server.state, statement.id);
  sendParse(server, GONE, CHANGED);
  server.owed.push(Owed.Parse | SWALLOW);
  add(server, BIND_AND_EXECUTE, 0, BIND_AND_EXECUTE.length);
  server.owed.push(Owed.Bind | SWALLOW);
  server.owed.track(Owed.Execute | SWALLOW, tracked({ described: statement }));
  flush(server);
}

/** Takes the least used statements off a server that has as many as it may. */
export function makeRoom(session: Session, server: ServerConnection): void {
  const limit = Math.max(0, session.pool!.settings.server_prepared_statements_cache_size - 1);
  for (;;) {
    const taken = surplus(server.state, limit);
    if (taken < 0) return;
    // One that was not confirmed is not taken for there when an error skips this Close.
    const confirmed = server.state.statements.get(taken)!.confirmed;
    take(server.state, taken);
    sendClose(server, statementName(taken));
    server.owed.track(Owed.Close | SWALLOW, tracked({ taken: confirmed ? taken : -1 }));
  }
}
