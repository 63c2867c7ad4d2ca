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
import { md5Hash, md5Response } from "../auth/md5.ts";
import { keysOf, parseVerifier, type ScramKeys } from "../auth/scram.ts";
import {
  answerChallenge,
  beginScramClient,
  challengeFits,
  offersScram,
  parseMechanisms,
  readServerFirst,
  type ScramChallenge,
  type ScramClientFinal,
  type ScramClientStart,
  verifyServerFinal,
} from "../auth/scram_client.ts";
import type { PoolSettings } from "../config/settings.ts";
import { Authentication, Backend, Frontend, readLength } from "../protocol/codes.ts";
import { readError } from "../protocol/error_response.ts";
import * as messages from "../protocol/messages.ts";
import { startupMessage } from "../protocol/startup.ts";
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

/** Whether a failure may be over when the login is tried again. */
type Lasting = "transient" | "final";

/** What a login needs from its pool. */
export interface LoginSecrets {
  /** ClientKey of the pool's user, once a client has proven itself. */
  clientKey(): Uint8Array | undefined;
  /** SaltedPassword of RFC 5802, derived on the control plane or kept from before. */
  derive(
    password: string,
    salt: Uint8Array,
    iterations: number,
    done: (saltedPassword: Uint8Array | undefined) => void,
  ): void;
}

/** Sets what the configuration wants on a fresh socket. */
export type SocketTuner = (fd: Fd, unix: boolean) => void;

/** Longest message of a login that we take: an ErrorResponse or a list of mechanisms. */
const MOST_MESSAGE_BYTES = 30_000;

export class ServerLogin implements Handler {
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
  #scram: ScramClientStart | ScramChallenge | ScramClientFinal | undefined;
  #authenticated = false;
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
    this.#send(startupMessage(this.#fields));
  }

  // ── bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #send(bytes: Uint8Array<ArrayBuffer>): void {
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
      const why = n === 0 ? "it closed the connection" : errnoText(-n);
      this.#fail("08006", `login at ${this.#where()}: ${why}`, "transient");
      return;
    }
    const end = offset + n;
    this.#tail = undefined;
    let at = 0;
    while (this.#stream !== undefined && end - at >= 5) {
      const length = readLength(readBuffer, at + 1);
      if (length < 4 || length > MOST_MESSAGE_BYTES) return this.#noPostgres();
      if (end - at < length + 1) break;
      // Handlers may write, which leaves the read buffer alone.
      this.#message(readBuffer[at], at + 5, at + 1 + length);
      at += length + 1;
    }
    if (this.#stream !== undefined && at < end) this.#tail = readBuffer.slice(at, end);
  }

  // ── messages ────────────────────────────────────────────────────────────────────────────────────────────────────

  #message(type: number, start: number, end: number): void {
    switch (type) {
      case Backend.Authentication:
        if (end - start < 4) return this.#noPostgres();
        this.#authentication(readLength(readBuffer, start), readBuffer.slice(start + 4, end));
        return;
      case Backend.ErrorResponse: {
        const error = readError(readBuffer, start, end);
        // 57P: shutting down or starting up; 53300: no slot free, which passes.
        const passes = error.code.startsWith("57P") || error.code === "53300";
        this.#fail(error.code, error.message, passes ? "transient" : "final");
        return;
      }
      case Backend.NoticeResponse:
      case Backend.NegotiateProtocolVersion:
        return;
      case Backend.ParameterStatus:
        this.#parameter(start, end);
        return;
      case Backend.BackendKeyData:
        if (end - start < 4) return this.#noPostgres();
        this.#pid = readLength(readBuffer, start) >>> 0;
        this.#secret = readBuffer.slice(start + 4, end);
        return;
      case Backend.ReadyForQuery:
        this.#ready();
        return;
      default:
        this.#fail("08P01", `login at ${this.#where()}: unexpected message`, "final");
    }
  }

  #noPostgres(): void {
    this.#fail("08P01", `login at ${this.#where()}: this is no PostgreSQL`, "final");
  }

  #parameter(start: number, end: number): void {
    const status = readParameterStatus(readBuffer, start, end);
    if (status === undefined || this.#reported.size >= MOST_REPORTED) {
      this.#noPostgres();
    } else this.#reported.set(status.name, status.value);
  }

  #authentication(code: number, data: Uint8Array): void {
    const credentials = this.#settings.credentials;
    switch (code) {
      case Authentication.Ok:
        this.#authenticated = true;
        return;
      case Authentication.CleartextPassword:
        if (credentials.kind !== "password") return this.#noSecret("a cleartext password");
        this.#send(messages.passwordMessage(credentials.password));
        return;
      case Authentication.MD5Password: {
        const hash = credentials.kind === "md5"
          ? credentials.hash
          : credentials.kind === "password"
          ? md5Hash(credentials.password, this.#settings.server_username)
          : undefined;
        if (hash === undefined) return this.#noSecret("an md5 password");
        this.#send(messages.passwordMessage(md5Response(hash, data)));
        return;
      }
      case Authentication.SASL:
        this.#startScram(data);
        return;
      case Authentication.SASLContinue:
        this.#continueScram(data);
        return;
      case Authentication.SASLFinal:
        this.#finishScram(data);
        return;
      default:
        this.#fail(
          "28000",
          `login at ${this.#where()}: PostgreSQL asks for authentication method ${code}, ` +
            "which the pooler does not speak",
          "final",
        );
    }
  }

  #noSecret(what: string): void {
    const { server_username, credentials } = this.#settings;
    const hint = credentials.kind === "scram_passthrough"
      ? "the pooler has a SCRAM verifier only"
      : "set server_username and server_password";
    this.#fail(
      "28000",
      `login at ${this.#where()}: PostgreSQL asks for ${what} of "${server_username}": ${hint}`,
      "final",
    );
  }

  #startScram(data: Uint8Array): void {
    const list = parseMechanisms(data);
    if (list.kind === "fault") return this.#fail("08P01", list.reason, "final");
    if (!offersScram(list.names)) {
      return this.#fail(
        "28000",
        "PostgreSQL offers no SASL mechanism that the pooler speaks",
        "final",
      );
    }
    const { kind } = this.#settings.credentials;
    if (kind !== "password" && kind !== "scram_passthrough") {
      return this.#noSecret("a SCRAM proof");
    }
    if (kind === "scram_passthrough" && this.#secrets.clientKey() === undefined) {
      return this.#fail(
        "28000",
        "no client has logged in yet whose SCRAM key could be passed through",
        "final",
      );
    }
    const { state, body } = beginScramClient();
    this.#scram = state;
    this.#send(passwordBytes(body));
  }

  #continueScram(data: Uint8Array): void {
    if (this.#scram?.kind !== "start") {
      return this.#fail("08P01", "unexpected SASL message", "final");
    }
    const challenge = readServerFirst(this.#scram, data);
    if (challenge.kind === "fault") return this.#fail("08P01", challenge.reason, "final");
    this.#scram = challenge;
    const credentials = this.#settings.credentials;
    if (credentials.kind === "scram_passthrough") {
      const verifier = parseVerifier(credentials.verifier);
      const clientKey = this.#secrets.clientKey();
      if (
        verifier === undefined || clientKey === undefined || !challengeFits(challenge, verifier)
      ) {
        return this.#fail(
          "28P01",
          `the SCRAM verifier of "${this.#settings.server_username}" in the configuration is ` +
            "not the one in PostgreSQL: copy it from pg_authid, or set server_password",
          "final",
        );
      }
      return this.#prove(challenge, { clientKey, serverKey: verifier.serverKey });
    }
    if (credentials.kind !== "password") return this.#noSecret("a SCRAM proof");
    this.#secrets.derive(
      credentials.password,
      challenge.salt,
      challenge.iterations,
      (salted) => {
        if (this.#stream === undefined || this.#scram !== challenge) return;
        if (salted === undefined) this.#fail("XX000", "key derivation failed", "final");
        else this.#prove(challenge, keysOf(salted));
      },
    );
  }

  #prove(challenge: ScramChallenge, keys: ScramKeys): void {
    const { state, body } = answerChallenge(challenge, keys);
    this.#scram = state;
    this.#send(passwordBytes(body));
  }

  #finishScram(data: Uint8Array): void {
    if (this.#scram?.kind !== "final") {
      return this.#fail("08P01", "unexpected SASL message", "final");
    }
    const verdict = verifyServerFinal(this.#scram, data);
    if (verdict.kind === "fault") this.#fail("28000", verdict.reason, "final");
  }

  // ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #ready(): void {
    if (!this.#authenticated) {
      return this.#fail("08P01", "ReadyForQuery before authentication", "final");
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
      parameters: this.#reported,
    });
  }

  #where(): string {
    return this.#addresses[this.#at]?.text ?? this.#settings.server_host;
  }

  #timedOut(): void {
    this.#end({
      kind: "failed",
      code: "53300",
      message: `login at ${this.#where()} took longer than connect_timeout ` +
        `(${this.#settings.connect_timeout} ms): postgresql_login_timeout`,
      transient: true,
    });
  }

  #fail(code: string, message: string, lasts: Lasting): void {
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
  }
}

/** A password message around bytes that are whole already. */
function passwordBytes(body: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(5 + body.length);
  bytes[0] = Frontend.Password;
  new DataView(bytes.buffer).setUint32(1, 4 + body.length);
  bytes.set(body, 5);
  return bytes;
}
