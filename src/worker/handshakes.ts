/**
 * The TLS handshakes that clients of this worker have under way: each takes some tens of kilobytes and a signature, so
 * their number is bounded, and so is, by `tls_rate_limit_per_second`, how many begin in a hundredth of a second, over all
 * workers. Few begin in one turn, too: hundreds of signatures at once would keep everybody else waiting for a second. Who
 * comes beyond waits in line, within `client_login_timeout`: each address (in IPv6 each network of 64 bits) has a line of
 * its own, and the address with the fewest places is the next. While places are wanting, its oldest and its newest client
 * are taken by turns: whoever comes is not behind thousands who have come to stay.
 *
 * What must hold: whoever has begun is in the places of his address, in the order of their last steps, until `over`. Where
 * all places are taken and somebody waits, the one whose last step is the oldest, and too old, is ended, at the address
 * with the most places first: half handshakes can't keep others out, and those of one address hardly delay another's.
 */

import type { ClientEncryption, EncryptingClient, HandshakesUnderWay } from "../client/context.ts";
import { networkOf } from "../config/address.ts";
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
/** Of an address with more places than its share, while others wait for theirs. */
const SILENT_BEYOND_SHARE_MS = 200;
/** Addresses told apart; the others share a line. */
const MOST_LINES = 512;
const LOOK_MS = 100;
/** The limit of a second is kept in each hundredth of it. */
const WINDOW_MS = 10;
const WINDOWS = 100;

/** What handshakes are looked after with. */
export interface HandshakePlace {
  readonly reactor: Reactor;
  readonly shared: Int32Array;
}

/** The clients of an address. */
interface Line {
  readonly address: string;
  /** When each that has a place has last gone on. */
  readonly underWay: Map<EncryptingClient, number>;
  readonly waiting: Set<EncryptingClient>;
  newestNext: boolean;
}

export class Handshakes implements HandshakesUnderWay {
  readonly #place: HandshakePlace;
  readonly #perWindow: number;
  readonly #most: number;
  readonly #mostATurn: number;
  /** One that all threads have. */
  readonly #clock: () => number;
  /** By address, those without a client left out; the one that has begun last is the last. */
  readonly #lines = new Map<string, Line>();
  readonly #lineOf = new Map<EncryptingClient, Line>();
  #underWay = 0;
  /** Some wait for want of places, and not for their time alone. */
  #crowded = false;
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
    const first = this.#waiting === 0;
    const line = this.#join(client);
    if (first && this.#hasRoom && this.#admit()) {
      this.#begins(client, line);
      return true;
    }
    line.waiting.add(client);
    this.#crowded ||= this.#underWay >= this.#most;
    this.#lookAgain();
    return false;
  }

  stepped(client: EncryptingClient): void {
    const { underWay } = this.#lineOf.get(client)!;
    underWay.delete(client);
    underWay.set(client, this.#place.reactor.now);
  }

  over(client: EncryptingClient): void {
    const line = this.#lineOf.get(client);
    if (line === undefined) return;
    this.#lineOf.delete(client);
    line.waiting.delete(client);
    const { address, underWay, waiting } = line;
    const hadPlace = underWay.delete(client);
    if (underWay.size + waiting.size === 0) this.#lines.delete(address);
    if (!hadPlace) return;
    this.#underWay--;
    if (this.#waiting > 0) this.#lookSoon();
  }

  get #waiting(): number {
    return this.#lineOf.size - this.#underWay;
  }

  get #hasRoom(): boolean {
    return this.#underWay < this.#most && this.#begunThisTurn < this.#mostATurn;
  }

  #join(client: EncryptingClient): Line {
    const own = networkOf(client.ip);
    const address = this.#lines.has(own) || this.#lines.size < MOST_LINES ? own : OTHERS;
    let line = this.#lines.get(address);
    if (line === undefined) {
      line = { address, underWay: new Map(), waiting: new Set(), newestNext: false };
      this.#lines.set(address, line);
    }
    this.#lineOf.set(client, line);
    return line;
  }

  #begins(client: EncryptingClient, line: Line): void {
    this.#begunThisTurn++;
    this.#lookSoon();
    this.#underWay++;
    line.underWay.set(client, this.#place.reactor.now);
    // Among equals the others are the next.
    this.#lines.delete(line.address);
    this.#lines.set(line.address, line);
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
    this.#lookLater(this.#underWay < this.#most ? WINDOW_MS : LOOK_MS);
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
    while (this.#waiting > 0 && this.#hasRoom && this.#admit()) {
      const line = this.#nextLine()!;
      const client = this.#nextOf(line);
      line.waiting.delete(client);
      this.#begins(client, line);
      client.proceed();
    }
    if (this.#waiting > 0) this.#lookAgain();
    else this.#crowded = false;
  }

  /** The line that somebody waits in and that has the fewest places. */
  #nextLine(): Line | undefined {
    let next: Line | undefined;
    for (const line of this.#lines.values()) {
      if (line.waiting.size === 0) continue;
      if (next === undefined || line.underWay.size < next.underWay.size) next = line;
    }
    return next;
  }

  #nextOf(line: Line): EncryptingClient {
    const newest = this.#crowded && line.newestNext;
    line.newestNext = !newest && line.waiting.size > 1;
    let client: EncryptingClient | undefined;
    for (client of line.waiting) if (!newest) break;
    return client!;
  }

  /** Makes as much room as this turn may have use for. */
  #endSilent(): void {
    let wanted = Math.min(this.#waiting, this.#mostATurn) - (this.#most - this.#underWay);
    if (wanted <= 0) return;
    const { now } = this.#place.reactor;
    const fewest = this.#nextLine()!.underWay.size;
    const lines = [...this.#lines.values()].sort((a, b) => b.underWay.size - a.underWay.size);
    for (const { underWay } of lines) {
      for (const [client, sinceMs] of underWay) {
        const patience = underWay.size > fewest + 1 ? SILENT_BEYOND_SHARE_MS : SILENT_MS;
        if (now - sinceMs < patience) break;
        client.giveWay();
        if (--wanted === 0) return;
      }
    }
  }
}

/** The line of those who have none of their own. */
const OTHERS = "";
