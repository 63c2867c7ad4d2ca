// hot path
/**
 * A client's session: its stages, and the link to a server connection. Its socket is in socket.ts, the login in login.ts,
 * the relay of messages in relay.ts, the console's transport in admin_session.ts.
 *
 * What must hold: a session in `Waiting` is in its pool's queue, one in `Linked` or `Syncing` has a server whose link
 * it is, one in `Preparing` is in the queue or has a server that is asked, all others have none; every way to the end
 * goes through `close`, which gives all of that back.
 */

import { giveChunk } from "../reactor/chunks.ts";
import type { Timer } from "../reactor/timers.ts";
import { TransactionStatus } from "../protocol/codes.ts";
import type { ErrorAside, ReceivedError } from "../protocol/error_response.ts";
import { peerName, type Reason, REASONS } from "../reasons.ts";
import type { Pool } from "../pool/pool.ts";
import type { Waiter } from "../pool/waiting.ts";
import type { ServerConnection } from "../server/connection.ts";
import type { ServerLink } from "../server/link.ts";
import type { LoginFailure } from "../server/login.ts";
import type { ParameterSet } from "../server/parameters.ts";
import type { InternedQuery } from "../server/statements/query_interner.ts";
import type { Statement, Tracked } from "../server/statements/on_server.ts";
import type { AdminSession } from "./admin_session.ts";
import { endRecording } from "./local/check_query.ts";
import { countError } from "../stats/error_classes.ts";
import {
  countCommand,
  countQuery,
  countTransaction,
  logEnd,
  logFarewell,
  logServerError,
} from "./counts.ts";
import { giveBack, letGo, link, own, ownQueryDone, release, tellLoss } from "./link.ts";
import {
  askAgain,
  forgetSession,
  freezeSession,
  isMovable,
  type SessionSnapshot,
  thawSession,
  unfreezeSession,
} from "./freeze.ts";
import { askLeftovers, mustAsk, settleLeftovers } from "./pinning/leftovers.ts";
import {
  isMoving,
  type Listening,
  noteListen,
  notifiedByServer,
  stopListening,
  transactionEnded,
} from "./listen/listening.ts";
import { flushNotifications } from "./listen/delivery.ts";
import { confirmUnlisten } from "./listen/unlisten.ts";
import type { ClientLogin } from "./login/login.ts";
import { cancelRequest, errorOf, refuse, refuseBlock } from "./refusals.ts";
import { noteText } from "./slow_queries.ts";
import { noteRequest } from "./timeouts.ts";
import { pin } from "./pinning/pin.ts";
import { ownInitial } from "./pinning/parameters.ts";
import { leavePlace } from "./login/places.ts";
import { mergeStatement, refuseShape } from "./prepared/provide.ts";
import { relayPrepared } from "./prepared/rewrite.ts";
import { relay } from "./relay/relay.ts";
import { route } from "./local/route.ts";
import { ClientSocket } from "./socket.ts";
import { Stage } from "./state.ts";
import { Dirty } from "../server/state.ts";
import { clearStatements, dropNames, nameOfStatement, takeBackNames } from "./prepared/names.ts";

/** How long a client that was told goodbye may take to close its end. */
const CLOSING_MS = 2000;

export class Session extends ClientSocket implements Waiter, ServerLink {
  pool: Pool | undefined = undefined;
  login: ClientLogin | undefined = undefined;
  admin: AdminSession | undefined = undefined;
  listening: Listening | undefined = undefined;
  waitNext: Waiter | undefined = undefined;
  waitPrevious: Waiter | undefined = undefined;
  waitSinceMs = 0;
  /** When the wait for a server began, whatever came in between. */
  waitStartMs = 0;
  /** It is on its way to another worker or process: here nothing may happen to it any more. */
  frozen = false;
  /** When the oldest unanswered query was sent; 0: none. */
  queryStartMs = 0;
  xactStartMs = 0;
  /** Prepared statements of this session are rewritten. */
  rewrites = false;
  /** What its unnamed statement's text is shared with others as. */
  restingText: InternedQuery | undefined = undefined;
  #closingTimer: Timer | undefined = undefined;

  get name(): string {
    const { user, database, id } = this.state;
    return user === "" ? `[#c${id}]` : `[${peerName(user)}@${peerName(database)} #c${id}]`;
  }

  /** As the client has it now; a SET of its own included. */
  get applicationName(): string {
    return this.state.parameters.values.get("application_name") ?? this.state.applicationName;
  }

  /** The one place where a session's stage is set. What goes with the stage (`server`) is set before. */
  moveTo(stage: number): void {
    this.state.stage = stage;
    this.resume();
  }

  // ── freezing and thawing ────────────────────────────────────────────────────────────────────────────────────────

  /** Leaves the event loop, as data, with its server; the descriptors stay open. */
  freeze(): SessionSnapshot {
    return freezeSession(this);
  }

  /** The descriptor belongs to another worker now. */
  handedOver(): void {
    this.moveTo(Stage.Closed);
    this.leaveSocket();
  }

  /** Comes back to the event loop after a `freeze` that led nowhere. */
  unfreeze(): void {
    unfreezeSession(this);
  }

  /** Lets the descriptors go without a word: the session lives on elsewhere. */
  forget(): void {
    forgetSession(this);
  }

  /** Takes up the life of a snapshot: this session was made of its state, and has its pool. */
  thaw(snapshot: SessionSnapshot, server: ServerConnection | undefined): void {
    thawSession(this, snapshot, server);
  }

  /** Whether it can be frozen: a login under way and a console live where they began. */
  get movable(): boolean {
    return isMovable(this);
  }

  // ── what the client sends ───────────────────────────────────────────────────────────────────────────────────────

  /** Does with `bytes[at..end)` what the stage calls for. */
  take(bytes: Uint8Array<ArrayBuffer>, at: number, end: number): void {
    switch (this.state.stage) {
      case Stage.Linked:
        this.#relay(bytes, at, end);
        return;
      case Stage.Idle:
        route(this, bytes, at, end);
        return;
      case Stage.Startup:
      case Stage.Login:
        this.login!.take(bytes, at, end);
        return;
      case Stage.Admin:
        this.admin!.take(bytes, at, end);
        return;
      case Stage.Closing:
      case Stage.Closed:
        return;
      default:
        this.keep(bytes, at, end);
    }
  }

  #relay(bytes: Uint8Array<ArrayBuffer>, at: number, end: number): void {
    const server = this.server!;
    if (server.cancelsUnderWay > 0 && server.owed.length === 0) {
      // A cancel that was meant for what is done could hit it.
      this.keep(bytes, at, end);
      this.stall();
      return;
    }
    noteRequest(this, server);
    if (this.pool!.settings.log_min_duration_text > 0) noteText(this, bytes, at, end);
    if (this.rewrites) relayPrepared(this, server, bytes, at, end);
    else relay(this, server, bytes, at, end);
  }

  protected drained(): void {
    if (this.state.stage === Stage.Closing) this.shutdown();
    else {
      this.server?.resumeReading();
      flushNotifications(this);
    }
  }

  // ── checkout ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A request begins at `bytes[at]`: get a server for it. */
  request(bytes: Uint8Array<ArrayBuffer>, at: number, end: number): void {
    // A transaction that the client believes to be in may come to its end.
    if (this.context.draining && !this.state.deferredBegin) {
      this.fail("FATAL", REASONS.shuttingDown, "", "");
      return;
    }
    this.moveTo(Stage.Waiting);
    this.waitStartMs = this.context.reactor.now;
    const server = this.pool!.checkOut(this);
    if (server === undefined) {
      this.keep(bytes, at, end);
      return;
    }
    if (link(this, server)) this.#relay(bytes, at, end);
    else this.keep(bytes, at, end);
  }

  /** Sets the login's stage before the session asks for a server only to learn the server's parameters. */
  prepare(): void {
    this.moveTo(Stage.Preparing);
    this.waitStartMs = this.context.reactor.now;
    const server = this.pool!.checkOut(this);
    if (server !== undefined) this.serverReady(server);
  }

  parametersKnown(): void {
    if (this.state.stage === Stage.Preparing) this.login!.parametersKnown();
  }

  serverReady(server: ServerConnection): void {
    if (this.state.stage === Stage.Preparing) {
      this.login!.serverReady(server);
      return;
    }
    if (link(this, server)) this.relayKept();
  }

  /** What was kept goes to the server that it has now. */
  relayKept(): void {
    const tail = this.takeTail()!;
    this.#relay(tail, 0, this.keptLength);
    giveChunk(tail);
  }

  /** Whether the names of prepared statements are the pooler's on servers. Whoever has such names keeps them. */
  get mayRewrite(): boolean {
    const { prepared_statements, prepared_statements_cache_size } = this.pool!.settings;
    return this.state.statements.size > 0 ||
      !this.state.keepsServer && prepared_statements && prepared_statements_cache_size > 0;
  }

  /** A replication client's own server: from here on only the end parts them. */
  own(server: ServerConnection): void {
    own(this, server);
  }

  ownQueryDone(error: ReceivedError | undefined): void {
    if (ownQueryDone(this, error)) askAgain(this);
  }

  checkOutFailed(reason: Reason, first: string, second: string, failure?: LoginFailure): void {
    if (this.state.stage === Stage.Preparing) {
      this.fail("FATAL", reason, first, second, failure?.code);
    } else this.refuse(reason, first, second, failure?.code);
  }

  /** Answers the request at the head of what was kept with an ERROR; the session goes on. */
  refuse(reason: Reason, first: string, second: string, code?: string): void {
    refuse(this, { reason, first, second, code });
  }

  // ── the linked server tells ─────────────────────────────────────────────────────────────────────────────────────

  readyForQuery(status: number, settled: boolean): void {
    if (this.state.replication !== "none") {
      countCommand(this, this.server!);
      if (settled) this.releaseIfIdle();
      return;
    }
    countQuery(this, settled);
    if (this.recording !== undefined) endRecording(this, status);
    if (status !== TransactionStatus.Idle) return;
    countTransaction(this);
    if (this.state.listens !== undefined) transactionEnded(this, this.state.listens);
    if (settled && this.server !== undefined) this.#releaseIfDone(this.server);
  }

  blockOpened(): void {
    refuseBlock(this);
  }

  /** In transaction mode the server goes back when it is idle and no message is half-way to it. */
  #releaseIfDone(server: ServerConnection): void {
    if (
      this.state.stage === Stage.Linked && (this.state.left === 0 || this.state.leftDropped) &&
      !this.awaitsCancel &&
      server.state.status === TransactionStatus.Idle && !server.state.unsynced &&
      server.owed.length === 0 && !server.owed.skipping && !server.congested
    ) this.#releaseUnlessLeft(server);
  }

  #releaseUnlessLeft(server: ServerConnection): void {
    if (!this.context.draining) {
      if (isMoving(this, server)) return;
      if (mustAsk(this, server)) {
        askLeftovers(this, server);
        return;
      }
      if (this.state.pinned !== 0 || this.state.keepsServer) return;
    }
    this.release();
    if (this.context.draining) this.fail("FATAL", REASONS.shuttingDown, "", "");
  }

  get pinned(): number {
    return this.state.pinned;
  }

  pin(about: number, pinned: number): void {
    pin(this, about, pinned);
  }

  answered(error: ReceivedError | undefined): void {
    if (this.state.stage === Stage.Preparing) return this.login!.answered(error);
    settleLeftovers(this, this.server!, error);
    flushNotifications(this);
    this.releaseIfIdle();
  }

  /** After bytes went to the server that nothing will answer (late COPY data). */
  releaseIfIdle(): void {
    if (this.server !== undefined) this.#releaseIfDone(this.server);
  }

  /** Gives the server back. */
  release(): void {
    release(this);
  }

  serverWritable(): void {
    if (this.stalled) this.takeKept();
    this.resume();
    this.releaseIfIdle();
  }

  errorDelivered(error: ReceivedError): void {
    this.state.errorCount++;
    countError(this.pool!.counters.total, error.code);
    logServerError(this, error);
    this.unlistened(undefined);
  }

  parametersChanged(parameters: ParameterSet): void {
    this.state.parameters = parameters;
    if (!this.pool!.settings.log_client_parameter_status_changes) return;
    this.context.log.info("pg_doorman::client", `${this.name} parameters of the session changed`);
  }

  discarded(): void {
    this.state.pinned &= ~Dirty.Names;
    // What is reported now is the server's own.
    if (this.server !== undefined) this.server.settled = undefined;
    ownInitial(this);
  }

  notified(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): void {
    notifiedByServer(this, bytes, start, end);
  }

  listened(): void {
    noteListen(this);
  }

  unlistened(channels: readonly string[] | undefined): void {
    confirmUnlisten(this, channels);
  }

  shapeChecked(statement: Statement, same: boolean): void {
    if (!this.held) return;
    if (same) {
      this.pool!.statements.affirm(statement, this.context.reactor.now);
      this.goOn();
      // Its error lets the tail go on.
    } else refuseShape(this.server!, statement);
  }

  parsedAgain(statement: Statement, known: Statement, alias: Uint8Array<ArrayBuffer>): void {
    mergeStatement(this, statement, known, alias);
  }

  caughtUp(): void {
    if (this.held) this.goOn();
  }

  statementName(statement: Statement): string | undefined {
    return nameOfStatement(this.state, statement);
  }

  skipped(tracked: readonly Tracked[]): void {
    takeBackNames(this.state, this.pool!.statements, tracked);
    const waited = tracked.some(({ described, waits }) => described !== undefined || waits);
    if (this.held && waited) this.goOn();
  }

  unnamedLost(): void {
    this.state.unnamedId = 0;
  }

  statementsDropped(later: readonly Tracked[]): void {
    dropNames(this.state, this.pool!.statements, later);
  }

  serverDoomed(error: ReceivedError): void {
    if (letGo(this, error)) askAgain(this);
  }

  serverLost(reason: Reason, detail: string, toldWhy: boolean): void {
    tellLoss(this, reason, detail, toldWhy);
  }

  // ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Tells the client why, and closes when it has heard. */
  fail(
    severity: "FATAL" | "ERROR",
    reason: Reason,
    first: string,
    second: string,
    code?: string | ErrorAside,
  ): void {
    const { bytes, message } = errorOf(severity, reason, [first, second], code);
    this.say(bytes, message);
  }

  /** Sends last words, and closes when the client has. `why` is for the log. */
  say(bytes: Uint8Array, why?: string): void {
    if (this.state.stage >= Stage.Closing || this.frozen) return;
    if (bytes.length > 0 && !this.midMessage) this.write(bytes);
    if (this.state.stage === Stage.Closed) return;
    this.#detach(REASONS.clientGone);
    logFarewell(this, why);
    this.moveTo(Stage.Closing);
    const { reactor } = this.context;
    this.#closingTimer = reactor.at(
      reactor.now + CLOSING_MS,
      () => this.close(REASONS.clientTerminated, ""),
    );
    this.shutdownWhenTaken();
  }

  /** Ends the session without another word. Harmless when it has ended. */
  close(reason: Reason, detail: string): void {
    if (this.state.stage === Stage.Closed || this.frozen) return;
    const closing = this.state.stage === Stage.Closing;
    this.#detach(reason);
    this.moveTo(Stage.Closed);
    this.#closingTimer?.cancel();
    this.closeSocket();
    this.context.leave(this.state.id);
    if (!closing) logEnd(this, reason, detail);
  }

  /** Gives back everything that the session holds of the pool. */
  #detach(reason: Reason): void {
    leavePlace(this);
    this.login?.cancel();
    this.login = undefined;
    this.admin?.closed();
    this.admin = undefined;
    stopListening(this);
    const pool = this.pool;
    if (pool === undefined) return;
    this.pool = undefined;
    pool.leaveQueue(this);
    pool.replication.abandon(this);
    giveBack(this, pool, reason === REASONS.clientTerminated ? "through" : "cut");
    clearStatements(this.state, pool.statements);
    pool.leave();
  }

  /** Nothing of the client's is under way: it can be sent home. */
  get atRest(): boolean {
    const { server, state } = this;
    if (server === undefined) {
      return state.stage < Stage.Closing && state.stage !== Stage.Admin && !state.deferredBegin;
    }
    // A stream has no end to wait for; who follows it takes it up again where it was.
    if (server.owed.copyBoth) return true;
    return server.state.status === TransactionStatus.Idle && server.owed.length === 0 &&
      (state.left === 0 || state.leftDropped);
  }

  /** Whether a transaction, or a request outside of one, is under way at PostgreSQL. */
  get inTransaction(): boolean {
    return this.state.deferredBegin || this.server !== undefined && !this.atRest;
  }

  /** A CancelRequest with this session's key came. `through`: whatever the client sends from now on is not hit by it. */
  cancel(through: () => void = () => {}): void {
    cancelRequest(this, through);
  }
}
