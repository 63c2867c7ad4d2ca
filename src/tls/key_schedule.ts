/**
 * Keys out of secrets: TLS 1.3 (RFC 8446 §7.1 to §7.3) and TLS 1.2 (RFC 5246 §5, §6.3). Called at a connection's
 * beginning and when its keys change, never for a record.
 */

import { openssl } from "../os/openssl.ts";
import type { Suite } from "./suites.ts";

type Hash = Suite["hash"];

const HASH_BYTES: Record<Hash, number> = { sha256: 32, sha384: 48 };
export const IV_BYTES = 12;

const encoder = new TextEncoder();

function hmac(
  hash: Hash,
  key: Uint8Array<ArrayBuffer>,
  ...parts: Uint8Array[]
): Uint8Array<ArrayBuffer> {
  const { crypto } = openssl();
  const message = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    message.set(part, at);
    at += part.length;
  }
  const digest = new Uint8Array(HASH_BYTES[hash]);
  const method = hash === "sha256" ? crypto.EVP_sha256() : crypto.EVP_sha384();
  const done = crypto.HMAC(method, key, key.length, message, message.length, digest, null);
  message.fill(0);
  if (done === null) throw new Error(`OpenSSL has no HMAC with ${hash}`);
  return digest;
}

/** HKDF-Expand-Label without a context, for lengths of one hash at most: all that are needed here. */
export function expandLabel(
  hash: Hash,
  secret: Uint8Array<ArrayBuffer>,
  label: string,
  length: number,
): Uint8Array<ArrayBuffer> {
  const name = encoder.encode(`tls13 ${label}`);
  const info = Uint8Array.of(length >> 8, length & 255, name.length, ...name, 0, 1);
  const block = hmac(hash, secret, info);
  const key = block.slice(0, length);
  block.fill(0);
  return key;
}

/** Key and nonce of one direction, from its secret in the state. Whoever has used them overwrites them. */
export interface RecordKeys {
  key: Uint8Array<ArrayBuffer>;
  iv: Uint8Array<ArrayBuffer>;
}

export function trafficKeys(suite: Suite, secret: Uint8Array<ArrayBuffer>): RecordKeys {
  return {
    key: expandLabel(suite.hash, secret, "key", suite.keyBytes),
    iv: expandLabel(suite.hash, secret, "iv", IV_BYTES),
  };
}

/** The secret after this one, at a KeyUpdate. */
export function nextSecret(suite: Suite, secret: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return expandLabel(suite.hash, secret, "traffic upd", HASH_BYTES[suite.hash]);
}

/** P_hash of TLS 1.2, `length` bytes of it. */
export function prf(
  hash: Hash,
  secret: Uint8Array<ArrayBuffer>,
  label: string,
  seed: Uint8Array,
  length: number,
): Uint8Array<ArrayBuffer> {
  const labelBytes = encoder.encode(label);
  const result = new Uint8Array(length);
  let a = hmac(hash, secret, labelBytes, seed);
  for (let at = 0; at < length; at += HASH_BYTES[hash]) {
    const block = hmac(hash, secret, a, labelBytes, seed);
    result.set(block.subarray(0, Math.min(block.length, length - at)), at);
    block.fill(0);
    a = hmac(hash, secret, a);
  }
  a.fill(0);
  return result;
}

/** The key block of TLS 1.2, cut: for each direction the key and the fixed part of the nonce. */
export function keyBlock(
  suite: Suite,
  masterSecret: Uint8Array<ArrayBuffer>,
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
