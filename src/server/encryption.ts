/**
 * TLS on a connection to PostgreSQL, from the moment it is connected until it is encrypted, plain by agreement, or not to
 * be had. Bytes in, bytes out: the socket is its owner's, a login or a cancel request.
 *
 * ```
 *              ┌── SSLRequest ─▶ asked ──N──▶ plain (prefer) or failed
 *   begin ─────┤                   │S
 *              └── direct ──▶ handshaking ──▶ encrypted
 *                                  └────────▶ failed ◀── E, anything else, bytes behind the answer
 * ```
 *
 * Source: PostgreSQL manual, "Message Flow", "SSL Session Encryption"; libpq's `sslmode` and `sslnegotiation`.
 */

import { countHandshakeDuration, type HandshakeDurationCounts } from "../stats/durations.ts";
import type { ServerTls } from "../config/settings.ts";
import { AF_UNIX } from "../os/layout.ts";
import { addressFamily } from "../os/socket_address.ts";
import { sslRequest } from "../protocol/startup.ts";
import { ALPN_PROTOCOL } from "../tls/alpn.ts";
import type { Finished, Handshake } from "../tls/handshake.ts";

const YES = 0x53;
const NO = 0x4e;
const ERROR = 0x45;

/** Whether a connection has TLS: never, where the server has it, or else there is none. */
export type Attempt = "plain" | "offered" | "required";

/** A handshake, as far as it is dealt with here. */
export type AskedHandshake = Pick<
  Handshake,
  "state" | "why" | "take" | "output" | "finish" | "end"
>;

/** What a login or a cancel request needs of the worker to have TLS. */
export interface TlsSource {
  /** Begins a handshake with a server of this name or address; a text: why that can't be. */
  handshake(tls: ServerTls, serverName: string): AskedHandshake | string;
}

/** How TLS is asked of one server. */
export interface Asking {
  readonly attempt: Attempt;
  readonly tls: ServerTls;
  /** As it is configured: a name, or an IP address. */
  readonly host: string;
  /** The address, for texts. */
  readonly where: string;
}

/** What is counted of handshakes; time in microseconds. */
export interface HandshakeCounts extends HandshakeDurationCounts {
  server_tls_handshakes: number;
  server_tls_handshake_time: number;
  server_tls_handshake_errors: number;
}

/** Why there is no TLS, and so no connection. */
export interface EncryptionFailure {
  kind: "failed";
  code: string;
  message: string;
  /** Trying again may help: the connection broke. */
  transient: boolean;
  /** PostgreSQL has no TLS. */
  unoffered: boolean;
}

/** How it ends. */
export type Encrypted =
  | { kind: "plain" }
  | { kind: "encrypted"; finished: Finished }
  | EncryptionFailure;

/** The first attempt at an address. */
export function firstAttempt(
  { mode }: Pick<ServerTls, "mode">,
  address: Uint8Array<ArrayBuffer>,
): Attempt {
  if (mode === "disable" || mode === "allow" || isUnix(address)) return "plain";
  return mode === "prefer" ? "offered" : "required";
}

/** Such a socket has no TLS. */
export function isUnix(address: Uint8Array<ArrayBuffer>): boolean {
  return addressFamily(address) === AF_UNIX;
}

/**
 * Whether what a plain connection has failed by may be mended by TLS (`allow`): the server's rules refuse it, it asks for
 * what the pooler does not have, or it does not speak to such a connection at all. A wrong password stays wrong.
 */
export function mayNeedTls(code: string, answered: boolean): boolean {
  return code === "28000" || !answered && (code === "08006" || code === "08P01");
}

export class Encryption {
  readonly #asking: Asking;
  readonly #source: TlsSource;
  readonly #counts: HandshakeCounts;
  readonly #send: (bytes: Uint8Array<ArrayBuffer>) => void;
  #handshake: AskedHandshake | undefined;
  #begunMs = 0;

  constructor(
    asking: Asking,
    owner: {
      source: TlsSource;
      counts: HandshakeCounts;
      send: (bytes: Uint8Array<ArrayBuffer>) => void;
    },
  ) {
    this.#asking = asking;
    this.#source = owner.source;
    this.#counts = owner.counts;
    this.#send = owner.send;
  }

  /** The socket is connected. `undefined`: it is for the server to answer. */
  begin(): Encrypted | undefined {
    const { attempt, tls } = this.#asking;
    if (attempt === "plain") return { kind: "plain" };
    this.#begunMs = performance.now();
    if (tls.direct && attempt === "required") return this.#shakeHands();
    this.#send(sslRequest());
    return undefined;
  }

  /** Bytes of the server. */
  take(bytes: Uint8Array<ArrayBuffer>, at: number, end: number): Encrypted | undefined {
    if (this.#handshake !== undefined) {
      this.#handshake.take(bytes, at, end);
      return this.#goOn(this.#handshake);
    }
    const { where, tls } = this.#asking;
    const answer = bytes[at];
    if (answer === ERROR) {
      // What it says is anybody's who is on the way: it is not passed on.
      return failure("08006", `TLS with ${where}: an error instead of an answer`, "transient");
    }
    if (answer !== YES && answer !== NO) {
      return failure("08P01", `TLS with ${where}: neither yes nor no, this is no PostgreSQL`);
    }
    if (end - at > 1) {
      // They would be taken for what comes encrypted.
      return failure("08P01", `TLS with ${where}: bytes behind the answer to SSLRequest`);
    }
    if (answer === YES) return this.#shakeHands();
    if (this.#asking.attempt === "offered") return { kind: "plain" };
    this.#counts.server_tls_handshake_errors++;
    return {
      ...failure(
        "08001",
        `TLS with ${where}: PostgreSQL has none, and server_tls_mode is "${tls.mode}": ` +
          "set ssl = on there, or another server_tls_mode here",
      ),
      unoffered: true,
    };
  }

  /** The connection has ended in the middle. */
  lost(why: string): EncryptionFailure {
    const { where, tls } = this.#asking;
    if (this.#handshake === undefined) {
      return failure("08006", `TLS with ${where}: ${why} instead of an answer`, "transient");
    }
    this.#counts.server_tls_handshake_errors++;
    const hint = tls.direct ? " (server_tls_direct needs PostgreSQL 17 or newer)" : "";
    return failure("08006", `${this.#subject}: ${why} in the handshake${hint}`, "transient");
  }

  #shakeHands(): Encrypted | undefined {
    const { tls, host, where } = this.#asking;
    // A name that ends with a dot is the same one, and certificates have it without (RFC 6066 §3).
    const name = host.endsWith(".") ? host.slice(0, -1) : host;
    const handshake = this.#source.handshake(tls, name);
    if (typeof handshake === "string") {
      return failure("08001", `TLS with ${where} is not possible: ${handshake}`);
    }
    this.#handshake = handshake;
    return this.#goOn(handshake);
  }

  #goOn(handshake: AskedHandshake): Encrypted | undefined {
    const output = handshake.output();
    if (output !== undefined) this.#send(output);
    if (handshake.state === "going") return undefined;
    const { tls } = this.#asking;
    if (handshake.state === "failed") return this.#failed(handshake.why);
    const finished = handshake.finish();
    this.end();
    if (tls.direct && finished.alpn !== ALPN_PROTOCOL) {
      return this.#failed(`the server does not say that it speaks "${ALPN_PROTOCOL}" (ALPN)`);
    }
    const us = Math.round((performance.now() - this.#begunMs) * 1000);
    this.#counts.server_tls_handshakes++;
    this.#counts.server_tls_handshake_time += us;
    countHandshakeDuration(this.#counts, us);
    return { kind: "encrypted", finished };
  }

  #failed(why: string): EncryptionFailure {
    this.#counts.server_tls_handshake_errors++;
    return failure("08001", `${this.#subject}: ${why}`);
  }

  /** What was attempted. */
  get #subject(): string {
    const { where, host, tls } = this.#asking;
    const name = tls.mode === "verify-full" ? `, name "${host}"` : "";
    return `TLS with ${where} (server_tls_mode "${tls.mode}"${name})`;
  }

  /** Lets go of what a handshake holds. */
  end(): void {
    this.#handshake?.end();
    this.#handshake = undefined;
  }
}

function failure(code: string, message: string, lasts?: "transient"): EncryptionFailure {
  return { kind: "failed", code, message, transient: lasts === "transient", unoffered: false };
}
