/**
 * The other end of a connection, made of Node's cryptography from the RFCs alone and nothing of the record layer under
 * test: it seals what a test wants, right or wrong, and opens what it is sent.
 */

import assert from "node:assert/strict";
import { createCipheriv, createDecipheriv, createHmac } from "node:crypto";
import { newTlsState, type TlsState } from "../state.ts";
import { type Suite, SUITES } from "../suites.ts";

export const ALERT = 21;
export const HANDSHAKE = 22;
export const DATA = 23;

const ALGORITHMS: Record<string, "aes-256-gcm"> = {
  "AES-128-GCM": "aes-128-gcm" as "aes-256-gcm",
  "AES-256-GCM": "aes-256-gcm",
  "ChaCha20-Poly1305": "chacha20-poly1305" as "aes-256-gcm",
};

const encoder = new TextEncoder();

function expandLabel(hash: string, secret: Uint8Array, label: string, length: number): Uint8Array {
  const name = encoder.encode(`tls13 ${label}`);
  const info = [0, length, name.length, ...name, 0];
  const output = createHmac(hash, secret).update(Uint8Array.of(...info, 1)).digest();
  return new Uint8Array(output.subarray(0, length));
}

/** Keys of one direction, as the reference has them. */
class Keys {
  readonly suite: Suite;
  secret: Uint8Array;
  key!: Uint8Array;
  iv!: Uint8Array;
  sequence: number;

  constructor(suite: Suite, secret: Uint8Array, sequence: number) {
    this.suite = suite;
    this.secret = secret;
    this.sequence = sequence;
    this.#derive();
  }

  #derive(): void {
    const { suite, secret } = this;
    if (suite.version === 0x0304) {
      this.key = expandLabel(suite.hash, secret, "key", suite.keyBytes);
      this.iv = expandLabel(suite.hash, secret, "iv", 12);
    } else {
      this.key = secret.slice(0, suite.keyBytes);
      this.iv = secret.slice(suite.keyBytes);
    }
  }

  update(): void {
    const { hash } = this.suite;
    this.secret = expandLabel(hash, this.secret, "traffic upd", hash === "sha384" ? 48 : 32);
    this.sequence = 0;
    this.#derive();
  }

  nonce(): Uint8Array {
    const nonce = this.iv.slice();
    const view = new DataView(nonce.buffer);
    view.setBigUint64(4, view.getBigUint64(4) ^ BigInt(this.sequence));
    return nonce;
  }
}

/** A record that was opened. */
export interface Opened {
  type: number;
  content: Uint8Array;
}

/** What is unusual about a record. */
export interface Oddities {
  /** Zeros behind the type; TLS 1.3. */
  padding?: number;
  /** Of the record's header. */
  outerType?: number;
  version?: number;
  /** Sealed as the record of another number. */
  sequence?: number;
}

export class ReferencePeer {
  readonly suite: Suite;
  readonly send: Keys;
  readonly receive: Keys;
  #input: Uint8Array = new Uint8Array();

  constructor(suite: Suite, send: Uint8Array, receive: Uint8Array, sequence = 0) {
    this.suite = suite;
    this.send = new Keys(suite, send, sequence);
    this.receive = new Keys(suite, receive, sequence);
  }

  seal(type: number, content: Uint8Array, odd: Oddities = {}): Uint8Array<ArrayBuffer> {
    const { suite, send } = this;
    const is13 = suite.version === 0x0304;
    const held = send.sequence;
    send.sequence = odd.sequence ?? held;
    const nonce = send.nonce();
    const inner = is13 ? [...content, type, ...new Uint8Array(odd.padding ?? 0)] : [...content];
    const explicit = suite.explicitNonceBytes > 0 ? nonce.slice(4) : new Uint8Array();
    const length = explicit.length + inner.length + 16;
    const version = odd.version ?? 0x0303;
    const header = [
      ...[odd.outerType ?? (is13 ? DATA : type), version >> 8, version & 255],
      ...[length >> 8, length & 255],
    ];
    const additional = is13 ? header : additional12(send.sequence, type, content.length);
    const cipher = createCipheriv(ALGORITHMS[suite.cipher], send.key, nonce);
    cipher.setAAD(Uint8Array.from(additional));
    const body = cipher.update(Uint8Array.from(inner));
    cipher.final();
    send.sequence = held + 1;
    return Uint8Array.from([...header, ...explicit, ...body, ...cipher.getAuthTag()]);
  }

  data(content: Uint8Array | string, odd: Oddities = {}): Uint8Array<ArrayBuffer> {
    return this.seal(DATA, typeof content === "string" ? encoder.encode(content) : content, odd);
  }

  alert(level: number, description: number): Uint8Array<ArrayBuffer> {
    return this.seal(ALERT, Uint8Array.of(level, description));
  }

  /** New keys of its own, and a wish for new ones of ours. */
  keyUpdate(request: 0 | 1): Uint8Array<ArrayBuffer> {
    const record = this.seal(HANDSHAKE, Uint8Array.of(24, 0, 0, 1, request));
    this.send.update();
    return record;
  }

  /** Opens whole records; what is left waits for more. Follows new keys. Throws at what was not sealed for it. */
  open(bytes: Uint8Array): Opened[] {
    this.#input = Uint8Array.from([...this.#input, ...bytes]);
    const opened: Opened[] = [];
    for (;;) {
      const length = this.#input[3] << 8 | this.#input[4];
      if (this.#input.length < 5 || this.#input.length < 5 + length) return opened;
      opened.push(this.#openOne(this.#input.subarray(0, 5), this.#input.subarray(5, 5 + length)));
      this.#input = this.#input.slice(5 + length);
    }
  }

  get unopened(): number {
    return this.#input.length;
  }

  #openOne(header: Uint8Array, body: Uint8Array): Opened {
    const { suite, receive } = this;
    const is13 = suite.version === 0x0304;
    const nonce = receive.nonce();
    const explicit = suite.explicitNonceBytes;
    // The sender's, whatever it is: RFC 5288 §3.
    if (explicit > 0) nonce.set(body.subarray(0, explicit), 4);
    const ciphertext = body.subarray(explicit, body.length - 16);
    const additional = is13
      ? header
      : Uint8Array.from(additional12(receive.sequence, header[0], ciphertext.length));
    const decipher = createDecipheriv(ALGORITHMS[suite.cipher], receive.key, nonce);
    decipher.setAAD(additional);
    decipher.setAuthTag(body.subarray(body.length - 16));
    const plain = new Uint8Array(decipher.update(ciphertext));
    decipher.final();
    receive.sequence++;
    if (!is13) return { type: header[0], content: plain };
    assert.equal(header[0], DATA);
    const last = plain.findLastIndex((byte) => byte !== 0);
    const opened = { type: plain[last], content: plain.slice(0, last) };
    if (opened.type === HANDSHAKE && opened.content[0] === 24) receive.update();
    return opened;
  }
}

function additional12(sequence: number, type: number, length: number): number[] {
  const bytes = new Uint8Array(13);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(sequence));
  view.setUint8(8, type);
  view.setUint16(9, 0x0303);
  view.setUint16(11, length);
  return [...bytes];
}

/** All data of opened records. */
export function dataOf(opened: readonly Opened[]): Uint8Array {
  return Uint8Array.from(
    opened.filter(({ type }) => type === DATA).flatMap(({ content }) => [...content]),
  );
}

/** A state as it is after a handshake, and the other end of it. */
export function stateAndPeer(
  suiteId: number,
  role: "server" | "client" = "server",
  mostPlaintext = 8192,
): { state: TlsState; peer: ReferencePeer } {
  const suite = SUITES.find(({ id }) => id === suiteId)!;
  const is13 = suite.version === 0x0304;
  const length = is13 ? (suite.hash === "sha384" ? 48 : 32) : suite.keyBytes + 12;
  const ours = Uint8Array.from({ length }, (_, i) => i * 7 + 1 & 255);
  const theirs = Uint8Array.from({ length }, (_, i) => i * 11 + 5 & 255);
  const sequence = is13 ? 0 : 1;
  const state = newTlsState({
    version: suite.version,
    suite: suiteId,
    role,
    receive: { secret: theirs.slice(), sequence },
    send: { secret: ours.slice(), sequence },
    mostPlaintext,
  });
  return { state, peer: new ReferencePeer(suite, theirs, ours, sequence) };
}
