/** One direction of a connection: its secret and number, with the cipher that they are for, and how it gets new ones. */

import { type Cipher, freeCipher, newCipher } from "../os/openssl.ts";
import { derived, deriveIv, deriveKey, IV_BYTES, nextSecret } from "./key_schedule.ts";
import type { TlsKeys } from "./state.ts";
import { type Suite, TLS_1_3 } from "./suites.ts";

/** The words of what was derived, as the machine has them. */
const words = new Int32Array(derived.buffer);

export class Direction {
  readonly keys: TlsKeys;
  cipher: Cipher;
  /** What the numbers of records are mixed into, in words: a third of the memory of an array. */
  iv0 = 0;
  iv1 = 0;
  iv2 = 0;
  readonly #suite: Suite;
  readonly #purpose: number;

  constructor(suite: Suite, keys: TlsKeys, purpose: number) {
    this.keys = keys;
    this.#suite = suite;
    this.#purpose = purpose;
    this.cipher = this.#derive();
  }

  #derive(): Cipher {
    const { secret } = this.keys;
    const suite = this.#suite;
    const is13 = suite.version === TLS_1_3;
    if (is13) deriveKey(suite, secret);
    else derived.set(secret.subarray(0, suite.keyBytes));
    const cipher = newCipher(suite.cipher, derived, this.#purpose);
    if (is13) deriveIv(suite, secret);
    else derived.set(secret.subarray(suite.keyBytes, suite.keyBytes + IV_BYTES));
    [this.iv0, this.iv1, this.iv2] = words;
    derived.fill(0);
    return cipher;
  }

  /** Goes on with the next secret, from number 0 on. */
  renew(): void {
    const { keys } = this;
    const secret = nextSecret(this.#suite, keys.secret);
    this.free();
    keys.secret = secret;
    keys.sequence = 0;
    this.cipher = this.#derive();
  }

  /** Frees the cipher and overwrites the secret. */
  free(): void {
    freeCipher(this.cipher);
    this.iv0 = 0;
    this.iv1 = 0;
    this.iv2 = 0;
    this.keys.secret.fill(0);
  }
}
