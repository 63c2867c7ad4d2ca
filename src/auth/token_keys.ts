/**
 * Public keys that tokens are checked with, from a PEM file (keys or certificates, several for a rotation) or a JWK set
 * (RFC 7517 §5). A key is good for one algorithm, which its type decides: what a token says of itself never does.
 */

import { createPublicKey, type JsonWebKey } from "node:crypto";
import type { JWK } from "jose";

/** Signatures that are taken, by their names in a token. */
export type TokenAlgorithm = "RS256" | "ES256" | "EdDSA";

/** One of them. */
export interface TokenKey {
  /** Name in the set; a PEM file has none. */
  kid: string | undefined;
  algorithm: TokenAlgorithm;
  jwk: JWK;
}

/** What a file holds, or what is wrong with it. */
export type TokenKeys = { readonly keys: readonly TokenKey[] } | { readonly fault: string };

/** An issuer has a handful. */
const MOST_KEYS = 100;
const LEAST_RSA_BITS = 2048;
const PEM_BLOCK = /-----BEGIN ([A-Z0-9 ]+)-----[^-]*-----END \1-----/g;
const PUBLIC_BLOCKS = new Set(["PUBLIC KEY", "RSA PUBLIC KEY", "CERTIFICATE"]);

/** Reads the text of a key file. */
export function readTokenKeys(text: string): TokenKeys {
  const read = text.trimStart().startsWith("{") ? fromSet(text) : fromPem(text);
  if ("keys" in read && read.keys.length > MOST_KEYS) {
    return { fault: `holds ${read.keys.length} keys: ${MOST_KEYS} are the most` };
  }
  return read;
}

function fromPem(text: string): TokenKeys {
  const keys: TokenKey[] = [];
  for (const [block, label] of text.matchAll(PEM_BLOCK)) {
    if (label!.includes("PRIVATE KEY")) {
      return { fault: "holds a private key: the public one belongs here" };
    }
    if (!PUBLIC_BLOCKS.has(label!)) continue;
    const read = keyOf(block);
    if (typeof read === "string") return { fault: read };
    keys.push(read);
  }
  return keys.length > 0 ? { keys } : { fault: "holds no public key: PEM or a JWK set" };
}

function fromSet(text: string): TokenKeys {
  let set: { keys?: unknown } & Record<string, unknown>;
  try {
    set = JSON.parse(text);
  } catch {
    return { fault: "is no JSON" };
  }
  const entries = set.keys === undefined ? [set] : set.keys;
  if (!Array.isArray(entries)) return { fault: 'has no list "keys"' };
  const keys: TokenKey[] = [];
  let passedOver = "";
  for (const entry of entries) {
    if (typeof entry !== "object" || entry === null) {
      return { fault: "has an entry that is no key" };
    }
    const { use, alg, kid, d } = entry as JWK;
    if (d !== undefined) return { fault: "holds a private key: the public one belongs here" };
    if (use !== undefined && use !== "sig") continue;
    const read = keyOf(entry as JWK);
    // An issuer's set may have keys for others, too.
    if (typeof read === "string") passedOver = read;
    else if (alg === undefined || alg === read.algorithm || alg === "Ed25519") {
      keys.push({ ...read, kid: typeof kid === "string" ? kid : undefined });
    }
  }
  if (keys.length > 0) return { keys };
  return { fault: passedOver === "" ? "holds no key for signatures" : passedOver };
}

/** A key that signatures of ours are checked with, or what is wrong with it. */
function keyOf(from: string | JWK): TokenKey | string {
  let key;
  try {
    key = typeof from === "string"
      ? createPublicKey(from)
      : createPublicKey({ key: from as JsonWebKey, format: "jwk" });
  } catch {
    return "holds a key that can't be read";
  }
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  const bits = details?.modulusLength ?? 0;
  let algorithm: TokenAlgorithm;
  if (type === "rsa") {
    if (bits < LEAST_RSA_BITS) {
      return `holds an RSA key of ${bits} bits: ${LEAST_RSA_BITS} are the least`;
    }
    algorithm = "RS256";
  } else if (type === "ec" && details?.namedCurve === "prime256v1") algorithm = "ES256";
  else if (type === "ed25519") algorithm = "EdDSA";
  else return "holds a key of another kind than RSA, EC P-256 and Ed25519";
  return { kid: undefined, algorithm, jwk: key.export({ format: "jwk" }) as JWK };
}
