/**
 * `pooler_check_query`: the query that probes of load balancers and drivers send to see whether there is an answer. The
 * first one of a pool is PostgreSQL's to answer; what it said is kept, and later ones get it without a server, also
 * while the pool is paused. Only of a query whose answer is the same for every session (constant_query.ts).
 */

import { TransactionStatus } from "../../protocol/codes.ts";
import { query } from "../../protocol/messages.ts";
import type { Pool } from "../../pool/pool.ts";
import type { AnswerRecording } from "../socket_parts.ts";
import type { ClientOutput, ClientTimes, ClientView } from "../parts.ts";
import { isConstantQuery } from "./constant_query.ts";
import { LocalAnswer } from "./transaction.ts";

/** The part of a session that this file sees. */
interface Session extends ClientView, ClientOutput, ClientTimes {
  recording: AnswerRecording | undefined;
}

/** Longest query that is looked for, and longest answer that is kept. */
const MOST_QUERY_BYTES = 4096;
const MOST_ANSWER_BYTES = 16_384;
const NONE = new Uint8Array(0);

/** What an answer may be kept for; empty: the text is too long, or PostgreSQL's to answer each time. */
export function checkQueryMessage(text: string): Uint8Array<ArrayBuffer> {
  return isConstantQuery(text) ? messageOf(text) : NONE;
}

/** The message that a client sends for it; an answer is that of one such object. Empty: it is too long. */
export function messageOf(text: string): Uint8Array<ArrayBuffer> {
  const message = query(text);
  return message.length > MOST_QUERY_BYTES ? NONE : message;
}

/** Answers the message at `bytes[at]`, as long as the check query, if it is that one; bytes are there up to `end`. */
export function answerCheck(
  session: Session,
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  end: number,
): number | undefined {
  const { checkQuery } = session.context;
  const there = Math.min(end - at, checkQuery.length);
  for (let i = 5; i < there; i++) if (bytes[at + i] !== checkQuery[i]) return undefined;
  if (there < checkQuery.length) return LocalAnswer.NeedMore;
  const { state } = session;
  const pool = session.pool!;
  if (pool.checkAnswer?.query !== checkQuery) {
    if (!state.deferredBegin) session.recording = new CheckRecording(pool, checkQuery);
    pool.counters.total.check_queries_run++;
    return LocalAnswer.None;
  }
  pool.counters.total.check_queries_answered++;
  const { answer } = pool.checkAnswer;
  // A simple query destroys the unnamed statement.
  state.unnamedId = 0;
  session.readyMs = session.context.reactor.now;
  if (state.deferredBegin) {
    const inTransaction = answer.slice();
    inTransaction[answer.length - 1] = TransactionStatus.InTransaction;
    session.write(inTransaction);
  } else session.write(answer);
  return LocalAnswer.Given;
}

/** The first ReadyForQuery since the check query was sent on was delivered. */
export function endRecording(session: Session, status: number): void {
  session.recording?.end(status);
  session.recording = undefined;
}

/** What a client is sent in answer to the check query, up to the first ReadyForQuery. */
class CheckRecording {
  readonly #pool: Pool;
  readonly #query: Uint8Array;
  #bytes = new Uint8Array(0);
  #tooLong = false;

  constructor(pool: Pool, query: Uint8Array) {
    this.#pool = pool;
    this.#query = query;
  }

  add(bytes: Uint8Array, start: number, end: number): void {
    const before = this.#bytes;
    if (before.length + end - start > MOST_ANSWER_BYTES) this.#tooLong = true;
    if (this.#tooLong) return;
    this.#bytes = new Uint8Array(before.length + end - start);
    this.#bytes.set(before);
    this.#bytes.set(bytes.subarray(start, end), before.length);
  }

  /** ReadyForQuery was delivered: keeps the answer if another client may have it. */
  end(status: number): void {
    if (this.#tooLong || status !== TransactionStatus.Idle || !isPlain(this.#bytes)) return;
    this.#pool.checkAnswer = { query: this.#query, answer: this.#bytes };
  }
}

/** RowDescription, DataRow, CommandComplete, EmptyQueryResponse, ReadyForQuery. */
const PLAIN = "TDCIZ";

/** Nothing in it was this client's own: no error, notice, parameter, notification. */
function isPlain(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer);
  let at = 0;
  while (at + 5 <= bytes.length) {
    if (!PLAIN.includes(String.fromCharCode(bytes[at]))) return false;
    at += 1 + view.getUint32(at + 1);
  }
  return at === bytes.length;
}
