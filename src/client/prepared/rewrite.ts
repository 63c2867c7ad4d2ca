// hot path
/**
 * From the client to its server where prepared statements are rewritten: like relay.ts, and the names of statements
 * become the pool's (`DOORMAN_<n>`), a Parse whose statement the server has is not sent, and one that the server lacks
 * goes in front of the message that needs it. Everything stays in the order of the client's messages and in the queue
 * of owed replies, so nothing ever waits for an answer.
 *
 * Named statements: a name that the client has not prepared goes on as it is: PostgreSQL knows it from an SQL PREPARE,
 * or answers 26000 and skips to Sync by itself. Every Parse under a pool's name has a Close of that name in front, which
 * is harmless when there is none, so a server that has more than its list says is no fault.
 *
 * Unnamed statements stay unnamed: their Parse passes untouched, so that PostgreSQL plans them as it does at a direct
 * connection. The session keeps the last one's text and parses it anew (swallowed) when a later Bind or Describe finds
 * another's on its server.
 */

import { Frontend, frontendLimit, readLength } from "../../protocol/codes.ts";
import { Owed } from "../../protocol/owed_replies.ts";
import { REASONS } from "../../reasons.ts";
import { pass } from "../relay/gather.ts";
import { executeUnlisten } from "../listen/unlisten.ts";
import { markPiece, owedExecute } from "../relay/marking.ts";
import { queryBegins } from "../counts.ts";
import { violation } from "../refusals.ts";
import type { ServerConnection } from "../../server/connection.ts";
import { MOST_OWED } from "../socket_parts.ts";
import { closeUnused } from "./provide.ts";
import { fillUnnamed } from "./unnamed.ts";
import {
  bind,
  describeOrClose,
  functionCall,
  MOST_WAITING_BYTES,
  parse,
  type PreparingSession,
  query,
} from "./named.ts";
import { CHECKING, ENDED, REPLACED, WANTS_WHOLE } from "./outcomes.ts";

/** Sends `bytes[at..end)` to the linked server. */
export function relayPrepared(
  session: PreparingSession,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  end: number,
): void {
  const state = session.state;
  const owed = server.owed;
  closeUnused(server, state.left);
  let from = at;
  let need = 0;
  let flushed = false;
  let checking = false;
  if (state.left > 0) {
    const count = Math.min(state.left, end - at);
    if (state.marking !== 0 && !state.leftDropped) {
      markPiece(session, server, bytes, at, at + count);
    }
    if (state.unnamedFilled < state.unnamedLength && !state.leftDropped) {
      fillUnnamed(session, bytes, at, at + count);
    }
    state.left -= count;
    at += count;
    // A message that began before the server was checked out is dropped to its end.
    if (state.leftDropped) from = at;
  }
  if (state.left === 0) state.leftDropped = false;
  while (end - at >= 5) {
    const type = bytes[at];
    const length = readLength(bytes, at + 1);
    if (length < 4 || length > frontendLimit(type)) {
      pass(server, bytes, from, at);
      violation(session, type, length);
      return;
    }
    // The byte behind the header tells most messages apart.
    if (end - at < 6 && length > 4) break;
    const next = at + length + 1;
    let outcome = from;
    switch (type) {
      case Frontend.Query:
        outcome = query(session, server, bytes, from, at, next, end);
        break;
      case Frontend.Parse:
        outcome = parse(session, server, bytes, from, at, next, end);
        if (outcome >= 0 || outcome === REPLACED) session.pool!.counters.total.client_parses++;
        break;
      case Frontend.Bind:
        outcome = bind(session, server, bytes, from, at, next, end);
        if (outcome >= 0) session.pool!.counters.total.binds++;
        break;
      case Frontend.Describe:
      case Frontend.Close:
        outcome = describeOrClose(session, server, bytes, from, at, next, end);
        break;
      case Frontend.Execute:
        owed.push(owedExecute(session, bytes[at + 5] === 0));
        server.state.unsynced = true;
        if (state.listens !== undefined) executeUnlisten(state.listens, server);
        break;
      case Frontend.Sync:
        owed.push(Owed.Sync);
        server.state.segment++;
        queryBegins(session);
        break;
      case Frontend.FunctionCall:
        outcome = functionCall(session, server, bytes, from, at, end);
        break;
      case Frontend.CopyDone:
      case Frontend.CopyFail:
        owed.push(Owed.CopyEnd);
        break;
      case Frontend.Flush:
        flushed = true;
        break;
      case Frontend.Terminate:
        pass(server, bytes, from, at);
        session.close(REASONS.clientTerminated, "");
        return;
      default:
        // CopyData: nothing answers it.
    }
    if (outcome < 0) {
      if (outcome === ENDED) return;
      if (outcome === REPLACED) {
        from = next;
        at = next;
        continue;
      }
      if (outcome === CHECKING) {
        from = at;
        checking = true;
      } else need = outcome === WANTS_WHOLE ? length + 1 : 1;
      break;
    }
    from = outcome;
    if (next <= end) at = next;
    else {
      state.left = next - end;
      at = end;
    }
    if (server.congested) break;
  }
  pass(server, bytes, from, at);
  // To a Flush PostgreSQL may have nothing to say.
  if (flushed && owed.madeUp()) {
    server.makeUp();
    if (session.server !== server) return;
  }
  if (checking) {
    session.keep(bytes, at, end);
    session.hold();
    return;
  }
  if (at < end) keepRest(session, server, bytes, at, end, need);
  if (owed.length > MOST_OWED) session.throttle();
  else if (owed.length === 0) session.releaseIfIdle();
}

/** What was not looked at: an unfinished message, or all that waits until PostgreSQL takes bytes again. */
function keepRest(
  session: PreparingSession,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  end: number,
  need: number,
): void {
  if (need <= MOST_WAITING_BYTES) {
    session.keep(bytes, at, end);
    if (need === 0 && server.congested) session.stall();
    return;
  }
  session.keepLong(bytes, at, end, need);
}
