// hot path
/**
 * What is counted of a session and its pool, and the lines that are logged of errors and of the end.
 */

import { oneLine } from "../log/one_line.ts";
import type { ReceivedError } from "../protocol/error_response.ts";
import type { ServerConnection } from "../server/connection.ts";
import { type Reason, REASONS, reasonText } from "../reasons.ts";
import type { ClientTimes, ClientView } from "./parts.ts";
import { logSlowQuery } from "./slow_queries.ts";
import { peerAddress } from "./state.ts";
import { countQueryDuration, countWaitDuration, countXactDuration } from "../stats/durations.ts";

/** The part of a session that this file sees. */
interface Session extends ClientView, ClientTimes {
  readonly applicationName: string;
}

const TARGET = "pg_doorman::client";

/** It has waited for a server. */
export function countWait(
  { context, pool, state, waitStartMs }: ClientView & ClientTimes,
): void {
  const waitedUs = Math.round((context.reactor.now - waitStartMs) * 1000);
  const { total, times } = pool!.counters;
  total.wait_time += waitedUs;
  times.addWait(waitedUs);
  countWaitDuration(total, waitedUs);
  if (waitedUs > state.maxWaitUs) state.maxWaitUs = waitedUs;
}

/** A message was sent that ReadyForQuery will answer. */
export function queryBegins(session: Pick<ClientView, "context"> & ClientTimes): void {
  if (session.queryStartMs === 0) session.queryStartMs = session.context.reactor.now;
}

/** A ReadyForQuery of the client's was delivered. */
export function countQuery(session: Session, settled: boolean): void {
  const { now } = session.context.reactor;
  const { total, times } = session.pool!.counters;
  session.readyMs = now;
  session.state.queryCount++;
  total.query_count++;
  if (session.queryStartMs !== 0) {
    const ms = now - session.queryStartMs;
    const us = Math.round(ms * 1000);
    total.query_time += us;
    times.addQuery(us);
    countQueryDuration(total, us);
    session.queryStartMs = settled ? 0 : now;
    if (ms >= session.pool!.settings.log_min_duration) logSlowQuery(session, ms);
  }
  if (session.server !== undefined) session.server.state.queryCount++;
}

/** Its transaction has ended. */
export function countTransaction(session: Session): void {
  const { now } = session.context.reactor;
  const { total, times } = session.pool!.counters;
  const us = Math.round((now - session.xactStartMs) * 1000);
  session.state.xactCount++;
  total.xact_count++;
  total.xact_time += us;
  times.addXact(us);
  countXactDuration(total, us);
  session.xactStartMs = now;
  if (session.server !== undefined) session.server.state.xactCount++;
}

/** A replication client's command is through. Streams last for days: no statistics of times. */
export function countCommand(session: Session, server: ServerConnection): void {
  session.state.queryCount++;
  server.state.queryCount++;
  session.pool!.counters.total.query_count++;
  session.queryStartMs = 0;
}

/** How the session ended. */
export function logEnd(session: Session, reason: Reason, detail: string): void {
  const { log, general } = session.context;
  const unclean = reason !== REASONS.clientTerminated && reason !== REASONS.clientGone;
  const level = unclean ? "warn" : general.log_client_disconnections ? "info" : "debug";
  if (!log.enabled(level, TARGET)) return;
  const line = endLine(session, reasonText(reason, detail));
  // Whoever has not logged in may come again as often as he likes.
  if (unclean && session.state.secret.length === 0) {
    const by = { kind: reason.name, address: peerAddress(session.state) };
    log.provoked(level, TARGET, by, line);
  } else if (level === "info") log.requested(TARGET, line);
  else log[level](TARGET, line);
}

/** A client that had logged in is told why it has to go; what is to be said of that as an event is said. */
export function logFarewell(session: Session, why = "it was told to leave"): void {
  const { log, general } = session.context;
  // A login that fails has a line of its own.
  if (session.state.secret.length === 0) return;
  const level = general.log_client_disconnections ? "info" : "debug";
  if (!log.enabled(level, TARGET)) return;
  const line = endLine(session, oneLine(why));
  if (level === "info") log.requested(TARGET, line);
  else log.debug(TARGET, line);
}

function endLine({ context, name, state }: Session, why: string): string {
  const seconds = ((context.reactor.now - state.connectedAtMs) / 1000).toFixed(3);
  const line = `${name} client disconnected from ${state.address}: ${why}, session=${seconds}s`;
  if (state.secret.length === 0) return line;
  const { queryCount, xactCount, errorCount, receivedBytes, sentBytes } = state;
  return `${line} queries=${queryCount} transactions=${xactCount} errors=${errorCount} ` +
    `received=${receivedBytes} sent=${sentBytes}`;
}

/** An error of PostgreSQL that the client gets. */
export function logServerError(session: Session, error: ReceivedError): void {
  const { log } = session.context;
  if (!log.enabled("debug", "pg_doorman::server")) return;
  log.debug(
    "pg_doorman::server",
    `${session.name} server error pid=${session.server?.state.pid}: severity=${error.severity}, ` +
      `code=${error.code}, message="${oneLine(error.message)}"`,
  );
}
