import assert from "node:assert/strict";
import { readTokenKeys, type TokenKey } from "./token_keys.ts";
import { kidOf, type TokenRules, userOf, verifyToken } from "./token.ts";
import { hmacToken, signingKey, token, unsignedToken } from "./testing/tokens.ts";

const NOW = 1_700_000_000;
const RULES: TokenRules = { audience: [], issuer: undefined, leeway: 0 };
const CLAIMS = { preferred_username: "ann", exp: NOW + 60 };
const RSA = signingKey("RS256");
const OTHER_RSA = signingKey("RS256");
const EC = signingKey("ES256");
const ED = signingKey("EdDSA");

function keysOf(text: string): readonly TokenKey[] {
  const read = readTokenKeys(text);
  assert.ok("keys" in read, JSON.stringify(read));
  return read.keys;
}

function faultOf(text: string): string {
  const read = readTokenKeys(text);
  assert.ok("fault" in read, "there should be a fault");
  return read.fault;
}

function set(...keys: object[]): string {
  return JSON.stringify({ keys });
}

async function verdict(
  text: string,
  keys: string,
  rules: Partial<TokenRules> = {},
): Promise<string> {
  const found = await verifyToken(text, keysOf(keys), { ...RULES, ...rules }, NOW * 1000);
  return "claims" in found ? `good: ${userOf(found.claims, "preferred_username")}` : found.fault;
}

Deno.test("token: RS256, ES256 and EdDSA, by a PEM file and by a set", async () => {
  for (const key of [RSA, EC, ED]) {
    const good = token(key, CLAIMS);
    assert.equal(await verdict(good, key.pem), "good: ann", key.algorithm);
    assert.equal(await verdict(good, set(key.jwk)), "good: ann", key.algorithm);
    assert.equal(await verdict(good, JSON.stringify(key.jwk)), "good: ann", key.algorithm);
  }
});

Deno.test("token: a signature by another key, or none, is refused", async () => {
  assert.equal(
    await verdict(token(OTHER_RSA, CLAIMS), RSA.pem),
    "no key of ours has signed the token",
  );
  assert.match(await verdict(unsignedToken(CLAIMS), RSA.pem), /algorithm is none of/);
  assert.match(await verdict(unsignedToken(CLAIMS, "None"), RSA.pem), /algorithm is none of/);
  assert.notEqual(await verdict(unsignedToken(CLAIMS, "RS256"), RSA.pem), "good: ann");
  const [head, claims] = token(RSA, CLAIMS).split(".");
  const [, , signature] = token(RSA, { ...CLAIMS, preferred_username: "root" }).split(".");
  assert.match(await verdict(`${head}.${claims}.${signature}`, RSA.pem), /no key of ours/);
});

Deno.test("token: the public key is no secret to sign with, and an algorithm fits its key alone", async () => {
  assert.match(await verdict(hmacToken(RSA.pem, CLAIMS), RSA.pem), /algorithm is none of/);
  assert.match(
    await verdict(hmacToken(RSA.pem, CLAIMS, { alg: "RS256" }), RSA.pem),
    /no key of ours/,
  );
  assert.equal(await verdict(token(EC, CLAIMS), RSA.pem), "no key of ours is for ES256");
  assert.match(
    await verdict(token(RSA, CLAIMS, { alg: "ES256" }), RSA.pem + EC.pem),
    /no key of ours/,
  );
  for (const alg of ["RS384", "RS512", "PS256", "ES384", "HS256", "", 5, null]) {
    assert.match(await verdict(token(RSA, CLAIMS, { alg }), RSA.pem), /algorithm is none of/);
  }
  assert.match(await verdict(token(RSA, CLAIMS, { crit: ["exp"] }), RSA.pem), /ERR_J|no token/);
  // A key of the token's own choice is not looked at.
  const brought = token(OTHER_RSA, CLAIMS, { jwk: OTHER_RSA.jwk, jku: "https://x.test/keys" });
  assert.match(await verdict(brought, RSA.pem), /no key of ours/);
});

Deno.test("token: kid chooses in a set; without one there must be no choice", async () => {
  const keys = set({ ...RSA.jwk, kid: "a" }, { ...OTHER_RSA.jwk, kid: "b" }, {
    ...EC.jwk,
    kid: "c",
  });
  assert.equal(await verdict(token(OTHER_RSA, CLAIMS, { kid: "b" }), keys), "good: ann");
  assert.match(
    await verdict(token(OTHER_RSA, CLAIMS, { kid: "a" }), keys),
    /no key of ours has signed/,
  );
  assert.equal(await verdict(token(RSA, CLAIMS, { kid: "x" }), keys), "no key of ours has its kid");
  assert.match(await verdict(token(RSA, CLAIMS), keys), /several keys/);
  assert.equal(await verdict(token(EC, CLAIMS), keys), "good: ann");
  // Those of a PEM file have no names: during a rotation it has two.
  assert.equal(
    await verdict(token(OTHER_RSA, CLAIMS, { kid: "z" }), RSA.pem + OTHER_RSA.pem),
    "good: ann",
  );
  assert.equal(kidOf(token(RSA, CLAIMS, { kid: "a" })), "a");
  assert.equal(kidOf(token(RSA, CLAIMS, { kid: "" })), undefined);
  assert.equal(kidOf(token(RSA, CLAIMS, { kid: 7 })), undefined);
  assert.equal(kidOf("rubbish"), undefined);
});

Deno.test("token: time, with and without leeway", async () => {
  const at = (claims: object, rules?: Partial<TokenRules>) =>
    verdict(token(EC, { preferred_username: "ann", ...claims }), EC.pem, rules);
  assert.equal(await at({ exp: NOW + 1 }), "good: ann");
  assert.equal(await at({ exp: NOW - 1 }), "the token has expired");
  assert.equal(await at({ exp: NOW - 5 }, { leeway: 10 }), "good: ann");
  assert.equal(await at({ exp: NOW - 11 }, { leeway: 10 }), "the token has expired");
  assert.equal(await at({}), "the token has no exp");
  assert.equal(await at({ exp: "soon" }), "the token's exp does not fit");
  assert.equal(await at({ exp: NOW + 60, nbf: NOW }), "good: ann");
  assert.equal(await at({ exp: NOW + 60, nbf: NOW + 5 }), "the token is not valid yet");
  assert.equal(await at({ exp: NOW + 60, nbf: NOW + 5 }, { leeway: 5 }), "good: ann");
});

Deno.test("token: audience and issuer, where they are asked for", async () => {
  const at = (claims: object, rules: Partial<TokenRules>) =>
    verdict(token(EC, { ...CLAIMS, ...claims }), EC.pem, rules);
  const ours = { audience: ["db", "pooler"] };
  assert.equal(await at({ aud: "pooler" }, ours), "good: ann");
  assert.equal(await at({ aud: ["x", "db"] }, ours), "good: ann");
  assert.equal(await at({ aud: "x" }, ours), "the token's aud does not fit");
  assert.equal(await at({}, ours), "the token has no aud");
  assert.equal(await at({ aud: "x" }, {}), "good: ann");
  assert.equal(await at({ iss: "https://id" }, { issuer: "https://id" }), "good: ann");
  assert.equal(
    await at({ iss: "https://id/" }, { issuer: "https://id" }),
    "the token's iss does not fit",
  );
  assert.equal(await at({}, { issuer: "https://id" }), "the token has no iss");
});

Deno.test("token: what is none is refused and not repeated", async () => {
  for (
    const text of ["", ".", "..", "a.b.c", "é.é.é", "x".repeat(60_000), "{}", "null.null.null"]
  ) {
    assert.equal(await verdict(text, EC.pem), "it is no token");
  }
  const [head, , signature] = token(EC, CLAIMS).split(".");
  assert.match(await verdict(`${head}.bnVsbA.${signature}`, EC.pem), /no key of ours/);
  assert.equal(userOf({ preferred_username: "" }, "preferred_username"), undefined);
  assert.equal(userOf({ preferred_username: ["ann"] }, "preferred_username"), undefined);
});

Deno.test("token keys: what a file may hold", () => {
  assert.equal(keysOf(RSA.pem + EC.pem + ED.pem).length, 3);
  assert.equal(keysOf(set({ ...RSA.jwk, use: "enc" }, EC.jwk, { kty: "oct", k: "eA" })).length, 1);
  assert.equal(keysOf(set({ ...RSA.jwk, alg: "RS512" }, { ...EC.jwk, alg: "ES256" })).length, 1);
  assert.match(faultOf(set({ kty: "oct", k: "eA" })), /can't be read/);
  assert.match(faultOf(set({ ...EC.jwk, d: "AA" })), /private key/);
  assert.match(
    faultOf(EC.privateKey.export({ type: "pkcs8", format: "pem" }) as string),
    /private key/,
  );
  assert.match(faultOf(signingKey("RS256", 1024).pem), /1024 bits/);
  assert.match(faultOf("nothing"), /no public key/);
  assert.match(
    faultOf("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
    /can't be read/,
  );
  assert.match(faultOf("{"), /no JSON/);
  assert.match(faultOf('{"keys":5}'), /no list/);
  assert.match(faultOf('{"keys":[5]}'), /no key/);
  assert.match(faultOf('{"keys":[]}'), /no key for signatures/);
  assert.match(faultOf(EC.pem.repeat(101)), /101 keys/);
});
