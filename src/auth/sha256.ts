// hot path
/**
 * SHA-256 (FIPS 180-4 §6.2) and HMAC with it (RFC 2104), for the few short messages of each log-in: the runtime's own make
 * streams of Node's for each digest, which costs more than all the rest of a log-in by SCRAM. Long derivations are not
 * for this: see `saltPassword`. No branch and no index depends on what is hashed.
 */

const BLOCK_BYTES = 64;
const DIGEST_BYTES = 32;
/** Of a last block: 0x80 and the length in bits. */
const PADDING_BYTES = 9;
const INNER_PAD = 0x36;
const OUTER_PAD = 0x5c;

/** First 32 bits of the fractional parts of the square or cube roots of the first primes (§4.2.2, §5.3.3). */
function fractions(count: number, root: (prime: number) => number): Int32Array {
  const words = new Int32Array(count);
  for (let candidate = 2, found = 0; found < count; candidate++) {
    let divisor = 2;
    while (divisor * divisor <= candidate && candidate % divisor !== 0) divisor++;
    if (divisor * divisor > candidate) words[found++] = (root(candidate) % 1) * 2 ** 32;
  }
  return words;
}

const INITIAL = fractions(8, Math.sqrt);
const K = fractions(64, Math.cbrt);

/** The message schedule, and a block that is put together. Both are overwritten by every digest. */
const W = new Int32Array(64);
const block = new Uint8Array(BLOCK_BYTES);
const encoder = new TextEncoder();

/** Takes the block at `bytes[at]` into `state`. */
function compress(state: Int32Array, bytes: Uint8Array, at: number): void {
  for (let t = 0; t < 16; t++, at += 4) {
    W[t] = bytes[at]! << 24 | bytes[at + 1]! << 16 | bytes[at + 2]! << 8 | bytes[at + 3]!;
  }
  for (let t = 16; t < 64; t++) {
    const x = W[t - 15]!;
    const y = W[t - 2]!;
    const s0 = (x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3;
    const s1 = (y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10;
    W[t] = ((W[t - 16]! + s0 | 0) + W[t - 7]! | 0) + s1 | 0;
  }
  let a = state[0]!;
  let b = state[1]!;
  let c = state[2]!;
  let d = state[3]!;
  let e = state[4]!;
  let f = state[5]!;
  let g = state[6]!;
  let h = state[7]!;
  for (let t = 0; t < 64; t++) {
    const s1 = (e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7);
    const t1 = (((h + s1 | 0) + (e & f ^ ~e & g) | 0) + K[t]! | 0) + W[t]! | 0;
    const s0 = (a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10);
    h = g;
    g = f;
    f = e;
    e = d + t1 | 0;
    d = c;
    const majority = a & b ^ a & c ^ b & c;
    c = b;
    b = a;
    a = (t1 + s0 | 0) + majority | 0;
  }
  state[0]! += a;
  state[1]! += b;
  state[2]! += c;
  state[3]! += d;
  state[4]! += e;
  state[5]! += f;
  state[6]! += g;
  state[7]! += h;
}

/** The state that digests are made in. */
const running = new Int32Array(INITIAL.length);

/**
 * Puts the digest of what is taken in by `from`, `before` bytes of whole blocks, and of `bytes[0..length)` behind that
 * into `digest`.
 */
function digestFrom(
  from: Int32Array,
  before: number,
  bytes: Uint8Array,
  length: number,
  digest: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  const state = running;
  state.set(from);
  let at = 0;
  for (; at + BLOCK_BYTES <= length; at += BLOCK_BYTES) compress(state, bytes, at);
  const left = length - at;
  for (let i = 0; i < left; i++) block[i] = bytes[at + i]!;
  block[left] = 0x80;
  block.fill(0, left + 1);
  if (left + PADDING_BYTES > BLOCK_BYTES) {
    compress(state, block, 0);
    block.fill(0);
  }
  writeWord(block, BLOCK_BYTES - 4, (before + length) * 8);
  compress(state, block, 0);
  for (let i = 0; i < 8; i++) writeWord(digest, 4 * i, state[i]!);
  return digest;
}

function writeWord(bytes: Uint8Array, at: number, word: number): void {
  bytes[at] = word >>> 24;
  bytes[at + 1] = word >>> 16;
  bytes[at + 2] = word >>> 8;
  bytes[at + 3] = word;
}

function newDigest(): Uint8Array<ArrayBuffer> {
  return new Uint8Array(DIGEST_BYTES);
}

/** The inner digest of an HMAC, and a short text in bytes. */
const inside = newDigest();
const shortText = new Uint8Array(256);

/** Nothing of what was hashed stays. */
function forget(): void {
  running.fill(0);
  W.fill(0);
  block.fill(0);
  inside.fill(0);
}

/** SHA-256 of some bytes, fewer than 2²⁸. */
export function sha256(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const digest = digestFrom(INITIAL, 0, bytes, bytes.length, newDigest());
  forget();
  return digest;
}

/** The key's part of an HMAC: the states behind the key's own blocks. As secret as the key. */
interface Pads {
  readonly inner: Int32Array;
  readonly outer: Int32Array;
}

const padsOf = new WeakMap<Uint8Array, Pads>();

function pad(key: Uint8Array, byte: number): Int32Array {
  const state = INITIAL.slice();
  block.fill(byte);
  for (let i = 0; i < key.length; i++) block[i]! ^= key[i]!;
  compress(state, block, 0);
  return state;
}

function padsFor(key: Uint8Array): Pads {
  let pads = padsOf.get(key);
  if (pads === undefined) {
    const short = key.length > BLOCK_BYTES ? sha256(key) : key;
    pads = { inner: pad(short, INNER_PAD), outer: pad(short, OUTER_PAD) };
    padsOf.set(key, pads);
  }
  return pads;
}

/** HMAC-SHA-256. A key is not to be changed once it was used. */
export function hmac(key: Uint8Array, message: Uint8Array | string): Uint8Array<ArrayBuffer> {
  const { inner, outer } = padsFor(key);
  let bytes = shortText;
  let length = 0;
  if (typeof message !== "string") {
    bytes = message as Uint8Array<ArrayBuffer>;
    ({ length } = message);
  } else if (3 * message.length <= shortText.length) {
    length = encoder.encodeInto(message, shortText).written;
  } else {
    bytes = encoder.encode(message);
    ({ length } = bytes);
  }
  digestFrom(inner, BLOCK_BYTES, bytes, length, inside);
  const digest = digestFrom(outer, BLOCK_BYTES, inside, DIGEST_BYTES, newDigest());
  forget();
  return digest;
}
