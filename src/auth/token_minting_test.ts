import assert from "node:assert/strict";
import { signingKey } from "./testing/tokens.ts";
import { verifyToken } from "./token.ts";
import { readTokenKeys } from "./token_keys.ts";
import { mintToken } from "./token_minting.ts";

const NOW = 1_700_000_000_000;

Deno.test("token minting: a token of the role, for two minutes, that our own check takes", async () => {
  for (const algorithm of ["RS256", "ES256", "EdDSA"] as const) {
    const key = signingKey(algorithm);
    const pem = key.privateKey.export({ type: "pkcs8", format: "pem" }) as string;
    const minted = await mintToken(pem, "app", NOW);
    assert.ok("token" in minted);
    const { token } = minted;
    const read = readTokenKeys(key.pem);
    assert.ok("keys" in read);
    const rules = { audience: [], issuer: undefined, leeway: 0 };
    const verdict = await verifyToken(token, read.keys, rules, NOW + 119_000);
    assert.ok("claims" in verdict, JSON.stringify(verdict));
    assert.deepEqual(verdict.claims, { preferred_username: "app", exp: NOW / 1000 + 120 });
    const late = await verifyToken(token, read.keys, rules, NOW + 121_000);
    assert.deepEqual(late, { fault: "the token has expired" });
  }
});

Deno.test("token minting: a file without a key is said, and not what it holds", async () => {
  const fault = "it holds no private key that can be read";
  assert.deepEqual(await mintToken("a secret", "app", NOW), { fault });
  assert.deepEqual(await mintToken(signingKey("ES256").pem, "app", NOW), { fault });
});
