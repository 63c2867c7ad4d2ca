// hot path
/**
 * A client's socket: the read pump with what was read and waits, and the write side with what the client has not taken.
 * What is done with the bytes, and when it ends, is the session's matter (session.ts).
 */

import * as libc from "../os/libc.ts";
import { errnoText } from "../os/errno.ts";
import {
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  SHUT_WR,
  SO_LINGER,
  SOL_SOCKET,
} from "../os/layout.ts";
import { copyToChunk, giveChunk } from "../reactor/chunks.ts";
import { Outbox } from "../reactor/outbox.ts";
import type { Sender } from "../reactor/posts.ts";
import type { Handler } from "../reactor/reactor.ts";
import { type ByteStream, READ_BYTES, readBuffer } from "../reactor/stream.ts";
import type { TlsState } from "../tls/state.ts";
import { TlsStream } from "../tls/stream.ts";
import { type Reason, REASONS } from "../reasons.ts";
import type { ServerConnection } from "../server/connection.ts";
import type { ClientContext } from "./context.ts";
import { awaitsAnswer, sound } from "./half_closed.ts";
import { arrivedTail, leavingTail, type LongTail, longTail } from "./long_tail.ts";
import { paced, WORTH_BYTES } from "./pace.ts";
import { type AnswerRecording, MOST_OWED, type SocketSnapshot } from "./socket_parts.ts";
import { type SessionState, Stage } from "./state.ts";
import { Taking } from "./taking.ts";

export abstract class ClientSocket implements Handler, Sender {
  readonly context: ClientContext;
  /** Exchanged by `secure` alone. */
  stream: ByteStream;
  readonly state: SessionState;
  /** TLS is agreed on and not there yet: all that is written belongs to its handshake. */
  handshaking = false;
  /** What is sent answers `pooler_check_query`. */
  recording: AnswerRecording | undefined = undefined;
  /** The server connection that the client is linked with. */
  server: ServerConnection | undefined = undefined;
  /** When the last request began that came while nothing was owed; of a long message, when its last part came. */
  requestMs = 0;
  /** When it was last told that it may go on. */
  readyMs = 0;
  /** Since when it has been seen to send nothing in a transaction that only a Sync would show. */
  quietMs = -Infinity;
  /** When PostgreSQL was last asked to cancel a query for `query_timeout`. Not 0: times before a process began are less. */
  timeoutCancelMs = -Infinity;
  #outbox: Outbox | undefined = undefined;
  /** Bytes that were read and wait: an unfinished message, or requests that wait for a server. */
  #tail: Uint8Array<ArrayBuffer> | undefined = undefined;
  #tailLength = 0;
  /** The tail is the beginning of a long message: it is looked at when it has this many bytes. */
  #need = 0;
  /** Bytes of one read; see pace.ts. */
  #most = READ_BYTES;
  /** The tail is looked at before anything more comes. */
  #unread = false;
  #readsOn = false;
  /** Out of the event loop, as a snapshot. */
  #frozen = false;
  /** The tail waits for PostgreSQL to take bytes again, or for a cancel request that is under way. */
  #stalled = false;
  #events = EPOLLIN | EPOLLRDHUP;
  /** So much is owed to it that its next messages are left in its socket. */
  #throttled = false;
  /** Its next messages wait for an answer. */
  #held = false;
  /** It was sent something to see whether it still reads. */
  #sounded = false;
  /** Made when the client has not taken all for the first time. */
  #taking: Taking | undefined = undefined;

  constructor(context: ClientContext, stream: ByteStream, state: SessionState) {
    this.context = context;
    this.stream = stream;
    this.state = state;
  }

  /** Does with `bytes[at..end)` what the stage calls for. */
  abstract take(bytes: Uint8Array<ArrayBuffer>, at: number, end: number): void;
  abstract close(reason: Reason, detail: string): void;
  abstract fail(severity: "FATAL", reason: Reason, first: string, second: string): void;
  /** The client has taken all that was written. */
  protected abstract drained(): void;

  /** Enters the event loop, with bytes that another worker has read. */
  listen(tail: Uint8Array | undefined): void {
    if (tail !== undefined) {
      if (tail.length < READ_BYTES) this.keep(tail.slice(), 0, tail.length);
      else this.#keepLong(arrivedTail(tail as Uint8Array<ArrayBuffer>));
    }
    if (!this.mayBeRead) this.#events &= ~EPOLLIN;
    this.context.reactor.register(this.stream.fd, this, this.#events);
  }

  /** The socket's part of a snapshot; it leaves the event loop. */
  freezeSocket(): SocketSnapshot {
    this.stream.settle();
    this.context.reactor.release(this.stream.fd);
    this.#taking?.end();
    this.#frozen = true;
    return {
      tail: leavingTail(this.#tail, this.#tailLength, this.#need, this.stream.copyWaiting()),
      unread: this.#unread || this.stream.waiting > 0,
      outbox: this.#outbox?.freeze(),
      throttled: this.#throttled,
      tls: this.stream instanceof TlsStream ? this.stream.freeze() : undefined,
      checking: this.#held,
    };
  }

  /** Comes back to the event loop after a `freezeSocket` that led nowhere. */
  unfreezeSocket(): void {
    if (this.#outbox !== undefined) (this.#taking ??= new Taking(this)).watch();
    this.context.reactor.register(this.stream.fd, this, this.#events);
    this.#frozen = false;
    this.#readOn();
  }

  /** Takes up the life of a snapshot, with the server that is linked from now on. */
  thawSocket(snapshot: SocketSnapshot, server: ServerConnection | undefined): void {
    this.server = server;
    this.#throttled = snapshot.throttled;
    this.#held = snapshot.checking;
    const { outbox } = snapshot;
    if (outbox !== undefined || this.stream.unsent > 0) {
      this.#outbox = Outbox.standing(outbox);
      this.#events |= EPOLLOUT;
      (this.#taking ??= new Taking(this)).watch();
    }
    this.listen(snapshot.tail);
    // The tail may be whole messages that wait for PostgreSQL to take bytes again.
    this.#stalled = server?.congested === true;
    if (this.#outbox !== undefined) server?.pauseReading();
    this.#unread = snapshot.unread;
    this.#readOn();
  }

  /** From now on its bytes are TLS records. What was written before, the end of the handshake, goes as it is. */
  secure(tls: TlsState): void {
    const { stream } = this;
    stream.settle();
    if (this.#outbox !== undefined) {
      // The stream's, which puts it into no record.
      tls.unsent = this.#outbox.freeze()!.slice();
      this.#outbox = Outbox.standing(undefined);
    }
    this.stream = new TlsStream(stream.fd, tls);
    stream.end();
  }

  get encrypted(): boolean {
    return this.stream instanceof TlsStream;
  }

  /** Reads what the stream may have beside its socket. */
  readNow(): void {
    if (this.mayBeRead) this.#read();
  }

  // ── whether the client is read from ─────────────────────────────────────────────────────────────────────────────

  /**
   * Whether what the client sends is read now. Nobody else decides that: whoever takes something out of the way, or moves
   * the session to another stage, calls `resume`; whoever puts something in the way calls nobody, since the interest in
   * the socket is taken back only when the client sends something (`onReady`), which the common client does not.
   */
  get mayBeRead(): boolean {
    switch (this.state.stage) {
      case Stage.Linked:
        return !this.#throttled && !this.#held && this.server?.congested !== true &&
          !this.awaitsCancel;
      case Stage.Startup:
      case Stage.Login:
        return !this.#held;
      case Stage.Preparing:
        // Only to see whether it leaves.
        return this.#tail === undefined;
      case Stage.Idle:
      case Stage.Closing:
        // No server slows this client down: as long as it does not take its answers, it can't ask for more.
        return this.#outbox === undefined;
      case Stage.Admin:
        return this.#outbox === undefined && !this.#held;
    }
    return false;
  }

  /** Something is out of the way: reads again, unless something else is in it. */
  resume(): void {
    this.#readOn();
    if ((this.#events & EPOLLIN) !== 0 || !this.mayBeRead) return;
    this.#setEvents(this.#events | EPOLLIN | EPOLLRDHUP);
  }

  /** Its next messages, and what is kept, wait for an answer, until `goOn`. */
  hold(): void {
    this.#held = true;
  }

  /** The answer is there: what was kept comes first. */
  goOn(): void {
    this.#held = false;
    this.takeKept();
    this.resume();
  }

  /** The answer is there, and whoever held it looks at what was kept when the time has come. */
  unhold(): void {
    this.#held = false;
    this.resume();
  }

  protected get held(): boolean {
    return this.#held;
  }

  /** Too much is owed: leave the client's next messages in its socket. */
  throttle(): void {
    this.#throttled = true;
  }

  /** The client may go on, if little enough is owed to it. */
  unthrottle(): void {
    if (!this.#throttled) return;
    if (this.server !== undefined && this.server.owed.length > MOST_OWED / 2) return;
    this.#throttled = false;
    this.resume();
  }

  // ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

  onReady(events: number): void {
    if (this.state.stage === Stage.Closed) return;
    if ((events & EPOLLOUT) !== 0) this.#flush();
    if (this.state.stage === Stage.Closed) return;
    if ((events & ~EPOLLOUT) === 0) return;
    if ((this.#events & EPOLLIN) === 0) this.#goneWhileNotReading(events);
    else if (!this.mayBeRead) {
      // It has sent more, or has left.
      this.#setEvents(this.#events & ~EPOLLIN);
      if ((events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) !== 0) this.#goneWhileNotReading(events);
    } else this.#read();
  }

  #goneWhileNotReading(events: number): void {
    const { stage } = this.state;
    const waits = stage === Stage.Preparing || stage === Stage.Login;
    if (waits || (events & (EPOLLHUP | EPOLLERR)) !== 0) {
      this.close(REASONS.clientGone, "");
      // Half closed: what it sent before is read when there is room, and then the end.
    } else {
      if (stage === Stage.Waiting) this.#sound();
      this.#setEvents(this.#events & ~EPOLLRDHUP);
    }
  }

  #sound(): void {
    if (!this.#sounded) sound(this);
    this.#sounded = true;
  }

  #read(): void {
    if (this.#need > 0) {
      this.#readLong();
      return;
    }
    let offset = 0;
    if (this.#tail !== undefined) {
      offset = this.#tailLength;
      readBuffer.set(this.#tail.subarray(0, offset));
    }
    const most = this.#most;
    const n = this.stream.receive(offset, most);
    if (n <= 0) return this.#endOfStream(n);
    this.state.receivedBytes += n;
    if (offset > 0) this.dropTail();
    const begunMs = n < WORTH_BYTES && n < most ? 0 : performance.now();
    this.take(readBuffer, 0, offset + n);
    if (begunMs !== 0) this.#most = paced(most, n, performance.now() - begunMs);
    this.#readOn();
  }

  /** What the stream has beside its socket, or a tail that has come, needs no event: others have their turn, and then it. */
  #readOn(): void {
    if (this.#readsOn || this.stream.waiting === 0 && !this.#unread) return;
    this.#readsOn = true;
    this.context.reactor.atEndOfTurn(() => {
      this.#readsOn = false;
      if (this.#frozen || this.state.stage === Stage.Closed || !this.mayBeRead) return;
      if (this.stream.waiting > 0) this.#read();
      else if (this.#unread && this.#need === 0) this.takeKept();
    });
  }

  #endOfStream(n: number): void {
    if (n === 0) {
      if (!awaitsAnswer(this)) return this.close(REASONS.clientGone, "");
      this.#sound();
      // Read again with the next part of its answer.
      this.#throttled = true;
      this.#setEvents(this.#events & ~(EPOLLIN | EPOLLRDHUP));
    } else if (!libc.wouldBlock(n)) {
      const fault = this.stream instanceof TlsStream ? this.stream.fault : "";
      this.close(REASONS.clientReset, fault || errnoText(-n));
    }
  }

  #readLong(): void {
    const n = this.stream.receive(0);
    if (n <= 0) return this.#endOfStream(n);
    this.state.receivedBytes += n;
    this.#tail!.set(readBuffer.subarray(0, n), this.#tailLength);
    this.#tailLength += n;
    this.requestMs = this.context.reactor.now;
    if (this.#tailLength >= this.#need) this.takeKept();
  }

  /** Keeps bytes for later: they come first at the next read, or when a server is there. */
  keep(bytes: Uint8Array<ArrayBuffer>, at: number, end: number): void {
    this.dropTail();
    if (at === end) return;
    this.#tail = copyToChunk(bytes, at, end);
    this.#tailLength = end - at;
  }

  /** Keeps the beginning of a message that is needed whole; it has `need` bytes, more than are read in one go. */
  keepLong(bytes: Uint8Array<ArrayBuffer>, at: number, end: number, need: number): void {
    const { context } = this;
    if (context.longBytes + need > context.mostLongBytes) {
      this.fail("FATAL", REASONS.outOfMemory, "", "");
    } else this.#keepLong(longTail(bytes, at, end, need));
  }

  #keepLong({ bytes, length, need }: LongTail): void {
    this.dropTail();
    this.#tail = bytes;
    this.#tailLength = length;
    this.#need = need;
    this.context.longBytes += need;
  }

  /** Nothing more is read until the server tells that it takes bytes again; what was kept comes first then. */
  stall(): void {
    this.#stalled = true;
  }

  dropTail(): void {
    const tail = this.takeTail();
    if (tail !== undefined) giveChunk(tail);
  }

  protected takeTail(): Uint8Array<ArrayBuffer> | undefined {
    const tail = this.#tail;
    this.#tail = undefined;
    this.#stalled = false;
    this.#unread = false;
    if (this.#need > 0) {
      this.context.longBytes -= this.#need;
      this.#need = 0;
    }
    return tail;
  }

  /** What was kept, at its beginning. */
  get kept(): Uint8Array<ArrayBuffer> | undefined {
    return this.#tail;
  }

  protected get keptLength(): number {
    return this.#tailLength;
  }

  /** The tail waits for PostgreSQL to take bytes again. */
  protected get stalled(): boolean {
    return this.#stalled;
  }

  /** What it has sent waits for a cancel request that is under way to its server. */
  protected get awaitsCancel(): boolean {
    return this.#stalled && this.server !== undefined && this.server.cancelsUnderWay > 0;
  }

  /** Looks again at what was kept. */
  takeKept(): void {
    const tail = this.takeTail();
    if (tail === undefined) return;
    this.take(tail, 0, this.#tailLength);
    giveChunk(tail);
  }

  #setEvents(events: number): void {
    if (events === this.#events) return;
    this.#events = events;
    this.context.reactor.modify(this.stream.fd, events);
  }

  // ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Sends the pooler's own bytes to the client. */
  write(bytes: Uint8Array): void {
    this.deliver(bytes as Uint8Array<ArrayBuffer>, 0, bytes.length);
  }

  deliver(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): void {
    if (this.state.stage >= Stage.Closing) return;
    this.state.sentBytes += end - start;
    if (this.recording !== undefined) this.recording.add(bytes, start, end);
    if (this.#outbox !== undefined) {
      this.#outbox.append(bytes, start, end);
      return;
    }
    const sent = this.stream.post(bytes, start, end, this);
    if (sent === end - start) {
      if (this.#throttled) this.unthrottle();
      return;
    }
    if (sent < 0 && !libc.wouldBlock(sent)) {
      this.close(REASONS.clientReset, errnoText(-sent));
      return;
    }
    this.notTaken(bytes, start + Math.max(0, sent), end);
  }

  /** See `Sender` (reactor/posts.ts). */
  notTaken(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): void {
    if (this.state.stage === Stage.Closed) return;
    this.#outbox ??= new Outbox();
    this.#outbox.append(bytes, start, end);
    this.#setEvents(this.#events | EPOLLOUT);
    this.server?.pauseReading();
    (this.#taking ??= new Taking(this)).watch();
  }

  #flush(): void {
    if (this.#outbox === undefined) return;
    this.#taking?.took();
    const result = this.#outbox.flush(this.stream);
    if (result < 0) return this.close(REASONS.clientReset, errnoText(-result));
    if (this.#outbox.length > 0) return;
    this.#outbox = undefined;
    this.#setEvents(this.#events & ~EPOLLOUT);
    this.unthrottle();
    this.resume();
    this.drained();
  }

  /** Part of a message of PostgreSQL's, or of a handshake, was sent: whatever is said now would be read as its rest. */
  get midMessage(): boolean {
    const { server } = this;
    if (this.handshaking) return true;
    return server !== undefined && server.state.left > 0 && !server.state.leftDropped;
  }

  /** Whether the client has yet to take what was written. */
  get backlogged(): boolean {
    return this.#outbox !== undefined;
  }

  /** Half-closes: a close with unread bytes would reset the connection and take the last message with it. */
  protected shutdown(): void {
    this.stream.sayEnd();
    libc.setSocketOptionPair(this.stream.fd, SOL_SOCKET, SO_LINGER, 0, 0);
    libc.shutdown(this.stream.fd, SHUT_WR);
  }

  /** As `shutdown`, now or when the client has taken what is left (`drained`). */
  protected shutdownWhenTaken(): void {
    this.stream.settle();
    if (!this.backlogged) this.shutdown();
  }

  /** Leaves the event loop for good, and the descriptor as well. */
  closeSocket(): void {
    this.#taking?.end();
    this.leaveSocket();
    this.context.reactor.close(this.stream.fd);
  }

  /** The descriptor is somebody else's. */
  leaveSocket(): void {
    this.dropTail();
    this.stream.end();
  }
}
