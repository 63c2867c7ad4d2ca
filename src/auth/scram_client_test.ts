import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash, createHmac, pbkdf2Sync } from "node:crypto";
import fc from "fast-check";
import { deriveKeys, makeVerifier } from "./scram.ts";
import {
  answerChallenge,
  beginScramClient,
  challengeFits,
  chooseBinding,
  parseMechanisms,
  readServerFirst,
  verifyServerFinal,
} from "./scram_client.ts";
import type { ScramChallenge, ScramClientStart } from "./scram_client.ts";
import { advanceScramServer, beginScramServer } from "./scram_server.ts";

// RFC 7677 §3. We leave the name out; its exchange is followed from a state that has it.
const START: ScramClientStart = {
  kind: "start",
  nonce: "rOprNGfwEbeRWgbNEkqO",
  clientFirstBare: "n=user,r=rOprNGfwEbeRWgbNEkqO",
  binding: { kind: "none" },
};
const SERVER_FIRST =
  "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL =
  "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

const END_POINT = Uint8Array.from({ length: 32 }, (_, i) => 255 - i);

const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

function challengeOf(text: string, start: ScramClientStart = START): ScramChallenge {
  const challenge = readServerFirst(start, encode(text));
  assert.ok(challenge.kind === "challenge", JSON.stringify(challenge));
  return challenge;
}

function assertFault(result: { kind: string }, code: "protocol" | "authentication", about = "") {
  assert.equal(result.kind, "fault", about);
  assert.equal((result as { code?: string }).code, code, about);
}

Deno.test("scram client: the exchange of RFC 7677, with clones of the state between", () => {
  const challenge = structuredClone(challengeOf(SERVER_FIRST));
  assert.equal(challenge.iterations, 4096);
  const keys = deriveKeys("pencil", challenge.salt, challenge.iterations);
  const { state, body } = structuredClone(answerChallenge(challenge, keys));
  assert.equal(decode(body), CLIENT_FINAL);
  assert.deepEqual(verifyServerFinal(state, encode(SERVER_FINAL)), { kind: "verified" });
});

Deno.test("scram client: SASLInitialResponse names the mechanism and carries client-first", () => {
  const { state, body } = beginScramClient(undefined, "abc");
  assert.equal(decode(body), "SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc");
  const binding = { kind: "none" };
  assert.deepEqual(state, { kind: "start", binding, nonce: "abc", clientFirstBare: "n=,r=abc" });
  assert.notEqual(beginScramClient().state.nonce, beginScramClient().state.nonce);
});

Deno.test("scram client: a ClientKey alone logs in; the server is verified if its key is known", () => {
  const verifier = makeVerifier("secret", undefined, 2);
  const { clientKey } = deriveKeys("secret", verifier.salt, 2);
  for (const serverKey of [undefined, verifier.serverKey]) {
    const client = beginScramClient();
    const first = advanceScramServer(beginScramServer(verifier), client.body);
    assert.ok(first.kind === "continue");
    const challenge = readServerFirst(client.state, first.data);
    assert.ok(challenge.kind === "challenge");
    assert.ok(challengeFits(challenge, verifier));
    const final = answerChallenge(challenge, { clientKey, serverKey });
    const done = advanceScramServer(first.state, final.body);
    assert.ok(done.kind === "done");
    assert.deepEqual(done.clientKey, clientKey);
    assert.deepEqual(verifyServerFinal(final.state, done.data), {
      kind: serverKey === undefined ? "unverified" : "verified",
    });
  }
});

Deno.test("scram client: what the server role accepts and yields is what the client role proves", () => {
  const passwords = fc.string({ unit: "binary", minLength: 1, maxLength: 20 });
  const pairs = fc.oneof(
    fc.tuple(passwords, passwords),
    passwords.map((password) => [password, password] as [string, string]),
  );
  fc.assert(
    fc.property(pairs, fc.uint8Array({ minLength: 1, maxLength: 40 }), ([stored, given], salt) => {
      const verifier = makeVerifier(stored, salt, 1);
      const client = beginScramClient();
      const first = advanceScramServer(beginScramServer(verifier), client.body);
      assert.ok(first.kind === "continue");
      const challenge = readServerFirst(client.state, first.data);
      assert.ok(challenge.kind === "challenge");
      const keys = deriveKeys(given, challenge.salt, challenge.iterations);
      const done = advanceScramServer(first.state, answerChallenge(challenge, keys).body);
      const same = makeVerifier(given, salt, 1);
      const fits = same.storedKey.every((byte, i) => byte === verifier.storedKey[i]);
      assert.equal(done.kind, fits ? "done" : "fault");
    }),
  );
});

Deno.test("scram client: a key for another salt or count does not fit a challenge", () => {
  const challenge = challengeOf(SERVER_FIRST);
  const { salt } = challenge;
  assert.ok(challengeFits(challenge, makeVerifier("x", salt, 4096)));
  assert.ok(!challengeFits(challenge, makeVerifier("x", salt, 4095)));
  assert.ok(!challengeFits(challenge, makeVerifier("x", new Uint8Array(16), 4096)));
  assert.ok(!challengeFits(challenge, makeVerifier("x", salt.subarray(1), 4096)));
});

Deno.test("scram client: refuses challenges that are malformed or beyond the limits", () => {
  const [nonce, salt, count] = SERVER_FIRST.split(",");
  const bad = [
    "",
    nonce,
    `${nonce},${salt}`,
    `${nonce},${salt},${count},x=y`,
    `m=ext,${nonce},${salt},${count}`,
    `${salt},${nonce},${count}`,
    `r=${START.nonce},${salt},${count}`,
    `r=x${START.nonce}y,${salt},${count}`,
    `r=,${salt},${count}`,
    `${nonce} ,${salt},${count}`,
    `${nonce},s=,${count}`,
    `${nonce},s=AAA,${count}`,
    `${nonce},s=A*AA,${count}`,
    `${nonce},s=${"AAAA".repeat(100)},${count}`,
    `${nonce},${salt},i=0`,
    `${nonce},${salt},i=-4096`,
    `${nonce},${salt},i=4096x`,
    `${nonce},${salt},i=1e3`,
    `${nonce},${salt},i=10000001`,
    `${nonce},${salt},i=99999999999999999999`,
    `${nonce},${salt},i=`,
    `${nonce},${salt},4096`,
    `${nonce}${"a".repeat(1100)},${salt},${count}`,
    `${SERVER_FIRST}\0`,
    "e=other-error",
  ];
  for (const text of bad) assertFault(readServerFirst(START, encode(text)), "protocol", text);
  assert.equal(challengeOf(`${nonce},${salt},i=10000000`).iterations, 10_000_000);
});

Deno.test("scram client: a server that does not know the password is found out", () => {
  const challenge = challengeOf(SERVER_FIRST);
  const keys = deriveKeys("pencil", challenge.salt, challenge.iterations);
  const { state } = answerChallenge(challenge, keys);
  const forged = "v=" + "A".repeat(43) + "=";
  assertFault(verifyServerFinal(state, encode(forged)), "authentication");
  assertFault(verifyServerFinal(state, encode("e=invalid-proof")), "authentication");
  for (const text of ["", "v=", "v=AAAA", SERVER_FINAL + ",x=y", "x" + SERVER_FINAL, "v=\0"]) {
    assertFault(verifyServerFinal(state, encode(text)), "protocol", text);
    const blind = { kind: "final" as const, serverSignature: undefined };
    assertFault(verifyServerFinal(blind, encode(text)), "protocol", text);
  }
});

Deno.test("scram client: reads the list of mechanisms to its end and picks ours", () => {
  const names = (list: string) => {
    const read = parseMechanisms(encode(list));
    assert.ok(read.kind === "mechanisms", list);
    return read.names;
  };
  const both = names("SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0");
  assert.deepEqual(both, ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]);
  assert.deepEqual(chooseBinding(both, undefined), { kind: "none" });
  assert.equal(chooseBinding(names("SCRAM-SHA-256-PLUS\0\0"), undefined), undefined);
  assert.equal(chooseBinding(names("OAUTHBEARER\0\0"), undefined), undefined);
  assert.equal(chooseBinding(names("\0"), END_POINT), undefined);
  const bad = [
    "",
    "\0\0",
    "SCRAM-SHA-256",
    "SCRAM-SHA-256\0",
    "A\0\0B\0\0",
    "\0A\0\0",
    "A".repeat(2000),
  ];
  for (const list of bad) assertFault(parseMechanisms(encode(list)), "protocol", list);
});

Deno.test("scram client: over TLS it is bound to the certificate, or the server must confirm that it can't be", () => {
  const plus = "SCRAM-SHA-256-PLUS";
  const scram = "SCRAM-SHA-256";
  const bound = { kind: "end_point", data: END_POINT };
  assert.deepEqual(chooseBinding([plus, scram], END_POINT), bound);
  assert.deepEqual(chooseBinding([plus], END_POINT), bound);
  assert.deepEqual(chooseBinding([scram], END_POINT), { kind: "unoffered" });
  // What it could not do it does not claim: the server, which offers it, would take that for an attack.
  assert.deepEqual(chooseBinding([plus, scram], "unknown"), { kind: "none" });
  assert.deepEqual(chooseBinding([plus, scram], undefined), { kind: "none" });
});

Deno.test("scram client: what binds it is in its header, and proven", () => {
  const cases = [
    [{ kind: "end_point", data: END_POINT }, "SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,"],
    [{ kind: "unoffered" }, "SCRAM-SHA-256", "y,,"],
    [{ kind: "none" }, "SCRAM-SHA-256", "n,,"],
  ] as const;
  for (const [binding, mechanism, header] of cases) {
    const { state, body } = beginScramClient(binding, "abc");
    const length = String.fromCharCode(header.length + 8);
    assert.equal(decode(body), `${mechanism}\0\0\0\0${length}${header}n=,r=abc`);
    const serverFirst = "r=abcdef,s=c2FsdA==,i=2";
    const challenge = structuredClone(challengeOf(serverFirst, state));
    const data = binding.kind === "end_point" ? binding.data : [];
    const bound = `c=${Buffer.from([...encode(header), ...data]).toString("base64")},r=abcdef`;
    const final = decode(answerChallenge(challenge, deriveKeys("x", encode("salt"), 2)).body);
    const [proof] = final.split(`${bound},p=`).slice(1);
    // RFC 5802 §3, by node's own means.
    const salted = pbkdf2Sync("x", "salt", 2, 32, "sha256");
    const clientKey = createHmac("sha256", salted).update("Client Key").digest();
    const storedKey = createHash("sha256").update(clientKey).digest();
    const signature = createHmac("sha256", storedKey).update(`n=,r=abc,${serverFirst},${bound}`)
      .digest();
    assert.equal(proof, Buffer.from(clientKey.map((b, i) => b ^ signature[i]!)).toString("base64"));
  }
});

Deno.test("scram client: any bytes at any step end in a value, never in an exception", () => {
  const attribute = fc.tuple(fc.constantFrom("r", "s", "i", "v", "e", "m"), fc.string())
    .map(([name, value]) => `${name}=${value}`);
  const almost = fc.array(attribute, { maxLength: 5 }).map((parts) => encode(parts.join(",")));
  const final = { kind: "final" as const, serverSignature: new Uint8Array(32) };
  fc.assert(fc.property(fc.oneof(fc.uint8Array({ maxLength: 1200 }), almost), (data) => {
    assert.equal(readServerFirst(START, data).kind, "fault");
    assert.notEqual(verifyServerFinal(final, data).kind, "verified");
    parseMechanisms(data);
  }));
});
