// hot path
/**
 * A server connection's socket: the write side with what PostgreSQL has not taken, and the read side with what was read
 * of a message that is not whole. What the bytes say is the connection's matter (connection.ts).
 */

import type { ServerTls } from "../config/settings.ts";
import { ECONNRESET, EPIPE, errnoText, ETIMEDOUT } from "../os/errno.ts";
import { wouldBlock } from "../os/libc.ts";
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from "../os/layout.ts";
import { Outbox } from "../reactor/outbox.ts";
import type { Sender } from "../reactor/posts.ts";
import type { Handler, Reactor } from "../reactor/reactor.ts";
import { type ByteStream, readBuffer } from "../reactor/stream.ts";
import { type Reason, REASONS } from "../reasons.ts";
import type { ServerSnapshot, Traffic } from "./link.ts";
import { ServerStage, type ServerState } from "./state.ts";
import { TlsStream } from "../tls/stream.ts";

/** What of its owner a socket needs: bytes are counted there, too. */
interface SocketOwner {
  readonly traffic: Traffic;
}

export abstract class ServerSocket<Owner extends SocketOwner> implements Handler, Sender {
  readonly state: ServerState;
  readonly stream: ByteStream;
  readonly owner: Owner;
  /** What its TLS was made by, files included; `undefined`: without TLS, or from another worker or process. */
  tlsSettings: ServerTls | undefined = undefined;
  protected readonly reactor: Reactor;
  #outbox = new Outbox();
  /** Bytes of a message that was not whole at the last read. */
  #tail: Uint8Array<ArrayBuffer> | undefined = undefined;
  #events = EPOLLIN | EPOLLRDHUP;
  /** Why PostgreSQL could be sent nothing: the kernel tells it once. */
  #error = 0;
  /** Since when it has taken nothing of what waits. */
  #stuckSinceMs = 0;

  constructor(reactor: Reactor, stream: ByteStream, state: ServerState, owner: Owner) {
    this.reactor = reactor;
    this.stream = stream;
    this.state = state;
    this.owner = owner;
  }

  /** Does with all of `readBuffer[0..end)` what is to be done, and keeps what is not whole. */
  protected abstract pump(end: number): void;
  /** PostgreSQL has taken all that waited for it. */
  protected abstract writable(): void;
  abstract close(reason: Reason, detail: string): void;

  /** Enters the event loop. */
  listen(): void {
    // Records that PostgreSQL has not taken.
    if (this.stream.unsent > 0) this.#outbox.append(readBuffer, 0, 0);
    if (this.congested) this.#events |= EPOLLOUT;
    this.reactor.register(this.stream.fd, this, this.#events);
  }

  /** The socket's part of a snapshot; it leaves the event loop. */
  protected freezeSocket(): Pick<ServerSnapshot, "tls" | "outbox" | "tail"> {
    this.stream.settle();
    this.reactor.release(this.stream.fd);
    const tls = this.stream instanceof TlsStream ? this.stream.freeze() : undefined;
    return { tls, outbox: this.#outbox.freeze(), tail: this.#tail?.slice() };
  }

  /** Takes up the life of a snapshot, not yet in the event loop. */
  protected thawSocket({ outbox, tail }: Pick<ServerSnapshot, "outbox" | "tail">): void {
    if (tail !== undefined) this.#tail = tail.slice();
    if (outbox !== undefined) {
      this.#outbox.append(outbox as Uint8Array<ArrayBuffer>, 0, outbox.length);
    }
  }

  /** Lets go of the descriptor and of what the stream has. */
  protected closeSocket(): void {
    this.reactor.close(this.stream.fd);
    this.stream.end();
  }

  onReady(events: number): void {
    if (this.state.stage === ServerStage.Closed) return;
    if ((events & EPOLLOUT) !== 0) this.#flush();
    if (this.state.stage === ServerStage.Closed) return;
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)) !== 0) {
      if ((this.#events & EPOLLIN) !== 0) this.#read();
      else if ((events & (EPOLLHUP | EPOLLERR)) !== 0) {
        this.close(REASONS.serverLost, "connection reset");
      } else this.#setEvents(this.#events & ~EPOLLRDHUP);
    }
  }

  #setEvents(events: number): void {
    if (events === this.#events) return;
    this.#events = events;
    this.reactor.modify(this.stream.fd, events);
  }

  // ── towards PostgreSQL ──────────────────────────────────────────────────────────────────────────────────────────

  /** Passes bytes on. The entries of their messages are in the queue of owed replies already. */
  send(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): void {
    this.state.sent += end - start;
    this.owner.traffic.sent += end - start;
    if (this.#outbox.length > 0) {
      this.#outbox.append(bytes, start, end);
      return;
    }
    const sent = this.stream.post(bytes, start, end, this);
    if (sent === end - start) return;
    if (sent < 0 && !wouldBlock(sent)) {
      // What PostgreSQL had to say before it hung up may be in the socket still: the read pump ends the connection.
      this.#error ||= -sent;
      this.#setEvents(this.#events | EPOLLIN);
      return;
    }
    this.notTaken(bytes, start + Math.max(0, sent), end);
  }

  /** See `Sender` (reactor/posts.ts). */
  notTaken(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): void {
    if (this.state.stage === ServerStage.Closed) return;
    this.#outbox.append(bytes, start, end);
    this.#stuckSinceMs = this.reactor.now;
    this.#setEvents(this.#events | EPOLLOUT);
  }

  /** Whether bytes wait for PostgreSQL to take them. */
  get congested(): boolean {
    return this.#outbox.length > 0;
  }

  #flush(): void {
    if (this.#outbox.length === 0) return;
    const waited = this.#outbox.length;
    const result = this.#outbox.flush(this.stream);
    if (this.#outbox.length < waited) this.#stuckSinceMs = this.reactor.now;
    if (result < 0) {
      this.#error ||= -result;
      this.#setEvents(EPOLLIN | EPOLLRDHUP);
      return;
    }
    if (this.#outbox.length > 0) return;
    this.#setEvents(this.#events & ~EPOLLOUT);
    this.writable();
  }

  // ── from PostgreSQL ─────────────────────────────────────────────────────────────────────────────────────────────

  /** The client takes nothing more for now: leave PostgreSQL's bytes in the kernel. */
  pauseReading(): void {
    if ((this.#events & EPOLLIN) !== 0) this.#setEvents(this.#events & ~EPOLLIN);
  }

  resumeReading(): void {
    if (this.state.stage !== ServerStage.Closed && (this.#events & EPOLLIN) === 0) {
      this.#setEvents(this.#events | EPOLLIN | EPOLLRDHUP);
    }
  }

  #read(): void {
    let offset = 0;
    if (this.#tail !== undefined) {
      readBuffer.set(this.#tail);
      offset = this.#tail.length;
    }
    const n = this.stream.receive(offset);
    // TLS may have had to answer by itself.
    if (this.stream.unsent > 0 && this.#outbox.length === 0) this.notTaken(readBuffer, 0, 0);
    if (n <= 0) {
      if (wouldBlock(n)) return;
      this.#lost(-n || this.#error);
      return;
    }
    this.#tail = undefined;
    this.state.received += n;
    this.owner.traffic.received += n;
    this.pump(offset + n);
  }

  /** Ended by PostgreSQL, or by the network or a machine that is silent: not the same to whom it concerns. */
  #lost(errno: number): void {
    if (errno === 0 || errno === EPIPE) return this.close(REASONS.serverLost, "");
    if (this.stream instanceof TlsStream && this.stream.fault !== "") {
      return this.close(REASONS.serverUnreachable, `TLS: ${this.stream.fault}`);
    }
    if (errno === ECONNRESET) return this.close(REASONS.serverLost, errnoText(errno));
    const seconds = Math.round((this.reactor.now - this.#stuckSinceMs) / 1000);
    const taken = errno === ETIMEDOUT && this.#outbox.length > 0
      ? `it has taken nothing for ${seconds} s, `
      : "";
    this.close(REASONS.serverUnreachable, `${taken}${errnoText(errno)}`);
  }

  /** The type of the message that was not whole at the last read; `undefined`: there is none. */
  protected get keptType(): number | undefined {
    return this.#tail?.[0];
  }

  /** Keeps `readBuffer[at..end)` for the next read: the beginning of a message. */
  protected keep(at: number, end: number): void {
    this.#tail = readBuffer.slice(at, end);
  }
}
