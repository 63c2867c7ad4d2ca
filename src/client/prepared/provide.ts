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
import { isSettled, parseKey } from "../../server/statements/read_by_parse.ts";
import type { ClientView } from "../parts.ts";
import {
  add,
  flush,
  sendClose,
  sendDescribe,
  sendFlush,
  sendParse,
  sendTypedParse,
} from "../relay/gather.ts";
import { BIND_AND_EXECUTE, CHANGED } from "./changed_shape.ts";
import { GONE } from "./deallocate.ts";
import { findStatement, setStatement } from "./names.ts";

/** The part of a session that this file sees. */
interface Session extends Pick<ClientView, "pool" | "state" | "context"> {}

/** For so long it is taken for granted that a server makes of a text what another one has made of it. */
const TRUSTED_MS = 1000;

/**
 * Puts the client's statement `bytes[start..end)` on the server if it is not there. `undefined`: since the client has
 * learnt what the statement returns the schema has changed, or may have, so PostgreSQL is asked first whether it would
 * return the same here. (A server that has the statement checks that by itself: "cached plan must not change result
 * type".) Where a Parse may read something else than what made the statement, the client gets one of its own.
 */
export function provide(
  session: Session,
  server: ServerConnection,
  wanted: Statement,
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  end: number,
): Statement | undefined {
  if (isThere(server.state, wanted)) {
    server.state.prepareHits++;
    return wanted;
  }
  server.state.prepareMisses++;
  const { statements } = session.pool!;
  const { now } = session.context.reactor;
  const statement = fits(session, server, wanted) ? wanted : statements.ownCopy(wanted, -Infinity);
  if (statement !== wanted) {
    setStatement(session.state, statements, bytes.slice(start, end), statement);
  }
  makeRoom(session, server);
  const { body } = statement.query;
  // What was inferred stays, whatever would be inferred now.
  if (statement.types === undefined) sendParse(server, statement.name, body);
  else sendTypedParse(server, statement.name, body, statement.types);
  server.owed.track(Owed.Parse | SWALLOW, tracked({ put: statement.id }));
  put(server.state, statement.id);
  const known = statement.shape !== undefined;
  if (known && statements.isCurrent(statement) && now - statement.affirmedMs <= TRUSTED_MS) {
    return statement;
  }
  describe(server, statement);
  if (known) sendFlush(server);
  return known ? undefined : statement;
}

/** Whether the statement may be put on this server now: it is its client's alone, or a Parse reads what it read before. */
function fits(session: Session, server: ServerConnection, statement: Statement): boolean {
  if (statement.own) return true;
  return isSettled(server.state, session.state.pinned) &&
    parseKey(server.state.parameters) === statement.query.planner;
}

/** Asks what the statement returns; the answer is the pooler's. */
export function describe(server: ServerConnection, statement: Statement): void {
  sendDescribe(server, statement.name);
  server.owed.track(Owed.DescribeStatement | SWALLOW, tracked({ described: statement }));
}

/** The same of a statement that `known` may be used in the place of, under the client's name for it. */
export function describeAgain(
  server: ServerConnection,
  statement: Statement,
  known: Statement,
  alias: Uint8Array<ArrayBuffer>,
): void {
  sendDescribe(server, statement.name);
  const record = tracked({ described: statement, again: known, alias });
  server.owed.track(Owed.DescribeStatement | SWALLOW, record);
}

/** PostgreSQL has made the same of both: the client shares the known one, and the other is done with. */
export function mergeStatement(
  session: ClientView,
  statement: Statement,
  known: Statement,
  alias: Uint8Array<ArrayBuffer>,
): void {
  if (known.seenMs < statement.seenMs) known.seenMs = statement.seenMs;
  if (known.affirmedMs < statement.seenMs) known.affirmedMs = statement.seenMs;
  if (findStatement(session.state, alias, 0, alias.length) !== statement) return;
  setStatement(session.state, session.pool!.statements, alias.slice(), known);
  session.server?.state.leftovers.push(statement.id);
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

/** Takes the least used statements off a server that has as many as it may, and those that nobody uses. */
export function makeRoom(session: Pick<ClientView, "pool">, server: ServerConnection): void {
  closeLeftovers(server);
  const limit = Math.max(0, session.pool!.settings.server_prepared_statements_cache_size - 1);
  for (;;) {
    const taken = surplus(server.state, limit);
    if (taken < 0) return;
    closeOnServer(server, taken);
  }
}

/** Takes statements that nobody uses off a server where nothing is under way; `left`: of the client's message. */
export function closeUnused(server: ServerConnection, left: number): void {
  if (server.state.leftovers.length === 0 || left > 0 || server.owed.length > 0) return;
  closeLeftovers(server);
}

/** What is sent next goes behind that. */
function closeLeftovers(server: ServerConnection): void {
  const { leftovers } = server.state;
  if (leftovers.length === 0) return;
  for (const id of leftovers) closeOnServer(server, id);
  leftovers.length = 0;
}

function closeOnServer(server: ServerConnection, id: number): void {
  const entry = server.state.statements.get(id);
  if (entry === undefined) return;
  take(server.state, id);
  sendClose(server, statementName(id));
  // One that was not confirmed is not taken for there when an error skips this Close.
  server.owed.track(Owed.Close | SWALLOW, tracked({ taken: entry.confirmed ? id : -1 }));
}
