/** Tokens that the pooler signs itself, to show them to PostgreSQL in the place of a password. */

import { createPrivateKey } from "node:crypto";
import { importJWK, type JWK, SignJWT } from "jose";

/** For one log-in. */
const LIFE_S = 120;
const ALGORITHMS: Readonly<Record<string, string>> = {
  rsa: "RS256",
  ec: "ES256",
  ed25519: "EdDSA",
};

/** A token of this role, by a private key in PEM, or what is wrong with the key. */
export async function mintToken(
  pem: string,
  role: string,
  nowMs: number,
): Promise<{ token: string } | { fault: string }> {
  let key;
  try {
    key = createPrivateKey(pem);
  } catch {
    return { fault: "it holds no private key that can be read" };
  }
  const alg = ALGORITHMS[key.asymmetricKeyType ?? ""];
  if (alg === undefined) {
    return { fault: "its key is of another kind than RSA, EC P-256 and Ed25519" };
  }
  const token = await new SignJWT({ preferred_username: role })
    .setProtectedHeader({ alg })
    .setExpirationTime(Math.floor(nowMs / 1000) + LIFE_S)
    .sign(await importJWK(key.export({ format: "jwk" }) as JWK, alg));
  return { token };
}
