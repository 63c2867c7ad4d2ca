import assert from "node:assert/strict";
import { decode, encode } from "./codec.ts";
import { withDefaults } from "./with_defaults.ts";

Deno.test("with_defaults: what the other version lacks is as in something new, what it has is kept", () => {
  const defaults = { id: 0, name: "", secret: new Uint8Array(0), since: 7, later: undefined };
  const given = decode(encode({ id: 4, name: "x", secret: Uint8Array.of(1, 2) }));
  assert.deepEqual(withDefaults(defaults, given), {
    id: 4,
    name: "x",
    secret: Uint8Array.of(1, 2),
    since: 7,
    later: undefined,
  });
});

Deno.test("with_defaults: what only the other version knows is dropped", () => {
  const given = { id: 4, weather: "fine", constructor: 3, toString: 1 };
  assert.deepEqual(withDefaults({ id: 0 }, given), { id: 4 });
  // A field of every object is no field of this one.
  assert.deepEqual(withDefaults({ constructor: 9 }, { id: 1 }), { constructor: 9 });
});

Deno.test("with_defaults: nested objects field by field; maps, lists and bytes as they are", () => {
  const map = new Map([["a", 1]]);
  const defaults = {
    counts: { a: 0, b: 0 },
    set: { values: new Map<string, number>() },
    list: [1, 2],
    flag: true,
    dictionary: {},
  };
  const result = withDefaults(defaults, {
    counts: { b: 5, c: 6 },
    set: { values: map },
    list: [],
    flag: false,
    dictionary: { any: 1 },
  });
  assert.deepEqual(result, {
    counts: { a: 0, b: 5 },
    set: { values: map },
    list: [],
    flag: false,
    dictionary: { any: 1 },
  });
  // Sessions that share one go on sharing it.
  assert.equal(result.set.values, map);
  assert.deepEqual(defaults.counts, { a: 0, b: 0 });
});

Deno.test("with_defaults: of nothing it makes the default", () => {
  for (const given of [undefined, null, 3, "x"]) {
    assert.deepEqual(withDefaults({ id: 1 }, given), { id: 1 });
  }
});
