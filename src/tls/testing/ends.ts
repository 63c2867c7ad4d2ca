/** Both ends of a TLS connection in one process, over a socket pair, for tests. */

import { socketPair } from "../../os/fd_passing.ts";
import type { Fd } from "../../os/fd.ts";
import { SOCK_NONBLOCK } from "../../os/layout.ts";
import { close, fcntl, recv, send } from "../../os/libc.ts";
import { openssl } from "../../os/openssl.ts";
import { readBuffer } from "../../reactor/stream.ts";
import type { Authority, Certificate } from "../../../tests/support/certificates.ts";
import { prepareAlpn } from "../alpn.ts";
import { AskingContext, ServingContext, type TlsLimits, type Verification } from "../context.ts";
import { type AskingOptions, type Finished, Handshake, type ServingOptions } from "../handshake.ts";
import { keyLogCallback } from "../key_log.ts";
import type { PemFile } from "../pem.ts";
import { TlsStream } from "../stream.ts";

const F_SETFL = 4;

// What lasts as long as the thread is made before a test begins, and does not look like a leak of it.
openssl();
keyLogCallback();
prepareAlpn();

/** A file as the control plane reads it. */
export function pem(name: string, text: Uint8Array<ArrayBuffer>): PemFile {
  return { name, text };
}

/** A context towards clients, with the certificate; clients must have one of `ca`, if that is given. */
export function serving(
  certificate: Certificate,
  limits: TlsLimits = {},
  ca?: Authority,
): ServingContext {
  const context = ServingContext.open({
    certificate: pem("server.crt", certificate.certificate),
    key: pem("server.key", certificate.key),
    ...(ca === undefined ? {} : { ca: pem("ca.crt", ca.certificate), demanded: true }),
  }, limits);
  if (Array.isArray(context)) throw new Error(context.join("; "));
  return context;
}

/** A context towards servers that trusts `ca`, if that is given. */
export function asking(
  limits: TlsLimits = {},
  ca?: Authority,
  verification: Verification = ca === undefined ? "none" : "full",
  certificate?: Certificate,
): AskingContext {
  const context = AskingContext.open({
    ...(ca === undefined ? {} : { ca: pem("ca.crt", ca.certificate) }),
    ...(certificate === undefined ? {} : {
      certificate: pem("client.crt", certificate.certificate),
      key: pem("client.key", certificate.key),
    }),
  }, { ...limits, verification });
  if (Array.isArray(context)) throw new Error(context.join("; "));
  return context;
}

/** Lets two handshakes talk until nobody has anything to say. */
export function converse(server: Handshake, client: Handshake): void {
  for (let turn = 0; turn < 20; turn++) {
    const asked = client.output();
    if (asked !== undefined) server.take(asked, 0, asked.length);
    const answered = server.output();
    if (answered !== undefined) client.take(answered, 0, answered.length);
    if (asked === undefined && answered === undefined) return;
  }
  throw new Error("no end of a handshake");
}

/** A handshake of both ends, which succeeds. */
export function shakeHands(
  context: ServingContext,
  other: AskingContext,
  options: AskingOptions = {},
  serverOptions: ServingOptions = {},
): { server: Finished; client: Finished } {
  const server = Handshake.accept(context, serverOptions);
  const client = Handshake.connect(other, options);
  converse(server, client);
  const faults = [server.why, client.why].filter((why) => why !== "");
  if (server.state !== "done" || client.state !== "done") throw new Error(faults.join("; "));
  return { server: server.finish(), client: client.finish() };
}

/** Two sockets that are connected, and do not wait. */
export function connectedPair(): [Fd, Fd] {
  const [one, other] = socketPair();
  fcntl(one, F_SETFL, SOCK_NONBLOCK);
  fcntl(other, F_SETFL, SOCK_NONBLOCK);
  return [one, other];
}

/** Streams at both ends of a connection. */
export class Ends implements Disposable {
  server: TlsStream;
  client: TlsStream;
  readonly #fds: [Fd, Fd];

  constructor(context: ServingContext, other: AskingContext) {
    const { server, client } = shakeHands(context, other);
    this.#fds = connectedPair();
    this.server = new TlsStream(this.#fds[0], server.state);
    this.client = new TlsStream(this.#fds[1], client.state);
  }

  [Symbol.dispose](): void {
    this.server.end();
    this.client.end();
    for (const fd of this.#fds) close(fd);
  }
}

/** What a stream has to say now: bytes, or the number that `receive` has returned instead. */
export function take(stream: TlsStream, offset = 0): Uint8Array | number {
  const count = stream.receive(offset);
  return count > 0 ? readBuffer.slice(offset, offset + count) : count;
}

/** All bytes that are in a socket. */
export function drain(fd: Fd): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(1 << 20);
  let length = 0;
  for (;;) {
    const count = recv(fd, bytes.subarray(length), bytes.length - length);
    if (count <= 0) return bytes.slice(0, length);
    length += count;
  }
}

/** Puts bytes into a socket as they are. */
export function inject(fd: Fd, bytes: Uint8Array<ArrayBuffer>): void {
  const sent = send(fd, bytes, bytes.length);
  if (sent !== bytes.length) {
    throw new Error(`the socket has taken ${sent} of ${bytes.length} bytes`);
  }
}
