/** Tokens made by hand, apart from the library that checks them, and keys to sign them with. */

import { createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto";

/** A pair of keys, and how the public half is written. */
export interface SigningKey {
  readonly algorithm: string;
  readonly privateKey: KeyObject;
  readonly pem: string;
  readonly jwk: Record<string, unknown>;
}

/** Makes keys for an algorithm. */
export function signingKey(algorithm: "RS256" | "ES256" | "EdDSA", bits = 2048): SigningKey {
  const { publicKey, privateKey } = algorithm === "RS256"
    ? generateKeyPairSync("rsa", { modulusLength: bits })
    : algorithm === "ES256"
    ? generateKeyPairSync("ec", { namedCurve: "P-256" })
    : generateKeyPairSync("ed25519");
  return {
    algorithm,
    privateKey,
    pem: publicKey.export({ type: "spki", format: "pem" }) as string,
    jwk: publicKey.export({ format: "jwk" }) as Record<string, unknown>,
  };
}

/** A token with these claims; `header` is added to that of the key. */
export function token(key: SigningKey, claims: object, header: object = {}): string {
  const input = head({ alg: key.algorithm, ...header }, claims);
  const digest = key.algorithm === "EdDSA" ? null : "sha256";
  const signature = sign(digest, new TextEncoder().encode(input), {
    key: key.privateKey,
    dsaEncoding: "ieee-p1363",
  });
  return `${input}.${encoded(signature)}`;
}

/** A token that a shared secret has signed. */
export function hmacToken(secret: string, claims: object, header: object = {}): string {
  const input = head({ alg: "HS256", ...header }, claims);
  return `${input}.${encoded(createHmac("sha256", secret).update(input).digest())}`;
}

/** A token without a signature. */
export function unsignedToken(claims: object, alg = "none"): string {
  return `${head({ alg }, claims)}.`;
}

function head(header: object, claims: object): string {
  return [header, claims].map((part) => encoded(new TextEncoder().encode(JSON.stringify(part))))
    .join(".");
}

function encoded(bytes: Uint8Array): string {
  return new Uint8Array(bytes).toBase64({ alphabet: "base64url", omitPadding: true });
}
