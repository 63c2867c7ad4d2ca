import assert from "node:assert/strict";
import fc from "fast-check";
import {
  deriveKeys,
  equalKeys,
  formatVerifier,
  keysOf,
  makeVerifier,
  MAX_ITERATIONS,
  mockVerifier,
  parseVerifier,
  repeatableSalt,
  saltPassword,
  type ScramKeys,
  type ScramVerifier,
  toBase64,
  verifySalted,
} from "./scram.ts";
import { sha256 } from "./sha256.ts";

function withPassword(verifier: ScramVerifier, password: string): ScramKeys | undefined {
  return verifySalted(verifier, saltPassword(password, verifier.salt, verifier.iterations));
}

// Passwords, and what PostgreSQL 15 stored for them.
const STORED_BY_POSTGRESQL: [string, string][] = [
  [
    "secret",
    "SCRAM-SHA-256$4096:n+IQNKdxiVb4GhAASJVh2w==$mSM0biAItKzrmb5l9d5s5MWRuXVHYTgCFFrKG0TxGaQ=:jF3qAPNM89zbeSoXNx6rEjv73obFoacSUY73l4rER5E=",
  ],
  [
    "I\u00adX",
    "SCRAM-SHA-256$4096:u73y65LfGO3r9zazCDKlWg==$jYLkNRErTt9P7h2hplS36qstpxczIXGw7YdiABw0weo=:DTl77WuJu/cgYQVkaPDoHmEcoDH81Nm88t5ufmQJInA=",
  ],
  [
    "\u2168",
    "SCRAM-SHA-256$4096:rL/l63SyAZoHE2e3+h1vSQ==$9TxVzvEVJrD8kNT5nNxQyzIifIIV9XXqjzeYvUi6BOo=:jZNd3Oi8zNA2cjgXle/F6FEwjKS7DZVB2p8Ms0zHc1I=",
  ],
  [
    "\u06271",
    "SCRAM-SHA-256$4096:p/zogegl12FEhNl8emCLbg==$4utpNad0lJRi7anKuCdqhgemv35V7dG3Baq/U5P7Zik=:NwXPeQAifkQ7kzu0HhwliLZmlHAUnqpLfBosFtX3ojc=",
  ],
  [
    "p\u00e4ss\u00a0w\u00f6rd",
    "SCRAM-SHA-256$4096:q/TFO1R+/k6L1wgvG/RyoA==$z2m2U0/zoEr3NwPBNQL6fkrvcGDs/5gYh1hMU3WOQ18=:GpTYoNzaMihjXmFSH8Fyc7C2Ciyr9yS56b+HKJ6wFxE=",
  ],
];

Deno.test("scram: verifiers are byte for byte those of PostgreSQL", () => {
  for (const [password, text] of STORED_BY_POSTGRESQL) {
    const stored = parseVerifier(text);
    assert.ok(stored !== undefined, text);
    assert.equal(formatVerifier(stored), text);
    assert.deepEqual(makeVerifier(password, stored.salt, stored.iterations), stored);
  }
});

Deno.test("scram: keys come out the same in one step or two, and by any iteration count", () => {
  const salt = new Uint8Array([1, 2, 3]);
  const keys = deriveKeys("pencil", salt, 3);
  assert.deepEqual(keysOf(saltPassword("pencil", salt, 3)), keys);
  assert.deepEqual(sha256(keys.clientKey), makeVerifier("pencil", salt, 3).storedKey);
  assert.notDeepEqual(deriveKeys("pencil", salt, 4), keys);
});

Deno.test("scram: a new verifier has a salt of its own", () => {
  const [first, second] = [makeVerifier("x", undefined, 1), makeVerifier("x", undefined, 1)];
  assert.equal(first.salt.length, 16);
  assert.notDeepEqual(first.salt, second.salt);
});

Deno.test("scram: refuses verifiers that are malformed or beyond the limits", () => {
  const good = STORED_BY_POSTGRESQL[0][1];
  const [head, keys] = [good.slice(0, good.lastIndexOf("$")), good.slice(good.lastIndexOf("$"))];
  const bad = [
    "",
    "SCRAM-SHA-256",
    "scram" + good.slice(5),
    good + "x",
    good.slice(0, -1),
    "x" + good,
    good.replace("4096", "0"),
    good.replace("4096", "-1"),
    good.replace("4096", "04096"),
    good.replace("4096", "4096.5"),
    good.replace("4096", String(MAX_ITERATIONS + 1)),
    good.replace("4096", "99999999999999999999"),
    good.replace("==$", "$"),
    good.replace("n+IQNKdxiVb4GhAASJVh2w==", ""),
    good.replace("n+IQ", "n+I*"),
    good.replace("n+IQNKdxiVb4GhAASJVh2w==", toBase64(new Uint8Array(257))),
    head + keys.replace("mSM0", ""),
    head + keys.replace(":jF3q", ":"),
    head + keys.replace(":", "$"),
  ];
  for (const text of bad) assert.equal(parseVerifier(text), undefined, text);
  assert.ok(parseVerifier(good.replace("4096", String(MAX_ITERATIONS))) !== undefined);
});

Deno.test("scram: derivation refuses iterations that no parser let through", () => {
  for (const iterations of [0, -1, 1.5, NaN, MAX_ITERATIONS + 1]) {
    assert.throws(() => saltPassword("x", new Uint8Array(1), iterations), RangeError);
  }
});

Deno.test("scram: a cleartext password is checked, and yields the keys", () => {
  const verifier = makeVerifier("secret", undefined, 2);
  assert.deepEqual(
    withPassword(verifier, "secret"),
    deriveKeys("secret", verifier.salt, verifier.iterations),
  );
  assert.equal(withPassword(verifier, "Secret"), undefined);
  assert.equal(verifySalted(verifier, new Uint8Array(32)), undefined);
});

Deno.test("scram: the mock of an unknown user is repeatable, looks real, and fits no password", () => {
  const secret = new Uint8Array([1, 2, 3]);
  const mock = mockVerifier("nobody", secret);
  assert.deepEqual(mockVerifier("nobody", secret), mock);
  assert.equal(mock.iterations, 4096);
  assert.deepEqual(mock.salt, repeatableSalt("nobody", secret));
  assert.equal(mock.salt.length, 16);
  assert.ok(parseVerifier(formatVerifier(mock)) !== undefined);
  assert.notDeepEqual(mockVerifier("nobody2", secret).salt, mock.salt);
  assert.notDeepEqual(mockVerifier("nobody", new Uint8Array([4])).salt, mock.salt);
  // Even keys that fit are refused.
  const doomed = { ...makeVerifier("x", undefined, 1), doomed: true };
  assert.equal(withPassword(doomed, "x"), undefined);
});

Deno.test("scram: results are bytes of their own, not views of a shared pool", () => {
  const { salt, storedKey, serverKey } = makeVerifier("x", undefined, 1);
  const parsed = parseVerifier(STORED_BY_POSTGRESQL[0][1])!;
  const { clientKey } = deriveKeys("x", salt, 1);
  for (const key of [salt, storedKey, serverKey, clientKey, parsed.salt, parsed.storedKey]) {
    assert.equal(key.buffer.byteLength, key.length);
    assert.equal(Object.getPrototypeOf(key), Uint8Array.prototype);
  }
});

Deno.test("scram: keys of different length are unequal, not an error", () => {
  assert.ok(!equalKeys(new Uint8Array(2), new Uint8Array(3)));
  assert.ok(equalKeys(new Uint8Array(3), new Uint8Array(3)));
});

Deno.test("scram: any text is read as a verifier or refused, and one that is read comes back", () => {
  const piece = fc.constantFrom("SCRAM-SHA-256", "$", ":", "4096", "=", "AAAA", "é", "\0");
  const texts = fc.oneof(
    fc.string(),
    fc.array(piece, { maxLength: 12 }).map((all) => all.join("")),
  );
  fc.assert(fc.property(texts, (text) => {
    const verifier = parseVerifier(text);
    if (verifier !== undefined) assert.equal(formatVerifier(verifier), text);
  }));
});
