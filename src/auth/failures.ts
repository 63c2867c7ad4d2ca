/**
 * Wrong passwords by address and user, and how long the next one waits. A table of fixed size that all workers share: each
 * key has a handful of places, which a key with fewer failures gives up. Two workers that count at once may lose one of
 * two counts; nothing worse comes of it.
 *
 * What must hold: a failure from one address never makes a user wait who comes from another; whoever brings the right
 * password is served when his wait is over. Which keys share places nobody can know who does not know the secret.
 */

import { parseAddress } from "../config/address.ts";
import { hmac } from "./sha256.ts";

/** When failures begin to cost time, and how much. */
export interface FailureLimits {
  /** 0: never. */
  auth_failure_delay: number;
  auth_failure_delay_max: number;
  auth_failures_free: number;
}

const SETS = 4096;
const WAYS = 4;
/** Tag, count, and when the last failure was: milliseconds, the lower 32 bits. */
const ENTRY_WORDS = 3;
/** When the last failure of all was; 0: never. Long after that nothing is looked up. */
const LAST = 0;
const HEAD_WORDS = 1;
/** After so long one failure of a user is forgotten, or of an address. */
const PAIR_DRAIN_MS = 60_000;
const ADDRESS_DRAIN_MS = 1000;
/** By then all are: more are not counted. */
const FORGOTTEN_MS = 6_000_000;
/** So many times the failures of one user are free to an address: behind it may be many. */
const ADDRESS_SHARE = 20;

const NETWORK_BYTES = 8;

/** Words that the table takes. */
export const FAILURE_WORDS = HEAD_WORDS + SETS * WAYS * ENTRY_WORDS;

/** What is to be waited for. */
export interface Wait {
  /** Nothing of this user from this address is checked before: it counts anew after each failure. */
  pairMs: number;
  /** Each login from this address waits so long, once. */
  addressMs: number;
}

const NOTHING: Wait = { pairMs: 0, addressMs: 0 };

export class Failures {
  readonly #words: Int32Array;
  readonly #secret: Uint8Array;
  /** How many passwords of a pair others check at the moment, for this thread. */
  readonly #checking = new Map<string, number>();

  /** `words` has FAILURE_WORDS, shared by all threads; `secret` is the same on all of them. */
  constructor(words: Int32Array, secret: Uint8Array) {
    this.#words = words;
    this.#secret = secret;
  }

  /** How long a password has to wait; times are milliseconds on a clock that all threads have. */
  wait(address: string, user: string, nowMs: number, limits: FailureLimits): Wait {
    if (limits.auth_failure_delay === 0 || !this.#any(nowMs)) return NOTHING;
    const { auth_failures_free: free } = limits;
    const key = pairOf(address, user);
    const pair = this.#find(key);
    const pairCount = this.#count(pair, nowMs, PAIR_DRAIN_MS);
    const whole = this.#find(`address\0${place(address)}`);
    const addressCount = this.#count(whole, nowMs, ADDRESS_DRAIN_MS);
    const closed = delay(pairCount - free, limits);
    // What is being checked may be wrong, too.
    const sinceMs = this.#checking.has(key) ? 0 : this.#since(pair, nowMs);
    return {
      pairMs: closed === 0 ? 0 : Math.max(0, closed - sinceMs),
      addressMs: delay(addressCount - free * ADDRESS_SHARE, limits),
    };
  }

  /** A password was wrong. */
  failed(address: string, user: string, nowMs: number): void {
    Atomics.store(this.#words, LAST, (nowMs | 0) || 1);
    this.#add(pairOf(address, user), nowMs, PAIR_DRAIN_MS);
    this.#add(`address\0${place(address)}`, nowMs, ADDRESS_DRAIN_MS);
  }

  /** A password was right: what was wrong before was of the same person. Other users' failures are not forgotten. */
  succeeded(address: string, user: string, nowMs: number): void {
    if (!this.#any(nowMs)) return;
    const at = this.#find(pairOf(address, user));
    if (at >= 0) this.#words[at + 1] = 0;
  }

  /** A check has begun that takes a while; `checkEnds` when it is over. */
  checkBegins(address: string, user: string): void {
    const key = pairOf(address, user);
    this.#checking.set(key, (this.#checking.get(key) ?? 0) + 1);
  }

  checkEnds(address: string, user: string): void {
    const key = pairOf(address, user);
    const left = (this.#checking.get(key) ?? 0) - 1;
    if (left > 0) this.#checking.set(key, left);
    else this.#checking.delete(key);
  }

  #any(nowMs: number): boolean {
    const last = Atomics.load(this.#words, LAST);
    return last !== 0 && ((nowMs - last) | 0) < FORGOTTEN_MS;
  }

  /** Since the entry's last failure. */
  #since(at: number, nowMs: number): number {
    return Math.max(0, (nowMs - this.#words[at + 2]!) | 0);
  }

  /** Where the key's entry is; −1: it has none. */
  #find(key: string, { first, tag } = this.#places(key)): number {
    for (let way = 0; way < WAYS; way++) {
      const at = first + way * ENTRY_WORDS;
      if (Atomics.load(this.#words, at) === tag) return at;
    }
    return -1;
  }

  #places(key: string): { first: number; tag: number } {
    const digest = hmac(this.#secret, key);
    const view = new DataView(digest.buffer, digest.byteOffset);
    const set = view.getUint32(0) % SETS;
    return { first: HEAD_WORDS + set * WAYS * ENTRY_WORDS, tag: view.getInt32(4) || 1 };
  }

  #count(at: number, nowMs: number, drainMs: number): number {
    if (at < 0) return 0;
    return Math.max(0, this.#words[at + 1]! - Math.floor(this.#since(at, nowMs) / drainMs));
  }

  #add(key: string, nowMs: number, drainMs: number): void {
    const places = this.#places(key);
    let at = this.#find(key, places);
    const count = this.#count(at, nowMs, drainMs);
    if (at < 0) {
      at = this.#leastOf(places.first);
      Atomics.store(this.#words, at, places.tag);
    }
    this.#words[at + 1] = Math.min(count + 1, FORGOTTEN_MS / drainMs);
    this.#words[at + 2] = nowMs | 0;
  }

  /** The place that is missed least. */
  #leastOf(first: number): number {
    let least = first;
    for (let way = 1; way < WAYS; way++) {
      const at = first + way * ENTRY_WORDS;
      const [count, then] = [this.#words[at + 1]!, this.#words[at + 2]!];
      const [fewest, oldest] = [this.#words[least + 1]!, this.#words[least + 2]!];
      if (count < fewest || count === fewest && then < oldest) least = at;
    }
    return least;
  }
}

function pairOf(address: string, user: string): string {
  return `user\0${user}\0${place(address)}`;
}

function delay(over: number, limits: FailureLimits): number {
  if (over < 0) return 0;
  const { auth_failure_delay: first, auth_failure_delay_max: most } = limits;
  // Two to a power that is too high is more than any limit.
  return Math.min(most, first * 2 ** over);
}

/** Who has one address of IPv6 has all of its network. */
function place(address: string): string {
  if (!address.includes(":")) return address;
  const zone = address.indexOf("%");
  const parsed = parseAddress(zone < 0 ? address : address.slice(0, zone));
  return parsed === undefined ? address : parsed.bytes.slice(0, NETWORK_BYTES).join(".");
}
