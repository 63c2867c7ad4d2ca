import assert from "node:assert/strict";
import type { PasswordShape } from "../config/settings.ts";
import { md5HashFor, mockShape, shapeOf, verifierFor } from "./mock_password.ts";
import { formatVerifier, makeVerifier } from "./scram.ts";

const SECRET = new Uint8Array([1]);

function scram(iterations: number, saltBytes: number) {
  const verifier = formatVerifier(makeVerifier("x", new Uint8Array(saltBytes), iterations));
  return { kind: "scram", verifier } as const;
}

Deno.test("mock password: an unknown user pretends to one of the known shapes, always the same", () => {
  const rare: PasswordShape = { kind: "md5", iterations: 1, saltBytes: 1 };
  const common: PasswordShape = { kind: "scram", iterations: 2, saltBytes: 2 };
  const known = [rare, common, common, common];
  const names = Array.from({ length: 400 }, (_, i) => `user${i}`);
  const first = names.map((name) => mockShape(name, SECRET, known));
  assert.deepEqual(names.map((name) => mockShape(name, SECRET, known)), first);
  const md5 = first.filter((shape) => shape === rare).length;
  assert.ok(md5 > 50 && md5 < 150, `${md5} of 400`);
  assert.equal(mockShape("x", SECRET, [rare]), rare);
  assert.deepEqual(mockShape("x", SECRET, []), { kind: "empty", iterations: 4096, saltBytes: 16 });
});

Deno.test("mock password: a challenge has the iterations and the length of salt of a known user's", () => {
  for (const [iterations, saltBytes] of [[7, 16], [20, 1], [3, 40], [3, 256]] as const) {
    const shape = shapeOf(scram(iterations, saltBytes));
    assert.deepEqual(shape, { kind: "scram", iterations, saltBytes });
    const mock = verifierFor(undefined, { user: "nobody", secret: SECRET, shape });
    assert.ok(mock.doomed);
    assert.equal(mock.iterations, iterations);
    assert.equal(mock.salt.length, saltBytes);
    assert.deepEqual(verifierFor(undefined, { user: "nobody", secret: SECRET, shape }), mock);
  }
});

Deno.test("mock password: a known user's own verifier and hash are taken where it has them", () => {
  const stored = scram(7, 16);
  const claim = { user: "me", secret: SECRET, shape: shapeOf(stored) };
  assert.equal(formatVerifier(verifierFor(stored, claim)), stored.verifier);
  const md5 = { kind: "md5", hash: `md5${"a".repeat(32)}` } as const;
  assert.ok(verifierFor(md5, claim).doomed);
  assert.equal(md5HashFor(md5, claim), md5.hash);
  assert.notEqual(md5HashFor(stored, claim), md5HashFor(stored, { ...claim, user: "other" }));
});
