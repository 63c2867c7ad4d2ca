import assert from "node:assert/strict";
import { int16, int32 } from "../protocol/testing/wire.ts";
import { firstColumn } from "./own_answer.ts";

const TEXT = new TextEncoder().encode("wörld");
const BODY = Uint8Array.from([...int16(1), ...int32(TEXT.length), ...TEXT]);

Deno.test("own answer: the one column of a row, wherever the row lies", () => {
  assert.equal(firstColumn(BODY, 0, BODY.length), "wörld");
  const inside = Uint8Array.from([1, 2, 3, ...BODY, 4]);
  assert.equal(firstColumn(inside, 3, 3 + BODY.length), "wörld");
  const view = inside.subarray(3);
  assert.equal(firstColumn(view, 0, BODY.length), "wörld");
});

Deno.test("own answer: the first of several columns, an empty one too", () => {
  const two = Uint8Array.from([...int16(2), ...int32(1), 0x61, ...int32(1), 0x62]);
  assert.equal(firstColumn(two, 0, two.length), "a");
  const empty = Uint8Array.from([...int16(1), ...int32(0)]);
  assert.equal(firstColumn(empty, 0, empty.length), "");
});

Deno.test("own answer: none when it is NULL, absent, or not all there", () => {
  const nothing = Uint8Array.from([...int16(1), ...int32(-1)]);
  assert.equal(firstColumn(nothing, 0, nothing.length), undefined);
  const noColumn = Uint8Array.from([...int16(0), ...int32(0)]);
  assert.equal(firstColumn(noColumn, 0, noColumn.length), undefined);
  for (let end = 0; end < BODY.length; end++) {
    assert.equal(firstColumn(BODY, 0, end), undefined, `${end} bytes`);
  }
  const more = Uint8Array.from([...int16(1), ...int32(0x7fffffff), 0x61]);
  assert.equal(firstColumn(more, 0, more.length), undefined);
});
