// hot path
/**
 * From the client to its server: cuts what was read into messages, notes for each what the server will owe, and sends
 * whole ranges on as they are. Long messages pass in pieces; only their headers are looked at.
 */

import { Frontend, frontendLimit, Named, readLength } from "../../protocol/codes.ts";
import { Owed } from "../../protocol/owed_replies.ts";
import { READ_BYTES } from "../../reactor/stream.ts";
import { REASONS } from "../../reasons.ts";
import { UNLISTENS } from "../../server/mark_bits.ts";
import { unlistenedChannels } from "../../server/marks.ts";
import { Dirty } from "../../server/state.ts";
import { pass } from "./gather.ts";
import { bindUnlisten, executeUnlisten, noteUnlisten } from "../listen/unlisten.ts";
import type { ServerConnection } from "../../server/connection.ts";
import { queryBegins } from "../counts.ts";
import { violation } from "../refusals.ts";
import { markCall, markPiece, markQuery, owedQuery } from "./marking.ts";
import type { ClientEnd, ClientInput, ClientTimes, ClientView } from "../parts.ts";
import { MOST_OWED } from "../socket_parts.ts";

/** The part of a session that this file sees. */
interface Session extends ClientView, ClientInput, ClientEnd, ClientTimes {
  releaseIfIdle(): void;
}

/** Sends `bytes[at..end)` to the linked server. */
export function relay(
  session: Session,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  end: number,
): void {
  const state = session.state;
  const owed = server.owed;
  let from = at;
  while (at < end) {
    if (state.left > 0) {
      const take = Math.min(state.left, end - at);
      if (state.marking !== 0 && !state.leftDropped) {
        markPiece(session, server, bytes, at, at + take);
      }
      state.left -= take;
      at += take;
      // A message that began before the server was checked out is dropped to its end.
      if (state.leftDropped) from = at;
      continue;
    }
    state.leftDropped = false;
    if (end - at < 5) break;
    const type = bytes[at];
    const length = readLength(bytes, at + 1);
    if (length < 4 || length > frontendLimit(type)) {
      pass(server, bytes, from, at);
      violation(session, type, length);
      return;
    }
    switch (type) {
      case Frontend.Query:
        if (state.listens !== undefined && isCutShort(length, end - at)) {
          finish(session, server, bytes, from, at, end);
          return;
        }
        if (!state.keepsServer || state.listens !== undefined) {
          const next = at + length + 1;
          const marks = markQuery(session, server, bytes, at + 5, next, end);
          owed.push(owedQuery(marks));
          if ((marks & UNLISTENS) !== 0) {
            noteUnlisten(state, server, bytes, at + 5, Math.min(next, end));
          }
        } else owed.push(Owed.Query);
        queryBegins(session);
        break;
      case Frontend.Parse:
        // The byte behind the header tells a named statement, which stays on the server.
        if (end - at < 6 || state.listens !== undefined && isCutShort(length, end - at)) {
          finish(session, server, bytes, from, at, end);
          return;
        }
        if (bytes[at + 5] !== 0) server.state.dirty |= Dirty.Prepare;
        if (!state.keepsServer || state.listens !== undefined) {
          const next = at + length + 1;
          const start = textStart(bytes, at + 5, Math.min(next, end));
          const marks = markQuery(session, server, bytes, start, next, end);
          if ((marks & UNLISTENS) !== 0 && state.listens !== undefined) {
            bindUnlisten(state, unlistenedChannels(bytes, start, Math.min(next, end)));
          }
        }
        session.pool!.counters.total.client_parses++;
        owed.push(Owed.Parse);
        server.state.unsynced = true;
        break;
      case Frontend.Bind:
        session.pool!.counters.total.binds++;
        owed.push(Owed.Bind);
        server.state.unsynced = true;
        break;
      case Frontend.Describe:
        if (end - at < 6) {
          finish(session, server, bytes, from, at, end);
          return;
        }
        owed.push(bytes[at + 5] === Named.Statement ? Owed.DescribeStatement : Owed.DescribePortal);
        server.state.unsynced = true;
        break;
      case Frontend.Execute:
        owed.push(Owed.Execute);
        if (state.listens !== undefined) executeUnlisten(state.listens, server);
        server.state.unsynced = true;
        break;
      case Frontend.Close:
        owed.push(Owed.Close);
        server.state.unsynced = true;
        break;
      case Frontend.Sync:
        owed.push(Owed.Sync);
        queryBegins(session);
        break;
      case Frontend.FunctionCall:
        // The number of the function.
        if (end - at < 9 && length >= 8) {
          finish(session, server, bytes, from, at, end);
          return;
        }
        markCall(session, server, bytes, at, end);
        owed.push(Owed.FunctionCall);
        queryBegins(session);
        break;
      case Frontend.CopyDone:
      case Frontend.CopyFail:
        owed.push(Owed.CopyEnd);
        break;
      case Frontend.Terminate:
        pass(server, bytes, from, at);
        session.close(REASONS.clientTerminated, "");
        return;
      default:
        // CopyData and Flush: nothing answers them.
        break;
    }
    state.left = length + 1;
  }
  finish(session, server, bytes, from, at, end);
}

/** A text up to this length is waited for when it may have an UNLISTEN. */
const MOST_WAITING_BYTES = READ_BYTES / 4;

function isCutShort(length: number, there: number): boolean {
  return there < length + 1 && length < MOST_WAITING_BYTES;
}

/** Where the text of a Parse begins, behind the name at `at`. */
function textStart(bytes: Uint8Array, at: number, end: number): number {
  let start = at;
  while (start < end && bytes[start] !== 0) start++;
  return start < end ? start + 1 : at;
}

/** Sends what was looked at, keeps the rest, and sees to what is owed. */
function finish(
  session: Session,
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  from: number,
  at: number,
  end: number,
): void {
  pass(server, bytes, from, at);
  if (at < end) session.keep(bytes, at, end);
  if (server.owed.length > MOST_OWED) session.throttle();
  else if (server.owed.length === 0) session.releaseIfIdle();
}
