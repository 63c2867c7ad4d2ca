// hot path
/**
 * A server connection after its login: cuts what its socket (socket.ts) has read into backend messages, matches each
 * with the queue of owed replies, and hands what is the client's to the link; runs the pooler's own queries. Every way to
 * the end goes through `close`.
 *
 * What must hold: nothing reaches the link that the queue does not owe it, and the owner (the pool) hears of the
 * connection only when the queue is empty after a ReadyForQuery, or when it is closed.
 *
 * One topic although long: the pump, and what each message means to the state that it shares.
 */

import type { Reactor } from "../reactor/reactor.ts";
import { type ByteStream, readBuffer } from "../reactor/stream.ts";
import { Backend, readLength, TransactionStatus } from "../protocol/codes.ts";
import { readError, type ReceivedError } from "../protocol/error_response.ts";
import * as messages from "../protocol/messages.ts";
import { Owed, OwedReplies, SWALLOW, Verdict } from "../protocol/owed_replies.ts";
import { type Reason, REASONS } from "../reasons.ts";
import type { ServerLink, ServerOwner, ServerSnapshot } from "./link.ts";
import { noteTag } from "./command_tags.ts";
import { MOST_REPORTED, parameterSet, readParameterStatus, withParameter } from "./parameters.ts";
import { detachedReplies } from "./statements/on_server.ts";
import { firstColumn } from "./own_answer.ts";
import {
  describedBy,
  noteParsed,
  noteShape,
  noteTypes,
  refusal,
  statementFailed,
  takeBack,
} from "./statements/replies.ts";
import { ServerSocket } from "./socket.ts";
import { settle } from "./statements/read_by_parse.ts";
import { ServerStage, turnTimes } from "./state.ts";

/** An ErrorResponse or ParameterStatus is looked at when this much of it is there, or all. */
const LOOK_BYTES = 4096;
/** PostgreSQL's reports and tags are short; more than this is no PostgreSQL. */
const MOST_SMALL_BYTES = 30_000;
/** The answer to a question of the pooler's own that is not longer is looked at. */
const MOST_ANSWER_BYTES = 40_000;
/** Dropped replies of a client that is gone: past this the connection is closed instead. */
const MOST_DRAINED_BYTES = 16 * 1024 * 1024;

const PARSE_COMPLETE = Uint8Array.of(Backend.ParseComplete, 0, 0, 0, 4);

const NEED_MORE = -1;
const CLOSED = -2;

export class ServerConnection extends ServerSocket<ServerOwner<ServerConnection>> {
  owed: OwedReplies = new OwedReplies();
  link: ServerLink | undefined = undefined;
  /** Cancel requests on their way to PostgreSQL: the connection must not change hands before they are through. */
  cancelsUnderWay = 0;
  /** Its parameters when they were last known to be its client's; `undefined`: that does not matter. */
  settled: ServerSnapshot["state"]["parameters"] | undefined = undefined;
  /** Until when what the pool has it do must be through. */
  deadlineMs = 0;
  #fatal: ReceivedError | undefined = undefined;
  #ownError: ReceivedError | undefined = undefined;
  #drained = 0;

  /** Leaves the event loop, as data; the descriptor stays open. */
  freeze(): ServerSnapshot {
    const socket = this.freezeSocket();
    const state = { ...this.state };
    turnTimes(state, this.reactor.now);
    return {
      state,
      owed: detachedReplies(this.owed.freeze()),
      ...socket,
      ownError: this.#ownError,
      fatal: this.#fatal,
      drained: this.#drained,
    };
  }

  /** Comes back to the event loop after a `freeze` that led nowhere. */
  unfreeze(): void {
    this.listen();
  }

  /** Lets the descriptor go without a word to PostgreSQL: the connection lives on elsewhere. */
  forget(): void {
    this.#moveToClosed();
    this.closeSocket();
  }

  /** The connection of a snapshot, not yet in the event loop. */
  static thaw(
    reactor: Reactor,
    stream: ByteStream,
    snapshot: ServerSnapshot,
    owner: ServerOwner<ServerConnection>,
  ): ServerConnection {
    const { state } = snapshot;
    turnTimes(state, reactor.now);
    state.parameters = parameterSet(state.parameters.values);
    state.unnamed = -1;
    const server = new ServerConnection(reactor, stream, state, owner);
    server.owed = OwedReplies.thaw(snapshot.owed);
    server.#ownError = snapshot.ownError;
    server.#fatal = snapshot.fatal;
    server.#drained = snapshot.drained;
    server.thawSocket(snapshot);
    return server;
  }

  /** PostgreSQL has said, or begun to say, why it is about to hang up: an error that answers nothing is FATAL. */
  get doomed(): boolean {
    return this.#fatal !== undefined ||
      this.keptType === Backend.ErrorResponse && this.owed.length === 0;
  }

  // ── towards PostgreSQL ──────────────────────────────────────────────────────────────────────────────────────────

  /** Runs a query of the pooler's own: its replies are swallowed. */
  runOwn(sql: string): void {
    this.#ownError = undefined;
    this.state.unnamed = -1;
    this.owed.push(Owed.Query | SWALLOW);
    const bytes = messages.query(sql);
    this.send(bytes, 0, bytes.length);
  }

  /** As `runOwn`, and what its one row says in its one column will be in `state.answer`. */
  askOwn(sql: string, about: number): void {
    this.state.asked = about;
    this.state.answer = undefined;
    this.runOwn(sql);
  }

  /** Sends a Sync whose answer is swallowed, to end an extended-protocol sequence that a client left open. */
  syncOwn(): void {
    this.state.segment++;
    this.owed.push(Owed.Sync | SWALLOW);
    const bytes = messages.sync();
    this.send(bytes, 0, bytes.length);
  }

  protected writable(): void {
    this.link?.serverWritable();
  }

  // ── from PostgreSQL ─────────────────────────────────────────────────────────────────────────────────────────────

  /** Looks at all of `readBuffer[0..end)`: forwards ranges, keeps an unfinished message for later. */
  protected pump(end: number): void {
    const state = this.state;
    const bytes = readBuffer;
    let at = 0;
    // Bytes [from, at) are the link's and not delivered yet.
    let from = 0;
    while (at < end) {
      if (state.left > 0) {
        const take = Math.min(state.left, end - at);
        state.left -= take;
        at += take;
        if (state.leftDropped) from = at;
        continue;
      }
      if (end - at < 5) break;
      const type = bytes[at];
      const length = readLength(bytes, at + 1);
      if (length < 4) {
        this.#deliver(from, at);
        this.#desync(`message "${String.fromCharCode(type)}" of length ${length}`);
        return;
      }
      if (type === Backend.DataRow || type === Backend.CopyData) {
        if (state.asked !== 0 && this.owed.swallowing()) {
          if (length <= MOST_ANSWER_BYTES && end - at < length + 1) break;
          state.answer = firstColumn(bytes, at + 5, Math.min(end, at + length + 1));
        }
        if (this.owed.madeUp()) {
          this.#makeUp(from, at);
          from = at;
        }
        const verdict = this.owed.receive(type);
        if (verdict === Verdict.Desync) {
          this.#deliver(from, at);
          this.#desync(`unexpected "${String.fromCharCode(type)}"`);
          return;
        }
        if (verdict === Verdict.Swallow) {
          this.#deliver(from, at);
          from = at;
        }
        state.leftDropped = verdict === Verdict.Swallow;
        state.left = length + 1;
        state.messageBytes = length;
        continue;
      }
      if (this.owed.madeUp()) {
        this.#makeUp(from, at);
        from = at;
      }
      const outcome = this.#message(type, length, from, at, end);
      if (outcome === CLOSED) return;
      if (outcome === NEED_MORE) break;
      from = outcome;
      // A message that #message has looked at whole is behind us; one that it let pass is in `left`.
      if (state.left === 0) at += length + 1;
    }
    this.#deliver(from, at);
    if (this.owed.madeUp()) this.makeUp();
    if (at < end && this.state.stage !== ServerStage.Closed) this.keep(at, end);
  }

  /** Sends the client what is owed to it at the head of the queue without PostgreSQL's help. */
  makeUp(): void {
    if (this.state.left === 0) this.#makeUp(0, 0);
  }

  #makeUp(from: number, to: number): void {
    this.#deliver(from, to);
    while (this.owed.madeUp()) {
      this.owed.takeMadeUp();
      this.link?.deliver(PARSE_COMPLETE, 0, PARSE_COMPLETE.length);
    }
  }

  #deliver(from: number, to: number): void {
    if (to === from) return;
    if (this.link !== undefined) this.link.deliver(readBuffer, from, to);
    else {
      this.#drained += to - from;
      if (this.#drained > MOST_DRAINED_BYTES && this.state.stage === ServerStage.Draining) {
        this.close(REASONS.serverUnusable, "too much is left of a result that nobody waits for");
      }
    }
  }

  /**
   * One message that is not a row: returns the new `from`, NEED_MORE, or CLOSED. Sets `left` when the message is passed
   * on without being looked at whole.
   */
  #message(type: number, length: number, from: number, at: number, end: number): number {
    switch (type) {
      case Backend.ParseComplete: {
        const record = this.owed.headRecord();
        this.owner.traffic.server_parses++;
        const waitedFor = record !== undefined && noteParsed(this, record);
        const outcome = this.#pass(type, length, from, at);
        if (waitedFor) this.link?.caughtUp();
        return this.state.stage === ServerStage.Closed ? CLOSED : outcome;
      }
      case Backend.ParameterDescription:
      case Backend.RowDescription:
      case Backend.NoData:
        return this.#description(type, length, from, at, end);
      case Backend.ReadyForQuery:
        return this.#readyForQuery(length, from, at, end);
      case Backend.CommandComplete:
        if (end - at < length + 1) return this.#wait(length);
        if (!this.owed.swallowing()) noteTag(this, at + 5, at + length);
        else this.state.beginning = false;
        return this.#pass(type, length, from, at);
      case Backend.ErrorResponse:
        return this.#errorResponse(length, from, at, end);
      case Backend.ParameterStatus:
        if (end - at < length + 1) return this.#wait(length);
        return this.#parameterStatus(length, from, at);
      case Backend.NoticeResponse:
      case Backend.NotificationResponse:
        return this.#asynchronous(type, length, from, at, end);
      case Backend.CopyInResponse:
        return this.#copyInResponse(length, from, at);
      default:
        return this.#pass(type, length, from, at);
    }
  }

  #wait(length: number): number {
    if (length <= MOST_SMALL_BYTES) return NEED_MORE;
    this.#desync(`a message of ${length} bytes where PostgreSQL sends short ones`);
    return CLOSED;
  }

  #pass(type: number, length: number, from: number, at: number): number {
    const verdict = this.owed.receive(type);
    this.state.messageBytes = length;
    if (verdict === Verdict.Forward) {
      this.state.left = length + 1;
      this.state.leftDropped = false;
      return from;
    }
    this.#deliver(from, at);
    if (verdict === Verdict.Desync) {
      this.#desync(`unexpected "${String.fromCharCode(type)}"`);
      return CLOSED;
    }
    this.state.left = length + 1;
    this.state.leftDropped = true;
    return at;
  }

  #readyForQuery(length: number, from: number, at: number, end: number): number {
    if (end - at < 6) return NEED_MORE;
    const state = this.state;
    const status = readBuffer[at + 5];
    const verdict = this.owed.receive(Backend.ReadyForQuery);
    if (
      verdict === Verdict.Desync || length !== 5 ||
      (status !== TransactionStatus.Idle && status !== TransactionStatus.InTransaction &&
        status !== TransactionStatus.Failed)
    ) {
      this.#deliver(from, at);
      this.#desync("unexpected ReadyForQuery");
      return CLOSED;
    }
    state.status = status;
    if (state.changedSchema && status === TransactionStatus.Idle) {
      // Committed or not: what was parsed meanwhile may be of what is gone now.
      if (this.owed.length === 0) state.changedSchema = false;
      this.owner.schemaChanged();
    }
    const settled = this.owed.length === 0 && !this.congested;
    if (this.owed.length === 0) {
      state.unsynced = false;
      if (state.unsettled && status === TransactionStatus.Idle) settle(state);
    }
    const link = this.link;
    if (verdict === Verdict.Swallow) {
      this.#deliver(from, at);
      if (state.asked !== 0 || settled && this.link === link) this.#ownThrough(settled);
    } else if (status !== TransactionStatus.Idle && state.refusesBlocks && link !== undefined) {
      this.#deliver(from, at);
      if (this.link === link) link.blockOpened();
    } else {
      this.#deliver(from, at + 6);
      // A client may be lost over it: its server is back in the pool then, and with the next client perhaps.
      if (this.link === link) {
        if (link !== undefined) link.readyForQuery(status, settled);
        else if (settled && state.stage !== ServerStage.Closed) this.#settled();
      }
    }
    return this.state.stage === ServerStage.Closed ? CLOSED : at + 6;
  }

  /** An answer that was asked for is told whatever the client has sent behind the question. */
  #ownThrough(settled: boolean): void {
    const error = this.#ownError;
    this.#ownError = undefined;
    if (this.link === undefined) {
      if (settled) this.#settled(error);
    } else if (this.state.asked !== 0) this.link.answered(error);
    else this.link.ownQueryDone(error);
  }

  #settled(error?: ReceivedError): void {
    this.#drained = 0;
    this.owner.serverSettled(this, error);
  }

  /** Of the pooler's own Describe the answer is looked at, if it is not too long for that. */
  #description(type: number, length: number, from: number, at: number, end: number): number {
    const asked = describedBy(this);
    if (asked === undefined) return this.#pass(type, length, from, at);
    const looked = length <= MOST_SMALL_BYTES;
    if (looked && end - at < length + 1) return NEED_MORE;
    const outcome = this.#pass(type, length, from, at);
    const looks = looked ? readBuffer : undefined;
    if (type !== Backend.ParameterDescription) {
      noteShape(this, asked, looks, at + 5, at + length + 1);
    } else if (looked) noteTypes(asked, readBuffer, at + 5, at + length + 1);
    return this.state.stage === ServerStage.Closed ? CLOSED : outcome;
  }

  #errorResponse(length: number, from: number, at: number, end: number): number {
    const there = Math.min(length + 1, LOOK_BYTES);
    if (end - at < there) return NEED_MORE;
    const error = readError(readBuffer, at + 5, Math.min(at + length + 1, end));
    const fatal = error.severity === "FATAL" || error.severity === "PANIC";
    if (fatal) {
      this.#fatal = error;
      if (this.owed.swallowingErrors()) this.link?.serverDoomed(error);
    } else if (this.owed.swallowingErrors()) this.#ownError = error;
    else if (statementFailed(this, error)) this.owner.schemaChanged();
    if (fatal && this.link === undefined) {
      // Nothing comes behind it but the end.
      this.close(REASONS.serverLost, "");
      return CLOSED;
    }
    if (this.owed.length === 0 && !fatal) {
      this.#deliver(from, at);
      this.#desync(`unasked error ${error.code}`);
      return CLOSED;
    }
    if (this.state.beginning && !fatal) {
      // What was sent behind it is skipped: no Sync was. The client believes that its transaction has begun.
      this.#deliver(from, at);
      this.close(REASONS.notBegun, `${error.code}: ${error.message}`);
      return CLOSED;
    }
    if (!this.owed.swallowingErrors()) this.link?.errorDelivered(error);
    if (fatal) {
      // Even when it comes in the middle of the pooler's own query the client is to know why.
      this.state.left = length + 1;
      this.state.leftDropped = false;
      return from;
    }
    const instead = refusal(this, error);
    let outcome = this.#pass(Backend.ErrorResponse, length, from, at);
    if (instead !== undefined && outcome !== CLOSED) {
      this.#deliver(from, at);
      this.link?.deliver(instead, 0, instead.length);
      this.state.leftDropped = true;
      outcome = at;
    }
    takeBack(this);
    return this.state.stage === ServerStage.Closed ? CLOSED : outcome;
  }

  #parameterStatus(length: number, from: number, at: number): number {
    const encoding = this.state.parameters.values.get("client_encoding");
    const status = readParameterStatus(readBuffer, at + 5, at + length + 1, encoding);
    const { reported } = this.owner;
    if (status === undefined || (reported.size >= MOST_REPORTED && !reported.has(status.name))) {
      this.#deliver(from, at);
      this.#desync(status === undefined ? "malformed ParameterStatus" : "too many parameters");
      return CLOSED;
    }
    reported.add(status.name);
    this.state.parameters = withParameter(this.state.parameters, status.name, status.value);
    if (this.link === undefined || this.owed.swallowing()) {
      this.#deliver(from, at);
      return at + length + 1;
    }
    this.link.parametersChanged(this.state.parameters);
    this.state.left = length + 1;
    this.state.leftDropped = false;
    return from;
  }

  #copyInResponse(length: number, from: number, at: number): number {
    const outcome = this.#pass(Backend.CopyInResponse, length, from, at);
    if (outcome === CLOSED || this.link !== undefined || !this.owed.copyIn) return outcome;
    this.close(REASONS.serverUnusable, "its client left before a COPY began");
    return CLOSED;
  }

  #asynchronous(type: number, length: number, from: number, at: number, end: number): number {
    const { link } = this;
    if (type === Backend.NotificationResponse && link !== undefined && length <= MOST_SMALL_BYTES) {
      if (end - at < length + 1) return NEED_MORE;
      this.#deliver(from, at);
      // The client may be lost over what was delivered.
      if (this.link === link) link.notified(readBuffer, at, at + length + 1);
      return this.state.stage === ServerStage.Closed ? CLOSED : at + length + 1;
    }
    this.state.left = length + 1;
    if (this.link !== undefined && !this.owed.swallowing()) {
      this.state.leftDropped = false;
      return from;
    }
    this.#deliver(from, at);
    this.state.leftDropped = true;
    return at;
  }

  // ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #desync(detail: string): void {
    this.close(REASONS.serverDesync, detail);
  }

  /** Every other stage is its owner's to set. */
  #moveToClosed(): void {
    this.link = undefined;
    this.state.stage = ServerStage.Closed;
  }

  /** Ends the connection and tells whom it concerns. Harmless when it is closed. */
  close(reason: Reason, detail: string): void {
    if (this.state.stage === ServerStage.Closed) return;
    const link = this.link;
    this.#moveToClosed();
    // In the middle of a message of the client a Terminate would be read as its end.
    const polite = reason !== REASONS.serverLost && reason !== REASONS.serverUnreachable &&
      reason !== REASONS.serverUnusable;
    if (polite && !this.congested) {
      const bytes = messages.terminate();
      this.stream.send(bytes, 0, bytes.length);
      this.stream.sayEnd();
    }
    this.closeSocket();
    const why = this.#fatal === undefined
      ? detail
      : `${this.#fatal.severity} ${this.#fatal.code}: ${this.#fatal.message}`;
    this.owner.serverClosed(this, reason, why);
    link?.serverLost(reason, why, this.#fatal !== undefined);
  }
}
