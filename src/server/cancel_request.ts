/**
 * A CancelRequest on its way to PostgreSQL: connect to the address of the server connection, send the backend's key,
 * wait for PostgreSQL to hang up. When it has, the signal has been sent (it signals before it closes), so the server
 * connection may change hands again: a late cancel can't hit the next client.
 */

import * as libc from "../os/libc.ts";
import type { Fd } from "../os/fd.ts";
import { EPOLLIN, EPOLLOUT, EPOLLRDHUP } from "../os/layout.ts";
import { beginConnect, connectOutcome, openSocket } from "../reactor/connecting.ts";
import type { Handler, Reactor } from "../reactor/reactor.ts";
import { readBuffer } from "../reactor/stream.ts";
import type { Timer } from "../reactor/timers.ts";
import { cancelRequest } from "../protocol/startup.ts";

/** How a cancel request ended: PostgreSQL took it, or that is not known. */
export type CancelDone = (end: "delivered" | "lost") => void;

class CancelConnection implements Handler {
  #reactor: Reactor;
  #fd: Fd;
  #message: Uint8Array<ArrayBuffer>;
  #sent = false;
  #timer: Timer;
  #done: CancelDone;

  constructor(
    reactor: Reactor,
    fd: Fd,
    message: Uint8Array<ArrayBuffer>,
    timeoutMs: number,
    done: CancelDone,
  ) {
    this.#reactor = reactor;
    this.#fd = fd;
    this.#message = message;
    this.#done = done;
    this.#timer = reactor.at(reactor.now + timeoutMs, () => this.#end("lost"));
    reactor.register(fd, this, EPOLLOUT);
  }

  onReady(): void {
    if (!this.#sent) {
      // Sixteen bytes into an empty socket buffer are taken whole.
      const refused = connectOutcome(this.#fd) !== 0;
      if (refused || libc.send(this.#fd, this.#message, this.#message.length) < 0) {
        this.#end("lost");
        return;
      }
      this.#sent = true;
      this.#reactor.modify(this.#fd, EPOLLIN | EPOLLRDHUP);
      return;
    }
    const n = libc.recv(this.#fd, readBuffer, 64);
    if (n > 0 || libc.wouldBlock(n)) return;
    this.#end("delivered");
  }

  #end(end: Parameters<CancelDone>[0]): void {
    this.#timer.cancel();
    this.#reactor.close(this.#fd);
    this.#done(end);
  }
}

/** Sends a CancelRequest to the server at `address`; `done` is called once, perhaps before this returns. */
export function sendCancelRequest(
  reactor: Reactor,
  server: { address: Uint8Array<ArrayBuffer>; pid: number; secret: Uint8Array },
  timeoutMs: number,
  done: CancelDone,
): void {
  const fd = openSocket(server.address);
  if (fd < 0 || beginConnect(fd as Fd, server.address) < 0) return done("lost");
  const message = cancelRequest(server.pid, server.secret);
  new CancelConnection(reactor, fd as Fd, message, timeoutMs, done);
}
