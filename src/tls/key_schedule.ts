/**
 * Keys out of secrets: TLS 1.3 (RFC 8446 §7.1 to §7.3) and TLS 1.2 (RFC 5246 §5, §6.3). Called at a connection's
 * beginning and when its keys change, never for a record.
 */

import { computeHmac, type Hmac, mac, macKey, macMessage, newHmac } from "../os/openssl.ts";
import type { Suite } from "./suites.ts";

type Hash = Suite["hash"];

const HASH_BYTES: Record<Hash, number> = { sha256: 32, sha384: 48 };
export const IV_BYTES = 12;

const encoder = new TextEncoder();

/** What was derived last, from its beginning on. Whoever has used it overwrites it. */
export const derived: Uint8Array<ArrayBuffer> = mac;

const byHash = new Map<Hash, Hmac>();

function hmacOf(hash: Hash): Hmac {
  let hmac = byHash.get(hash);
  if (hmac === undefined) {
    byHash.set(hash, hmac = newHmac(hash === "sha256" ? "SHA2-256" : "SHA2-384"));
  }
  return hmac;
}

/** HMAC of the parts in a row, to `derived`. */
function hmac(hash: Hash, key: Uint8Array, ...parts: Uint8Array[]): void {
  const kept = hmacOf(hash);
  macKey.set(key);
  let length = 0;
  for (const part of parts) {
    macMessage.set(part, length);
    length += part.length;
  }
  if (!computeHmac(kept, key.length, length)) throw new Error(`OpenSSL has no HMAC with ${hash}`);
}

const infos = new Map<string, Uint8Array>();

/** The input of HKDF-Expand for a label without a context, and the number of the one block that is needed. */
function infoFor(label: string, length: number): Uint8Array {
  const known = infos.get(label);
  if (known !== undefined && known[1] === length) return known;
  const name = encoder.encode(`tls13 ${label}`);
  const info = Uint8Array.of(length >> 8, length & 255, name.length, ...name, 0, 1);
  infos.set(label, info);
  return info;
}

/** HKDF-Expand-Label without a context, to `derived`; for lengths of one hash at most: all that are needed here. */
function expandLabel(hash: Hash, secret: Uint8Array, label: string, length: number): void {
  hmac(hash, secret, infoFor(label, length));
}

/** The key of records under a traffic secret, to `derived`. */
export function deriveKey(suite: Suite, secret: Uint8Array): void {
  expandLabel(suite.hash, secret, "key", suite.keyBytes);
}

/** What the numbers of records are mixed into, likewise. */
export function deriveIv(suite: Suite, secret: Uint8Array): void {
  expandLabel(suite.hash, secret, "iv", IV_BYTES);
}

/** The secret after this one, at a KeyUpdate. */
export function nextSecret(suite: Suite, secret: Uint8Array): Uint8Array<ArrayBuffer> {
  const length = HASH_BYTES[suite.hash];
  expandLabel(suite.hash, secret, "traffic upd", length);
  const next = derived.slice(0, length);
  derived.fill(0);
  return next;
}

/** Key and fixed part of the nonce of one direction of TLS 1.2. Whoever has used them overwrites them. */
export interface RecordKeys {
  key: Uint8Array<ArrayBuffer>;
  iv: Uint8Array<ArrayBuffer>;
}

/** P_hash of TLS 1.2, `length` bytes of it. */
export function prf(
  hash: Hash,
  secret: Uint8Array,
  label: string,
  seed: Uint8Array,
  length: number,
): Uint8Array<ArrayBuffer> {
  const labelBytes = encoder.encode(label);
  const hashBytes = HASH_BYTES[hash];
  const result = new Uint8Array(length);
  const a = new Uint8Array(hashBytes);
  hmac(hash, secret, labelBytes, seed);
  a.set(derived.subarray(0, hashBytes));
  for (let at = 0; at < length; at += hashBytes) {
    hmac(hash, secret, a, labelBytes, seed);
    result.set(derived.subarray(0, Math.min(hashBytes, length - at)), at);
    hmac(hash, secret, a);
    a.set(derived.subarray(0, hashBytes));
  }
  a.fill(0);
  derived.fill(0);
  return result;
}

/** The key block of TLS 1.2, cut: for each direction its part. */
export function keyBlock(
  suite: Suite,
  masterSecret: Uint8Array,
  clientRandom: Uint8Array,
  serverRandom: Uint8Array,
): { client: RecordKeys; server: RecordKeys } {
  const { keyBytes } = suite;
  const ivBytes = IV_BYTES - suite.explicitNonceBytes;
  const seed = new Uint8Array(clientRandom.length + serverRandom.length);
  seed.set(serverRandom);
  seed.set(clientRandom, serverRandom.length);
  const block = prf(suite.hash, masterSecret, "key expansion", seed, 2 * (keyBytes + ivBytes));
  const ivs = 2 * keyBytes;
  const cut = {
    client: { key: block.slice(0, keyBytes), iv: block.slice(ivs, ivs + ivBytes) },
    server: { key: block.slice(keyBytes, ivs), iv: block.slice(ivs + ivBytes) },
  };
  block.fill(0);
  return cut;
}
