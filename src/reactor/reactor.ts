// hot path
/**
 * The epoll loop of a worker: wait → handlers → timers → what was put off to the end of the turn. Level-triggered.
 * A handler is called at most once a turn; descriptors that it closes are closed when the turn ends, so that a number
 * can't come back as another connection while events of this turn still name it.
 */

import * as libc from "../os/libc.ts";
import type { Fd } from "../os/fd.ts";
import { EINTR, errnoText } from "../os/errno.ts";
import {
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLL_DATA_WORD,
  EPOLL_EVENT_WORDS,
} from "../os/layout.ts";
import { settle } from "./posts.ts";
import { type Timer, Timers } from "./timers.ts";

/** What is registered for a descriptor. */
export interface Handler {
  /** `events` is epoll's bit set. */
  onReady(events: number): void;
}

const EVENTS_A_TURN = 512;

export class Reactor {
  /** Milliseconds on a steady clock, read once a turn. */
  now: number = libc.monotonicMilliseconds();
  /** How many there were. */
  turns = 0;
  readonly timers: Timers = new Timers();
  #epoll: Fd;
  #handlers: (Handler | undefined)[] = [];
  #closing: Fd[] = [];
  #atEnd: (() => void)[] = [];
  #event = new Uint32Array(4);
  #events = new Uint32Array(EVENTS_A_TURN * EPOLL_EVENT_WORDS);
  #eventsAt = libc.pointerTo(this.#events);
  #stopped = false;
  /** Where it is told what is dealt with: the descriptor, or −1. */
  #busy = new Int32Array(1);
  #busyAt = 0;
  #over: () => boolean = () => false;
  /** A handler threw: a defect. The owner logs it and ends that connection; the loop goes on. */
  onDefect: (handler: Handler | undefined, error: unknown) => void = (_, error) => {
    throw error;
  };

  constructor() {
    const epoll = libc.epollCreate1(EPOLL_CLOEXEC);
    if (epoll < 0) throw new Error(`epoll_create1: ${errnoText(-epoll)}`);
    this.#epoll = epoll as Fd;
  }

  /** Its descriptor, for who has to know what is watched. */
  get epoll(): Fd {
    return this.#epoll;
  }

  /** From now on `words[at]` has the descriptor whose event is dealt with, −1 where it is none. */
  tellBusy(words: Int32Array<ArrayBuffer | SharedArrayBuffer>, at: number): void {
    this.#busy = words as Int32Array<ArrayBuffer>;
    this.#busyAt = at;
  }

  register(fd: Fd, handler: Handler, events: number): void {
    const result = this.#control(EPOLL_CTL_ADD, fd, events);
    if (result < 0) throw new Error(`epoll_ctl(ADD, ${fd}): ${errnoText(-result)}`);
    this.#handlers[fd] = handler;
  }

  modify(fd: Fd, events: number): void {
    const result = this.#control(EPOLL_CTL_MOD, fd, events);
    if (result < 0) throw new Error(`epoll_ctl(MOD, ${fd}): ${errnoText(-result)}`);
  }

  /** Takes a descriptor out of the loop without closing it: it goes to another worker or process. */
  release(fd: Fd): void {
    this.#handlers[fd] = undefined;
    this.#control(EPOLL_CTL_DEL, fd, 0);
  }

  /** Forgets the handler now and closes the descriptor at the end of this turn. */
  close(fd: Fd): void {
    this.#handlers[fd] = undefined;
    // While it waits to be closed the kernel must not report it.
    this.#control(EPOLL_CTL_DEL, fd, 0);
    this.#closing.push(fd);
  }

  /** Runs `fire` at `at` (this clock), not before. */
  at(at: number, fire: () => void): Timer {
    return this.timers.add(at, fire);
  }

  /** Runs `action` when the handlers of this turn are through. */
  atEndOfTurn(action: () => void): void {
    this.#atEnd.push(action);
  }

  /** Ends `run` after the current turn. */
  stop(): void {
    this.#stopped = true;
  }

  /** Turns until it is stopped, or `over`: then nothing is dealt with any more. */
  run(over: () => boolean = () => false): void {
    this.#over = over;
    while (!this.#stopped && !over()) this.turn(-1);
  }

  /** One turn; waits at most `mostMs` (−1: until something happens). */
  turn(mostMs: number): void {
    const next = this.timers.next();
    let timeout = mostMs;
    // What was put off by something that was put off itself.
    if (this.#atEnd.length > 0) timeout = 0;
    else if (next !== Infinity) {
      const until = Math.max(0, Math.ceil(next - this.now));
      timeout = mostMs < 0 ? Math.min(until, 0x7fffffff) : Math.min(until, mostMs);
    }
    const events = this.#events;
    const n = libc.epollWait(this.#epoll, this.#eventsAt, EVENTS_A_TURN, timeout);
    if (n < 0 && n !== -EINTR) throw new Error(`epoll_wait: ${errnoText(-n)}`);
    this.now = libc.monotonicMilliseconds();
    this.turns++;
    for (let i = 0; i < n; i++) {
      if (this.#over()) break;
      const at = i * EPOLL_EVENT_WORDS;
      const fd = events[at + EPOLL_DATA_WORD];
      const handler = this.#handlers[fd];
      if (handler === undefined) continue;
      this.#busy[this.#busyAt] = fd;
      this.#dispatch(handler, events[at]);
    }
    this.#busy[this.#busyAt] = -1;
    settle();
    if (!this.#over()) {
      if (next <= this.now) this.#expire();
      if (this.#atEnd.length > 0) this.#finish();
      settle();
    }
    if (this.#closing.length > 0) this.#closeAll();
  }

  #dispatch(handler: Handler, events: number): void {
    try {
      handler.onReady(events);
    } catch (error) {
      this.onDefect(handler, error);
    }
  }

  #expire(): void {
    try {
      this.timers.expire(this.now);
    } catch (error) {
      this.onDefect(undefined, error);
    }
  }

  #finish(): void {
    const actions = this.#atEnd;
    this.#atEnd = [];
    for (const action of actions) {
      try {
        action();
      } catch (error) {
        this.onDefect(undefined, error);
      }
    }
  }

  #closeAll(): void {
    for (const fd of this.#closing) libc.close(fd);
    this.#closing.length = 0;
  }

  #control(operation: number, fd: Fd, events: number): number {
    this.#event[0] = events;
    this.#event[EPOLL_DATA_WORD] = fd;
    return libc.epollCtl(this.#epoll, operation, fd, this.#event);
  }
}
