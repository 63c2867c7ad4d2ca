/**
 * A connection to PostgreSQL while it is being made: the socket connects, TLS is asked for where it is wanted, and what its
 * owner sends goes out as far as the socket takes it. Its owner, a login or a cancel request, says what, and reads.
 *
 * ```
 *   connecting ──▶ encrypting ──▶ open ──▶ (released to its owner, or closed)
 *        └──────────────┴── failed
 * ```
 */

import { EMFILE, ENFILE, errnoText } from "../os/errno.ts";
import type { Fd } from "../os/fd.ts";
import { EPOLLIN, EPOLLOUT, EPOLLRDHUP } from "../os/layout.ts";
import * as libc from "../os/libc.ts";
import { beginConnect, connectOutcome, openSocket } from "../reactor/connecting.ts";
import type { Handler, Reactor } from "../reactor/reactor.ts";
import { type ByteStream, PlainStream, readBuffer } from "../reactor/stream.ts";
import * as messages from "../protocol/messages.ts";
import type { TlsInfo } from "../tls/state.ts";
import { TlsStream } from "../tls/stream.ts";
import {
  type Asking,
  type Encrypted,
  Encryption,
  type EncryptionFailure,
  type HandshakeCounts,
  isUnix,
  type TlsSource,
} from "./encryption.ts";

/** An address to connect to. */
export interface ServerAddress {
  bytes: Uint8Array<ArrayBuffer>;
  text: string;
}

/** Sets what the configuration wants on a fresh socket. */
export type SocketTuner = (fd: Fd, unix: boolean) => void;

/** What TLS has come to. */
export interface Established {
  info: TlsInfo;
  /** The server's certificate, DER. */
  certificate: Uint8Array<ArrayBuffer> | undefined;
}

/** Who dials; one of the last two is called, once. */
export interface Dialer {
  /** There is something to read. */
  readable(): void;
  /** No socket can be opened: no other address would be of use. */
  noSocket(why: string, own: boolean): void;
  unreachable(errno: number): void;
  notEncrypted(failure: EncryptionFailure): void;
  /** Bytes may be sent, and come. `undefined`: without TLS. */
  open(tls: Established | undefined): void;
}

/** What dialing needs of its owner's surroundings. */
export interface DialParts {
  reactor: Reactor;
  tune: SocketTuner;
  tls: TlsSource;
  counts: HandshakeCounts;
}

export class Dial implements Handler {
  readonly #parts: DialParts;
  readonly #dialer: Dialer;
  readonly #encryption: Encryption;
  #stage: "connecting" | "encrypting" | "open" | "over" = "connecting";
  #stream: ByteStream | undefined;
  /** What the socket has not taken. */
  #unsent: Uint8Array<ArrayBuffer> | undefined;

  constructor(asking: Asking, parts: DialParts, dialer: Dialer) {
    this.#parts = parts;
    this.#dialer = dialer;
    const { tls: source, counts } = parts;
    this.#encryption = new Encryption(asking, {
      source,
      counts,
      send: (bytes) => this.send(bytes),
    });
  }

  /** Begins. The dialer may be told before this returns. */
  start(address: Uint8Array<ArrayBuffer>): void {
    const { reactor, tune } = this.#parts;
    const fd = openSocket(address) as Fd;
    if (fd < 0) {
      this.#stage = "over";
      return this.#dialer.noSocket(errnoText(-fd), fd === -EMFILE || fd === -ENFILE);
    }
    tune(fd, isUnix(address));
    const result = beginConnect(fd, address);
    if (result < 0) {
      this.#stage = "over";
      return this.#dialer.unreachable(-result);
    }
    this.#stream = new PlainStream(fd);
    reactor.register(fd, this, EPOLLOUT);
  }

  onReady(events: number): void {
    if (this.#stage === "connecting") return this.#connected();
    if ((events & EPOLLOUT) !== 0) this.#flush();
    if ((events & ~EPOLLOUT) === 0) return;
    if (this.#stage === "encrypting") this.#readHandshake();
    else if (this.#stage === "open") this.#dialer.readable();
  }

  #connected(): void {
    const { fd } = this.#stream!;
    const error = connectOutcome(fd);
    if (error !== 0) {
      this.close();
      return this.#dialer.unreachable(error);
    }
    this.#stage = "encrypting";
    this.#parts.reactor.modify(fd, EPOLLIN | EPOLLRDHUP);
    this.#encrypted(this.#encryption.begin());
  }

  #readHandshake(): void {
    const n = this.#stream!.receive(0);
    if (n > 0) return this.#encrypted(this.#encryption.take(readBuffer, 0, n));
    if (libc.wouldBlock(n)) return;
    const why = n === 0 ? "PostgreSQL closed the connection" : errnoText(-n);
    this.#encrypted(this.#encryption.lost(why));
  }

  /** `undefined`: it goes on. */
  #encrypted(outcome: Encrypted | undefined): void {
    if (outcome === undefined) return;
    if (outcome.kind === "failed") {
      this.close();
      return this.#dialer.notEncrypted(outcome);
    }
    this.#stage = "open";
    if (outcome.kind === "plain") return this.#dialer.open(undefined);
    const { state, info, peerCertificate } = outcome.finished;
    // What the handshake said last goes out before the first record.
    const stream = new TlsStream(this.#stream!.fd, { ...state, unsent: this.#unsent });
    this.#unsent = undefined;
    this.#stream = stream;
    this.#dialer.open({ info, certificate: peerCertificate });
    // Records that came with the end of the handshake: the socket does not tell of them again.
    if (state.undecoded !== undefined && this.#stage === "open") this.#dialer.readable();
  }

  /** Sends all of it, in its time. */
  send(bytes: Uint8Array<ArrayBuffer>): void {
    this.#unsent = this.#unsent === undefined ? bytes : messages.join(this.#unsent, bytes);
    this.#flush();
  }

  #flush(): void {
    const stream = this.#stream!;
    const bytes = this.#unsent;
    if (bytes !== undefined) {
      const sent = stream.send(bytes, 0, bytes.length);
      // The cause, or PostgreSQL's own message, comes out of the read side.
      if (sent < 0 && !libc.wouldBlock(sent)) this.#unsent = undefined;
      else this.#unsent = sent < bytes.length ? bytes.subarray(Math.max(0, sent)) : undefined;
    } else if (stream.unsent > 0) stream.flush();
    const waits = this.#unsent !== undefined || stream.unsent > 0;
    this.#parts.reactor.modify(stream.fd, EPOLLIN | EPOLLRDHUP | (waits ? EPOLLOUT : 0));
  }

  /** As `ByteStream.receive`. */
  receive(offset: number): number {
    return this.#stream!.receive(offset);
  }

  /** What is wrong with its TLS; empty: nothing is. */
  get fault(): string {
    return this.#stream instanceof TlsStream ? this.#stream.fault : "";
  }

  get isOpen(): boolean {
    return this.#stage === "open";
  }

  /** The stream, out of the event loop: it is its owner's from now on. */
  release(): ByteStream {
    const stream = this.#stream!;
    this.#stage = "over";
    this.#stream = undefined;
    this.#parts.reactor.release(stream.fd);
    return stream;
  }

  /** Harmless when it is over. */
  close(): void {
    this.#stage = "over";
    this.#encryption.end();
    if (this.#stream === undefined) return;
    this.#parts.reactor.close(this.#stream.fd);
    this.#stream.end();
    this.#stream = undefined;
  }
}
