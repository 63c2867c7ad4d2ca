/**
 * How a client's connection gets encrypted, before anything else is said on it: the answers to SSLRequest and
 * GSSENCRequest, and the TLS handshake. OpenSSL does that between two exchanges of bytes; when it is through, the session's
 * stream is exchanged for one of TLS records. Source: PostgreSQL manual, "Message Flow", "SSL Session Encryption".
 *
 * ```
 *           SSLRequest, "S"
 *  [plain] ─────────────────▶ [asked] ──ClientHello──▶ [queued] ──a place──▶ [going] ──▶ encrypted, or closed
 *     └── ClientHello without a request (direct TLS): ─────▲
 * ```
 *
 * What must hold: from "S" on nothing is written in clear (`ClientSocket.handshaking`), and nothing that came in clear is
 * taken for something that came encrypted.
 */

import type { ClientTlsMode } from "../../config/settings.ts";
import type { EncryptingClient } from "../context.ts";
import type { ClientEnd, ClientInput, ClientOutput, ClientView } from "../parts.ts";
import { settle } from "../../reactor/posts.ts";
import type { ByteStream } from "../../reactor/stream.ts";
import { REASONS } from "../../reasons.ts";
import { Handshake } from "../../tls/handshake.ts";
import { namesOf } from "../../tls/certificate_names.ts";
import type { TlsState } from "../../tls/state.ts";
import { Stage } from "../state.ts";
import { logHandshakeFailure } from "./log_lines.ts";

/** The part of a session that this file sees. */
export interface EncryptingSession
  extends Omit<ClientView, "pool" | "server">, ClientInput, ClientOutput, ClientEnd {
  readonly stream: ByteStream;
  readonly encrypted: boolean;
  handshaking: boolean;
  hold(): void;
  goOn(): void;
  secure(tls: TlsState): void;
  readNow(): void;
}

/** What is told of its progress. */
interface Login {
  /** The next step is the client's. */
  waits(): void;
  /** It has broken the protocol. */
  broken(how: string): void;
}

const YES = Uint8Array.of(0x53);
const NO = Uint8Array.of(0x4e);
const NOTHING = new Uint8Array(0);
/** The first byte of a TLS record with a ClientHello. No packet of PostgreSQL's is so long that it begins like that. */
const HANDSHAKE_RECORD = 0x16;
/** A client asks for GSSAPI, for TLS, or for both. */
const MOST_REQUESTS = 2;

export class Encryption implements EncryptingClient {
  readonly #session: EncryptingSession;
  readonly #login: Login;
  #requests = 0;
  #stage: "plain" | "asked" | "queued" | "going" = "plain";
  #direct = false;
  #handshake: Handshake | undefined;

  constructor(session: EncryptingSession, login: Login) {
    this.#session = session;
    this.#login = login;
  }

  /** From the "S" to the end of the handshake a session stays where it is. */
  get underWay(): boolean {
    return this.#session.handshaking;
  }

  get ip(): string {
    return this.#session.state.ip;
  }

  /** The `tls_mode` that keeps the client out as it is; `undefined`: none does. */
  get demanded(): ClientTlsMode | undefined {
    const { context, state, encrypted } = this.#session;
    if (encrypted || state.unix || context.tls?.mode === "allow") return undefined;
    return context.tls?.mode;
  }

  /** An SSLRequest or GSSENCRequest came; with `more` behind it. Returns whether the login goes on. */
  requested(kind: "ssl_request" | "gssenc_request", more: boolean): boolean {
    const session = this.#session;
    const { context, state, encrypted } = session;
    if (encrypted) {
      this.#login.broken("encryption requested on a connection that is encrypted");
      return false;
    }
    if (more || ++this.#requests > MOST_REQUESTS) {
      this.#login.broken("unexpected data after encryption request");
      return false;
    }
    if (kind === "ssl_request" && context.tls !== undefined && !state.unix) {
      session.write(YES);
      this.#stage = "asked";
      session.handshaking = true;
    } else session.write(NO);
    return true;
  }

  /** Takes what was read, if it belongs to a handshake. */
  take(bytes: Uint8Array<ArrayBuffer>, at: number, end: number): boolean {
    const session = this.#session;
    if (this.#stage === "plain") {
      const { context, state, encrypted } = session;
      const direct = bytes[at] === HANDSHAKE_RECORD && this.#requests === 0 && !encrypted;
      if (!direct || context.tls === undefined || state.unix) return false;
      this.#direct = true;
      this.#stage = "asked";
      session.handshaking = true;
    }
    if (this.#stage === "asked") {
      if (!session.context.handshakes.begin(this)) {
        this.#stage = "queued";
        session.hold();
        session.keep(bytes, at, end);
        return true;
      }
      this.#begin();
    }
    if (this.#stage !== "going") return false;
    this.#goOn(bytes, at, end);
    return true;
  }

  #begin(): void {
    this.#stage = "going";
    this.#handshake = Handshake.accept(this.#session.context.tls!.serving, {
      direct: this.#direct,
    });
  }

  proceed(): void {
    this.#begin();
    this.#session.goOn();
  }

  giveWay(): void {
    this.#failed("the client made no step for too long, and others wait");
    this.#session.close(REASONS.clientTerminated, "");
  }

  #goOn(bytes: Uint8Array<ArrayBuffer>, at: number, end: number): void {
    const session = this.#session;
    const handshake = this.#handshake!;
    settle();
    handshake.take(bytes, at, end);
    session.keep(bytes, end, end);
    const output = handshake.output();
    if (output !== undefined) session.write(output);
    if (session.state.stage !== Stage.Startup) return;
    if (handshake.state === "done") this.#done(handshake);
    else if (handshake.state === "failed") this.#failed(handshake.why);
    else if (output !== undefined) {
      // Pieces of a message are no step: whoever sends one now and then would keep its place.
      session.context.handshakes.stepped(this);
      this.#login.waits();
    }
  }

  #done(handshake: Handshake): void {
    const session = this.#session;
    const { state: tls, peerCertificate } = handshake.finish();
    session.state.channelBinding = session.context.tls!.serving.endPoint;
    session.state.clientCertificate = peerCertificate && namesOf(peerCertificate);
    session.secure(tls);
    session.handshaking = false;
    this.end();
    this.#login.waits();
    // Records that came with the end of the handshake are in no socket any more.
    session.readNow();
  }

  #failed(why: string): void {
    const session = this.#session;
    logHandshakeFailure(session, why);
    // Its end of the connection is closed when it has read the alert.
    session.say(NOTHING);
  }

  /** Gives back what a handshake holds; harmless without one. */
  end(): void {
    if (this.#stage === "plain") return;
    this.#stage = "plain";
    this.#handshake?.end();
    this.#handshake = undefined;
    this.#session.context.handshakes.over(this);
  }
}
