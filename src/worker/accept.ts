/**
 * Accepts clients on the shared listening sockets. Every worker has them in its epoll with EPOLLEXCLUSIVE: the kernel
 * wakes one of those that sleep. When descriptors run out, accepting rests for a moment instead of spinning.
 */

import * as libc from "../os/libc.ts";
import type { Fd } from "../os/fd.ts";
import { EMFILE, ENFILE, errnoText } from "../os/errno.ts";
import {
  EPOLLEXCLUSIVE,
  EPOLLIN,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCKADDR_BYTES,
} from "../os/layout.ts";
import { readAddress, readIp } from "../os/socket_address.ts";
import { settle } from "../reactor/posts.ts";
import type { Handler, Reactor } from "../reactor/reactor.ts";
import type { Log } from "../log/log.ts";

/** A connection that was just accepted. */
export interface Accepted {
  fd: Fd;
  unix: boolean;
  /** `ip:port`, or `unix:`. */
  address: string;
  ip: string;
}

const ACCEPTS_A_TURN = 32;
const REST_MS = 10;
const LOG_EVERY_MS = 5000;

const address = new Uint8Array(SOCKADDR_BYTES);
const length = new Uint32Array(1);

export class Listener implements Handler {
  #reactor: Reactor;
  #log: Log;
  #fd: Fd;
  #unix: boolean;
  #accepted: (connection: Accepted) => void;
  #loggedAtMs = -Infinity;
  #stopped = false;

  constructor(
    reactor: Reactor,
    log: Log,
    listener: { fd: Fd; unix: boolean },
    accepted: (connection: Accepted) => void,
  ) {
    this.#reactor = reactor;
    this.#log = log;
    this.#fd = listener.fd;
    this.#unix = listener.unix;
    this.#accepted = accepted;
    this.#start();
  }

  onReady(): void {
    settle();
    for (let i = 0; i < ACCEPTS_A_TURN; i++) {
      length[0] = SOCKADDR_BYTES;
      const fd = libc.accept4(this.#fd, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd < 0) {
        if (!libc.wouldBlock(fd)) this.#failed(-fd);
        return;
      }
      this.#accepted({
        fd: fd as Fd,
        unix: this.#unix,
        address: this.#unix ? "unix:" : readAddress(address, length[0]),
        ip: this.#unix ? "" : readIp(address, length[0]),
      });
    }
  }

  /** Accepts no more; the socket itself stays open, it is the process's. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#reactor.release(this.#fd);
  }

  #start(): void {
    this.#reactor.register(this.#fd, this, EPOLLIN | EPOLLEXCLUSIVE);
  }

  #failed(errno: number): void {
    const now = this.#reactor.now;
    if (now - this.#loggedAtMs > LOG_EVERY_MS) {
      this.#loggedAtMs = now;
      this.#log.error("pg_doorman::app", `accept: ${errnoText(errno)}`);
    }
    if (errno !== EMFILE && errno !== ENFILE) return;
    this.#reactor.release(this.#fd);
    this.#reactor.at(now + REST_MS, () => {
      if (!this.#stopped) this.#start();
    });
  }
}
