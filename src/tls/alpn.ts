/**
 * ALPN towards clients (RFC 7301): `postgresql` is chosen where it is offered, anything else alone is refused, and where
 * TLS came without a request for it, nothing but an offer of it will do ("SSL Session Encryption" in PostgreSQL's
 * manual): otherwise a web server's client could be talked into sending its secrets here.
 *
 * Callbacks of the thread, called inside of SSL_do_handshake alone, as in key_log.ts.
 */

import { fixedBytes, openssl } from "../os/openssl.ts";

export const ALPN_PROTOCOL = "postgresql";

const nameBytes = new TextEncoder().encode(ALPN_PROTOCOL);
/** A list of one name, as OpenSSL takes it. */
export const ALPN_WIRE: Uint8Array<ArrayBuffer> = fixedBytes(1 + nameBytes.length);
ALPN_WIRE[0] = nameBytes.length;
ALPN_WIRE.set(nameBytes, 1);
const nameAt = BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(ALPN_WIRE))) + 1n;

const EXTENSION_ALPN = 16;
const SSL_TLSEXT_ERR_OK = 0;
const SSL_TLSEXT_ERR_ALERT_FATAL = 2;
const SSL_CLIENT_HELLO_ERROR = 0;
const SSL_CLIENT_HELLO_SUCCESS = 1;
const ALERT_NO_APPLICATION_PROTOCOL = 120;

/** From now on, whoever begins a handshake with this context must offer ALPN, or need not. Most never must. */
export function requireAlpn(
  context: Deno.PointerObject,
  whether: "required" | "as they like",
): void {
  const callback = whether === "required" ? callbacks!.hello.pointer as Deno.PointerObject : null;
  openssl().ssl.SSL_CTX_set_client_hello_cb(context, callback, null);
}

/** Whether a list of names (each after its length) has ours. */
export function offersPostgres(list: Uint8Array): boolean {
  for (let at = 0; at < list.length; at += 1 + list[at]) {
    if (list[at] !== ALPN_WIRE[0]) continue;
    if (ALPN_WIRE.every((byte, i) => list[at + i] === byte)) return true;
  }
  return false;
}

const outAt = new BigUint64Array(1);
const outLength = new BigUint64Array(1);

/** Gives a context of OpenSSL's its callbacks. */
export function installAlpn(context: Deno.PointerObject): void {
  const { ssl } = openssl();
  prepareAlpn();
  ssl.SSL_CTX_set_alpn_select_cb(context, callbacks!.select.pointer, null);
}

type Callbacks = ReturnType<typeof newCallbacks>;
let callbacks: Callbacks | undefined;

/** Makes the callbacks, which last as long as the thread. */
export function prepareAlpn(): void {
  callbacks ??= newCallbacks();
}

function newCallbacks() {
  const { ssl } = openssl();
  return {
    // int cb(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in, unsigned inlen, void *)
    select: new Deno.UnsafeCallback(
      {
        parameters: ["pointer", "pointer", "pointer", "pointer", "u32", "pointer"],
        result: "i32",
      },
      (_ssl, out, outLength, list, length) => {
        if (list === null || out === null || outLength === null) return SSL_TLSEXT_ERR_ALERT_FATAL;
        const offered = Deno.UnsafePointerView.getArrayBuffer(list, length);
        if (!offersPostgres(new Uint8Array(offered))) return SSL_TLSEXT_ERR_ALERT_FATAL;
        new BigUint64Array(Deno.UnsafePointerView.getArrayBuffer(out, 8))[0] = nameAt;
        new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(outLength, 1))[0] = ALPN_WIRE[0];
        return SSL_TLSEXT_ERR_OK;
      },
    ),
    // int cb(SSL *ssl, int *alert, void *)
    hello: new Deno.UnsafeCallback(
      { parameters: ["pointer", "pointer", "pointer"], result: "i32" },
      (handshake, alert) => {
        const found = ssl.SSL_client_hello_get0_ext(handshake, EXTENSION_ALPN, outAt, outLength);
        if (found === 1) return SSL_CLIENT_HELLO_SUCCESS;
        const value = new Int32Array(Deno.UnsafePointerView.getArrayBuffer(alert!, 4));
        value[0] = ALERT_NO_APPLICATION_PROTOCOL;
        return SSL_CLIENT_HELLO_ERROR;
      },
    ),
  };
}
