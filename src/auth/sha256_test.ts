import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import fc from "fast-check";
import { hmac, sha256 } from "./sha256.ts";

function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

Deno.test("sha256: the examples of FIPS 180-4", () => {
  // Four letters in a row, then the four from the next one on, and so on.
  const rows = Array.from(
    { length: 14 },
    (_, i) => String.fromCharCode(97 + i, 98 + i, 99 + i, 100 + i),
  );
  const examples = {
    "": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    abc: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    [rows.join("")]: "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
  };
  for (const [text, digest] of Object.entries(examples)) {
    assert.equal(sha256(ascii(text)).toHex(), digest);
  }
  assert.equal(
    sha256(new Uint8Array(1_000_000).fill(0x61)).toHex(),
    "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0",
  );
});

Deno.test("sha256: HMACs of RFC 4231", () => {
  const long = new Uint8Array(131).fill(0xaa);
  const examples: [Uint8Array, Uint8Array | string, string][] = [
    [
      new Uint8Array(20).fill(0x0b),
      "Hi There",
      "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    ],
    [
      ascii("Jefe"),
      "what do ya want for nothing?",
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ],
    [
      new Uint8Array(20).fill(0xaa),
      new Uint8Array(50).fill(0xdd),
      "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
    ],
    [
      long,
      "Test Using Larger Than Block-Size Key - Hash Key First",
      "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ],
  ];
  for (const [key, message, digest] of examples) {
    assert.equal(hmac(key, message).toHex(), digest);
    // With what is kept of the key.
    assert.equal(hmac(key, message).toHex(), digest);
  }
});

Deno.test("sha256: as the runtime's own, at every length around the blocks", () => {
  for (let length = 0; length <= 200; length++) {
    const bytes = Uint8Array.from({ length }, (_, i) => 7 * i + length);
    assert.equal(sha256(bytes).toHex(), createHash("sha256").update(bytes).digest("hex"));
  }
  const bytes = fc.uint8Array({ maxLength: 300 });
  fc.assert(fc.property(bytes, bytes, fc.string(), (key, message, text) => {
    assert.equal(
      hmac(key, message).toHex(),
      createHmac("sha256", key).update(message).digest("hex"),
    );
    assert.equal(hmac(key, text).toHex(), createHmac("sha256", key).update(text).digest("hex"));
  }));
});
