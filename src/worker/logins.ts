/**
 * The log-ins that are under way on this worker, those whose client has been silent for longest first. They hold no place
 * of `max_connections` (client/login/places.ts), but sockets and memory: when the process has more connections than
 * `max_connections`, those that were silent for too long are ended, and at twice as many, or where descriptors would not
 * suffice (`Shared.MostClients`), new ones are refused as they come. Each worker looks after its own, so that none has to ask the others.
 *
 * What must hold: a log-in that is the client's turn is in `#waiting`, in the order of its last step. A client that goes
 * on step by step is never ended here, however many log in at once.
 */

import * as libc from "../os/libc.ts";
import type { Fd } from "../os/fd.ts";
import type { LoginsUnderWay } from "../client/context.ts";
import type { ClientLogin } from "../client/login/login.ts";
import type { GeneralSettings } from "../config/settings.ts";
import type { Log } from "../log/log.ts";
import { errorResponse } from "../protocol/error_response.ts";
import type { Reactor } from "../reactor/reactor.ts";
import { readBuffer } from "../reactor/stream.ts";
import type { Timer } from "../reactor/timers.ts";
import { REASONS } from "../reasons.ts";
import { countRejection } from "../stats/rejections.ts";
import { Shared, type Tally } from "../stats/shared.ts";

/** A client that answers takes a round trip for each step. */
const SILENT_MS = 1000;
const LOOK_MS = 250;
const LOG_EVERY_MS = 5000;
/** Room for a small `max_connections`: cancel requests and those who are told that it is full. */
const LEAST_BEYOND = 100;
/** So many silent log-ins are ended in one look where descriptors have run out. */
const ROOM_FOR_DESCRIPTORS = 64;

const FULL = errorResponse({
  severity: "FATAL",
  code: REASONS.tooManyClients.code,
  message: REASONS.tooManyClients.text,
}).slice();

/** One of them, and how it is ended. */
type WaitingLogin = Pick<ClientLogin, "giveWay">;

/** What log-ins are looked at with. */
export interface LoginPlace {
  readonly reactor: Reactor;
  readonly log: Log;
  readonly shared: Int32Array;
  readonly tally: Tally;
  readonly general: Pick<GeneralSettings, "max_connections">;
}

export class Logins implements LoginsUnderWay {
  readonly #place: LoginPlace;
  /** When each was last heard of. */
  readonly #waiting = new Map<WaitingLogin, number>();
  #timer: Timer | undefined = undefined;
  #outOfDescriptors = false;
  /** Since the last line of the log. */
  #ended = 0;
  #refused = 0;
  #loggedAtMs = -Infinity;

  constructor(place: LoginPlace) {
    this.#place = place;
  }

  waits(login: WaitingLogin): void {
    this.#waiting.delete(login);
    this.#waiting.set(login, this.#place.reactor.now);
    this.#lookLater();
  }

  over(login: WaitingLogin): void {
    this.#waiting.delete(login);
  }

  /** Counts a connection that has come. `false`: there are too many, it has been refused and closed. */
  admit(fd: Fd): boolean {
    const { shared, tally, general } = this.#place;
    const most = general.max_connections + Math.max(general.max_connections, LEAST_BEYOND);
    const room = Atomics.load(shared, Shared.MostClients) || most;
    if (tally.add("Clients", 1) < Math.min(most, room)) return true;
    tally.add("Clients", -1);
    if (room < most) this.#outOfDescriptors = true;
    libc.send(fd, FULL, FULL.length);
    // A close with unread bytes would reset the connection and take the message with it.
    libc.recv(fd, readBuffer, readBuffer.length);
    libc.close(fd);
    this.#refused++;
    countRejection(shared, REASONS.tooManyClients.name);
    this.#lookLater();
    return false;
  }

  /** No connection could be accepted for want of a descriptor. */
  outOfDescriptors(): void {
    this.#outOfDescriptors = true;
    this.#lookLater();
  }

  #lookLater(): void {
    if (this.#timer !== undefined) return;
    const { reactor } = this.#place;
    this.#timer = reactor.at(reactor.now + LOOK_MS, () => this.#look());
  }

  // After the handlers of the turn: what has come meanwhile has been read, however long this worker was busy.
  #look(): void {
    const { now } = this.#place.reactor;
    this.#timer = undefined;
    if (this.#waiting.size > 0) this.#lookLater();
    let room = this.#outOfDescriptors ? ROOM_FOR_DESCRIPTORS : 0;
    this.#outOfDescriptors = false;
    for (const [login, sinceMs] of this.#waiting) {
      if (now - sinceMs < SILENT_MS || !this.#crowded && room <= 0) break;
      room--;
      this.#ended++;
      login.giveWay();
    }
    this.#tell(now);
  }

  get #crowded(): boolean {
    const { shared, general } = this.#place;
    return Atomics.load(shared, Shared.Clients) > general.max_connections;
  }

  /** Where they are what there is too little of. */
  get #openFiles(): string {
    const { shared, general } = this.#place;
    const room = Atomics.load(shared, Shared.MostClients) || Infinity;
    return room < general.max_connections ? ` most by the limit of open files=${room}` : "";
  }

  #tell(now: number): void {
    if (this.#ended + this.#refused === 0) return;
    if (now - this.#loggedAtMs < LOG_EVERY_MS) {
      this.#lookLater();
      return;
    }
    this.#loggedAtMs = now;
    const { log, shared, general } = this.#place;
    log.warn(
      "pg_doorman::client",
      `made room: ended ${this.#ended} log-ins that were silent for more than ${SILENT_MS} ms, ` +
        `refused ${this.#refused} connections before their log-in, ` +
        `connections=${Atomics.load(shared, Shared.Clients)} max=${general.max_connections}` +
        this.#openFiles,
    );
    this.#ended = 0;
    this.#refused = 0;
  }
}
