/**
 * A connection to a directory, encrypted as its rule says, and as the stream that the library talks on. StartTLS (RFC 4511
 * §4.14) is done here: the library keeps what came behind the answer to it, so that bytes in clear would be read as if
 * they had come by TLS.
 */

import { Duplex } from "node:stream";
import type { LdapOptions, LdapServer } from "../../auth/ldap_options.ts";

/** How it is opened, and what ends it. */
export interface Opening {
  encryption: LdapOptions["encryption"];
  /** Authorities besides those that everybody knows, PEM. */
  authorities: string | undefined;
  ends: AbortSignal;
}

/** ExtendedRequest 1.3.6.1.4.1.1466.20037 with message id 1. */
const START_TLS = Uint8Array.fromHex(
  "301d02010177188016312e332e362e312e342e312e313436362e3230303337",
);
const SEQUENCE = 0x30;
const INTEGER = 0x02;
const EXTENDED_RESPONSE = 0x78;
const ENUMERATED = 0x0a;
/** With whatever a server says of itself. */
const MOST_ANSWER_BYTES = 4096;
const PIECE_BYTES = 16_384;

/** Connects. Rejects when there is no such server, or none that is what it says, or when time is over. */
export async function openDirectory(
  { host, port }: LdapServer,
  { encryption, authorities, ends }: Opening,
): Promise<DirectoryStream> {
  const connecting = Deno.connect({ hostname: host, port });
  const plain = await unlessOver(connecting, ends, () => void connecting.then(close, () => {}));
  // A handshake that was given up lasts until the server is gone: the runtime has no way to end it.
  plain.setKeepAlive();
  let connection: Deno.TcpConn | Deno.TlsConn = plain;
  const over = () => close(connection);
  ends.addEventListener("abort", over, { once: true });
  try {
    if (encryption === "starttls") await startTls(plain);
    if (encryption !== "none") {
      const caCerts = authorities === undefined ? [] : [authorities];
      const securing = Deno.startTls(plain, { hostname: host, caCerts });
      const secured = await unlessOver(securing, ends, () => void securing.then(close, () => {}));
      connection = secured;
      await secured.handshake();
    }
    return new DirectoryStream(connection, () => ends.removeEventListener("abort", over));
  } catch (error) {
    ends.removeEventListener("abort", over);
    close(connection);
    throw ends.aborted ? new Error("no answer in time") : error;
  }
}

/** What a promise comes to, or an exception as soon as time is over; `late` deals with what comes then. */
async function unlessOver<T>(promise: Promise<T>, ends: AbortSignal, late: () => void): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const over = () => {
    late();
    aborted.reject(new Error("no answer in time"));
  };
  if (ends.aborted) over();
  ends.addEventListener("abort", over, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    ends.removeEventListener("abort", over);
  }
}

function close(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch (error) {
    // It has been closed, by the other way to the end.
    if (!(error instanceof Deno.errors.BadResource)) throw error;
  }
}

/** Resolves when the server is ready for the handshake. Rejects when it is not, or says more than that. */
async function startTls(connection: Deno.TcpConn): Promise<void> {
  await connection.write(START_TLS);
  const bytes = new Uint8Array(MOST_ANSWER_BYTES);
  for (let at = 0;;) {
    const read = await connection.read(bytes.subarray(at));
    if (read === null) throw new Error("it closes the connection on StartTLS");
    at += read;
    const length = lengthOf(bytes.subarray(0, at));
    if (length < 0 || length > bytes.length || length > 0 && at > length) {
      throw new Error("the answer to StartTLS is not one message");
    }
    if (length === 0 || at < length) continue;
    const code = resultOf(bytes.subarray(0, at));
    if (code !== 0) throw new Error(`StartTLS is refused (result ${code})`);
    return;
  }
}

/** Bytes of the message that begins here; 0: not enough is there, −1: it is none. */
function lengthOf(bytes: Uint8Array): number {
  if (bytes.length < 2) return 0;
  if (bytes[0] !== SEQUENCE) return -1;
  const length = bytes[1]!;
  if (length < 0x80) return 2 + length;
  const count = length & 0x7f;
  if (count < 1 || count > 2) return -1;
  if (bytes.length < 2 + count) return 0;
  return 2 + count + (count === 1 ? bytes[2]! : (bytes[2]! << 8) | bytes[3]!);
}

/** The result code of an ExtendedResponse to message 1. */
function resultOf(bytes: Uint8Array): number {
  const body = bytes.subarray(headBytes(bytes));
  const isAnswer = body[0] === INTEGER && body[1] === 1 && body[2] === 1 &&
    body[3] === EXTENDED_RESPONSE;
  const inner = body.subarray(3 + headBytes(body.subarray(3)));
  if (isAnswer && inner[0] === ENUMERATED && inner[1] === 1) return inner[2]!;
  throw new Error("the answer to StartTLS is none");
}

/** Of a tag and a length. */
function headBytes(bytes: Uint8Array): number {
  return bytes[1]! < 0x80 ? 2 : 2 + (bytes[1]! & 0x7f);
}

/** As the library knows sockets. */
export class DirectoryStream extends Duplex {
  readonly connecting = false;
  readonly readyState = "open";
  readonly #connection: Deno.Conn;
  readonly #closed: () => void;

  constructor(connection: Deno.Conn, closed: () => void) {
    super();
    this.#connection = connection;
    this.#closed = closed;
  }

  override _read(): void {
    const piece = new Uint8Array(PIECE_BYTES);
    this.#connection.read(piece).then(
      (read) => void this.push(read === null ? null : piece.subarray(0, read)),
      (error) => void this.destroy(error),
    );
  }

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error) => void): void {
    void this.#writeWhole(chunk).then(() => done(), done);
  }

  async #writeWhole(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) at += await this.#connection.write(bytes.subarray(at));
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#closed();
    close(this.#connection);
    done(error);
  }
}
