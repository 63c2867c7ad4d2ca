// hot path
/**
 * How a session and its server come together and part: at the checkout with the client's parameters, at the end of a
 * transaction, and when one of them ends. Then the server goes back to its pool with a note of what is to be cleaned, or
 * is closed; the client is told why it has none any more.
 */

import { oneLine } from "../log/one_line.ts";
import type { Pool } from "../pool/pool.ts";
import { TransactionStatus } from "../protocol/codes.ts";
import type { ReceivedError } from "../protocol/error_response.ts";
import { type Reason, REASONS, reasonText } from "../reasons.ts";
import type { ServerConnection } from "../server/connection.ts";
import type { ServerLink } from "../server/link.ts";
import {
  difference,
  differenceQuery,
  type ParameterDifference,
  parameterSet,
} from "../server/parameters.ts";
import { Dirty } from "../server/state.ts";
import { settle } from "../server/statements/read_by_parse.ts";
import { countWait } from "./counts.ts";
import { flushNotifications } from "./listen/delivery.ts";
import { beginOn } from "./local/transaction.ts";
import type { ClientEnd, ClientOutput, ClientTimes, ClientView } from "./parts.ts";
import { adoptParameters, backToInitial, makesTemporary } from "./pinning/parameters.ts";
import { refuseCanceled } from "./refusals.ts";
import { type SessionState, Stage } from "./state.ts";
import { noteCheckOut } from "./timeouts.ts";

/** A session that may lose its server. */
interface PartingSession extends Omit<ClientView, "server">, ClientEnd {
  server: ServerConnection | undefined;
}

/** The part of a session that this file sees. */
interface Session extends PartingSession, ServerLink, ClientOutput, ClientTimes {
  readonly mayRewrite: boolean;
  rewrites: boolean;
  moveTo(stage: number): void;
  unthrottle(): void;
  relayKept(): void;
  release(): void;
  refuse(reason: Reason, first: string, second: string): void;
}

const NOTHING = new Uint8Array(0);

/** Whether something of the client's is on its server, perhaps, that only DISCARD ALL undoes for sure. */
function isItsOwn(state: SessionState, pool: Pool): boolean {
  return state.keepsServer || state.pinned !== 0 || state.listens?.moving !== undefined ||
    pool.settings.session_isolation === "strict";
}

/** Pairs with a server; `false` when it must get the client's parameters first. */
export function link(session: Session, server: ServerConnection): boolean {
  const { state } = session;
  const pool = session.pool!;
  countWait(session);
  server.link = session;
  server.state.dirty &= ~(Dirty.Reset | Dirty.Default);
  server.state.askedAgain = false;
  settle(server.state);
  if (pool.settings.session_isolation === "strict") server.state.dirty |= Dirty.Any;
  session.server = server;
  state.keepsServer = pool.settings.pool_mode === "session";
  session.rewrites = session.mayRewrite;
  noteCheckOut(session, server);
  if (session.backlogged) server.pauseReading();
  if (server.state.parameters !== state.parameters) {
    const differs = difference(server.state, state, pool);
    if (differs !== undefined) {
      session.moveTo(Stage.Syncing);
      server.resumeReading();
      server.runOwn(differenceQuery(differs));
      return false;
    }
    adoptParameters(session, server);
  }
  linked(session, server);
  return true;
}

/** The server has the client's parameters; what the client sends is relayed next. */
function linked(session: Session, server: ServerConnection): void {
  const { state } = session;
  server.settled = server.state.parameters;
  if (makesTemporary(state.parameters)) server.state.dirty |= Dirty.Temp;
  session.moveTo(Stage.Linked);
  if (!state.deferredBegin) return;
  state.deferredBegin = false;
  beginOn(server);
}

/**
 * The parameters are set, or PostgreSQL would not have them. A value that it refuses to set ends the client, as at a
 * direct connection, where such a StartupMessage is refused. One that it refuses to *reset* is another client's, and
 * costs the server: `true` when the session may wait for another one.
 */
export function ownQueryDone(session: Session, error: ReceivedError | undefined): boolean {
  const { state } = session;
  if (state.stage !== Stage.Syncing) return false;
  const server = session.server!;
  const pool = session.pool!;
  const alone = server.state.askedAgain;
  server.state.askedAgain = false;
  const differs = difference(server.state, state, pool);
  if (error !== undefined) {
    const resets = alone || differs !== undefined && mayBeRefused(differs, pool);
    if (!resets) {
      session.context.log.info(
        "pg_doorman::client",
        `${session.name} parameters refused by server pid=${server.state.pid}: ${error.code}: ` +
          oneLine(error.message),
      );
      session.release();
      session.fail("FATAL", REASONS.parametersFailed, error.message, "", error);
      return false;
    }
    if (alone || differs!.set.length === 0) return replaceServer(session, error);
    // Which of the two was it?
    server.state.askedAgain = true;
    server.runOwn(differenceQuery({ set: [], reset: differs!.reset }));
    return false;
  }
  if (alone) {
    const left = new Map(server.state.parameters.values);
    for (const name of differs?.reset ?? []) if (!pool.reported.has(name)) left.delete(name);
    server.state.parameters = parameterSet(left);
    server.state.own = [];
    const rest = difference(server.state, state, pool);
    if (rest !== undefined) {
      server.runOwn(differenceQuery(rest));
      return false;
    }
  }
  adoptParameters(session, server);
  if (state.canceled) {
    refuseCanceled(session);
    return false;
  }
  linked(session, server);
  if (session.backlogged) server.pauseReading();
  session.relayKept();
  return false;
}

/** Whether among the resets are some that take a right. */
function mayBeRefused({ reset }: ParameterDifference, { reported }: Pool): boolean {
  return reset.some((name) => !reported.has(name));
}

/** What another client has left can't be undone: that server is of no use any more. */
function replaceServer(session: Session, error: ReceivedError): boolean {
  const server = session.server!;
  const waits = leaveServer(session);
  server.close(REASONS.serverCleanupFailed, `${error.code}: ${error.message}`);
  return waits;
}

/**
 * PostgreSQL ends the server before the request was sent: nothing of it has run. Says whether the session may wait for
 * another one.
 */
export function letGo(session: Session, { code }: ReceivedError): boolean {
  const { state } = session;
  // What an operator does is none of the parameters' doing: they do not end the next server, too.
  if (state.stage !== Stage.Syncing || !code.startsWith("57P")) return false;
  return leaveServer(session);
}

/** Nothing of the request was sent. Says whether the session may wait for another server. */
function leaveServer(session: Session): boolean {
  const { state } = session;
  session.server!.link = undefined;
  session.server = undefined;
  session.moveTo(Stage.Waiting);
  if (!state.canceled) return true;
  state.canceled = false;
  session.refuse(REASONS.canceled, "", "");
  return false;
}

/** A replication client's own server: from here on only the end parts them. */
export function own(session: Session, server: ServerConnection): void {
  server.link = session;
  session.server = server;
  session.state.keepsServer = true;
  session.xactStartMs = session.context.reactor.now;
  session.moveTo(Stage.Linked);
}

/** Gives the server back; the client stays. */
export function release(session: Session): void {
  const { state } = session;
  const server = session.server!;
  if (state.replication !== "none") {
    session.fail("FATAL", REASONS.shuttingDown, "", "");
    return;
  }
  if (isItsOwn(state, session.pool!)) server.state.dirty |= Dirty.All;
  session.server = undefined;
  state.pinned = 0;
  session.moveTo(Stage.Idle);
  session.queryStartMs = 0;
  session.unthrottle();
  const reset = (server.state.dirty & Dirty.Reset) !== 0;
  session.pool!.checkIn(server);
  if (reset) backToInitial(session);
  flushNotifications(session);
}

/** What a client that has said goodbye sent before may take so long to end by itself: it may be a write that nobody waits for. */
const LAST_WORK_MS = 500;

/**
 * The session ends, in whatever state it is: its server, if it has one, is the pool's again. It is `through` by its own
 * Terminate, else it is `cut`.
 */
export function giveBack(session: PartingSession, pool: Pool, end: "through" | "cut"): void {
  const { state, server } = session;
  if (server === undefined) return;
  session.server = undefined;
  server.link = undefined;
  if (isItsOwn(state, pool)) server.state.dirty |= Dirty.All;
  server.state.dirty |= server.state.asked;
  server.state.asked = 0;
  // What was about to be set is on the server or not: nobody has looked.
  if (state.stage === Stage.Syncing) server.state.dirty |= Dirty.Set;
  if (state.left > 0 && !state.leftDropped) {
    if (server.owed.owesClient()) pool.cancel(server);
    server.close(REASONS.serverUnusable, "its client left in the middle of a message");
  } else if (state.replication !== "none") server.close(REASONS.replicationOver, "");
  else {
    // A transaction that is open is undone anyway.
    const committing = end === "through" && server.state.status === TransactionStatus.Idle;
    pool.checkIn(server, committing ? LAST_WORK_MS : 0);
  }
}

/** Its server is lost, and the session ends. `toldWhy`: PostgreSQL's own FATAL message was delivered. */
export function tellLoss(
  session: PartingSession,
  reason: Reason,
  detail: string,
  toldWhy: boolean,
): void {
  const { server, state } = session;
  session.server = undefined;
  if (state.stage === Stage.Closed) return;
  const cut = server !== undefined && server.state.left > 0 && !server.state.leftDropped;
  session.context.log.warn(
    "pg_doorman::client",
    `${session.name} client lost its server pid=${server?.state.pid}: ${
      reasonText(reason, detail)
    }${detail === "" ? "" : `: ${oneLine(detail)}`}`,
  );
  // In the middle of a message an ErrorResponse would be read as a part of it.
  // A replication client hears from PostgreSQL alone, and so of an end without a word, too.
  if (toldWhy || cut || state.replication !== "none") {
    session.say(NOTHING, reasonText(reason, detail));
  } else session.fail("FATAL", reason, detail, "");
}
