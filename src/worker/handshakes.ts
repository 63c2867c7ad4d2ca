/**
 * The TLS handshakes that clients of this worker have under way: each takes some tens of kilobytes and a signature, so
 * their number is bounded, and so is, by `tls_rate_limit_per_second`, how many begin in a hundredth of a second, over all
 * workers. Few begin in one turn, too: hundreds of signatures at once would keep everybody else waiting for a second. Who
 * comes beyond waits in line, within `client_login_timeout`.
 *
 * What must hold: whoever has begun is in `#underWay`, in the order of their last steps, until `over`. Where all places are
 * taken and somebody waits, the one whose last step is the oldest, and too old, is ended: half handshakes can't keep
 * others out.
 */

import type { ClientEncryption, EncryptingClient, HandshakesUnderWay } from "../client/context.ts";
import type { ClientTls } from "../config/settings.ts";
import type { Reactor } from "../reactor/reactor.ts";
import type { Timer } from "../reactor/timers.ts";
import { Shared } from "../stats/shared.ts";
import { ServingContext } from "../tls/context.ts";

/** TLS towards clients as this worker has it. Throws where the files will not do: the control plane has looked before. */
export function encryptionOf({ mode, files, limits }: ClientTls): ClientEncryption {
  const serving = ServingContext.open(files, limits);
  if (Array.isArray(serving)) throw new Error(serving.join("; "));
  return { serving, mode };
}

/** At a time, of this worker. */
const MOST_UNDER_WAY = 512;
/** In one turn: some milliseconds. */
const MOST_A_TURN = 8;
/** A client that goes on takes a round trip for each step. */
const SILENT_MS = 1000;
const LOOK_MS = 100;
/** The limit of a second is kept in each hundredth of it. */
const WINDOW_MS = 10;
const WINDOWS = 100;

/** What handshakes are looked after with. */
export interface HandshakePlace {
  readonly reactor: Reactor;
  readonly shared: Int32Array;
}

export class Handshakes implements HandshakesUnderWay {
  readonly #place: HandshakePlace;
  readonly #perWindow: number;
  readonly #most: number;
  readonly #mostATurn: number;
  /** One that all threads have. */
  readonly #clock: () => number;
  /** When each has last gone on. */
  readonly #underWay = new Map<EncryptingClient, number>();
  readonly #waiting = new Set<EncryptingClient>();
  #timer: Timer | undefined = undefined;
  #begunThisTurn = 0;
  #looksSoon = false;

  /** @param perSecond a multiple of 100; 0: as many as come */
  constructor(
    place: HandshakePlace,
    perSecond: number,
    { most = MOST_UNDER_WAY, mostATurn = MOST_A_TURN, clock = Date.now } = {},
  ) {
    this.#place = place;
    this.#perWindow = perSecond / WINDOWS;
    this.#most = most;
    this.#mostATurn = mostATurn;
    this.#clock = clock;
  }

  begin(client: EncryptingClient): boolean {
    if (this.#waiting.size === 0 && this.#hasRoom && this.#admit()) {
      this.#begins(client);
      return true;
    }
    this.#waiting.add(client);
    this.#lookAgain();
    return false;
  }

  stepped(client: EncryptingClient): void {
    this.#underWay.delete(client);
    this.#underWay.set(client, this.#place.reactor.now);
  }

  over(client: EncryptingClient): void {
    this.#waiting.delete(client);
    if (this.#underWay.delete(client) && this.#waiting.size > 0) this.#lookSoon();
  }

  get #hasRoom(): boolean {
    return this.#underWay.size < this.#most && this.#begunThisTurn < this.#mostATurn;
  }

  #begins(client: EncryptingClient): void {
    this.#begunThisTurn++;
    this.#lookSoon();
    this.stepped(client);
  }

  #lookSoon(): void {
    if (this.#looksSoon) return;
    this.#looksSoon = true;
    this.#place.reactor.atEndOfTurn(() => {
      this.#looksSoon = false;
      this.#begunThisTurn = 0;
      this.#look();
    });
  }

  #lookAgain(): void {
    // With all of a turn's handshakes begun it looks at the end of the turn anyway.
    if (this.#begunThisTurn >= this.#mostATurn) return;
    this.#lookLater(this.#underWay.size < this.#most ? WINDOW_MS : LOOK_MS);
  }

  /** Takes one of those that may begin now, over all workers. */
  #admit(): boolean {
    if (this.#perWindow === 0) return true;
    const { shared } = this.#place;
    const window = Math.floor(this.#clock() / WINDOW_MS) & 0x7fffffff;
    const last = Atomics.load(shared, Shared.HandshakeWindow);
    if (
      last !== window &&
      Atomics.compareExchange(shared, Shared.HandshakeWindow, last, window) === last
    ) Atomics.store(shared, Shared.HandshakesBegun, 0);
    return Atomics.add(shared, Shared.HandshakesBegun, 1) < this.#perWindow;
  }

  #lookLater(ms: number): void {
    if (this.#timer !== undefined) return;
    const { reactor } = this.#place;
    this.#timer = reactor.at(reactor.now + ms, () => {
      this.#timer = undefined;
      this.#look();
    });
  }

  #look(): void {
    this.#endSilent();
    for (const client of this.#waiting) {
      if (!this.#hasRoom || !this.#admit()) break;
      this.#waiting.delete(client);
      this.#begins(client);
      client.proceed();
    }
    if (this.#waiting.size > 0) this.#lookAgain();
  }

  #endSilent(): void {
    const { now } = this.#place.reactor;
    let wanted = this.#waiting.size - (this.#most - this.#underWay.size);
    for (const [client, sinceMs] of this.#underWay) {
      if (wanted-- <= 0 || now - sinceMs < SILENT_MS) return;
      client.giveWay();
    }
  }
}
