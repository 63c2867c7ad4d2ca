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
import type { SocketSettings } from "../config/settings.ts";
import type { Handler, Reactor } from "../reactor/reactor.ts";
import { settleSoon } from "../reactor/posts.ts";
import { tuneAnew, tuneBuffers } from "../reactor/sockets.ts";
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
  /** Another object when a reload has changed something. */
  readonly general: SocketSettings;
  accepted(connection: Accepted): void;
}

/** At most; see `#most`. */
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
  /** What those that it accepts inherit. */
  #tunedBy: SocketSettings | undefined;
  /** None that came before it was tuned waits any more. */
  #inherited = false;
  /** How many to accept in one go: one, and twice as many each time that turns follow one another. */
  #most = 1;
  #lastTurn = -1;

  constructor(place: Doorway, listener: { fd: Fd; unix: boolean }) {
    this.#place = place;
    this.#fd = listener.fd;
    this.#unix = listener.unix;
  }

  onReady(): void {
    const { reactor, general } = this.#place;
    if (this.#tunedBy !== general) this.#tune(general);
    // Mostly one waits: to ask for another costs as much as to accept it.
    const more = reactor.turns === this.#lastTurn + 1 || !this.#inherited;
    this.#most = more ? Math.min(2 * this.#most, ACCEPTS_A_TURN) : 1;
    this.#lastTurn = reactor.turns;
    for (let i = 0; i < this.#most; i++) if (!this.#accept(general)) return;
  }

  /** Accepts one, if one waits. */
  #accept(general: SocketSettings): boolean {
    settleSoon();
    length[0] = SOCKADDR_BYTES;
    const accepted = libc.accept4(this.#fd, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted < 0) {
      if (!libc.wouldBlock(accepted)) this.#failed(-accepted);
      this.#inherited = true;
      this.#most = 1;
      return false;
    }
    const fd = accepted as Fd;
    if (!this.#place.logins.admit(fd)) return true;
    tuneBuffers(fd, this.#unix, general);
    if (!this.#inherited) tuneAnew(fd, general);
    this.#place.accepted({
      fd,
      unix: this.#unix,
      address: this.#unix ? "unix:" : readAddress(address, length[0]),
      ip: this.#unix ? "" : readIp(address, length[0]),
    });
    return true;
  }

  #tune(settings: SocketSettings): void {
    this.#tunedBy = settings;
    this.#inherited = this.#unix;
    if (!this.#unix) tuneAnew(this.#fd, settings);
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
