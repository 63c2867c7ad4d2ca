/** One direction of a connection: its secret and number, with the cipher that they are for, and how it gets new ones. */

import { type Cipher, freeCipher, newCipher } from "../os/openssl.ts";
import { IV_BYTES, nextSecret, type RecordKeys, trafficKeys } from "./key_schedule.ts";
import type { TlsKeys } from "./state.ts";
import { type Suite, TLS_1_3 } from "./suites.ts";

export class Direction {
  readonly keys: TlsKeys;
  cipher: Cipher;
  iv: Uint8Array<ArrayBuffer>;
  readonly #suite: Suite;
  readonly #purpose: number;

  constructor(suite: Suite, keys: TlsKeys, purpose: number) {
    this.keys = keys;
    this.#suite = suite;
    this.#purpose = purpose;
    const { key, iv } = this.#derive();
    this.cipher = newCipher(suite.cipher, key, purpose);
    this.iv = iv;
    key.fill(0);
  }

  #derive(): RecordKeys {
    const { secret } = this.keys;
    if (this.#suite.version === TLS_1_3) return trafficKeys(this.#suite, secret);
    const { keyBytes } = this.#suite;
    return { key: secret.slice(0, keyBytes), iv: secret.slice(keyBytes, keyBytes + IV_BYTES) };
  }

  /** Goes on with the next secret, from number 0 on. */
  renew(): void {
    const { keys } = this;
    const secret = nextSecret(this.#suite, keys.secret);
    this.free();
    keys.secret = secret;
    keys.sequence = 0;
    const { key, iv } = this.#derive();
    this.cipher = newCipher(this.#suite.cipher, key, this.#purpose);
    this.iv = iv;
    key.fill(0);
  }

  /** Frees the cipher and overwrites the secret. */
  free(): void {
    freeCipher(this.cipher);
    this.iv.fill(0);
    this.keys.secret.fill(0);
  }
}
