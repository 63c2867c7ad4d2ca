/**
 * What the replies of PostgreSQL tell of prepared statements: what an error takes back, what DEALLOCATE ALL leaves, and
 * what a statement returns. Called by the pump of a server connection (connection.ts), on rare messages alone.
 */

import { errorResponse } from "../../protocol/error_response.ts";
import { Owed, type OwedReplies, SkippedUnnamed } from "../../protocol/owed_replies.ts";
import { rowShape, type Statement, take, takeAll, type Tracked, undo } from "./on_server.ts";
import { sameBytes } from "./query_interner.ts";
import type { ServerState } from "../state.ts";

/** What PostgreSQL's plan cache says of a statement that would return something else than before. */
const CHANGED_SHAPE = errorResponse({
  severity: "ERROR",
  code: "0A000",
  message: "cached plan must not change result type",
  routine: "RevalidateCachedQuery",
}) as Uint8Array<ArrayBuffer>;

/** The client's side, as far as its statements are concerned. */
export interface StatementLink {
  /** An error skipped these messages, or one of them failed: what they were to change is as before. */
  skipped(tracked: readonly Tracked[]): void;
  /** What the pooler asked to know: whether the statement returns here what it did where it was parsed first. */
  shapeChecked(statement: Statement, same: boolean): void;
  /** The Parse of the link's unnamed statement failed or was skipped. */
  unnamedLost(): void;
  /** DEALLOCATE ALL or DISCARD ALL went through; `later` are messages that were sent behind it. */
  statementsDropped(later: readonly Tracked[]): void;
}

/** What is needed of a server connection. */
export interface StatementServer {
  readonly state: ServerState;
  readonly owed: OwedReplies;
  readonly link: StatementLink | undefined;
}

/** Records in the queue are what a message changes, or the statement that a Bind or Describe names. */
function isTracked(record: object): record is Tracked {
  return !("query" in record);
}

function trackedHead({ owed }: StatementServer): Tracked | undefined {
  const record = owed.headRecord();
  return record !== undefined && isTracked(record) ? record : undefined;
}

/** The channels that the statement at the head of the queue names in UNLISTEN. */
export function unlistenedBy(server: StatementServer): readonly string[] {
  return trackedHead(server)?.unlistens ?? [];
}

/** The statement that a Describe of the pooler's, the head of the queue, asks about. */
export function describedStatement(server: StatementServer): Statement | undefined {
  return server.owed.swallowing() ? trackedHead(server)?.described : undefined;
}

/** The answer to it, `bytes[start..end)`; `undefined`: too long to be looked at, and taken for the same. */
export function noteShape(
  { link }: StatementServer,
  statement: Statement,
  bytes: Uint8Array | undefined,
  start: number,
  end: number,
): void {
  if (bytes === undefined) {
    if (statement.shape !== undefined) link?.shapeChecked(statement, true);
    return;
  }
  const shape = rowShape(bytes, start, end);
  if (statement.shape === undefined) statement.shape = shape;
  else link?.shapeChecked(statement, sameBytes(statement.shape, shape, 0, shape.length));
}

/** DEALLOCATE ALL or DISCARD ALL went through. */
export function dropStatements({ state, owed, link }: StatementServer): void {
  const later = owed.laterRecords().filter(isTracked);
  takeAll(state, later);
  link?.statementsDropped(later);
}

/** What the client gets in place of the error that comes now, if the pooler has had it raised to tell something else. */
export function refusal(
  server: StatementServer,
  code: string,
): Uint8Array<ArrayBuffer> | undefined {
  if (!server.owed.swallowing()) return undefined;
  const head = trackedHead(server);
  if (head?.refusal !== undefined) return head.refusal.slice();
  const shape = server.owed.headKind() === Owed.Execute && head?.described !== undefined;
  return shape && code === "0A000" ? CHANGED_SHAPE : undefined;
}

/** What an error says of the statement at the head: lost on this server, or of another shape than it was. */
export function statementFailed({ state, owed }: StatementServer, code: string): void {
  const record = owed.headRecord();
  if (record === undefined || isTracked(record)) return;
  const statement = record as Statement;
  if (code === "26000") take(state, statement.id);
  // "cached plan must not change result type": whoever prepares it anew gets a new statement.
  else if (code === "0A000") statement.generation = -1;
}

/** Takes back what the last error has skipped. */
export function takeBack({ state, owed, link }: StatementServer): void {
  if (owed.skipped.length === 0 && owed.skippedUnnamed === 0) return;
  const tracked = owed.skipped.filter(isTracked);
  const { skippedUnnamed } = owed;
  owed.skipped.length = 0;
  owed.skippedUnnamed = 0;
  undo(state, tracked);
  if (skippedUnnamed !== 0) state.unnamed = -1;
  // One that was sent behind the Sync is the client's by now.
  const own = (skippedUnnamed & SkippedUnnamed.Client) !== 0 && !owed.owesUnnamed();
  if (own) link?.unnamedLost();
  if (tracked.length > 0) link?.skipped(tracked);
}
