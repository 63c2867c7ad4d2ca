/**
 * One handshake, by OpenSSL over memory BIOs: bytes of the peer in, bytes for the peer out, and at its end the
 * connection as plain data. It does no I/O, knows no time limit, and is freed by `end`, whatever became of it.
 *
 *   going ──▶ done ──▶ finish()
 *     └─────▶ failed (`why`; `output` may still have an alert for the peer)
 */

import { isIP } from "node:net";
import { cString, lastError, openssl, textAt } from "../os/openssl.ts";
import { ALPN_PROTOCOL, ALPN_WIRE, requireAlpn } from "./alpn.ts";
import type { AskingContext, ServingContext } from "./context.ts";
import { KeyLog, logKeysTo, takeKept } from "./key_log.ts";
import { IV_BYTES, keyBlock, type RecordKeys } from "./key_schedule.ts";
import { derOf } from "./pem.ts";
import {
  infoOf,
  newTlsState,
  secretBytes,
  type TlsInfo,
  type TlsKeys,
  type TlsState,
} from "./state.ts";
import { type Suite, suiteOf, TLS_1_3 } from "./suites.ts";

export interface AskingOptions {
  /** The server's host: its name is sent (SNI), unless it is an address, and verified where the context says so. */
  serverName?: string;
  /** Offers `postgresql`: for TLS without a request for it. */
  alpn?: boolean;
}

export interface ServingOptions {
  /** The client came without a request for TLS: it must offer `postgresql`. */
  direct?: boolean;
}

export interface Finished {
  state: TlsState;
  info: TlsInfo;
  /** The peer's certificate in DER, where it has shown one. */
  peerCertificate?: Uint8Array<ArrayBuffer>;
  /** The protocol that ALPN has chosen. */
  alpn?: string;
}

const SSL_ERROR_SSL = 1;
const SSL_ERROR_WANT_READ = 2;
const SSL_CTRL_SET_TLSEXT_HOSTNAME = 55;
const X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS = 4;
const X509_V_OK = 0n;
const RANDOM_BYTES = 32;

/** Most plaintext of a record: towards clients less, so that one which waits for the whole record waits less. */
const MOST_TO_CLIENT = 8192;
const MOST_TO_SERVER = 16384;

/** The last record of a handshake that TLS 1.2 ends with, a Finished under AES-GCM: header, nonce, message, tag. */
const FINISHED_1_2_BYTES = 5 + 8 + 16 + 16;

const NO_ALPN =
  `no application protocol: without SSLRequest a client must offer "${ALPN_PROTOCOL}" by ALPN`;

export class Handshake {
  state: "going" | "done" | "failed" = "going";
  /** Why it failed, in OpenSSL's words. */
  why = "";
  readonly #context: Deno.PointerObject;
  readonly #role: "server" | "client";
  readonly #direct: boolean;
  readonly #log = new KeyLog();
  /** Lines of its key log are kept with it, until they are taken. */
  #keepsLines = false;
  #ssl: Deno.PointerObject | undefined;
  #input: Deno.PointerValue;
  #output: Deno.PointerValue;
  /** What was last sent: TLS 1.2 goes on from its nonce. */
  #lastOutput: Uint8Array<ArrayBuffer> | undefined = undefined;

  private constructor(context: Deno.PointerObject, role: "server" | "client", direct: boolean) {
    const { ssl, crypto } = openssl();
    const made = ssl.SSL_new(context);
    if (made === null) throw new Error(`OpenSSL begins no handshake: ${lastError()}`);
    this.#context = context;
    this.#ssl = made;
    this.#role = role;
    this.#direct = direct;
    this.#input = crypto.BIO_new(crypto.BIO_s_mem());
    this.#output = crypto.BIO_new(crypto.BIO_s_mem());
    ssl.SSL_set_bio(made, this.#input, this.#output);
  }

  /** A handshake with a client, which begins it. */
  static accept(context: ServingContext, options: ServingOptions = {}): Handshake {
    const handshake = new Handshake(context.pointer, "server", options.direct === true);
    handshake.#keepsLines = context.keepsLines;
    openssl().ssl.SSL_set_accept_state(handshake.#ssl!);
    return handshake;
  }

  /** A handshake with a server; there is something to be sent at once. */
  static connect(context: AskingContext, options: AskingOptions = {}): Handshake {
    const { ssl, crypto } = openssl();
    const handshake = new Handshake(context.pointer, "client", false);
    const pointer = handshake.#ssl!;
    const { serverName } = options;
    const address = serverName !== undefined && isIP(serverName) !== 0;
    if (serverName !== undefined && !address) {
      ssl.SSL_ctrl(pointer, SSL_CTRL_SET_TLSEXT_HOSTNAME, 0n, cString(serverName));
    }
    if (context.verification === "full") {
      const parameters = ssl.SSL_get0_param(pointer);
      crypto.X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
      const name = cString(serverName ?? "");
      const set = serverName === undefined
        ? 0
        : address
        ? crypto.X509_VERIFY_PARAM_set1_ip_asc(parameters, name)
        : ssl.SSL_set1_host(pointer, name);
      if (set !== 1) {
        handshake.#fail("there is no name that the certificate could be verified against");
      }
    }
    if (options.alpn) ssl.SSL_set_alpn_protos(pointer, ALPN_WIRE, ALPN_WIRE.length);
    ssl.SSL_set_connect_state(pointer);
    handshake.#step();
    return handshake;
  }

  /** Takes what the peer has sent. */
  take(bytes: Uint8Array<ArrayBuffer>, at: number, end: number): void {
    if (this.state !== "going" || at === end) return;
    openssl().crypto.BIO_write(this.#input, bytes.subarray(at, end), end - at);
    this.#step();
  }

  /** What is to be sent to the peer now. */
  output(): Uint8Array<ArrayBuffer> | undefined {
    if (this.#ssl === undefined) return undefined;
    const { crypto } = openssl();
    const length = crypto.BIO_ctrl_pending(this.#output);
    if (length === 0) return undefined;
    const bytes = new Uint8Array(length);
    crypto.BIO_read(this.#output, bytes, length);
    this.#lastOutput = bytes;
    return bytes;
  }

  /** The connection as data, once, when the handshake is done and its last output has been taken. */
  finish(): Finished {
    if (openssl().crypto.BIO_ctrl_pending(this.#output) > 0) {
      throw new Error("a handshake whose last output was not sent");
    }
    this.#takeKept();
    const state = this.#newState();
    const certificate = openssl().ssl.SSL_get1_peer_certificate(this.#ssl!);
    const finished: Finished = { state, info: infoOf(state) };
    if (certificate !== null) {
      finished.peerCertificate = derOf(certificate);
      openssl().crypto.X509_free(certificate);
    }
    const alpn = this.#alpn();
    if (alpn !== undefined) finished.alpn = alpn;
    this.end();
    return finished;
  }

  /** Frees what OpenSSL has of it, and overwrites what it has told. */
  end(): void {
    this.#takeKept();
    this.#log.end();
    if (this.#ssl === undefined) return;
    // With both BIOs.
    openssl().ssl.SSL_free(this.#ssl);
    this.#ssl = undefined;
    this.#lastOutput = undefined;
  }

  #takeKept(): void {
    if (!this.#keepsLines) return;
    this.#keepsLines = false;
    takeKept(this.#ssl!, this.#log);
  }

  #step(): void {
    if (this.state !== "going") return;
    const { ssl, crypto } = openssl();
    crypto.ERR_clear_error();
    logKeysTo(this.#log);
    if (this.#direct) requireAlpn(this.#context, "required");
    const result = ssl.SSL_do_handshake(this.#ssl!);
    logKeysTo(undefined);
    if (this.#direct) requireAlpn(this.#context, "as they like");
    if (result === 1) {
      this.state = "done";
      return;
    }
    const error = ssl.SSL_get_error(this.#ssl!, result);
    if (error === SSL_ERROR_WANT_READ) return;
    this.#fail(this.#reason(error));
  }

  #fail(why: string): void {
    this.state = "failed";
    this.why = why;
  }

  #reason(error: number): string {
    const words = lastError();
    // That of alpn.ts is the only one that fails.
    if (this.#direct && words === "callback failed") return NO_ALPN;
    if (error !== SSL_ERROR_SSL) return words || `OpenSSL's error ${error}`;
    const verified = openssl().ssl.SSL_get_verify_result(this.#ssl!);
    if (verified === X509_V_OK || !words.includes("verify failed")) return words;
    return `${words}: ${textAt(openssl().crypto.X509_verify_cert_error_string(verified))}`;
  }

  #newState(): TlsState {
    const { ssl, crypto } = openssl();
    const pointer = this.#ssl!;
    const version = ssl.SSL_version(pointer);
    const suite = suiteOf(ssl.SSL_CIPHER_get_protocol_id(ssl.SSL_get_current_cipher(pointer)));
    if (suite === undefined) throw new Error("a cipher suite that was not offered");
    const keys = version === TLS_1_3 ? this.#keys13(suite) : this.#keys12(suite);
    const server = this.#role === "server";
    // RFC 6066 §4: 2⁹ to 2¹² by the numbers 1 to 4, where the client has asked for it.
    const asked = ssl.SSL_SESSION_get_max_fragment_length(ssl.SSL_get_session(pointer));
    const most = server ? MOST_TO_CLIENT : MOST_TO_SERVER;
    const state = newTlsState({
      version,
      suite: suite.id,
      role: this.#role,
      receive: server ? keys.client : keys.server,
      send: server ? keys.server : keys.client,
      mostPlaintext: asked === 0 ? most : Math.min(most, 256 << asked),
    });
    const left = crypto.BIO_ctrl_pending(this.#input);
    if (left > 0) {
      state.undecoded = new Uint8Array(left);
      crypto.BIO_read(this.#input, state.undecoded, left);
    }
    return state;
  }

  #keys13(suite: Suite): { client: TlsKeys; server: TlsKeys } {
    const { clientTraffic: client, serverTraffic: server } = this.#log;
    const length = secretBytes(TLS_1_3, suite.id);
    if (client?.length !== length || server?.length !== length) {
      throw new Error("OpenSSL has not told the secrets of a handshake");
    }
    return {
      client: { secret: client.slice(), sequence: 0 },
      server: { secret: server.slice(), sequence: 0 },
    };
  }

  #keys12(suite: Suite): { client: TlsKeys; server: TlsKeys } {
    const { ssl } = openssl();
    const { master } = this.#log;
    if (master?.length !== 48) throw new Error("OpenSSL has not told the secret of a handshake");
    const client = new Uint8Array(RANDOM_BYTES);
    const server = new Uint8Array(RANDOM_BYTES);
    ssl.SSL_get_client_random(this.#ssl!, client, BigInt(RANDOM_BYTES));
    ssl.SSL_get_server_random(this.#ssl!, server, BigInt(RANDOM_BYTES));
    const block = keyBlock(suite, master, client, server);
    const mine = this.#role === "server" ? block.server : block.client;
    const explicit = suite.explicitNonceBytes > 0 ? this.#explicitNonce() : undefined;
    return {
      client: toKeys12(block.client, mine === block.client ? explicit : undefined),
      server: toKeys12(block.server, mine === block.server ? explicit : undefined),
    };
  }

  /**
   * The part of the nonce that OpenSSL has chosen for its one record so far. Numbers of further records are mixed into
   * it, so that no nonce comes twice whatever it was.
   */
  #explicitNonce(): Uint8Array {
    const sent = this.#lastOutput;
    const at = (sent?.length ?? 0) - FINISHED_1_2_BYTES;
    if (
      sent === undefined || at < 0 || sent[at] !== 22 || sent[at + 4] !== FINISHED_1_2_BYTES - 5
    ) {
      throw new Error("OpenSSL's last record of a handshake is not its Finished");
    }
    return sent.subarray(at + 5, at + 13);
  }

  #alpn(): string | undefined {
    const at = new BigUint64Array(1);
    const length = new Uint32Array(1);
    openssl().ssl.SSL_get0_alpn_selected(this.#ssl!, at, length);
    return length[0] === 0 ? undefined : ALPN_PROTOCOL;
  }
}

/** TLS 1.2 after its Finished, which was record 0. */
function toKeys12({ key, iv }: RecordKeys, explicit: Uint8Array | undefined): TlsKeys {
  const secret = new Uint8Array(key.length + IV_BYTES);
  secret.set(key);
  secret.set(iv, key.length);
  if (explicit !== undefined) secret.set(explicit, key.length + iv.length);
  key.fill(0);
  iv.fill(0);
  return { secret, sequence: 1 };
}
