/**
 * The secrets of a handshake, out of OpenSSL's key-log callback. They stay in this process's memory: nothing is ever
 * written anywhere. The callback is one of the thread; it is called inside of SSL_do_handshake alone, so whoever calls
 * that says before whose secrets they are.
 *
 * A call back into this program takes longer than all that is done with a line, and four of five lines are of other
 * secrets or come at another time. So where no name of a peer is ever looked at, towards clients without certificates,
 * OpenSSL calls a function of its own that has a callback's form and keeps a copy of each line with the handshake: the
 * one that adds to the names that the peer's certificate may have. `takeKept` reads and overwrites them.
 *
 * The line of the client's application secret may come long after the server's: both are there when the handshake is
 * done, and no sooner.
 */

import { cString, openssl } from "../os/openssl.ts";

/** What a key log has of one handshake. */
export class KeyLog {
  /** Of TLS 1.3. */
  clientTraffic: Uint8Array<ArrayBuffer> | undefined = undefined;
  serverTraffic: Uint8Array<ArrayBuffer> | undefined = undefined;
  /** Of TLS 1.2. */
  master: Uint8Array<ArrayBuffer> | undefined = undefined;

  /** Takes one line: a label, the client's random and a secret, both in hexadecimal. */
  take(line: Uint8Array): void {
    const first = line.indexOf(SPACE);
    const second = line.indexOf(SPACE, first + 1);
    if (first < 0 || second < 0) return;
    const of = line[0];
    const eighth = line[LABEL_BYTES];
    if (eighth === TRAFFIC && of === CLIENT) this.clientTraffic = fromHex(line, second + 1);
    else if (eighth === TRAFFIC && of === SERVER) this.serverTraffic = fromHex(line, second + 1);
    else if (eighth === RANDOM && of === CLIENT) this.master = fromHex(line, second + 1);
  }

  /** Overwrites what it has. */
  end(): void {
    this.clientTraffic?.fill(0);
    this.serverTraffic?.fill(0);
    this.master?.fill(0);
    this.clientTraffic = undefined;
    this.serverTraffic = undefined;
    this.master = undefined;
  }
}

const SPACE = 0x20;
/** Of `CLIENT_TRAFFIC…`, `SERVER_TRAFFIC…` and `CLIENT_RANDOM`, which no other label begins like; all are longer. */
const LABEL_BYTES = 7;
const CLIENT = 0x43;
const SERVER = 0x53;
const TRAFFIC = 0x54;
const RANDOM = 0x52;
/** Longer than any line of a secret that is used. */
const MOST_LINE_BYTES = 512;

/** The digits from `at` on: lower-case hexadecimal, as OpenSSL writes it. */
function fromHex(line: Uint8Array, at: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array((line.length - at) >> 1);
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = digit(line[at + 2 * i]) << 4 | digit(line[at + 2 * i + 1]);
  }
  return bytes;
}

function digit(code: number): number {
  return code <= 0x39 ? code - 0x30 : (code | 0x20) - 0x61 + 10;
}

let current: KeyLog | undefined;
let callback:
  | Deno.UnsafeCallback<{ parameters: ["pointer", "pointer"]; result: "void" }>
  | undefined;
const line = new Uint8Array(MOST_LINE_BYTES);

function takeLine(text: Deno.PointerObject, log: KeyLog): void {
  const view = new Deno.UnsafePointerView(text);
  // Each byte of a line takes its time.
  const first = view.getUint8(0);
  const eighth = view.getUint8(LABEL_BYTES);
  if (eighth !== TRAFFIC && (eighth !== RANDOM || first !== CLIENT)) return;
  const length = openssl().crypto.OPENSSL_strnlen(text, line.length);
  const bytes = line.subarray(0, length);
  view.copyInto(bytes);
  log.take(bytes);
  bytes.fill(0);
}

/** The function that keeps lines with their handshakes, to be given to SSL_CTX_set_keylog_callback instead. */
export function lineKeeper(): Deno.PointerObject {
  return openssl().ssl.SSL_add1_host as Deno.PointerObject;
}

const TRIAL_LINE = "CLIENT_RANDOM 00 00";

/** Whether this OpenSSL keeps lines so. What another version makes of them nobody promises. */
export function keepsLines(context: Deno.PointerObject): boolean {
  const { ssl, crypto } = openssl();
  const handshake = ssl.SSL_new(context);
  if (handshake === null) return false;
  const form = { parameters: ["pointer", "buffer"], result: "i32" } as const;
  const keep = new Deno.UnsafeFnPointer(lineKeeper() as Deno.PointerObject<typeof form>, form);
  for (let i = 0; i < 2; i++) keep.call(handshake, cString(TRIAL_LINE));
  const names = ssl.SSL_get0_param(handshake);
  const texts = [0, 1, 2].map((i) => crypto.X509_VERIFY_PARAM_get0_host(names, i));
  const read = texts.map((text) => text && Deno.UnsafePointerView.getCString(text));
  ssl.SSL_free(handshake);
  return read[0] === TRIAL_LINE && read[1] === TRIAL_LINE && read[2] === null;
}

/** Takes the lines that were kept with a handshake, and overwrites them. */
export function takeKept(handshake: Deno.PointerObject, log: KeyLog): void {
  const { ssl, crypto } = openssl();
  const names = ssl.SSL_get0_param(handshake);
  for (let i = 0;; i++) {
    const text = crypto.X509_VERIFY_PARAM_get0_host(names, i);
    if (text === null) return;
    const length = crypto.OPENSSL_strnlen(text, MOST_LINE_BYTES);
    if (length > LABEL_BYTES) takeLine(text, log);
    crypto.OPENSSL_cleanse(text, length);
  }
}

/** The callback to be given to SSL_CTX_set_keylog_callback; it lasts as long as the thread. */
export function keyLogCallback(): Deno.PointerObject {
  callback ??= new Deno.UnsafeCallback(
    { parameters: ["pointer", "pointer"], result: "void" },
    (_ssl, text) => {
      if (current !== undefined && text !== null) takeLine(text, current);
    },
  );
  return callback.pointer as Deno.PointerObject;
}

/** Whose secrets are logged from now on; undefined: nobody's. */
export function logKeysTo(log: KeyLog | undefined): void {
  current = log;
}
