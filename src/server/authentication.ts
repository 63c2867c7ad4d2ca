/**
 * How a server login proves itself: the answer to each Authentication message, by the pool's credentials. One of these
 * for each connection. Source: PostgreSQL manual, "Message Flow", "Start-up" and "SASL Authentication".
 */

import { md5Hash, md5Response } from "../auth/md5.ts";
import { keysOf, parseVerifier, type ScramKeys } from "../auth/scram.ts";
import {
  answerChallenge,
  beginScramClient,
  challengeFits,
  chooseBinding,
  parseMechanisms,
  readServerFirst,
  type ScramChallenge,
  type ScramClientFinal,
  type ScramClientStart,
  verifyServerFinal,
} from "../auth/scram_client.ts";
import type { ServerAuthMethod } from "../config/server_auth.ts";
import type { PoolSettings } from "../config/settings.ts";
import { Authentication, Frontend } from "../protocol/codes.ts";
import * as messages from "../protocol/messages.ts";
import { tlsServerEndPoint } from "../tls/channel_binding.ts";
import type { HandshakeCounts, TlsSource } from "./encryption.ts";

/** Whether a failure may be over when the login is tried again. */
export type Lasting = "transient" | "final";

/** The login, as its authentication sees it. */
export interface AuthenticatingServerLogin {
  /** The server, for texts. */
  readonly where: string;
  /** Of the server, DER; `undefined` without TLS. */
  readonly certificate: Uint8Array<ArrayBuffer> | undefined;
  send(bytes: Uint8Array<ArrayBuffer>): void;
  fail(code: string, message: string, lasts: Lasting): void;
}

/** What a login needs from its pool. */
export interface LoginSecrets {
  /** Minor version of the protocol to ask for. */
  newestMinor(): number;
  /** ClientKey of the pool's user, once a client has proven itself. */
  clientKey(): Uint8Array | undefined;
  /** SaltedPassword of RFC 5802, derived on the control plane or kept from before. */
  derive(
    password: string,
    salt: Uint8Array,
    iterations: number,
    done: (saltedPassword: Uint8Array | undefined) => void,
  ): void;
  readonly tls: TlsSource;
  readonly counts: HandshakeCounts;
}

/** What each request asks for. */
const ASKED_BY: ReadonlyMap<number, ServerAuthMethod> = new Map([
  [Authentication.CleartextPassword, "password"],
  [Authentication.MD5Password, "md5"],
  [Authentication.SASL, "scram-sha-256"],
]);

/** Said where a pool has no secret of its own and PostgreSQL wants one. */
export const NO_CLIENT_KEY = "no client has logged in yet whose SCRAM key could be passed through";

export class ServerAuthentication {
  /** AuthenticationOk has come. */
  passed = false;
  #verified = false;
  #asked: ServerAuthMethod = "none";
  readonly #login: AuthenticatingServerLogin;
  readonly #settings: PoolSettings;
  readonly #secrets: LoginSecrets;
  #scram: ScramClientStart | ScramChallenge | ScramClientFinal | undefined;

  constructor(
    login: AuthenticatingServerLogin,
    settings: PoolSettings,
    secrets: LoginSecrets,
  ) {
    this.#login = login;
    this.#settings = settings;
    this.#secrets = secrets;
  }

  /** It was asked for a proof. */
  get proving(): boolean {
    return this.#asked !== "none";
  }

  /** The connection is over: nothing that is still being derived is wanted. */
  end(): void {
    this.#scram = undefined;
  }

  /** Takes an Authentication message. */
  take(code: number, data: Uint8Array): void {
    const credentials = this.#settings.credentials;
    if (!this.#allows(code)) return;
    switch (code) {
      case Authentication.Ok:
        // Who does not prove that it knows the password is not the server that was meant (RFC 5802 §3).
        if (this.#scram !== undefined && !this.#verified) {
          return this.#login.fail("28000", "the server did not prove itself by SCRAM", "final");
        }
        this.passed = true;
        return;
      case Authentication.CleartextPassword:
        if (credentials.kind !== "password") return this.#noSecret("a cleartext password");
        this.#login.send(messages.passwordMessage(credentials.password));
        return;
      case Authentication.MD5Password: {
        const hash = credentials.kind === "md5"
          ? credentials.hash
          : credentials.kind === "password"
          ? md5Hash(credentials.password, this.#settings.server_username)
          : undefined;
        if (hash === undefined) return this.#noSecret("an md5 password");
        this.#login.send(messages.passwordMessage(md5Response(hash, data)));
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
        this.#login.fail(
          "28000",
          `login at ${this.#login.where}: PostgreSQL asks for authentication method ${code}, ` +
            "which the pooler does not speak",
          "final",
        );
    }
  }

  /** Whoever pretends to be the server may ask for the password in clear: it is not told what `server_auth` protects. */
  #allows(code: number): boolean {
    this.#asked = ASKED_BY.get(code) ?? this.#asked;
    const { server_auth, server_username } = this.#settings;
    if (code !== Authentication.Ok && !ASKED_BY.has(code)) return true;
    if (server_auth.length === 0 || server_auth.includes(this.#asked)) return true;
    this.#login.fail(
      "28000",
      `login at ${this.#login.where}: PostgreSQL asks for authentication "${this.#asked}" of ` +
        `"${server_username}", and server_auth allows ${server_auth.join(", ")}`,
      "final",
    );
    return false;
  }

  #noSecret(what: string): void {
    const { server_username, credentials } = this.#settings;
    const hint = credentials.kind === "scram_passthrough"
      ? "the pooler has a SCRAM verifier only"
      : "set server_username and server_password";
    this.#login.fail(
      "28000",
      `login at ${this.#login.where}: PostgreSQL asks for ${what} of "${server_username}": ${hint}`,
      "final",
    );
  }

  #startScram(data: Uint8Array): void {
    const list = parseMechanisms(data);
    if (list.kind === "fault") return this.#login.fail("08P01", list.reason, "final");
    const { certificate } = this.#login;
    const endPoint = certificate === undefined
      ? undefined
      : tlsServerEndPoint(certificate) ?? "unknown";
    const binding = chooseBinding(list.names, endPoint);
    if (binding === undefined) {
      return this.#login.fail(
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
      return this.#login.fail(
        "28000",
        NO_CLIENT_KEY,
        "final",
      );
    }
    const { state, body } = beginScramClient(binding);
    this.#scram = state;
    this.#login.send(passwordBytes(body));
  }

  #continueScram(data: Uint8Array): void {
    if (this.#scram?.kind !== "start") {
      return this.#login.fail("08P01", "unexpected SASL message", "final");
    }
    const challenge = readServerFirst(this.#scram, data);
    if (challenge.kind === "fault") return this.#login.fail("08P01", challenge.reason, "final");
    this.#scram = challenge;
    const credentials = this.#settings.credentials;
    if (credentials.kind === "scram_passthrough") {
      const verifier = parseVerifier(credentials.verifier);
      const clientKey = this.#secrets.clientKey();
      if (
        verifier === undefined || clientKey === undefined || !challengeFits(challenge, verifier)
      ) {
        return this.#login.fail(
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
        if (this.#scram !== challenge) return;
        if (salted === undefined) this.#login.fail("XX000", "key derivation failed", "final");
        else this.#prove(challenge, keysOf(salted));
      },
    );
  }

  #prove(challenge: ScramChallenge, keys: ScramKeys): void {
    const { state, body } = answerChallenge(challenge, keys);
    this.#scram = state;
    this.#login.send(passwordBytes(body));
  }

  #finishScram(data: Uint8Array): void {
    if (this.#scram?.kind !== "final") {
      return this.#login.fail("08P01", "unexpected SASL message", "final");
    }
    const verdict = verifyServerFinal(this.#scram, data);
    this.#verified = verdict.kind !== "fault";
    if (verdict.kind === "fault") this.#login.fail("28000", verdict.reason, "final");
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
