/**
 * The start of a server connection: connect (each address in turn, dial.ts), StartupMessage, authentication, parameters,
 * key data, ReadyForQuery. One deadline for all of it. Ends in `done`, once, with a socket that is ready or with the cause.
 *
 * ```
 *   dialing ──▶ authenticating ──AuthenticationOk──▶ starting ──ReadyForQuery──▶ done
 *     ▲ │ refused: next address     │ (1)
 *     └─┴── refused without TLS (2) ┘
 * ```
 * 1. A SCRAM challenge may wait for keys that the control plane derives.
 * 2. With `server_tls_mode = "allow"`: the same address once more, with TLS and a deadline of its own.
 *
 * Source: PostgreSQL manual, "Message Flow", "Start-up" and "SASL Authentication".
 */

import * as libc from "../os/libc.ts";
import { errnoText } from "../os/errno.ts";
import type { Reactor } from "../reactor/reactor.ts";
import { settle } from "../reactor/posts.ts";
import { type ByteStream, readBuffer } from "../reactor/stream.ts";
import type { Timer } from "../reactor/timers.ts";
import type { PoolSettings, ServerTls } from "../config/settings.ts";
import { Backend, readLength } from "../protocol/codes.ts";
import { readError } from "../protocol/error_response.ts";
import { MOST_SECRET_BYTES, protocolVersion, startupMessage } from "../protocol/startup.ts";
import {
  type AuthenticatingServerLogin,
  type Lasting,
  type LoginSecrets,
  ServerAuthentication,
} from "./authentication.ts";
import {
  Dial,
  type Dialer,
  type Established,
  type ServerAddress,
  type SocketTuner,
} from "./dial.ts";
import {
  type Attempt,
  type EncryptionFailure,
  firstAttempt,
  isUnix,
  mayNeedTls,
} from "./encryption.ts";
import { MOST_REPORTED, readParameterStatus } from "./parameters.ts";

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
  /** What its TLS was made by; `undefined`: it has none. */
  tls: { settings: ServerTls; host: string } | undefined;
}

/** Why a login failed. */
export interface LoginFailure {
  kind: "failed";
  /** PostgreSQL's SQLSTATE where it spoke, else ours. */
  code: string;
  message: string;
  /** Trying again soon may help: refused, timed out, starting up. */
  transient: boolean;
  /** PostgreSQL has seen the password and does not take it. */
  passwordRefused?: true;
}

/** Longest message of a login that we take: an ErrorResponse or a list of mechanisms. */
const MOST_MESSAGE_BYTES = 30_000;
/** What a minor version is refused with: feature_not_supported, protocol_violation. */
const REFUSES_VERSION = new Set(["0A000", "08P01"]);

export class ServerLogin implements Dialer, AuthenticatingServerLogin {
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
  #dial: Dial | undefined;
  /** Of the present address. */
  #attempt: Attempt = "plain";
  #tls: Established | undefined;
  /** What a connection without TLS was refused by. */
  #refusedPlain: LoginFailure | undefined;
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
  #passwordRefused = false;

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
    this.#timer = this.#deadline();
  }

  #deadline(): Timer {
    const { connect_timeout } = this.#settings;
    return this.#reactor.at(this.#reactor.now + connect_timeout, () => this.#timedOut());
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

  // ── connecting ──────────────────────────────────────────────────────────────────────────────────────────────────

  #next(): void {
    this.#release();
    this.#at++;
    if (this.#at >= this.#addresses.length) {
      this.#end(this.#lastRefusal ?? this.#refusal("no address to connect to"));
      return;
    }
    this.#attempt = firstAttempt(this.#settings.server_tls, this.#addresses[this.#at].bytes);
    this.#refusedPlain = undefined;
    this.#connect();
  }

  #connect(): void {
    this.#release();
    const { server_tls: tls, server_host: host } = this.#settings;
    const asking = { attempt: this.#attempt, tls, host, where: this.where };
    const parts = { reactor: this.#reactor, tune: this.#tune, ...this.#secrets };
    this.#dial = new Dial(asking, parts, this);
    this.#dial.start(this.#addresses[this.#at].bytes);
  }

  noSocket(why: string, own: boolean): void {
    this.#end({
      kind: "failed",
      code: own ? "53000" : "08001",
      message: `the pooler can't open a socket: ${why}`,
      transient: true,
    });
  }

  unreachable(errno: number): void {
    this.#lastRefusal = this.#refusal(`connect to ${this.where}: ${errnoText(errno)}`);
    this.#next();
  }

  #refusal(message: string): LoginFailure {
    return { kind: "failed", code: "53300", message, transient: true };
  }

  notEncrypted({ code, message, transient, unoffered }: EncryptionFailure): void {
    const plain = this.#refusedPlain;
    if (plain !== undefined && unoffered) {
      this.#end({ ...plain, message: `${plain.message} (and it has no TLS to try)` });
    } else this.fail(code, message, transient ? "transient" : "final");
  }

  /** With TLS 1.3 PostgreSQL looks at our certificate when the handshake is over here. */
  #tlsBroken(fault: string): void {
    const hint = this.#answered ? "" : ", perhaps for what server_tls_certificate shows it";
    if (!this.#answered) this.#secrets.counts.server_tls_handshake_errors++;
    this.fail("08001", `TLS with ${this.where}: ${fault}${hint}`, "final");
  }

  open(tls: Established | undefined): void {
    this.#tls = tls;
    this.#authentication = new ServerAuthentication(this, this.#settings, this.#secrets);
    this.#answered = false;
    this.send(startupMessage(this.#fields, this.#minor));
  }

  // ── bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────

  send(bytes: Uint8Array<ArrayBuffer>): void {
    this.#dial!.send(bytes);
  }

  readable(): void {
    settle();
    const dial = this.#dial!;
    let offset = 0;
    if (this.#tail !== undefined) {
      readBuffer.set(this.#tail);
      offset = this.#tail.length;
    }
    const n = dial.receive(offset);
    if (n <= 0) {
      if (libc.wouldBlock(n)) return;
      if (this.#asksOlder()) return;
      if (dial.fault !== "") return this.#tlsBroken(dial.fault);
      const why = n === 0 ? "it closed the connection" : errnoText(-n);
      this.fail("08006", `login at ${this.where}: ${why}`, "transient");
      return;
    }
    const end = offset + n;
    this.#tail = undefined;
    let at = 0;
    while (dial.isOpen && end - at >= 5) {
      const length = readLength(readBuffer, at + 1);
      if (length < 4 || length > MOST_MESSAGE_BYTES) return this.#noPostgres();
      if (end - at < length + 1) break;
      // Handlers may write, which leaves the read buffer alone.
      this.#message(readBuffer[at], at + 5, at + 1 + length);
      at += length + 1;
    }
    if (dial.isOpen && at < end) this.#tail = readBuffer.slice(at, end);
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
        this.#passwordRefused = error.code.startsWith("28") && this.#authentication!.proving;
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
    this.#connect();
    return true;
  }

  /** `allow`: who is refused without TLS tries with it. */
  #triesTls(refusal: LoginFailure): boolean {
    const { server_tls } = this.#settings;
    if (server_tls.mode !== "allow" || this.#attempt !== "plain") return false;
    if (isUnix(this.#addresses[this.#at].bytes)) return false;
    if (!mayNeedTls(refusal.code, this.#answered)) return false;
    this.#refusedPlain = refusal;
    this.#attempt = "required";
    this.#timer.cancel();
    this.#timer = this.#deadline();
    this.#connect();
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
    const { server_tls: settings, server_host: host } = this.#settings;
    const encrypted = this.#tls !== undefined;
    const stream = this.#dial!.release();
    this.#end({
      kind: "ready",
      stream,
      address: this.#addresses[this.#at],
      pid: this.#pid,
      secret: this.#secret,
      minor: this.#minor,
      parameters: this.#reported,
      tls: encrypted ? { settings, host } : undefined,
    });
  }

  get certificate(): Uint8Array<ArrayBuffer> | undefined {
    return this.#tls?.certificate;
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
    const transient = lasts === "transient";
    if (this.#triesTls({ kind: "failed", code, message, transient })) return;
    const plain = this.#refusedPlain;
    const first = plain === undefined ? "" : ` (without TLS: ${plain.message})`;
    const failure: LoginFailure = { kind: "failed", code, message: message + first, transient };
    this.#end(this.#passwordRefused ? { ...failure, passwordRefused: true } : failure);
  }

  #end(result: LoggedIn | LoginFailure): void {
    this.#release();
    this.#timer.cancel();
    const done = this.#done;
    this.#done = () => {};
    done(result);
  }

  #release(): void {
    this.#dial?.close();
    this.#dial = undefined;
    this.#tls = undefined;
    this.#authentication?.end();
    this.#authentication = undefined;
    this.#tail = undefined;
  }
}
