/** The part of a reactor that connections use, with time that stands still unless it is moved. */

import assert from "node:assert/strict";
import type { Fd } from "../os/fd.ts";
import type { Handler } from "../reactor/reactor.ts";
import { type Timer, Timers } from "../reactor/timers.ts";
import { putOff } from "./fake_stream.ts";

export class FakeReactor {
  now = 1000;
  readonly timers: Timers = new Timers();
  readonly registered: Map<Fd, { handler: Handler; events: number }> = new Map();
  #atEnd: (() => void)[] = [];

  register(fd: Fd, handler: Handler, events: number): void {
    assert.ok(!this.registered.has(fd), `descriptor ${fd} is registered twice`);
    this.registered.set(fd, { handler, events });
    this.#released.delete(fd);
  }

  modify(fd: Fd, events: number): void {
    const entry = this.registered.get(fd);
    assert.ok(entry !== undefined, `descriptor ${fd} is not registered`);
    entry.events = events;
  }

  /** Out of the loop, and still open. */
  readonly #released = new Set<Fd>();

  release(fd: Fd): void {
    this.registered.delete(fd);
    this.#released.add(fd);
  }

  close(fd: Fd): void {
    // It closes at the end of the turn, and what was put off goes out before.
    for (const stream of putOff) if (stream.fd === fd) stream.settle();
    const open = this.registered.delete(fd) || this.#released.delete(fd);
    assert.ok(open, `descriptor ${fd} is closed twice`);
  }

  at(at: number, fire: () => void): Timer {
    return this.timers.add(at, fire);
  }

  atEndOfTurn(action: () => void): void {
    this.#atEnd.push(action);
  }

  endTurn(): void {
    const actions = this.#atEnd;
    this.#atEnd = [];
    for (const action of actions) action();
    for (const stream of putOff) stream.settle();
  }
}
