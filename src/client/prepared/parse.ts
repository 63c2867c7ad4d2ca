// hot path
/**
 * A Parse of a named statement. One statement serves all clients whose Parse would read the same (read_by_parse.ts), and
 * is not sent where PostgreSQL was seen to make it of this text just now; where that is a while ago it is sent under
 * another name, and forgotten when it turns out to be the same. Where it is not known what a Parse reads, the client gets
 * a statement of its own.
 */

import { Frontend, TransactionStatus } from "../../protocol/codes.ts";
import { errorResponse } from "../../protocol/error_response.ts";
import * as messages from "../../protocol/messages.ts";
import { MAKE_UP, Owed, SWALLOW } from "../../protocol/owed_replies.ts";
import type { ServerConnection } from "../../server/connection.ts";
import {
  isThere,
  put,
  type Statement,
  type Tracked,
  tracked,
} from "../../server/statements/on_server.ts";
import { sameBytes } from "../../server/statements/query_interner.ts";
import { isSettled, parseKey } from "../../server/statements/read_by_parse.ts";
import { violation } from "../refusals.ts";
import { add, flush, head, sendParse } from "../relay/gather.ts";
import type { ClientEnd, ClientView } from "../parts.ts";
import { GONE } from "./deallocate.ts";
import { brokenBound, refuseStatement } from "./memory.ts";
import { findStatement, setStatement } from "./names.ts";
import { ENDED } from "./outcomes.ts";
import { describe, describeAgain, makeRoom } from "./provide.ts";
import { waitForAnswers } from "./wait.ts";
import { zeroAt } from "./zero.ts";

/** The part of a session that this file sees. */
interface Session extends ClientView, ClientEnd {}

/**
 * For so long nobody asks PostgreSQL again what it makes of a text. What clients of the pooler do to the schema is known
 * at once; this is for what others do. Of a text that is prepared 1,000 times a second one in ten is sent.
 */
const UNASKED_MS = 10;
/** A text that is longer is not walked through. */
const FAR_BYTES = 64 * 1024;

/** A whole Parse, `bytes[at..next)`. */
export function parseNamed(
  session: Session,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  from: number,
  at: number,
  next: number,
): number {
  const nameEnd = zeroAt(bytes, at + 5, next);
  if (!hasText(bytes, nameEnd + 1, next)) {
    add(server, bytes, from, at);
    flush(server);
    violation(session, Frontend.Parse, next - at - 1);
    return ENDED;
  }
  const { state } = session;
  if (findStatement(state, bytes, at + 5, nameEnd) !== undefined) {
    // It is not in use when what gave it fails.
    if (owesName(server, bytes, at + 5, nameEnd)) return waitForAnswers(server, bytes, from, at);
    add(server, bytes, from, at);
    refuseName(server, bytes, at + 5, nameEnd, next);
    return next;
  }
  add(server, bytes, from, at);
  const bound = brokenBound(session, server, nameEnd - at - 5, next - nameEnd - 1);
  if (bound !== undefined) {
    refuseStatement(session, server, bound);
    return next;
  }
  const { statements, settings } = session.pool!;
  const options = {
    planner: parseKey(server.state.parameters),
    limit: settings.prepared_statements_cache_size,
    nowMs: session.context.reactor.now,
  };
  const settled = isSettled(server.state, state.pinned);
  const statement = settled
    ? statements.find(bytes, nameEnd + 1, next, options)
    : statements.own(bytes, nameEnd + 1, next, options);
  const name = bytes.slice(at + 5, nameEnd);
  if (!settled || !isThere(server.state, statement)) {
    setStatement(state, statements, name, statement);
    parseNow(session, server, name, statement);
    if (statement.shape === undefined) describe(server, statement);
    return next;
  }
  if (server.state.status === TransactionStatus.Failed) {
    // Most statements can't be parsed now: PostgreSQL is asked, without touching what it has.
    server.state.prepareHits++;
    setStatement(state, statements, name, statement);
    head(server, bytes, at, at + 5, next - at - 1 - name.length);
    add(server, bytes, nameEnd, next);
    server.state.unnamed = -1;
    server.owed.track(Owed.Parse, tracked({ name, after: statement }));
    return next;
  }
  if (options.nowMs - statement.seenMs > UNASKED_MS && statement.shape !== undefined) {
    const again = statements.own(bytes, nameEnd + 1, next, options);
    setStatement(state, statements, name, again);
    parseNow(session, server, name, again);
    describeAgain(server, again, statement, name);
    return next;
  }
  server.state.prepareHits++;
  setStatement(state, statements, name, statement);
  server.owed.track(Owed.Parse | MAKE_UP, tracked({ name, after: statement }));
  return next;
}

/** Sends the Parse of the statement that the client has under the name from here on. */
function parseNow(
  session: Session,
  server: ServerConnection,
  name: Uint8Array<ArrayBuffer>,
  statement: Statement,
): void {
  server.state.prepareMisses++;
  makeRoom(session, server);
  sendParse(server, statement.name, statement.query.body);
  server.owed.track(Owed.Parse, tracked({ put: statement.id, name, after: statement }));
  put(server.state, statement.id);
}

/** Whether a text with its terminator and a number of types fit there. */
function hasText(bytes: Uint8Array, start: number, next: number): boolean {
  // Of a long one the last zero is near, and the first one is not.
  const end = next - start > FAR_BYTES
    ? bytes.lastIndexOf(0, next - 3)
    : zeroAt(bytes, start, next);
  return end >= start && end + 3 <= next;
}

/** Whether a message that gives the name `bytes[start..end)` to something was not answered yet. */
function owesName(
  { owed }: ServerConnection,
  bytes: Uint8Array,
  start: number,
  end: number,
): boolean {
  const records = owed.laterRecords();
  const first = owed.headRecord();
  if (first !== undefined) records.push(first);
  return records.some((record) => {
    const { name, after } = record as Partial<Tracked>;
    return name instanceof Uint8Array && after !== undefined && sameBytes(name, bytes, start, end);
  });
}

const decoder = new TextDecoder();
/** Never prepared: naming it makes PostgreSQL raise an error. */
const BIND_IN_USE = messages.bind(new TextEncoder().encode("DOORMAN_in_use"));

/** The name is in use: PostgreSQL says so of a text that it can parse, and else what is wrong with that. */
function refuseName(
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  end: number,
  next: number,
): void {
  const name = decoder.decode(bytes.subarray(start, end));
  const refusal = errorResponse({
    severity: "ERROR",
    code: "42P05",
    message: `prepared statement "${name}" already exists`,
    routine: "StorePreparedStatement",
  }).slice();
  sendParse(server, GONE, bytes.slice(end + 1, next));
  server.owed.push(Owed.Parse | SWALLOW);
  add(server, BIND_IN_USE, 0, BIND_IN_USE.length);
  server.owed.track(Owed.Bind | SWALLOW, tracked({ refusal }));
}
