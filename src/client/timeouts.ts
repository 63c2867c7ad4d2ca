// hot path
/**
 * Limits for what a client does: how long its queries and transactions take, how long it is silent. Nothing is timed while
 * it works: the session notes when what began, and now and then somebody looks (worker/timeouts.ts).
 *
 * ```
 *        request           ReadyForQuery T or E                    ReadyForQuery I
 *   idle ───────▶ running ─────────────────────▶ idle in transaction ─── … ─────▶ idle
 *                 query_timeout                  idle_transaction_timeout         client_idle_timeout
 *                 ╰───────────────── transaction_timeout ────────────────╯
 * ```
 */

import { TransactionStatus } from "../protocol/codes.ts";
import { noticeResponse } from "../protocol/error_response.ts";
import { type Reason, REASONS, reasonText } from "../reasons.ts";
import type { ServerConnection } from "../server/connection.ts";
import type { PoolCounters } from "../stats/counters.ts";
import type { ClientEnd, ClientOutput, ClientTimes, ClientView } from "./parts.ts";
import { Stage } from "./state.ts";

/** The part of a session that this file sees. */
interface Session extends ClientView, ClientOutput, ClientEnd, ClientTimes {
  readonly frozen: boolean;
}

const TARGET = "pg_doorman::client";
/** How long PostgreSQL may take to end a query that it was asked to cancel. */
export const CANCEL_GRACE_MS = 5000;

/** The client has sent something: a request begins if the server owes nothing. */
export function noteRequest(session: ClientView & ClientTimes, server: ServerConnection): void {
  if (server.owed.length > 0) return;
  const { now } = session.context.reactor;
  session.requestMs = now;
  const { status, unsynced } = server.state;
  if (status === TransactionStatus.Idle && !unsynced) session.xactStartMs = now;
}

/** A server was checked out: its transaction begins now, with the BEGIN that the client sent before, perhaps. */
export function noteCheckOut(session: ClientView & ClientTimes, server: ServerConnection): void {
  const { now } = session.context.reactor;
  server.state.refusesBlocks = session.pool!.settings.pool_mode === "statement";
  session.state.toldWaiting = false;
  session.requestMs = now;
  session.xactStartMs = now;
}

/** Its wait for a server has ended without one. */
export function noteRefusal(session: ClientView & ClientTimes): void {
  session.readyMs = session.context.reactor.now;
  session.state.toldWaiting = false;
}

/**
 * Holds a client that has a server against the limits of its pool. Returns when to look again at the latest: nothing that
 * begins from now on is overdue before its whole limit is over.
 */
export function checkLinked(session: Session, now: number): number {
  const { pool, server, state } = session;
  // Streams are PostgreSQL's to end.
  if (state.replication !== "none") return Infinity;
  if (session.frozen || pool === undefined || server === undefined) return Infinity;
  if (state.stage !== Stage.Linked) return Infinity;
  const { query_timeout, transaction_timeout, idle_transaction_timeout } = pool.settings;
  const running = server.owed.length > 0;
  if (!running && !inTransaction(server)) return Infinity;
  let next = Infinity;
  if (transaction_timeout > 0) {
    const ageMs = now - session.xactStartMs;
    if (ageMs >= transaction_timeout) {
      const limit = { reason: REASONS.transactionTimeout, limitMs: transaction_timeout, ageMs };
      end(session, limit, "transaction_timeouts");
      return Infinity;
    }
    next = now - ageMs + transaction_timeout;
  }
  if (running) {
    session.quietMs = -Infinity;
    return query_timeout === 0 ? next : Math.min(next, checkQuery(session, server, now));
  }
  if (idle_transaction_timeout === 0) return next;
  const ageMs = now - quietSince(session, server, now);
  if (ageMs < idle_transaction_timeout) {
    return Math.min(next, now - ageMs + idle_transaction_timeout);
  }
  const limit = { reason: REASONS.idleTransaction, limitMs: idle_transaction_timeout, ageMs };
  end(session, limit, "idle_transaction_timeouts");
  return Infinity;
}

/** `server_fast_close`: a client that keeps a server which is to be replaced is sent home between transactions. */
export function checkOutdated(
  session: Session & { readonly atRest: boolean },
  server: ServerConnection,
): void {
  const { pool, state } = session;
  if (session.frozen || pool === undefined || state.stage !== Stage.Linked) return;
  if (!session.atRest || inTransaction(server) || !pool.isOutdated(server)) return;
  session.fail("FATAL", REASONS.fastClose, "", "");
}

/** A transaction is open, or what counts as one for PostgreSQL until a Sync comes. */
function inTransaction(server: ServerConnection): boolean {
  const { status, unsynced } = server.state;
  return status !== TransactionStatus.Idle || unsynced;
}

/** Since when the client has sent nothing although it could. */
function quietSince(session: Session, server: ServerConnection, now: number): number {
  if (!server.state.unsynced) return Math.max(session.readyMs, session.requestMs);
  // No ReadyForQuery tells when its answers were through: it counts from when it is first seen here.
  if (session.quietMs < session.requestMs) session.quietMs = now;
  return session.quietMs;
}

function checkQuery(session: Session, server: ServerConnection, now: number): number {
  const limitMs = session.pool!.settings.query_timeout;
  // Of pipelined ones the next begins when the last is answered; so does what the pooler asks between two.
  const since = Math.max(session.requestMs, session.readyMs);
  const ageMs = now - since;
  if (ageMs < limitMs) return since + limitMs;
  if (session.timeoutCancelMs < since) {
    session.timeoutCancelMs = now;
    cancelOverdue(session, server, ageMs);
    return now + CANCEL_GRACE_MS;
  }
  const givenUpMs = session.timeoutCancelMs + CANCEL_GRACE_MS;
  if (now < givenUpMs) return givenUpMs;
  end(session, { reason: REASONS.queryTimeout, limitMs, ageMs });
  server.close(REASONS.serverUnusable, "its query was not canceled in time");
  return Infinity;
}

/** Asks PostgreSQL to end the query: the client gets PostgreSQL's own error and goes on. */
function cancelOverdue(session: Session, server: ServerConnection, ageMs: number): void {
  const pool = session.pool!;
  const { query_timeout } = pool.settings;
  pool.counters.total.query_timeouts++;
  session.context.log.warn(
    TARGET,
    `${session.name} query_timeout of ${query_timeout} ms reached: canceling the query after ` +
      `${Math.round(ageMs)} ms, server pid=${server.state.pid}`,
  );
  pool.cancel(server);
  // PostgreSQL's error speaks of a user request.
  if (!session.midMessage) {
    session.write(noticeResponse({
      severity: "WARNING",
      code: "01000",
      message: `query_timeout (${query_timeout} ms) reached: canceling the query`,
    }));
  }
}

/** Holds a client that does nothing against the limits of its pool. Returns as `checkLinked` does. */
export function checkIdle(session: Session, now: number): number {
  const { pool, state } = session;
  if (pool === undefined || session.frozen || !resting(session)) return Infinity;
  if (state.deferredBegin) return checkDeferred(session, now);
  const limitMs = pool.settings.client_idle_timeout;
  if (limitMs === 0) return Infinity;
  const since = Math.max(session.readyMs, session.requestMs);
  const ageMs = now - since;
  if (ageMs < limitMs) return since + limitMs;
  end(session, { reason: REASONS.clientIdle, limitMs, ageMs }, "client_idle_timeouts");
  return Infinity;
}

/** Its transaction has begun and has no server yet: all that it does is to be idle. */
function checkDeferred(session: Session, now: number): number {
  const { idle_transaction_timeout, transaction_timeout } = session.pool!.settings;
  const idle = idle_transaction_timeout > 0 &&
    (transaction_timeout === 0 || idle_transaction_timeout <= transaction_timeout);
  const limitMs = idle ? idle_transaction_timeout : transaction_timeout;
  if (limitMs === 0) return Infinity;
  const ageMs = now - session.readyMs;
  if (ageMs < limitMs) return session.readyMs + limitMs;
  if (idle) {
    end(session, { reason: REASONS.idleTransaction, limitMs, ageMs }, "idle_transaction_timeouts");
  } else {end(
      session,
      { reason: REASONS.transactionTimeout, limitMs, ageMs },
      "transaction_timeouts",
    );}
  return Infinity;
}

/** No server is at work for it, and no part of a request is there. */
function resting(session: Session): boolean {
  const { server, state } = session;
  if (state.left > 0 || state.replication !== "none") return false;
  if (state.stage === Stage.Idle) return true;
  return state.stage === Stage.Linked && server !== undefined && server.owed.length === 0 &&
    !inTransaction(server);
}

/** Tells a client that has waited for `query_wait_notify` that it waits, once each time. */
export function tellWaiting(session: Session, waitedMs: number): void {
  const { state } = session;
  state.toldWaiting = true;
  // In the middle of a login drivers expect no notices.
  if (session.frozen || state.stage !== Stage.Waiting) return;
  session.write(noticeResponse({
    severity: "NOTICE",
    code: "00000",
    message: "no server connection available, client being queued",
    detail: `It has waited for ${Math.round(waitedMs)} ms (query_wait_notify).`,
  }));
}

interface Overdue {
  reason: Reason;
  limitMs: number;
  ageMs: number;
}

/** The client is told and goes; its server is canceled, rolled back and given to the next one. */
function end(
  session: Session,
  { reason, limitMs, ageMs }: Overdue,
  counter?: keyof PoolCounters,
): void {
  const { context, server } = session;
  const pool = session.pool!;
  if (counter !== undefined) pool.counters.total[counter]++;
  const pid = server === undefined ? "" : `, server pid=${server.state.pid}`;
  context.log[reason.level](
    TARGET,
    `${session.name} client disconnected from ${session.state.address}: ` +
      `${reasonText(reason, String(limitMs))}, after ${Math.round(ageMs)} ms${pid}`,
  );
  session.fail("FATAL", reason, String(limitMs), "");
}
