/**
 * How many CancelRequests with a wrong key an address may send: the key of a client that speaks protocol 3.0 has but 32 bits,
 * and whoever may try as often as he likes finds it. Who has sent too many is not listened to until some time has passed.
 *
 * What must hold: memory is bounded, whoever sends from however many addresses.
 */

import { networkOf } from "../config/address.ts";

/** So many at once, and one more each so many milliseconds. */
const AT_ONCE = 100;
const EACH_MS = 100;
/** Addresses that are remembered; the one that has been silent for longest is forgotten for another one. */
const MOST_ADDRESSES = 1000;

export class WrongKeys {
  /** When all is forgiven; in the order of the last wrong key. */
  readonly #forgivenAt = new Map<string, number>();

  /** Whether nothing more is to be tried from there. */
  exceeded(address: string, now: number): boolean {
    if (this.#forgivenAt.size === 0) return false;
    const at = this.#forgivenAt.get(networkOf(address)) ?? 0;
    return at - now > (AT_ONCE - 1) * EACH_MS;
  }

  note(address: string, now: number): void {
    const network = networkOf(address);
    const at = Math.max(this.#forgivenAt.get(network) ?? 0, now) + EACH_MS;
    this.#forgivenAt.delete(network);
    this.#forgivenAt.set(network, at);
    if (this.#forgivenAt.size <= MOST_ADDRESSES) return;
    const [oldest] = this.#forgivenAt.keys();
    this.#forgivenAt.delete(oldest!);
  }
}
