import assert from "node:assert/strict";
import { signingKey, token } from "../../auth/testing/tokens.ts";
import type { ExternalVerdict } from "../../config/external_check.ts";
import { JwtCheck, readKeyFiles, TalosCheck } from "./token_checks.ts";

const KEY = signingKey("RS256");
const OTHER = signingKey("RS256");
const NOW = Math.floor(Date.now() / 1000);
const FILES: Record<string, string> = {
  "/k/a.pem": KEY.pem,
  "/k/b.pem": OTHER.pem,
  "/k/set.json": JSON.stringify({ keys: [{ ...KEY.jwk, kid: "one" }] }),
};
const RULES = { audience: [] as string[], issuer: undefined, leeway: 0 };

function keys(...files: string[]) {
  return readKeyFiles(files, (file) => FILES[file]!);
}

function told(verdict: ExternalVerdict): string {
  if (verdict.kind !== "accepted") return `${verdict.kind}: ${verdict.why}`;
  return verdict.user === undefined ? "accepted" : `${verdict.user} as ${verdict.applicationName}`;
}

function request(password: string, options: Record<string, string> = {}, database = "app") {
  const bytes = new TextEncoder().encode(password);
  return { method: "jwt", options, user: "ann", database, address: "", password: bytes } as const;
}

Deno.test("jwt: a token is its user's, by the key and the claims that the rule names", async () => {
  const jwt = new JwtCheck();
  jwt.configure({
    keys: keys("/k/a.pem", "/k/set.json"),
    rules: RULES,
    claim: "preferred_username",
  });
  const check = (claims: object, options: Record<string, string> = { key: "/k/a.pem" }) =>
    jwt.check(request(token(KEY, { exp: NOW + 60, ...claims }), options)).then(told);
  assert.equal(await check({ preferred_username: "ann" }), "accepted");
  assert.equal(await check({ preferred_username: "ann" }, { key: "/k/set.json" }), "accepted");
  assert.equal(await check({ preferred_username: "bob" }), 'refused: the token is of "bob"');
  assert.equal(await check({ sub: "ann" }), "refused: the token has no preferred_username");
  assert.equal(await check({ sub: "ann" }, { key: "/k/a.pem", claim: "sub" }), "accepted");
  const named = { preferred_username: "ann", aud: "db", iss: "id" };
  const strict = { key: "/k/a.pem", audience: "x db", issuer: "id" };
  assert.equal(await check(named, strict), "accepted");
  assert.equal(
    await check({ ...named, aud: "y" }, strict),
    "refused: the token's aud does not fit",
  );
  const late = { preferred_username: "ann", exp: NOW - 20 };
  assert.equal(await check(late), "refused: the token has expired");
  assert.equal(await check(late, { key: "/k/a.pem", leeway: "600" }), "accepted");
  assert.match(await check(named, {}), /^error: there is no key/);
  assert.match(await check(named, { key: "/k/gone.pem" }), /^error: there is no key/);
  const latin = {
    ...request(""),
    options: { key: "/k/a.pem" },
    password: Uint8Array.of(0xff, 0xfe),
  };
  assert.equal(told(await jwt.check(latin)), "refused: it is no token");
});

Deno.test("jwt: what [general] asks for holds where the rule says nothing", async () => {
  const jwt = new JwtCheck();
  const rules = { audience: ["db"], issuer: "id", leeway: 0 };
  jwt.configure({ keys: keys("/k/a.pem"), rules, claim: "sub" });
  const check = (claims: object) =>
    jwt.check(request(token(KEY, { exp: NOW + 60, sub: "ann", ...claims }), { key: "/k/a.pem" }))
      .then(told);
  assert.equal(await check({ aud: "db", iss: "id" }), "accepted");
  assert.equal(await check({ iss: "id" }), "refused: the token has no aud");
  assert.equal(await check({ aud: "db" }), "refused: the token has no iss");
});

Deno.test("talos: the file that kid names, the role in the database that is asked for", async () => {
  const talos = new TalosCheck();
  const databases = new Set(["app", "billing"]);
  talos.configure({ keys: keys("/k/a.pem", "/k/b.pem"), databases });
  const claims = {
    exp: NOW + 60,
    clientId: "svc",
    resource_access: { "pg:app": { roles: ["owner"] }, "pg:billing": { roles: ["read_only"] } },
  };
  const check = (key = KEY, header: object = { kid: "a" }, database = "app") =>
    talos.check(request(token(key, claims, header), {}, database)).then(told);
  assert.equal(await check(), "owner as svc");
  assert.equal(await check(OTHER, { kid: "b" }), "owner as svc");
  assert.equal(await check(KEY, { kid: "a" }, "billing"), "read_only as svc");
  assert.match(await check(KEY, { kid: "a" }, "other"), /not one of talos.databases/);
  assert.match(await check(KEY, { kid: "b" }), /no key of ours has signed/);
  for (const header of [{}, { kid: "" }, { kid: "c" }]) {
    assert.match(await check(KEY, header), /no key of talos.keys/);
  }
  // A key that is gone from the configuration is good for nothing.
  talos.configure({ keys: keys("/k/b.pem"), databases });
  assert.match(await check(), /no key of talos.keys/);
});

Deno.test("key files: the one that has no key is named", () => {
  assert.throws(() => readKeyFiles(["/x.pem"], () => "nothing"), /"\/x.pem" holds no public key/);
});
