/** A TLS connection of ours over TCP with another program, for tests that wait for what it says. */

import { findListener } from "../../os/descriptors.ts";
import { EAGAIN } from "../../os/errno.ts";
import type { Fd } from "../../os/fd.ts";
import { SOCK_NONBLOCK, SOCKADDR_BYTES } from "../../os/layout.ts";
import { accept4, close, fcntl, recv, send } from "../../os/libc.ts";
import { inetAddress } from "../../os/socket_address.ts";
import { beginConnect, openSocket } from "../../reactor/connecting.ts";
import { readBuffer } from "../../reactor/stream.ts";
import type { AskingContext, ServingContext } from "../context.ts";
import { type AskingOptions, type Finished, Handshake, type ServingOptions } from "../handshake.ts";
import { TlsStream } from "../stream.ts";

const F_SETFL = 4;
const DEADLINE_MS = 20_000;

/** Asks every few milliseconds until there is an answer. */
export async function eventually<T>(what: string, ask: () => T | undefined): Promise<T> {
  const deadline = Date.now() + DEADLINE_MS;
  for (;;) {
    const answer = ask();
    if (answer !== undefined) return answer;
    if (Date.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** A port of this machine on which clients are awaited. */
export class Port implements Disposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });

  get number(): number {
    return this.#listener.addr.port;
  }

  /** The next client. */
  accept(): Promise<Fd> {
    const listener = findListener(`127.0.0.1:${this.number}`)!;
    return eventually("a client", () => {
      const address = new Uint8Array(SOCKADDR_BYTES);
      const fd = accept4(listener, address, Uint32Array.of(address.length), SOCK_NONBLOCK);
      return fd < 0 ? undefined : fd as Fd;
    });
  }

  [Symbol.dispose](): void {
    this.#listener.close();
  }
}

export class Conversation implements Disposable {
  readonly fd: Fd;
  readonly finished: Finished;
  stream: TlsStream;
  /** What was received and not asked for yet. */
  #text = "";

  private constructor(fd: Fd, finished: Finished) {
    this.fd = fd;
    this.finished = finished;
    this.stream = new TlsStream(fd, finished.state);
  }

  /** As a server; throws what went wrong. */
  static async accept(
    fd: Fd,
    context: ServingContext,
    options: ServingOptions = {},
  ): Promise<Conversation> {
    return await Conversation.#shakeHands(fd, Handshake.accept(context, options));
  }

  /** As a client of a port of this machine. */
  static async connect(
    port: number,
    context: AskingContext,
    options: AskingOptions = {},
  ): Promise<Conversation> {
    const address = inetAddress("127.0.0.1", port)!;
    const fd = openSocket(address) as Fd;
    beginConnect(fd, address);
    return await Conversation.#shakeHands(fd, Handshake.connect(context, options));
  }

  static async #shakeHands(fd: Fd, handshake: Handshake): Promise<Conversation> {
    fcntl(fd, F_SETFL, SOCK_NONBLOCK);
    const bytes = new Uint8Array(65_536);
    let unsent = new Uint8Array();
    await eventually("the end of a handshake", () => {
      const output = handshake.output();
      if (output !== undefined) unsent = new Uint8Array([...unsent, ...output]);
      if (unsent.length > 0) {
        unsent = unsent.slice(Math.max(0, send(fd, unsent, unsent.length)));
      }
      if (unsent.length > 0) return undefined;
      if (handshake.state !== "going") return true;
      const count = recv(fd, bytes, bytes.length);
      if (count > 0) handshake.take(bytes, 0, count);
      return count === 0 ? true : undefined;
    });
    if (handshake.state !== "done") {
      const { why } = handshake;
      handshake.end();
      close(fd);
      throw new Error(why || "the peer has left");
    }
    return new Conversation(fd, handshake.finish());
  }

  say(text: string): void {
    const bytes = new TextEncoder().encode(text);
    const sent = this.stream.send(bytes, 0, bytes.length);
    if (sent !== bytes.length) throw new Error(`sent ${sent} of ${bytes.length} bytes`);
  }

  /** The text up to and with `end`. */
  async hear(end: string): Promise<string> {
    return await eventually(`"${end}" in "${this.#text}"`, () => {
      this.#read();
      const at = this.#text.indexOf(end);
      if (at < 0) return undefined;
      const heard = this.#text.slice(0, at + end.length);
      this.#text = this.#text.slice(at + end.length);
      return heard;
    });
  }

  /** Receives until something is so. */
  async until(what: string, condition: (stream: TlsStream) => boolean): Promise<void> {
    await eventually(what, () => {
      this.#read();
      return condition(this.stream) ? true : undefined;
    });
  }

  /** What `receive` says when there is nothing more: 0, or −errno. */
  async ending(): Promise<number> {
    return await eventually("the end", () => {
      const result = this.#read();
      return result === -EAGAIN ? undefined : result;
    });
  }

  #read(): number {
    for (;;) {
      const count = this.stream.receive(0);
      if (count <= 0) return count;
      this.#text += new TextDecoder().decode(readBuffer.subarray(0, count));
    }
  }

  /** Goes on as a successor would: by its state alone, as it comes out of a copy. */
  move(): void {
    const state = structuredClone(this.stream.freeze());
    this.stream.end();
    this.stream = new TlsStream(this.fd, state);
  }

  [Symbol.dispose](): void {
    this.stream.end();
    close(this.fd);
  }
}
