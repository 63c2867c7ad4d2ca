/**
 * The secrets of a handshake, out of OpenSSL's key-log callback. They stay in this process's memory: nothing is ever
 * written anywhere. The callback is one of the thread; it is called inside of SSL_do_handshake alone, so whoever calls
 * that says before whose secrets they are.
 *
 * The line of the client's application secret may come long after the server's: both are there when the handshake is
 * done, and no sooner.
 */

import { openssl } from "../os/openssl.ts";

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
    const label = decoder.decode(line.subarray(0, first));
    if (label === "CLIENT_TRAFFIC_SECRET_0") this.clientTraffic = fromHex(line, second + 1);
    else if (label === "SERVER_TRAFFIC_SECRET_0") this.serverTraffic = fromHex(line, second + 1);
    else if (label === "CLIENT_RANDOM") this.master = fromHex(line, second + 1);
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
/** Of `CLIENT_TRAFFIC…`, `SERVER_TRAFFIC…` and `CLIENT_RANDOM`; all labels are longer. */
const LABEL_BYTES = 7;
const CLIENT = 0x43;
const TRAFFIC = 0x54;
const RANDOM = 0x52;
/** Longer than any line of a secret that is used. */
const MOST_LINE_BYTES = 512;
const decoder = new TextDecoder();

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

/** The callback to be given to SSL_CTX_set_keylog_callback; it lasts as long as the thread. */
export function keyLogCallback(): Deno.PointerObject {
  callback ??= new Deno.UnsafeCallback(
    { parameters: ["pointer", "pointer"], result: "void" },
    (_ssl, text) => {
      if (current === undefined || text === null) return;
      const view = new Deno.UnsafePointerView(text);
      // Most lines are of other secrets: a call back from OpenSSL takes its time, and so does each byte of a line.
      const first = view.getUint8(0);
      const eighth = view.getUint8(LABEL_BYTES);
      const wanted = eighth === TRAFFIC || eighth === RANDOM && first === CLIENT;
      if (!wanted) return;
      const length = openssl().crypto.OPENSSL_strnlen(text, line.length);
      view.copyInto(line.subarray(0, length));
      current.take(line.subarray(0, length));
      line.fill(0);
    },
  );
  return callback.pointer as Deno.PointerObject;
}

/** Whose secrets are logged from now on; undefined: nobody's. */
export function logKeysTo(log: KeyLog | undefined): void {
  current = log;
}
