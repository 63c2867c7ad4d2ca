/**
 * What handshakes are made with: certificates, keys, whom to trust, versions and suites, as OpenSSL's contexts. Made in
 * each worker from the contents of files that the control plane has read, so that all workers have the same and a file
 * that changes meanwhile changes nothing.
 */

import { cString, lastError, openssl } from "../os/openssl.ts";
import { installAlpn } from "./alpn.ts";
import { tlsServerEndPoint } from "./channel_binding.ts";
import { keepsLines, keyLogCallback, lineKeeper } from "./key_log.ts";
import { derOf, freeCertificates, type PemFile, readCertificates, readKey } from "./pem.ts";
import { allSuites, faultOfSuites, TLS_1_2, TLS_1_3 } from "./suites.ts";

export type TlsVersion = "1.2" | "1.3";

/** What both kinds of contexts may be told. */
export interface TlsLimits {
  /** The oldest version; 1.2 where nothing is said. */
  minVersion?: TlsVersion;
  /** Suites of TLS 1.2, by OpenSSL's names, with colons between them; all that can be used where nothing is said. */
  ciphers?: string;
  /** Suites of TLS 1.3, likewise. */
  ciphersuites?: string;
}

export interface ServingFiles {
  certificate: PemFile;
  key: PemFile;
  /** Whose certificates clients may have, and no others; undefined: clients are not asked for any. */
  ca?: PemFile;
  /** Clients must have one. */
  demanded?: boolean;
}

export interface AskingFiles {
  /** Whom to trust; used where something is verified. */
  ca?: PemFile;
  /** Shown to a server that asks for it. */
  certificate?: PemFile;
  key?: PemFile;
}

/** What of the server's certificate is looked at: nothing, who has signed it, or its name as well. */
export type Verification = "none" | "ca" | "full";

const SSL_CTRL_SET_SESS_CACHE_MODE = 44;
const SSL_CTRL_CHAIN_CERT = 89;
const SSL_CTRL_SET_MIN_PROTO_VERSION = 123;
const SSL_CTRL_SET_MAX_PROTO_VERSION = 124;
const SSL_SESS_CACHE_OFF = 0n;
const SSL_VERIFY_NONE = 0;
const SSL_VERIFY_PEER = 1;
const SSL_VERIFY_FAIL_IF_NO_PEER_CERT = 2;

/** No tickets, no compression, the order of suites is ours, and nothing is negotiated twice. */
const SSL_OP_NO_TICKET = 1n << 14n;
const SSL_OP_NO_COMPRESSION = 1n << 17n;
const SSL_OP_CIPHER_SERVER_PREFERENCE = 1n << 22n;
const SSL_OP_NO_RENEGOTIATION = 1n << 30n;
const OPTIONS = SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE |
  SSL_OP_NO_RENEGOTIATION;

/** A context of OpenSSL's in the making, with what was found wrong. */
class Builder {
  readonly pointer: Deno.PointerObject;
  readonly faults: string[] = [];
  /** The leaf certificate, in DER. */
  leaf: Uint8Array<ArrayBuffer> | undefined = undefined;

  constructor(limits: TlsLimits) {
    const { ssl } = openssl();
    const pointer = ssl.SSL_CTX_new(ssl.TLS_method());
    if (pointer === null) throw new Error(`OpenSSL makes no context: ${lastError()}`);
    this.pointer = pointer;
    ssl.SSL_CTX_set_options(pointer, OPTIONS);
    ssl.SSL_CTX_set_num_tickets(pointer, 0n);
    ssl.SSL_CTX_ctrl(pointer, SSL_CTRL_SET_SESS_CACHE_MODE, SSL_SESS_CACHE_OFF, null);
    const oldest = limits.minVersion === "1.3" ? TLS_1_3 : TLS_1_2;
    ssl.SSL_CTX_ctrl(pointer, SSL_CTRL_SET_MIN_PROTO_VERSION, BigInt(oldest), null);
    ssl.SSL_CTX_ctrl(pointer, SSL_CTRL_SET_MAX_PROTO_VERSION, BigInt(TLS_1_3), null);
    ssl.SSL_CTX_set_keylog_callback(pointer, keyLogCallback());
    this.#limitSuites(limits);
  }

  #limitSuites({ ciphers, ciphersuites }: TlsLimits): void {
    const { ssl } = openssl();
    const faults = [
      ciphers === undefined ? undefined : faultOfSuites(ciphers, TLS_1_2),
      ciphersuites === undefined ? undefined : faultOfSuites(ciphersuites, TLS_1_3),
    ].filter((fault) => fault !== undefined);
    this.faults.push(...faults);
    if (faults.length > 0) return;
    const list = cString(ciphers ?? allSuites(TLS_1_2));
    const list13 = cString(ciphersuites ?? allSuites(TLS_1_3));
    const done = ssl.SSL_CTX_set_cipher_list(this.pointer, list) === 1 &&
      ssl.SSL_CTX_set_ciphersuites(this.pointer, list13) === 1;
    if (!done) this.faults.push(`OpenSSL does not take the list of cipher suites: ${lastError()}`);
  }

  /** Certificate with its chain, and the key of it. */
  identify(certificate: PemFile, key: PemFile): void {
    const { ssl, crypto } = openssl();
    const chain = readCertificates(certificate);
    const privateKey = readKey(key);
    if (typeof chain === "string") this.faults.push(chain);
    if (typeof privateKey === "string") this.faults.push(privateKey);
    if (typeof chain !== "string" && typeof privateKey !== "string") {
      this.leaf = derOf(chain[0]);
      if (ssl.SSL_CTX_use_certificate(this.pointer, chain[0]) !== 1) {
        this.faults.push(`the certificate in ${certificate.name} can't be used: ${lastError()}`);
      } else if (ssl.SSL_CTX_use_PrivateKey(this.pointer, privateKey) !== 1) {
        const why = lastError();
        const mismatch = why.includes("mismatch");
        this.faults.push(
          mismatch
            ? `the private key in ${key.name} is not the one of the certificate in ${certificate.name}`
            : `the private key in ${key.name} can't be used: ${why}`,
        );
      }
      for (const link of chain.slice(1)) {
        // With 1 it takes a reference of its own.
        if (ssl.SSL_CTX_ctrl(this.pointer, SSL_CTRL_CHAIN_CERT, 1n, link) !== 1n) {
          this.faults.push(
            `a certificate of the chain in ${certificate.name} can't be used: ${lastError()}`,
          );
        }
      }
    }
    if (typeof chain !== "string") freeCertificates(chain);
    if (typeof privateKey !== "string") crypto.EVP_PKEY_free(privateKey);
  }

  /** Peers must have a certificate of one of these. */
  trust(ca: PemFile, named: "named to the peer" | "not named"): void {
    const { ssl, crypto } = openssl();
    const authorities = readCertificates(ca);
    if (typeof authorities === "string") {
      this.faults.push(authorities);
      return;
    }
    const store = ssl.SSL_CTX_get_cert_store(this.pointer);
    for (const authority of authorities) {
      if (crypto.X509_STORE_add_cert(store, authority) !== 1) {
        this.faults.push(`a certificate in ${ca.name} can't be used: ${lastError()}`);
      }
      if (named === "named to the peer") ssl.SSL_CTX_add_client_CA(this.pointer, authority);
    }
    freeCertificates(authorities);
  }

  /** The context, if nothing is wrong. */
  done(): Deno.PointerObject | undefined {
    if (this.faults.length === 0) return this.pointer;
    openssl().ssl.SSL_CTX_free(this.pointer);
    return undefined;
  }
}

/** What handshakes with clients are made with. */
export class ServingContext {
  readonly pointer: Deno.PointerObject;
  /** Channel binding `tls-server-end-point`, where the certificate has one. */
  readonly endPoint: Uint8Array<ArrayBuffer> | undefined;
  /** Whether lines of the key log stay with their handshakes (key_log.ts). */
  readonly keepsLines: boolean;
  #ended = false;

  private constructor(
    pointer: Deno.PointerObject,
    endPoint: Uint8Array<ArrayBuffer> | undefined,
    keepsLines: boolean,
  ) {
    this.pointer = pointer;
    this.endPoint = endPoint;
    this.keepsLines = keepsLines;
  }

  /** The context, or all that is wrong with the files and limits. */
  static open(files: ServingFiles, limits: TlsLimits): ServingContext | string[] {
    const { ssl } = openssl();
    const builder = new Builder(limits);
    builder.identify(files.certificate, files.key);
    installAlpn(builder.pointer);
    if (files.ca !== undefined) {
      builder.trust(files.ca, "named to the peer");
      ssl.SSL_CTX_set_verify(
        builder.pointer,
        files.demanded ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_PEER,
        null,
      );
    }
    const pointer = builder.done();
    if (pointer === undefined) return builder.faults;
    const keeps = files.ca === undefined && keepsLines(pointer);
    if (keeps) ssl.SSL_CTX_set_keylog_callback(pointer, lineKeeper());
    return new ServingContext(pointer, tlsServerEndPoint(builder.leaf!), keeps);
  }

  /** Frees it; handshakes that go on keep what they need. */
  end(): void {
    if (!this.#ended) openssl().ssl.SSL_CTX_free(this.pointer);
    this.#ended = true;
  }
}

/** What handshakes with PostgreSQL are made with. */
export class AskingContext {
  readonly pointer: Deno.PointerObject;
  readonly verification: Verification;
  #ended = false;

  private constructor(pointer: Deno.PointerObject, verification: Verification) {
    this.pointer = pointer;
    this.verification = verification;
  }

  /** The context, or all that is wrong with the files and limits. */
  static open(
    files: AskingFiles,
    limits: TlsLimits & { verification: Verification },
  ): AskingContext | string[] {
    const { ssl } = openssl();
    const { verification } = limits;
    const builder = new Builder(limits);
    if (files.certificate !== undefined && files.key !== undefined) {
      builder.identify(files.certificate, files.key);
    } else if (files.certificate !== undefined || files.key !== undefined) {
      builder.faults.push("a certificate needs its private key, and a private key its certificate");
    }
    if (verification !== "none") {
      if (files.ca === undefined) {
        builder.faults.push("nothing can be verified without a CA certificate");
      } else builder.trust(files.ca, "not named");
    }
    const mode = verification === "none" ? SSL_VERIFY_NONE : SSL_VERIFY_PEER;
    ssl.SSL_CTX_set_verify(builder.pointer, mode, null);
    const pointer = builder.done();
    return pointer === undefined ? builder.faults : new AskingContext(pointer, verification);
  }

  /** Frees it; handshakes that go on keep what they need. */
  end(): void {
    if (!this.#ended) openssl().ssl.SSL_CTX_free(this.pointer);
    this.#ended = true;
  }
}
