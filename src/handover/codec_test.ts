import assert from "node:assert/strict";
import { decode, encode } from "./codec.ts";

Deno.test("codec: what was encoded is decoded", () => {
  const value = {
    text: 'quotes " and \0 and 👍',
    numbers: [0, -1, 1.5, 2 ** 40],
    nothing: null,
    yes: true,
    bytes: Uint8Array.of(0, 255, 7),
    empty: new Uint8Array(0),
    map: new Map<string, unknown>([["a", "b"], ["c", new Map([["d", Uint8Array.of(1)]])]]),
    nested: [{ deep: [{ bytes: Uint8Array.of(9) }] }],
  };
  assert.deepEqual(decode(encode(value)), value);
});

Deno.test("codec: absent fields stay absent", () => {
  assert.deepEqual(decode(encode({ here: 1, absent: undefined })), { here: 1 });
});

Deno.test("codec: a map that occurs often is one map again, and written once", () => {
  const inner = new Map([["k", "v"]]);
  const shared = new Map<string, unknown>([["name", "value".repeat(100)], ["inner", inner]]);
  const value = Array.from({ length: 50 }, () => ({ shared, inner, own: new Map([["x", 1]]) }));
  const bytes = encode(value);
  assert.ok(bytes.length < 5000, `${bytes.length} bytes`);
  const decoded = decode(bytes) as typeof value;
  assert.deepEqual(decoded, value);
  assert.equal(decoded[0]!.shared, decoded[49]!.shared);
  assert.equal(decoded[0]!.inner, decoded[49]!.shared.get("inner"));
  assert.notEqual(decoded[0]!.own, decoded[49]!.own);
});

Deno.test("codec: what is no value of its own is refused", () => {
  for (const text of ["", "{", '{"$same": 0}', '{"$bytes": "*"}', '{"$same": -1}']) {
    assert.throws(() => decode(new TextEncoder().encode(text)), SyntaxError, text);
  }
  assert.throws(() => decode(Uint8Array.of(0x22, 0xff, 0x22)));
});
