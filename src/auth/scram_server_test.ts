import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import fc from "fast-check";
import { deriveKeys, makeVerifier, mockVerifier } from "./scram.ts";
import type { ScramVerifier } from "./scram.ts";
import {
  advanceScramServer,
  beginScramServer,
  offeredMechanisms,
  parseSaslInitialResponse,
} from "./scram_server.ts";
import type { ScramServerState, ScramServerStep } from "./scram_server.ts";

// RFC 7677 §3.
const RFC = {
  password: "pencil",
  salt: "W22ZaJ0SNY7soEsUEjb6gQ==",
  serverNonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
  clientFirst: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
  serverFirst:
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
  clientFinal:
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
  serverFinal: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
};
const SALT = Uint8Array.fromBase64(RFC.salt);
const VERIFIER = makeVerifier(RFC.password, SALT, 4096);

const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** A SASLInitialResponse, built apart from the code under test. */
function initialResponse(mechanism: string, data: string | undefined): Uint8Array {
  const head = [...encode(mechanism), 0];
  if (data === undefined) return new Uint8Array([...head, 0xff, 0xff, 0xff, 0xff]);
  const bytes = encode(data);
  const { length } = bytes;
  return new Uint8Array([...head, 0, 0, length >> 8, length & 0xff, ...bytes]);
}

function answer(verifier: ScramVerifier, clientFirst: string): ScramServerStep {
  const body = initialResponse("SCRAM-SHA-256", clientFirst);
  return advanceScramServer(beginScramServer(verifier), body, RFC.serverNonce);
}

function stateAfter(step: ScramServerStep): ScramServerState {
  assert.equal(step.kind, "continue");
  assert.ok(step.kind === "continue");
  return step.state;
}

function finish(clientFinal: string, verifier = VERIFIER, clientFirst = RFC.clientFirst) {
  return advanceScramServer(stateAfter(answer(verifier, clientFirst)), encode(clientFinal));
}

function assertFault(step: { kind: string }, code: "protocol" | "authentication", about = "") {
  assert.equal(step.kind, "fault", about);
  assert.equal((step as { code?: string }).code, code, about);
}

Deno.test("scram server: the exchange of RFC 7677, which yields the ClientKey", () => {
  const first = answer(VERIFIER, RFC.clientFirst);
  assert.ok(first.kind === "continue");
  assert.equal(decode(first.data), RFC.serverFirst);
  const last = advanceScramServer(first.state, encode(RFC.clientFinal));
  assert.ok(last.kind === "done");
  assert.equal(decode(last.data), RFC.serverFinal);
  assert.deepEqual(last.clientKey, deriveKeys(RFC.password, SALT, 4096).clientKey);
});

Deno.test("scram server: the exchange survives a clone of its state at each step", () => {
  let state = structuredClone(beginScramServer(VERIFIER));
  const body = initialResponse("SCRAM-SHA-256", RFC.clientFirst);
  state = structuredClone(stateAfter(advanceScramServer(state, body, RFC.serverNonce)));
  assert.equal(advanceScramServer(state, encode(RFC.clientFinal)).kind, "done");
});

Deno.test("scram server: without initial data an empty challenge asks for it", () => {
  const begin = beginScramServer(VERIFIER);
  const asked = advanceScramServer(begin, initialResponse("SCRAM-SHA-256", undefined));
  assert.ok(asked.kind === "continue");
  assert.equal(asked.data.length, 0);
  const first = advanceScramServer(asked.state, encode(RFC.clientFirst), RFC.serverNonce);
  assert.equal(advanceScramServer(stateAfter(first), encode(RFC.clientFinal)).kind, "done");
});

Deno.test("scram server: each exchange has a nonce of its own", () => {
  const body = initialResponse("SCRAM-SHA-256", RFC.clientFirst);
  const nonces = [1, 2].map(() => {
    const state = stateAfter(advanceScramServer(beginScramServer(VERIFIER), body));
    return state.step === "client-final" ? state.nonce : "";
  });
  assert.match(nonces[0], /^rOprNGfwEbeRWgbNEkqO[A-Za-z0-9+/]{24}$/);
  assert.notEqual(nonces[0], nonces[1]);
});

Deno.test("scram server: a wrong password fails as authentication, and so does any mock", () => {
  const wrong = makeVerifier("pencil2", SALT, 4096);
  assertFault(finish(RFC.clientFinal, wrong), "authentication");
  const mock = { ...mockVerifier("user", new Uint8Array([1])), salt: SALT };
  const doomed = { ...VERIFIER, doomed: true };
  assertFault(finish(RFC.clientFinal, mock), "authentication");
  assertFault(finish(RFC.clientFinal, doomed), "authentication");
  assert.deepEqual(finish(RFC.clientFinal, wrong), finish(RFC.clientFinal, mock));
});

Deno.test("scram server: gs2 flag y is accepted and must come back in c=", () => {
  const state = stateAfter(answer(VERIFIER, RFC.clientFirst.replace("n,,", "y,,")));
  const withY = RFC.clientFinal.replace("c=biws", "c=eSws");
  // The proof is over c=biws, so the right c= leads to a wrong proof and the wrong c= to a broken protocol.
  assertFault(advanceScramServer(state, encode(withY)), "authentication");
  assertFault(advanceScramServer(state, encode(RFC.clientFinal)), "protocol");
});

const BINDING = Uint8Array.from({ length: 32 }, (_, i) => 0xf0 ^ i);

/** A client that binds itself to `bound` after it was offered -PLUS. */
function withBinding(
  { mechanism = "SCRAM-SHA-256-PLUS", flag = "p=tls-server-end-point", bound = BINDING } = {},
): ScramServerStep {
  const { salt, iterations, storedKey } = VERIFIER;
  const bare = "n=,r=clientnonce";
  const first = advanceScramServer(
    structuredClone(beginScramServer(VERIFIER, BINDING)),
    initialResponse(mechanism, `${flag},,${bare}`),
    "servernonce",
  );
  if (first.kind !== "continue") return first;
  const input = new Uint8Array([...encode(`${flag},,`), ...bound]);
  const unproven = `c=${input.toBase64()},r=clientnonceservernonce`;
  const message =
    `${bare},r=clientnonceservernonce,s=${salt.toBase64()},i=${iterations},${unproven}`;
  const { clientKey } = deriveKeys(RFC.password, SALT, 4096);
  const signature = createHmac("sha256", storedKey).update(message).digest();
  const proof = clientKey.map((byte, i) => byte ^ signature[i]);
  return advanceScramServer(
    structuredClone(first.state),
    encode(`${unproven},p=${proof.toBase64()}`),
  );
}

Deno.test("scram server: -PLUS binds the exchange to the channel", () => {
  assert.deepEqual(offeredMechanisms(BINDING), ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]);
  assert.deepEqual(offeredMechanisms(undefined), ["SCRAM-SHA-256"]);
  assert.equal(withBinding().kind, "done");
  const other = BINDING.with(31, 0);
  assert.match(JSON.stringify(withBinding({ bound: other })), /channel binding does not match/);
  const none = new Uint8Array(0);
  assert.match(JSON.stringify(withBinding({ bound: none })), /channel binding does not match/);
});

Deno.test("scram server: where -PLUS is offered, a client that knows it has to use it", () => {
  const none = new Uint8Array(0);
  const plain = { mechanism: "SCRAM-SHA-256", bound: none };
  assert.equal(withBinding({ ...plain, flag: "n" }).kind, "done");
  assert.match(JSON.stringify(withBinding({ ...plain, flag: "y" })), /thinks the server does not/);
  assertFault(withBinding({ ...plain, flag: "p=tls-server-end-point" }), "protocol");
  for (const flag of ["n", "y", "p=tls-unique", "p=", "q"]) {
    assertFault(withBinding({ flag }), "protocol", flag);
  }
  const unasked = initialResponse("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,n=,r=abc");
  assertFault(advanceScramServer(beginScramServer(VERIFIER), unasked), "protocol");
});

Deno.test("scram server: refuses client-first messages that are malformed or ask too much", () => {
  const bad = [
    "",
    "n",
    "n,,",
    "n,,n=user",
    "n,,n=user,",
    "n,,n=user,r=",
    "n,,n=user,r=a b",
    "n,,n=user,r=aé",
    "n,,r=abc,n=user",
    "n,,m=ext,n=user,r=abc",
    "n,a=admin,n=user,r=abc",
    "x,,n=user,r=abc",
    ",,n=user,r=abc",
    "N,,n=user,r=abc",
    "n,n=user,r=abc",
    "p=tls-server-end-point,,n=user,r=abc",
    "n,,n=user,r=abc,",
    "n,,n=user,r=abc,x",
    "n,,n=user,r=abc,x=",
    "n,,n=us\0er,r=abc",
    "n,,n=user,r=" + "a".repeat(1100),
  ];
  for (const text of bad) assertFault(answer(VERIFIER, text), "protocol", text);
});

Deno.test("scram server: ignores the name, in any encoding, and optional extensions", () => {
  for (const name of ["", "other", "a=2Cb=3Dc", "é"]) {
    assert.equal(answer(VERIFIER, `n,,n=${name},r=abc,x=y`).kind, "continue", name);
  }
  const head = encode("n,,n=");
  const latin1 = new Uint8Array([...head, 0xe9, ...encode(",r=abc")]);
  const step = advanceScramServer({
    step: "client-first",
    verifier: VERIFIER,
    binding: undefined,
    plus: false,
  }, latin1);
  const state = stateAfter(step);
  assert.equal(state.step === "client-final" && state.clientFirstBare, "n=\u00e9,r=abc");
});

Deno.test("scram server: refuses client-final messages that are malformed", () => {
  const [binding, nonce, proof] = RFC.clientFinal.split(",");
  const bad = [
    "",
    ",",
    binding,
    `${binding},${nonce}`,
    `${binding},${proof}`,
    `${nonce},${binding},${proof}`,
    `c=biws=,${nonce},${proof}`,
    `c=,${nonce},${proof}`,
    `c=cD10bHMsLA==,${nonce},${proof}`,
    `${binding},${nonce}x,${proof}`,
    `${binding},${nonce.slice(0, -1)},${proof}`,
    `${binding},r=,${proof}`,
    `${binding},${nonce},${proof},x=y`,
    `${binding},${nonce},${proof},${proof}`,
    `${binding},${nonce},x,${proof}`,
    `${binding},${nonce},p=`,
    `${binding},${nonce},p=AAAA`,
    `${binding},${nonce},p=${"A".repeat(44)}`,
    `${binding},${nonce},${proof.slice(0, -1)}`,
    `${binding},${nonce},${proof}=`,
    `${binding},${nonce},${proof} `,
    `${binding},${nonce},${proof}\0`,
    `${binding},${nonce},${"x=y,".repeat(300)}${proof}`,
  ];
  for (const text of bad) assertFault(finish(text), "protocol", text);
});

Deno.test("scram server: an extension in client-final is part of what is proven", () => {
  assertFault(finish(RFC.clientFinal.replace(",p=", ",x=y,p=")), "authentication");
});

Deno.test("scram server: reads the fields of SASLInitialResponse by their lengths", () => {
  assert.deepEqual(
    parseSaslInitialResponse(initialResponse("SCRAM-SHA-256", "abc")),
    { kind: "initial", mechanism: "SCRAM-SHA-256", data: encode("abc") },
  );
  const shifted = new Uint8Array([7, 7, ...initialResponse("X", "abc")]).subarray(2);
  assert.deepEqual(
    parseSaslInitialResponse(shifted),
    { kind: "initial", mechanism: "X", data: encode("abc") },
  );
  const bad = [
    new Uint8Array(0),
    encode("SCRAM-SHA-256"),
    new Uint8Array([...encode("X"), 0, 0, 0, 0]),
    new Uint8Array([...encode("X"), 0, 0, 0, 0, 2, 65]),
    new Uint8Array([...encode("X"), 0, 0, 0, 0, 0, 65]),
    new Uint8Array([...encode("X"), 0, 0xff, 0xff, 0xff, 0xff, 65]),
    new Uint8Array([...encode("X"), 0, 0xff, 0xff, 0xff, 0xfe]),
    new Uint8Array([...encode("X"), 0, 0x7f, 0xff, 0xff, 0xff, 65]),
    new Uint8Array([...encode("X".repeat(65)), 0, 0, 0, 0, 0]),
  ];
  for (const body of bad) assertFault(parseSaslInitialResponse(body), "protocol", String(body));
});

Deno.test("scram server: refuses any other mechanism", () => {
  for (const name of ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "scram-sha-256", ""]) {
    const body = initialResponse(name, RFC.clientFirst);
    assertFault(advanceScramServer(beginScramServer(VERIFIER), body), "protocol", name);
  }
});

Deno.test("scram server: no fault repeats what the client sent", () => {
  for (const text of ["n,,n=user,r=hunter2 x", "hunter2,,n=,r=a", "n,hunter2,n=,r=a"]) {
    assert.ok(!JSON.stringify(answer(VERIFIER, text)).includes("hunter2"), text);
  }
});

Deno.test("scram server: any bytes at any step end in a step or a fault, never in an exception", () => {
  const attribute = fc.tuple(fc.constantFrom("n", "r", "c", "p", "m", "a", "x"), fc.string())
    .map(([name, value]) => `${name}=${value}`);
  const almost = fc.array(fc.oneof(attribute, fc.constantFrom("n", "y", "")), { maxLength: 7 })
    .map((parts) => encode(parts.join(",")));
  const bytes = fc.oneof(fc.uint8Array({ maxLength: 1200 }), almost);
  const final = stateAfter(answer(VERIFIER, RFC.clientFirst));
  const states: ScramServerState[] = [
    beginScramServer(VERIFIER),
    { step: "client-first", verifier: VERIFIER, binding: undefined, plus: false },
    final,
  ];
  fc.assert(fc.property(bytes, fc.constantFrom(...states), (body, state) => {
    assert.notEqual(advanceScramServer(state, body).kind, "done");
  }));
});

Deno.test("scram server: one changed byte anywhere in the proof's message denies the login", () => {
  const final = stateAfter(answer(VERIFIER, RFC.clientFirst));
  const good = encode(RFC.clientFinal);
  for (let at = 0; at < good.length; at++) {
    const changed = good.slice();
    changed[at] ^= 1;
    // The last digit before "=" carries two bits that base64 does not use.
    if (at === good.length - 2) continue;
    assert.equal(advanceScramServer(final, changed).kind, "fault", `byte ${at}`);
  }
});
