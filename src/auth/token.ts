/**
 * Checks of signed tokens (RFC 7519). A token is good if a key of ours has signed it by that key's own algorithm, at this
 * time, for us; whose it is is for the caller to compare. Faults are for the log: the client hears that it was refused.
 *
 * What must hold: nothing in a token chooses more than one of the keys that are there. No token is put into a fault.
 */

import { decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from "jose";
import type { TokenAlgorithm, TokenKey } from "./token_keys.ts";

/** What a token has to say, beside its signature. */
export interface TokenRules {
  /** One of them must be in its `aud`; empty: it is not looked at. */
  audience: readonly string[];
  /** Its `iss`; `undefined`: it is not looked at. */
  issuer: string | undefined;
  /** How far clocks may be apart, in seconds. */
  leeway: number;
}

/** What a good token claims, or why it is none. */
export type TokenVerdict = { readonly claims: JWTPayload } | { readonly fault: string };

const ALGORITHMS: readonly string[] = ["RS256", "ES256", "EdDSA"] satisfies TokenAlgorithm[];
/** Keys of a file without names, which are tried one by one. */
const MOST_TRIED = 8;

/** The `kid` of a token that is not checked yet. */
export function kidOf(token: string): string | undefined {
  try {
    const { kid } = decodeProtectedHeader(token);
    return typeof kid === "string" && kid !== "" ? kid : undefined;
  } catch {
    return undefined;
  }
}

/** Checks a token with these keys, as of `nowMs`. */
export async function verifyToken(
  token: string,
  keys: readonly TokenKey[],
  rules: TokenRules,
  nowMs: number,
): Promise<TokenVerdict> {
  const candidates = keysFor(token, keys);
  if (!Array.isArray(candidates)) return candidates;
  const { audience, issuer, leeway } = rules;
  for (const { jwk, algorithm } of candidates) {
    try {
      const { payload } = await jwtVerify(token, jwk, {
        algorithms: [algorithm],
        audience: audience.length > 0 ? [...audience] : undefined,
        issuer,
        clockTolerance: leeway,
        currentDate: new Date(nowMs),
        requiredClaims: ["exp"],
      });
      return { claims: payload };
    } catch (error) {
      if (error instanceof errors.JWSSignatureVerificationFailed) continue;
      return { fault: faultOf(error) };
    }
  }
  return { fault: "no key of ours has signed the token" };
}

function keysFor(token: string, keys: readonly TokenKey[]): TokenKey[] | { fault: string } {
  let header;
  try {
    header = decodeProtectedHeader(token);
  } catch {
    return { fault: "it is no token" };
  }
  const { alg, kid } = header;
  if (typeof alg !== "string" || !ALGORITHMS.includes(alg)) {
    return { fault: `its algorithm is none of ${ALGORITHMS.join(", ")}` };
  }
  const fitting = keys.filter(({ algorithm }) => algorithm === alg);
  if (fitting.length === 0) return { fault: `no key of ours is for ${alg}` };
  const named = fitting.filter((key) => key.kid !== undefined);
  // A name chooses among keys with names. Keys of a PEM file have none, whatever a token calls them.
  const chosen = typeof kid === "string" && named.length > 0
    ? named.filter((key) => key.kid === kid)
    : fitting;
  if (chosen.length === 0) return { fault: "no key of ours has its kid" };
  if (typeof kid !== "string" && named.length > 1) {
    return { fault: "it has no kid, and there are several keys that could have signed it" };
  }
  return chosen.slice(0, MOST_TRIED);
}

function faultOf(error: unknown): string {
  if (error instanceof errors.JWTExpired) return "the token has expired";
  if (error instanceof errors.JWTClaimValidationFailed) {
    const { claim, reason } = error;
    if (claim === "nbf") return "the token is not valid yet";
    return reason === "missing" ? `the token has no ${claim}` : `the token's ${claim} does not fit`;
  }
  if (error instanceof errors.JOSEError) return `it is no token that is taken here (${error.code})`;
  throw error;
}

/** The user that a claim names. */
export function userOf(claims: JWTPayload, claim: string): string | undefined {
  const value = claims[claim];
  return typeof value === "string" && value !== "" ? value : undefined;
}
