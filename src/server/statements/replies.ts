/**
 * What the replies of PostgreSQL tell of prepared statements: what an error takes back, what DEALLOCATE ALL leaves, and
 * what a statement returns. Called by the pump of a server connection (connection.ts), on rare messages alone.
 */

import { errorResponse, type ReceivedError } from "../../protocol/error_response.ts";
import { Owed, type OwedReplies, SkippedUnnamed } from "../../protocol/owed_replies.ts";
import {
  confirm,
  rowShape,
  type Statement,
  take,
  takeAll,
  type Tracked,
  undo,
} from "./on_server.ts";
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
  /** PostgreSQL has made of the text what it has made of it before. */
  parsedAgain(statement: Statement, known: Statement, alias: Uint8Array<ArrayBuffer>): void;
  /** What the client's next messages wait for was answered. */
  caughtUp(): void;
  /** The client's name for the statement, for people; `undefined`: it has none. */
  statementName(statement: Statement): string | undefined;
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

/** What a Describe of the pooler's, the head of the queue, asks about. */
export function describedBy(server: StatementServer): Description | undefined {
  if (!server.owed.swallowing()) return undefined;
  const head = trackedHead(server);
  return head?.described === undefined ? undefined : head as Description;
}

/** A record with what was asked about. */
export type Description = Tracked & { readonly described: Statement };

/** ParseComplete came for a Parse with a record; says whether the client has waited for it. */
export function noteParsed({ state }: StatementServer, record: object): boolean {
  const tracked = record as Tracked;
  confirm(state, tracked);
  return tracked.waits === true;
}

/** ParameterDescription, `bytes[start..end)` without type and length. */
export function noteTypes(
  { described }: Description,
  bytes: Uint8Array,
  start: number,
  end: number,
): void {
  described.types ??= bytes.slice(start, end);
}

/** The answer to it, `bytes[start..end)`; `undefined`: too long to be looked at, and taken for the same. */
export function noteShape(
  { link }: StatementServer,
  { described: statement, again, alias }: Description,
  bytes: Uint8Array | undefined,
  start: number,
  end: number,
): void {
  if (bytes === undefined) {
    if (statement.shape !== undefined) link?.shapeChecked(statement, true);
    return;
  }
  const shape = rowShape(bytes, start, end);
  if (statement.shape === undefined) {
    statement.shape = shape;
    if (again === undefined || alias === undefined) return;
    if (sameStatement(statement, again)) link?.parsedAgain(statement, again, alias);
    else again.generation = -1;
  } else link?.shapeChecked(statement, sameBytes(statement.shape, shape, 0, shape.length));
}

/** Whether PostgreSQL made the same of one text twice, as far as its Describe tells. */
function sameStatement(one: Statement, other: Statement): boolean {
  if (one.shape === undefined || other.shape === undefined) return false;
  if (one.types === undefined || other.types === undefined) return false;
  return sameBytes(one.shape, other.shape, 0, other.shape.length) &&
    sameBytes(one.types, other.types, 0, other.types.length);
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
  error: ReceivedError,
): Uint8Array<ArrayBuffer> | undefined {
  const { code } = error;
  if (!server.owed.swallowing()) {
    return code === "26000" && OWN_NAMES.some((name) => error.message.includes(name))
      ? withClientsName(server, error)
      : undefined;
  }
  const head = trackedHead(server);
  if (head?.refusal !== undefined) return head.refusal.slice();
  const shape = server.owed.headKind() === Owed.Execute && head?.described !== undefined;
  return shape && code === "0A000" ? CHANGED_SHAPE : undefined;
}

/** How names begin that are the pooler's, and those of clients that look like them. */
const OWN_NAMES = ['"DOORMAN_', '"_DOORMAN_'];

/** An unknown statement under the name that the client has for it. */
function withClientsName(
  { owed, link }: StatementServer,
  error: ReceivedError,
): Uint8Array<ArrayBuffer> {
  const record = owed.headRecord();
  let { message } = error;
  if (record !== undefined && !isTracked(record)) {
    const name = link?.statementName(record as Statement);
    message = name === undefined
      ? "prepared statement does not exist"
      : `prepared statement "${name}" does not exist`;
  } else message = message.replace('"_DOORMAN_', '"DOORMAN_');
  const { code, detail, hint } = error;
  return errorResponse({ severity: "ERROR", code, message, detail, hint }) as Uint8Array<
    ArrayBuffer
  >;
}

/**
 * What an error says of the statement at the head: lost on this server, or of other things than there are now. Whoever
 * prepares that anew gets a new statement. `true`: something is gone, and it is not known which statements are of it.
 */
export function statementFailed(
  { state, owed }: StatementServer,
  { code, message }: ReceivedError,
): boolean {
  const lost = code === "XX000" && LOST.some((words) => message.startsWith(words));
  const record = owed.headRecord();
  if (record === undefined || isTracked(record)) {
    // An Execute does not say what it runs.
    return lost && owed.headKind() === Owed.Execute;
  }
  const statement = record as Statement;
  if (code === "26000") take(state, statement.id);
  else if (lost) {
    take(state, statement.id);
    statement.generation = -1;
  } else if (code === "0A000" || code.startsWith("42") && code !== "42501") {
    statement.generation = -1;
  }
  return false;
}

/** What PostgreSQL says where a plan holds on to what is gone. */
const LOST = ["cache lookup failed", "could not open relation with OID"];

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
