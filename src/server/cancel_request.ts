/**
 * A CancelRequest on its way to PostgreSQL: connect to the address of the server connection, over TLS if that one has it,
 * send the backend's key, wait for PostgreSQL to hang up. When it has, the signal has been sent (it signals before it
 * closes), so the server connection may change hands again: a late cancel can't hit the next client.
 */

import type { ServerTls } from "../config/settings.ts";
import { errnoText } from "../os/errno.ts";
import * as libc from "../os/libc.ts";
import { cancelRequest } from "../protocol/startup.ts";
import type { Reactor } from "../reactor/reactor.ts";
import type { Timer } from "../reactor/timers.ts";
import { Dial, type Dialer } from "./dial.ts";
import type { EncryptionFailure, HandshakeCounts, TlsSource } from "./encryption.ts";

/** How a cancel request ended: PostgreSQL took it, or that is not known, and why. */
export type CancelDone = (end: "delivered" | "lost", why: string) => void;

/** Whom it means. */
export interface CanceledServer {
  address: Uint8Array<ArrayBuffer>;
  addressText: string;
  pid: number;
  secret: Uint8Array;
}

/** How it is sent. */
export interface CancelWay {
  reactor: Reactor;
  timeoutMs: number;
  /** What the server connection's TLS was made by; `undefined`: it has none. */
  encryption: { settings: ServerTls; host: string } | undefined;
  tls: TlsSource;
  counts: HandshakeCounts;
}

const NO_TLS: ServerTls = {
  mode: "disable",
  direct: false,
  files: { ca: undefined, certificate: undefined, key: undefined, digest: "" },
};

class CancelConnection implements Dialer {
  readonly #message: Uint8Array<ArrayBuffer>;
  readonly #timer: Timer;
  readonly #done: CancelDone;
  readonly #dial: Dial;

  constructor(server: CanceledServer, way: CancelWay, done: CancelDone) {
    const { reactor, timeoutMs, encryption, tls, counts } = way;
    this.#message = cancelRequest(server.pid, server.secret);
    this.#done = done;
    this.#timer = reactor.at(reactor.now + timeoutMs, () => this.#end("lost", "it took too long"));
    const asking = {
      attempt: encryption === undefined ? "plain" as const : "required" as const,
      tls: encryption?.settings ?? NO_TLS,
      host: encryption?.host ?? "",
      where: server.addressText,
    };
    this.#dial = new Dial(asking, { reactor, tls, counts, tune: () => {} }, this);
    this.#dial.start(server.address);
  }

  noSocket(why: string): void {
    this.#end("lost", why);
  }

  unreachable(errno: number): void {
    this.#end("lost", errnoText(errno));
  }

  notEncrypted({ message }: EncryptionFailure): void {
    this.#end("lost", message);
  }

  open(): void {
    this.#dial.send(this.#message);
  }

  readable(): void {
    const n = this.#dial.receive(0);
    if (n > 0 || libc.wouldBlock(n)) return;
    // A certificate of ours that PostgreSQL refuses, perhaps: then it has not read the request.
    const { fault } = this.#dial;
    if (fault !== "") this.#end("lost", `TLS: ${fault}`);
    else this.#end("delivered", "");
  }

  #end(end: "delivered" | "lost", why: string): void {
    this.#timer.cancel();
    this.#dial.close();
    this.#done(end, why);
  }
}

/** Sends a CancelRequest to a server; `done` is called once, perhaps before this returns. */
export function sendCancelRequest(server: CanceledServer, way: CancelWay, done: CancelDone): void {
  new CancelConnection(server, way, done);
}
