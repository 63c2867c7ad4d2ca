import assert from "node:assert/strict";
import fc from "fast-check";
import { passwordBytes, saslprep } from "./saslprep.ts";

const encode = (text: string) => new TextEncoder().encode(text);

Deno.test("saslprep: the examples of RFC 4013 §3", () => {
  assert.equal(saslprep("I\u00adX"), "IX");
  assert.equal(saslprep("user"), "user");
  assert.equal(saslprep("USER"), "USER");
  assert.equal(saslprep("\u00aa"), "a");
  assert.equal(saslprep("\u2168"), "IX");
  assert.equal(saslprep("\u06271"), undefined);
});

Deno.test("saslprep: ASCII passes untouched, control characters too, as in PostgreSQL", () => {
  assert.equal(saslprep("a\x07b \x7f"), "a\x07b \x7f");
  assert.equal(saslprep(""), "");
});

Deno.test("saslprep: spaces become a space, also the one that table B.1 would delete", () => {
  assert.equal(saslprep("a\u00a0b\u3000c\u200bd"), "a b c d");
});

Deno.test("saslprep: forbids what is empty after mapping, unassigned, private or a non-character", () => {
  const forbidden = ["\u00ad\u200d", "a\u0221", "a\ue000", "a\ufffe", "a\u{e0041}", "é\x07"];
  for (const text of forbidden) {
    assert.equal(saslprep(text), undefined, JSON.stringify(text));
  }
});

Deno.test("saslprep: a right-to-left text begins and ends so, without left-to-right letters", () => {
  assert.equal(saslprep("\u0627\u0031\u0628"), "\u06271\u0628");
  assert.equal(saslprep("\u0627a\u0628"), undefined);
  assert.equal(saslprep("1\u0628"), undefined);
});

Deno.test("saslprep: a password that is forbidden or not UTF-8 is used as it is", () => {
  assert.deepEqual(passwordBytes("\u06271"), encode("\u06271"));
  assert.deepEqual(passwordBytes(new Uint8Array([0x70, 0xff])), new Uint8Array([0x70, 0xff]));
  assert.deepEqual(passwordBytes(encode("I\u00adX")), encode("IX"));
  assert.deepEqual(passwordBytes(encode("\ufeff\u0221")), encode("\ufeff\u0221"));
});

Deno.test("saslprep: text and its UTF-8 bytes give the same password, whatever the text", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
    assert.deepEqual(passwordBytes(text), passwordBytes(encode(text)));
  }));
});

Deno.test("saslprep: any bytes give a password, and a prepared one stays what it is", () => {
  const texts = fc.string({ unit: "binary", maxLength: 20 }).map(encode);
  fc.assert(fc.property(fc.oneof(fc.uint8Array({ maxLength: 64 }), texts), (bytes) => {
    const prepared = passwordBytes(bytes);
    assert.deepEqual(passwordBytes(prepared), prepared);
  }));
});

Deno.test("saslprep: a long password is taken as it is, whatever work it would be to prepare it", () => {
  const short = "é\u00ad".repeat(256);
  assert.deepEqual(passwordBytes(short), encode("é".repeat(256)));
  // Of these characters, preparation would take seconds.
  const long = "a" + "\u0316\u0301".repeat(16_000);
  assert.deepEqual(passwordBytes(long), encode(long));
  assert.deepEqual(passwordBytes(encode(long)), encode(long));
});
