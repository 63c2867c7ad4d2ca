/**
 * Accepts clients on the shared listening sockets. Workers have them in their epoll with EPOLLEXCLUSIVE: the kernel
 * wakes one of those that sleep. A worker that is no pool's home stays out of it: all it accepted it would hand over.
 * When descriptors run out, accepting rests for a moment instead of spinning.
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
import type { Timer } from "../reactor/timers.ts";
import type { Log } from "../log/log.ts";
import type { ListenerMail } from "../mail.ts";
import type { Logins } from "./logins.ts";

/** A connection that was just accepted. */
export interface Accepted {
  fd: Fd;
  unix: boolean;
  /** `ip:port`, or `unix:`. */
  address: string;
  ip: string;
}

/** What listeners need of their worker. */
export interface Doorway {
  readonly reactor: Reactor;
  readonly log: Log;
  readonly logins: Pick<Logins, "admit" | "outOfDescriptors">;
  accepted(connection: Accepted): void;
}

const ACCEPTS_A_TURN = 32;
const REST_MS = 10;
const LOG_EVERY_MS = 5000;

const address = new Uint8Array(SOCKADDR_BYTES);
const length = new Uint32Array(1);

/** The listening sockets of one worker. */
export class Listeners {
  readonly #place: Doorway;
  #open: Listener[] = [];
  #accepting = true;

  constructor(place: Doorway) {
    this.#place = place;
  }

  open(listeners: readonly ListenerMail[]): void {
    for (const { fd, transport } of listeners) {
      const listener = new Listener(this.#place, { fd: fd as Fd, unix: transport === "unix" });
      if (this.#accepting) listener.start();
      this.#open.push(listener);
    }
  }

  /** Whether this worker takes part in accepting. */
  accept(on: boolean): void {
    if (on === this.#accepting) return;
    this.#accepting = on;
    for (const listener of this.#open) {
      if (on) listener.start();
      else listener.stop();
    }
  }

  /** Accepts no more until others are opened; the sockets stay open, they are the process's. */
  close(): void {
    for (const listener of this.#open.splice(0)) listener.stop();
  }
}

class Listener implements Handler {
  readonly #place: Doorway;
  #fd: Fd;
  #unix: boolean;
  #loggedAtMs = -Infinity;
  #started = false;
  #resting: Timer | undefined;

  constructor(place: Doorway, listener: { fd: Fd; unix: boolean }) {
    this.#place = place;
    this.#fd = listener.fd;
    this.#unix = listener.unix;
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
      if (!this.#place.logins.admit(fd as Fd)) continue;
      this.#place.accepted({
        fd: fd as Fd,
        unix: this.#unix,
        address: this.#unix ? "unix:" : readAddress(address, length[0]),
        ip: this.#unix ? "" : readIp(address, length[0]),
      });
    }
  }

  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.#place.reactor.register(this.#fd, this, EPOLLIN | EPOLLEXCLUSIVE);
  }

  stop(): void {
    if (this.#started) this.#place.reactor.release(this.#fd);
    this.#started = false;
    this.#resting?.cancel();
    this.#resting = undefined;
  }

  #failed(errno: number): void {
    const { reactor, log, logins } = this.#place;
    const { now } = reactor;
    if (now - this.#loggedAtMs > LOG_EVERY_MS) {
      this.#loggedAtMs = now;
      log.error("pg_doorman::app", `accept: ${errnoText(errno)}`);
    }
    if (errno !== EMFILE && errno !== ENFILE) return;
    logins.outOfDescriptors();
    this.stop();
    this.#resting = reactor.at(now + REST_MS, () => this.start());
  }
}
