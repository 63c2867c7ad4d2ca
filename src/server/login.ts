/**
 * The start of a server connection: connect (each address in turn), StartupMessage, authentication, parameters, key
 * data, ReadyForQuery. One deadline for all of it. Ends in `done`, once, with a socket that is ready or with the cause.
 *
 * ```
 *   connecting ──▶ authenticating ──AuthenticationOk──▶ starting ──ReadyForQuery──▶ done
 *       │ refused: next address          │ (1)
 * ```
 * 1. A SCRAM challenge may wait for keys that the control plane derives.
 *
 * Source: PostgreSQL manual, "Message Flow", "Start-up" and "SASL Authentication".
 */

import * as libc from "../os/libc.ts";
import type { Fd } from "../os/fd.ts";
import { EMFILE, ENFILE, errnoText } from "../os/errno.ts";
import { AF_UNIX, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from "../os/layout.ts";
import { addressFamily } from "../os/socket_address.ts";
import { beginConnect, connectOutcome, openSocket } from "../reactor/connecting.ts";
import type { Handler, Reactor } from "../reactor/reactor.ts";
import { settle } from "../reactor/posts.ts";
import { type ByteStream, PlainStream, readBuffer } from "../reactor/stream.ts";
import type { Timer } from "../reactor/timers.ts";
import type { PoolSettings } from "../config/settings.ts";
import { Backend, readLength } from "../protocol/codes.ts";
import { readError } from "../protocol/error_response.ts";
import * as messages from "../protocol/messages.ts";
import { MOST_SECRET_BYTES, protocolVersion, startupMessage } from "../protocol/startup.ts";
import {
  type AuthenticatingServerLogin,
  type Lasting,
  type LoginSecrets,
  ServerAuthentication,
} from "./authentication.ts";
import { MOST_REPORTED, readParameterStatus } from "./parameters.ts";

/** An address to connect to. */
export interface ServerAddress {
  bytes: Uint8Array<ArrayBuffer>;
  text: string;
}

/** A connection that PostgreSQL has said ReadyForQuery on. */
export interface LoggedIn {
  kind: "ready";
  stream: ByteStream;
  address: ServerAddress;
  pid: number;
  secret: Uint8Array;
  /** Minor version of the protocol that is spoken. */
  minor: number;
  parameters: Map<string, string>;
}

/** Why a login failed. */
export interface LoginFailure {
  kind: "failed";
  /** PostgreSQL's SQLSTATE where it spoke, else ours. */
  code: string;
  message: string;
  /** Trying again soon may help: refused, timed out, starting up. */
  transient: boolean;
}

/** Sets what the configuration wants on a fresh socket. */
export type SocketTuner = (fd: Fd, unix: boolean) => void;

/** Longest message of a login that we take: an ErrorResponse or a list of mechanisms. */
const MOST_MESSAGE_BYTES = 30_000;
/** What a minor version is refused with: feature_not_supported, protocol_violation. */
const REFUSES_VERSION = new Set(["0A000", "08P01"]);

export class ServerLogin implements Handler, AuthenticatingServerLogin {
  #reactor: Reactor;
  #settings: PoolSettings;
  /** Of the StartupMessage. */
  #fields: readonly [string, string][];
  #addresses: ServerAddress[];
  #at = -1;
  #secrets: LoginSecrets;
  #tune: SocketTuner;
  #done: (result: LoggedIn | LoginFailure) => void;
  #timer: Timer;
  #stream: ByteStream | undefined;
  #connected = false;
  #unsent: Uint8Array<ArrayBuffer> | undefined;
  #tail: Uint8Array<ArrayBuffer> | undefined;
  #authentication: ServerAuthentication | undefined;
  /** Minor version of the protocol that is asked for, and then the one that is spoken. */
  #minor: number;
  /** The StartupMessage was understood. */
  #answered = false;
  #reported = new Map<string, string>();
  #pid = 0;
  #secret: Uint8Array = new Uint8Array(0);
  #lastRefusal: LoginFailure | undefined;

  constructor(
    reactor: Reactor,
    options: {
      settings: PoolSettings;
      fields: readonly [string, string][];
      addresses: ServerAddress[];
      secrets: LoginSecrets;
      tune: SocketTuner;
      done: (result: LoggedIn | LoginFailure) => void;
    },
  ) {
    this.#reactor = reactor;
    this.#settings = options.settings;
    this.#fields = options.fields;
    this.#addresses = options.addresses;
    this.#secrets = options.secrets;
    this.#minor = options.secrets.newestMinor();
    this.#tune = options.tune;
    this.#done = options.done;
    this.#timer = reactor.at(
      reactor.now + options.settings.connect_timeout,
      () => this.#timedOut(),
    );
  }

  /** Begins with the first address. `done` may be called before this returns. */
  start(): void {
    this.#next();
  }

  /** Gives up without calling `done`. */
  abandon(): void {
    this.#release();
    this.#timer.cancel();
    this.#done = () => {};
  }

  onReady(events: number): void {
    if (!this.#connected) {
      this.#connectDone();
      return;
    }
    if ((events & EPOLLOUT) !== 0) this.#flush();
    if ((events & ~EPOLLOUT) !== 0 && this.#stream !== undefined) this.#read();
  }

  // ── connecting ──────────────────────────────────────────────────────────────────────────────────────────────────

  #next(): void {
    this.#release();
    this.#at++;
    if (this.#at >= this.#addresses.length) {
      this.#end(this.#lastRefusal ?? this.#refusal("no address to connect to"));
      return;
    }
    const address = this.#addresses[this.#at];
    const fd = openSocket(address.bytes);
    if (fd < 0) {
      const own = fd === -EMFILE || fd === -ENFILE;
      this.#end({
        kind: "failed",
        code: own ? "53000" : "08001",
        message: `the pooler can't open a socket: ${errnoText(-fd)}`,
        transient: true,
      });
      return;
    }
    this.#tune(fd as Fd, addressFamily(address.bytes) === AF_UNIX);
    const result = beginConnect(fd as Fd, address.bytes);
    if (result < 0) return this.#refused(-result);
    this.#stream = new PlainStream(fd as Fd);
    this.#reactor.register(fd as Fd, this, EPOLLOUT);
  }

  #refused(errno: number): void {
    const address = this.#addresses[this.#at];
    this.#lastRefusal = this.#refusal(`connect to ${address.text}: ${errnoText(errno)}`);
    this.#next();
  }

  #refusal(message: string): LoginFailure {
    return { kind: "failed", code: "53300", message, transient: true };
  }

  #connectDone(): void {
    const fd = this.#stream!.fd;
    const error = connectOutcome(fd);
    if (error !== 0) return this.#refused(error);
    this.#connected = true;
    this.#reactor.modify(fd, EPOLLIN | EPOLLRDHUP);
    this.#authentication = new ServerAuthentication(this, this.#settings, this.#secrets);
    this.#answered = false;
    this.send(startupMessage(this.#fields, this.#minor));
  }

  // ── bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────

  send(bytes: Uint8Array<ArrayBuffer>): void {
    const all = this.#unsent === undefined ? bytes : messages.join(this.#unsent, bytes);
    this.#unsent = all;
    this.#flush();
  }

  #flush(): void {
    const bytes = this.#unsent;
    if (bytes === undefined) return;
    const stream = this.#stream!;
    const sent = stream.send(bytes, 0, bytes.length);
    if (sent < 0 && !libc.wouldBlock(sent)) {
      // The cause, or PostgreSQL's own message, comes out of the read side.
      this.#unsent = undefined;
      return;
    }
    const rest = sent < 0 ? bytes : bytes.subarray(sent);
    this.#unsent = rest.length === 0 ? undefined : rest;
    this.#reactor.modify(
      stream.fd,
      EPOLLIN | EPOLLRDHUP | (this.#unsent === undefined ? 0 : EPOLLOUT),
    );
  }

  #read(): void {
    settle();
    let offset = 0;
    if (this.#tail !== undefined) {
      readBuffer.set(this.#tail);
      offset = this.#tail.length;
    }
    const n = this.#stream!.receive(offset);
    if (n <= 0) {
      if (libc.wouldBlock(n)) return;
      if (this.#asksOlder()) return;
      const why = n === 0 ? "it closed the connection" : errnoText(-n);
      this.fail("08006", `login at ${this.where}: ${why}`, "transient");
      return;
    }
    const end = offset + n;
    this.#tail = undefined;
    let at = 0;
    const stream = this.#stream;
    while (this.#stream === stream && end - at >= 5) {
      const length = readLength(readBuffer, at + 1);
      if (length < 4 || length > MOST_MESSAGE_BYTES) return this.#noPostgres();
      if (end - at < length + 1) break;
      // Handlers may write, which leaves the read buffer alone.
      this.#message(readBuffer[at], at + 5, at + 1 + length);
      at += length + 1;
    }
    if (this.#stream === stream && at < end) this.#tail = readBuffer.slice(at, end);
  }

  // ── messages ────────────────────────────────────────────────────────────────────────────────────────────────────

  #message(type: number, start: number, end: number): void {
    switch (type) {
      case Backend.Authentication:
        if (end - start < 4) return this.#noPostgres();
        this.#answered = true;
        this.#authentication!.take(
          readLength(readBuffer, start),
          readBuffer.slice(start + 4, end),
        );
        return;
      case Backend.ErrorResponse: {
        const error = readError(readBuffer, start, end);
        if (REFUSES_VERSION.has(error.code) && this.#asksOlder()) return;
        // 57P: shutting down or starting up; 53300: no slot free, which passes.
        const passes = error.code.startsWith("57P") || error.code === "53300";
        this.fail(error.code, error.message, passes ? "transient" : "final");
        return;
      }
      case Backend.NoticeResponse:
        return;
      case Backend.NegotiateProtocolVersion:
        this.#negotiated(start, end);
        return;
      case Backend.ParameterStatus:
        this.#parameter(start, end);
        return;
      case Backend.BackendKeyData:
        if (end - start < 4 || end - start > 4 + MOST_SECRET_BYTES) return this.#noPostgres();
        this.#pid = readLength(readBuffer, start) >>> 0;
        this.#secret = readBuffer.slice(start + 4, end);
        return;
      case Backend.ReadyForQuery:
        this.#ready();
        return;
      default:
        this.fail("08P01", `login at ${this.where}: unexpected message`, "final");
    }
  }

  /** Whoever does not know a minor version answers with the newest it knows, or, of old, refuses or hangs up. */
  #asksOlder(): boolean {
    if (this.#minor === 0 || this.#answered) return false;
    this.#minor = 0;
    this.#at--;
    this.#next();
    return true;
  }

  #negotiated(start: number, end: number): void {
    const version = end - start < 8 ? 0 : readLength(readBuffer, start);
    const options = end - start < 8 ? 0 : readLength(readBuffer, start + 4);
    const { major, minor } = protocolVersion(version);
    if (major !== 3 || minor > this.#minor || options !== 0) return this.#noPostgres();
    this.#answered = true;
    this.#minor = minor;
  }

  #noPostgres(): void {
    this.fail("08P01", `login at ${this.where}: this is no PostgreSQL`, "final");
  }

  #parameter(start: number, end: number): void {
    const status = readParameterStatus(readBuffer, start, end);
    if (status === undefined || this.#reported.size >= MOST_REPORTED) {
      this.#noPostgres();
    } else this.#reported.set(status.name, status.value);
  }

  // ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #ready(): void {
    if (!this.#authentication!.passed) {
      return this.fail("08P01", "ReadyForQuery before authentication", "final");
    }
    const stream = this.#stream!;
    this.#stream = undefined;
    this.#reactor.release(stream.fd);
    this.#end({
      kind: "ready",
      stream,
      address: this.#addresses[this.#at],
      pid: this.#pid,
      secret: this.#secret,
      minor: this.#minor,
      parameters: this.#reported,
    });
  }

  get where(): string {
    return this.#addresses[this.#at]?.text ?? this.#settings.server_host;
  }

  #timedOut(): void {
    this.#end({
      kind: "failed",
      code: "53300",
      message: `login at ${this.where} took longer than connect_timeout ` +
        `(${this.#settings.connect_timeout} ms): postgresql_login_timeout`,
      transient: true,
    });
  }

  fail(code: string, message: string, lasts: Lasting): void {
    this.#end({ kind: "failed", code, message, transient: lasts === "transient" });
  }

  #end(result: LoggedIn | LoginFailure): void {
    this.#release();
    this.#timer.cancel();
    const done = this.#done;
    this.#done = () => {};
    done(result);
  }

  #release(): void {
    if (this.#stream === undefined) return;
    this.#reactor.close(this.#stream.fd);
    this.#stream = undefined;
    this.#connected = false;
    this.#authentication?.end();
    this.#authentication = undefined;
    this.#unsent = undefined;
    this.#tail = undefined;
  }
}
