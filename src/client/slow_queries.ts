/**
 * Queries that take longer than `log_min_duration`, and their texts where those are asked for (`log_min_duration_text`).
 * Whether one is slow is asked at its ReadyForQuery (counts.ts); its text is only there while it is sent, so it is noted
 * then, for each request, but nothing at all is done where no texts are asked for.
 *
 * A text is the first one of a request. Requests that were sent behind others which were not answered yet have none, nor
 * has who has moved here in the middle of one. Values of parameters are never looked at.
 */

import { Frontend, readLength } from "../protocol/codes.ts";
import { queryText } from "../server/statements/query_interner.ts";
import { oneLine } from "../log/one_line.ts";
import type { ClientTimes, ClientView } from "./parts.ts";
import { findStatement } from "./prepared/names.ts";
import { zeroAt } from "./prepared/zero.ts";
import type { SessionState } from "./state.ts";

/** The part of a session that this file sees. */
interface Session extends ClientView, ClientTimes {
  readonly applicationName: string;
}

const TARGET = "pg_doorman::client::slow_query";
/** Names beyond this tell nothing. */
const MOST_NAME = 64;

interface Noted {
  text: string;
  /** Which of the session's queries it is. */
  query: number;
}

const notes = new WeakMap<SessionState, Noted>();
const decoder = new TextDecoder();

/** A query took longer than the pool's limit. It was counted already. */
export function logSlowQuery(session: Session, ms: number): void {
  const { context, name, pool, server, state } = session;
  if (!context.log.enabled("info", TARGET)) return;
  const fields = [
    `${name} slow query: duration=${ms.toFixed(3)}ms`,
    `pid=${server?.state.pid}`,
    `address=${state.address}`,
    `application_name=${quoted(session.applicationName, MOST_NAME)}`,
  ];
  const noted = notes.get(state);
  const most = pool!.settings.log_min_duration_text;
  if (most > 0 && noted?.query === state.queryCount - 1) {
    fields.push(`text=${quoted(oneLine(noted.text), most)}`);
  }
  context.log.info(TARGET, fields.join(" "));
}

function quoted(text: string, most: number): string {
  return JSON.stringify(text.length > most ? `${text.slice(0, most)}…` : text);
}

/** The client has sent `bytes[at..end)`: notes the text of a request that begins there. */
export function noteText(session: Session, bytes: Uint8Array, at: number, end: number): void {
  const { state } = session;
  if (session.queryStartMs !== 0 || state.left > 0) return;
  if (notes.get(state)?.query === state.queryCount) return;
  // One more than are shown, to show that there are more.
  const most = session.pool!.settings.log_min_duration_text + 1;
  const text = textOf(state, bytes, at, end, most);
  if (text !== undefined) notes.set(state, { text, query: state.queryCount });
}

/** The first text in messages. */
function textOf(
  state: SessionState,
  bytes: Uint8Array,
  at: number,
  end: number,
  most: number,
): string | undefined {
  while (end - at >= 5) {
    const length = readLength(bytes, at + 1);
    if (length < 4) return undefined;
    const next = at + 1 + length;
    const until = Math.min(next, end);
    switch (bytes[at]) {
      case Frontend.Query:
        return textAt(bytes, at + 5, until, most);
      case Frontend.Parse:
        return textAt(bytes, zeroAt(bytes, at + 5, until) + 1, until, most);
      case Frontend.Bind:
        return boundText(state, bytes, zeroAt(bytes, at + 5, until) + 1, until, most);
    }
    at = next;
  }
  return undefined;
}

/** The text of the statement whose name begins at `at`. */
function boundText(
  state: SessionState,
  bytes: Uint8Array,
  at: number,
  end: number,
  most: number,
): string | undefined {
  const nameEnd = zeroAt(bytes, at, end);
  if (nameEnd > at) {
    const statement = findStatement(state, bytes, at, nameEnd);
    return statement && queryText(statement.query, most);
  }
  const { unnamed, unnamedLength, unnamedFilled, unnamedId } = state;
  if (unnamed === undefined || unnamedId === 0 || unnamedFilled < unnamedLength) return undefined;
  return unnamedLength < 0 ? undefined : queryText({ body: unnamed }, most);
}

function textAt(bytes: Uint8Array, at: number, end: number, most: number): string {
  return decoder.decode(bytes.subarray(at, Math.min(zeroAt(bytes, at, end), at + most)));
}
