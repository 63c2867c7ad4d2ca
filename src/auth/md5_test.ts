import assert from "node:assert/strict";
import { md5Hash, md5Response, md5Verify, md5VerifyPassword, mockMd5Hash } from "./md5.ts";

// Stored by PostgreSQL 15 for CREATE ROLE with password_encryption = md5.
const HASH_OF_BOB = "md521f3163f8f86fa10bdefbfbd502a8f06";

Deno.test("md5: hash and answer are the ones of PostgreSQL", () => {
  // md5("secret" ‖ "bob"), then md5(hex ‖ 01020304), by md5sum.
  assert.equal(md5Hash("secret", "bob"), HASH_OF_BOB);
  assert.equal(
    md5Response(HASH_OF_BOB, new Uint8Array([1, 2, 3, 4])),
    "md5f21dfe33ff3a9e03dbc3e008251fe5cc",
  );
});

Deno.test("md5: a password outside ASCII is hashed as UTF-8, and bytes as they are", () => {
  assert.equal(md5Hash("pässwörd", "bob"), md5Hash(new TextEncoder().encode("pässwörd"), "bob"));
  assert.notEqual(md5Hash(new Uint8Array([0xff]), "bob"), md5Hash(new Uint8Array([0xfe]), "bob"));
});

Deno.test("md5: verifies the answer to its own salt only", () => {
  const salt = new Uint8Array([9, 8, 7, 6]);
  const answer = md5Response(HASH_OF_BOB, salt);
  assert.ok(md5Verify(HASH_OF_BOB, salt, answer));
  assert.ok(md5Verify(HASH_OF_BOB.replace("e", "E"), salt, answer));
  assert.ok(!md5Verify(HASH_OF_BOB, new Uint8Array([9, 8, 7, 5]), answer));
  assert.ok(!md5Verify(md5Hash("other", "bob"), salt, answer));
});

Deno.test("md5: an answer of another length or form is wrong, never an error", () => {
  const salt = new Uint8Array(4);
  const answer = md5Response(HASH_OF_BOB, salt);
  const wrong = [
    "",
    "md5",
    answer + "0",
    answer.slice(0, -1),
    answer.toUpperCase(),
    "é".repeat(35),
  ];
  for (const text of wrong) assert.ok(!md5Verify(HASH_OF_BOB, salt, text), text);
});

Deno.test("md5: a cleartext password is checked against the hash", () => {
  assert.ok(md5VerifyPassword(HASH_OF_BOB, "bob", "secret"));
  assert.ok(md5VerifyPassword(HASH_OF_BOB.toUpperCase(), "bob", "secret"));
  assert.ok(!md5VerifyPassword(HASH_OF_BOB, "bob", "Secret"));
  assert.ok(!md5VerifyPassword(HASH_OF_BOB, "eve", "secret"));
});

Deno.test("md5: the mock of an unknown user stays the same, and differs by user and secret", () => {
  const secret = new Uint8Array([1]);
  const mock = mockMd5Hash("nobody", secret);
  assert.match(mock, /^md5[0-9a-f]{32}$/);
  assert.equal(mockMd5Hash("nobody", secret), mock);
  assert.notEqual(mockMd5Hash("nobody2", secret), mock);
  assert.notEqual(mockMd5Hash("nobody", new Uint8Array([2])), mock);
});
