// hot path
/**
 * The record layer of TLS 1.3 (RFC 8446 §5) and of the AEAD suites of TLS 1.2 (RFC 5246 §6.2, RFC 5288, RFC 7905): opens
 * and seals records after the handshake, by libcrypto's AEADs. Security-critical, and all in this file: nonces, what is
 * authenticated, limits, and what may come when. It does no I/O; stream.ts does.
 *
 * 1. A nonce is the direction's, exclusive-or the record's number, which goes up by one with every record and begins at 0
 *    with every key. TLS 1.2 with AES-GCM sends its last eight bytes along, and takes the peer's from there.
 * 2. Plaintext lands in `readBuffer` before it is known to be genuine: what `open` returns is, and nothing else may be
 *    looked at.
 * 3. Whatever is not as it must be ends in `#fail`: `alert` is to be sent, and nothing is opened any more.
 */

import { additional, nonce, open, OPENS, seal, SEALS, tag, TAG_BYTES } from "../os/openssl.ts";
import { copyBytes } from "../reactor/copy.ts";
import { readBuffer } from "../reactor/stream.ts";
import {
  alertName,
  BAD_RECORD_MAC,
  CLOSE_NOTIFY,
  DECODE_ERROR,
  FATAL,
  ILLEGAL_PARAMETER,
  NO_RENEGOTIATION,
  PROTOCOL_VERSION,
  RECORD_OVERFLOW,
  UNEXPECTED_MESSAGE,
  USER_CANCELED,
  WARNING,
} from "./alerts.ts";
import {
  HEADER_BYTES,
  pointerIn,
  pointerInReadBuffer,
  pointerInReceived,
  pointerInSealed,
  received,
  sealed,
} from "./buffers.ts";
import { Direction } from "./direction.ts";
import { IV_BYTES } from "./key_schedule.ts";
import type { TlsState } from "./state.ts";
import { suiteOf, TLS_1_3 } from "./suites.ts";

const ALERT = 21;
const HANDSHAKE = 22;
const DATA = 23;

/** Types of messages of the handshake protocol. */
const HELLO_REQUEST = 0;
const CLIENT_HELLO = 1;
const NEW_SESSION_TICKET = 4;
const KEY_UPDATE = 24;

const MOST_PLAINTEXT = 2 ** 14;
/** RFC 8446 §5.2, RFC 5246 §6.2.3. */
const MOST_CIPHERTEXT_1_3 = MOST_PLAINTEXT + 256;
const MOST_CIPHERTEXT_1_2 = MOST_PLAINTEXT + 2048;
/** Two vectors of at most 65,535 bytes, a nonce, and what is around them. */
const MOST_TICKET_BYTES = 132_000;
/** Records without data in a row: empty ones, warnings, tickets, new keys. No peer has a reason for so many. */
export const MOST_IDLE_RECORDS = 32;
/** Records under one key of AES-GCM (RFC 8446 §5.5 allows 2^24.5 of full size); the others could do with more. */
export const MOST_RECORDS_OF_KEY: number = 2 ** 24;
/** TLS 1.2 has no way to other keys but a new handshake. Numbers stay exact below 2^53. */
const MOST_RECORDS = 2 ** 48;

/** Up to here plaintext is copied and sealed in place: cheaper than a new pointer to where it is. */
const COPIED_BYTES = 128;

/** The nonce by words, whose bytes are in the order of both architectures: the first is the least. */
const nonceWords = new Int32Array(nonce.buffer);

function reversed(word: number): number {
  return word << 24 | word << 8 & 0xff0000 | word >>> 8 & 0xff00 | word >>> 24;
}

function setNonce(direction: Direction, sequence: number): void {
  const low = sequence >>> 0;
  nonceWords[0] = direction.iv0;
  nonceWords[1] = direction.iv1 ^ reversed((sequence - low) / 2 ** 32);
  nonceWords[2] = direction.iv2 ^ reversed(low);
}

/** What TLS 1.2 authenticates: number, type, version, length of the plaintext. */
function setAdditional12(sequence: number, type: number, length: number): void {
  const low = sequence >>> 0;
  const high = (sequence - low) / 2 ** 32;
  additional[0] = high >>> 24;
  additional[1] = high >>> 16;
  additional[2] = high >>> 8;
  additional[3] = high;
  additional[4] = low >>> 24;
  additional[5] = low >>> 16;
  additional[6] = low >>> 8;
  additional[7] = low;
  additional[8] = type;
  additional[9] = 3;
  additional[10] = 3;
  additional[11] = length >>> 8;
  additional[12] = length;
}

const ADDITIONAL_1_2_BYTES = 13;

export class RecordLayer {
  readonly state: TlsState;
  /** What is to be told to the peer before the connection ends; −1: nothing. */
  alert = -1;
  /** How much of `received` was opened, or refused. */
  opened = 0;
  readonly #is13: boolean;
  readonly #explicit: number;
  readonly #mostCiphertext: number;
  readonly #receive: Direction;
  readonly #send: Direction;
  /** The type of the record opened last. */
  #type = 0;
  #freed = false;

  constructor(state: TlsState) {
    const suite = suiteOf(state.suite);
    if (suite === undefined || suite.version !== state.version) {
      throw new Error("a cipher suite that is unknown");
    }
    this.state = state;
    this.#is13 = state.version === TLS_1_3;
    this.#explicit = suite.explicitNonceBytes;
    this.#mostCiphertext = this.#is13 ? MOST_CIPHERTEXT_1_3 : MOST_CIPHERTEXT_1_2;
    this.#receive = new Direction(suite, state.receive, OPENS);
    this.#send = new Direction(suite, state.send, SEALS);
  }

  /** Frees the ciphers and overwrites the secrets. */
  free(): void {
    if (this.#freed) return;
    this.#freed = true;
    this.#receive.free();
    this.#send.free();
  }

  // ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * Opens the whole records of `received[0..end)` into `readBuffer[at..)`: bytes of data. Stops at what ends the
   * connection: `state.fault` or `state.peerEnded` tell.
   */
  open(end: number, at: number): number {
    const { state } = this;
    let from = 0;
    let to = at;
    while (!this.#stopped && end - from >= HEADER_BYTES) {
      const length = received[from + 3] << 8 | received[from + 4];
      if (!this.#mayCome(from, length)) break;
      if (end - from < HEADER_BYTES + length || to + length > readBuffer.length) break;
      const count = this.#openRecord(from, length, to);
      if (count < 0) break;
      from += HEADER_BYTES + length;
      if (count > 0 && this.#type === DATA) {
        state.idleRecords = 0;
        to += count;
      } else if (++state.idleRecords > MOST_IDLE_RECORDS) {
        this.#fail(UNEXPECTED_MESSAGE, "records without data and no end of them");
      } else if (this.#type !== DATA) this.#take(to, count);
    }
    this.opened = from;
    return to - at;
  }

  get #stopped(): boolean {
    return this.#freed || this.state.peerEnded || this.state.fault !== "";
  }

  /** Whether a record with the header at `from` is one that may come. */
  #mayCome(from: number, length: number): boolean {
    const type = received[from];
    if (received[from + 1] !== 3 || received[from + 2] !== 3) {
      return this.#fail(PROTOCOL_VERSION, "a record of another version of TLS, or no TLS");
    }
    if (this.#is13 ? type !== DATA : type < ALERT || type > DATA) {
      return this.#fail(UNEXPECTED_MESSAGE, `a record of type ${type}`);
    }
    if (length > this.#mostCiphertext) {
      return this.#fail(RECORD_OVERFLOW, `a record of ${length} bytes`);
    }
    const least = this.#is13 ? 1 + TAG_BYTES : this.#explicit + TAG_BYTES;
    return length >= least || this.#fail(BAD_RECORD_MAC, `a record of ${length} bytes`);
  }

  /** Opens the record at `from` into `readBuffer[to..)`: the length of its content, or −1. */
  #openRecord(from: number, length: number, to: number): number {
    const { keys, cipher } = this.#receive;
    const explicit = this.#explicit;
    const count = length - explicit - TAG_BYTES;
    const { sequence } = keys;
    if (sequence >= MOST_RECORDS) return this.#failed(UNEXPECTED_MESSAGE, "too many records");
    setNonce(this.#receive, sequence);
    let additionalLength = HEADER_BYTES;
    if (this.#is13) {
      for (let i = 0; i < HEADER_BYTES; i++) additional[i] = received[from + i];
    } else {
      for (let i = 0; i < explicit; i++) {
        nonce[IV_BYTES - explicit + i] = received[from + HEADER_BYTES + i];
      }
      setAdditional12(sequence, received[from], count);
      additionalLength = ADDITIONAL_1_2_BYTES;
    }
    const body = from + HEADER_BYTES + explicit;
    const tagAt = body + count;
    for (let i = 0; i < TAG_BYTES; i++) tag[i] = received[tagAt + i];
    const source = pointerInReceived(body);
    if (!open(cipher, additionalLength, source, pointerInReadBuffer(to), count)) {
      // What lies there now is nobody's plaintext.
      readBuffer.fill(0, to, to + count);
      return this.#failed(BAD_RECORD_MAC, "a record that does not open");
    }
    keys.sequence = sequence + 1;
    return this.#is13 ? this.#unpad(to, count) : this.#checked(received[from], count);
  }

  /** TLS 1.3: the type is the last byte that is not 0, and the content is before it. */
  #unpad(to: number, count: number): number {
    let last = to + count - 1;
    while (last >= to && readBuffer[last] === 0) last--;
    if (count > MOST_PLAINTEXT + 1) return this.#failed(RECORD_OVERFLOW, "too much in a record");
    if (last < to) return this.#failed(UNEXPECTED_MESSAGE, "a record without a type");
    const type = readBuffer[last];
    if (type < ALERT || type > DATA) {
      return this.#failed(UNEXPECTED_MESSAGE, `a record of type ${type}`);
    }
    return this.#checked(type, last - to);
  }

  #checked(type: number, count: number): number {
    const { state } = this;
    this.#type = type;
    if (count > MOST_PLAINTEXT) return this.#failed(RECORD_OVERFLOW, "too much in a record");
    if (type === DATA && count === 0) return 0;
    if (count === 0) return this.#failed(UNEXPECTED_MESSAGE, "an empty message");
    if (type !== HANDSHAKE && (state.handshake !== undefined || state.skip > 0)) {
      return this.#failed(UNEXPECTED_MESSAGE, "another record within a message of the handshake");
    }
    return count;
  }

  #failed(alert: number, fault: string): number {
    this.#fail(alert, fault);
    return -1;
  }

  #fail(alert: number, fault: string): false {
    this.alert = alert;
    this.state.fault = `it sent ${fault} (${alertName(alert)})`;
    return false;
  }

  /** Takes an alert or (parts of) messages of the handshake: `readBuffer[at..at+count)`. */
  #take(at: number, count: number): void {
    if (this.#type === ALERT) this.#takeAlert(at, count);
    else if (this.#is13) this.#takeMessages(at, at + count);
    else this.#takeRenegotiation(at, count);
  }

  #takeAlert(at: number, count: number): void {
    if (count !== 2) {
      this.#fail(DECODE_ERROR, "an alert that is none");
      return;
    }
    const level = readBuffer[at];
    const description = readBuffer[at + 1];
    if (description === CLOSE_NOTIFY) this.state.peerEnded = true;
    else if (this.#is13 ? description === USER_CANCELED : level === WARNING) return;
    else this.state.fault = `it sent the alert ${alertName(description)}`;
  }

  /** TLS 1.2: a server may ask for a new handshake, and need not get it; a client may not. */
  #takeRenegotiation(at: number, count: number): void {
    const type = readBuffer[at];
    if (this.state.role === "server") {
      if (type === CLIENT_HELLO) this.#fail(NO_RENEGOTIATION, "a request for a new handshake");
      else this.#fail(UNEXPECTED_MESSAGE, `a message of the handshake of type ${type}`);
      return;
    }
    const isRequest = type === HELLO_REQUEST && count === 4 && readBuffer[at + 1] === 0 &&
      readBuffer[at + 2] === 0 && readBuffer[at + 3] === 0;
    if (!isRequest) this.#fail(UNEXPECTED_MESSAGE, `a message of the handshake of type ${type}`);
  }

  /** TLS 1.3: new keys, and tickets that nobody wants. */
  #takeMessages(at: number, end: number): void {
    const { state } = this;
    const skipped = Math.min(state.skip, end - at);
    state.skip -= skipped;
    const bytes = joined(state.handshake, readBuffer.subarray(at + skipped, end));
    state.handshake = undefined;
    let from = 0;
    while (bytes.length - from >= 4 && state.fault === "") {
      const type = bytes[from];
      const length = bytes[from + 1] << 16 | bytes[from + 2] << 8 | bytes[from + 3];
      if (type === KEY_UPDATE) {
        if (length !== 1) {
          this.#fail(DECODE_ERROR, "a KeyUpdate that is none");
        } else if (bytes.length - from < 5) break;
        else this.#takeKeyUpdate(bytes[from + 4], bytes.length === from + 5);
        from += 5;
      } else if (type === NEW_SESSION_TICKET && state.role === "client") {
        if (length > MOST_TICKET_BYTES) this.#fail(DECODE_ERROR, "a ticket that is none");
        const here = Math.min(length, bytes.length - from - 4);
        state.skip = length - here;
        from += 4 + here;
      } else this.#fail(UNEXPECTED_MESSAGE, `a message of the handshake of type ${type}`);
    }
    if (from < bytes.length && state.fault === "") state.handshake = bytes.slice(from);
  }

  #takeKeyUpdate(request: number, last: boolean): void {
    const { state } = this;
    if (request > 1) {
      this.#fail(ILLEGAL_PARAMETER, "a KeyUpdate that is none");
      return;
    }
    if (!last) {
      this.#fail(UNEXPECTED_MESSAGE, "more after a KeyUpdate");
      return;
    }
    this.#receive.renew();
    state.askedUpdate = false;
    if (request === 1) state.owesUpdate = true;
  }

  // ── sealing ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Seals `bytes[start..end)`, a batch at most, into `sealed`: its length there. */
  sealData(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): number {
    const most = this.state.mostPlaintext;
    let to = this.#is13 ? this.#updateKeys(0) : 0;
    for (let from = start; from < end; from += most) {
      to = this.#seal(DATA, bytes, from, Math.min(from + most, end), to);
    }
    return to;
  }

  /** Seals an alert at the beginning of `sealed`: its length there. */
  sealAlert(description: number): number {
    message[0] = description === CLOSE_NOTIFY || description === NO_RENEGOTIATION ? WARNING : FATAL;
    message[1] = description;
    return this.#seal(ALERT, message, 0, 2, 0);
  }

  /** New keys of ours, where they are owed or the old ones were used enough; and of the peer's, likewise. */
  #updateKeys(to: number): number {
    const { state } = this;
    const asks = state.receive.sequence >= MOST_RECORDS_OF_KEY && !state.askedUpdate;
    if (!asks && !state.owesUpdate && state.send.sequence < MOST_RECORDS_OF_KEY) return to;
    message[0] = KEY_UPDATE;
    message[1] = 0;
    message[2] = 0;
    message[3] = 1;
    message[4] = asks ? 1 : 0;
    const end = this.#seal(HANDSHAKE, message, 0, 5, to);
    this.#send.renew();
    state.owesUpdate = false;
    if (asks) state.askedUpdate = true;
    return end;
  }

  /** Seals one record at `sealed[to..)`: where it ends. */
  #seal(
    type: number,
    bytes: Uint8Array<ArrayBuffer>,
    start: number,
    end: number,
    to: number,
  ): number {
    const { keys } = this.#send;
    const explicit = this.#explicit;
    const { sequence } = keys;
    const body = to + HEADER_BYTES + explicit;
    const content = end - start;
    const count = this.#is13 ? content + 1 : content;
    const length = explicit + count + TAG_BYTES;
    if (this.#freed || sequence >= MOST_RECORDS || to + HEADER_BYTES + length > sealed.length) {
      throw new Error("a record that can't be sealed");
    }
    sealed[to] = this.#is13 ? DATA : type;
    sealed[to + 1] = 3;
    sealed[to + 2] = 3;
    sealed[to + 3] = length >>> 8;
    sealed[to + 4] = length;
    setNonce(this.#send, sequence);
    let additionalLength = HEADER_BYTES;
    if (this.#is13) {
      for (let i = 0; i < HEADER_BYTES; i++) additional[i] = sealed[to + i];
    } else {
      for (let i = 0; i < explicit; i++) {
        sealed[to + HEADER_BYTES + i] = nonce[IV_BYTES - explicit + i];
      }
      setAdditional12(sequence, type, content);
      additionalLength = ADDITIONAL_1_2_BYTES;
    }
    // Before it is used: whatever happens, no number is used twice.
    keys.sequence = sequence + 1;
    if (!this.#sealBody(additionalLength, type, bytes, start, end, body, count)) {
      throw new Error("OpenSSL does not seal");
    }
    const tagAt = body + count;
    for (let i = 0; i < TAG_BYTES; i++) sealed[tagAt + i] = tag[i];
    return tagAt + TAG_BYTES;
  }

  #sealBody(
    additionalLength: number,
    type: number,
    bytes: Uint8Array<ArrayBuffer>,
    start: number,
    end: number,
    body: number,
    count: number,
  ): boolean {
    const { cipher } = this.#send;
    const target = pointerInSealed(body);
    const content = end - start;
    const copied = start > 0 && content <= COPIED_BYTES || end === bytes.length;
    const source = copied ? undefined : pointerIn(bytes, start);
    if (source === undefined) {
      copyBytes(sealed, body, bytes, start, end);
      if (this.#is13) sealed[body + content] = type;
      return seal(cipher, additionalLength, target, target, count);
    }
    if (!this.#is13) return seal(cipher, additionalLength, source, target, count);
    // From where it is: the type stands behind it for the moment.
    const behind = bytes[end];
    bytes[end] = type;
    const done = seal(cipher, additionalLength, source, target, count);
    bytes[end] = behind;
    return done;
  }
}

/** A message of our own. */
const message = new Uint8Array(8);

function joined(first: Uint8Array | undefined, second: Uint8Array): Uint8Array<ArrayBuffer> {
  if (first === undefined) return second.slice();
  const bytes = new Uint8Array(first.length + second.length);
  bytes.set(first);
  bytes.set(second, first.length);
  return bytes;
}
