import assert from "node:assert/strict";
import { Answer, int4, numeric, numericBinary, text } from "./rows.ts";
import { read } from "./testing/wire.ts";

function hex(bytes: Uint8Array): string {
  return bytes.toHex();
}

Deno.test("rows: RowDescription has PostgreSQL's layout", () => {
  const answer = new Answer();
  answer.rowDescription([text("a"), int4("b"), numeric("c")], [0, 1, 1]);
  assert.equal(
    hex(answer.take()),
    "54" + "00000042" + "0003" +
      "6100" + "00000000" + "0000" + "00000019" + "ffff" + "ffffffff" + "0000" +
      "6200" + "00000000" + "0000" + "00000017" + "0004" + "ffffffff" + "0001" +
      "6300" + "00000000" + "0000" + "000006a4" + "ffff" + "ffffffff" + "0001",
  );
});

Deno.test("rows: DataRow in text", () => {
  const answer = new Answer();
  answer.dataRow([text("a"), int4("b"), numeric("c")], ["é", -5, 0.25], []);
  assert.equal(
    hex(answer.take()),
    "44" + "0000001a" + "0003" + "00000002c3a9" + "000000022d35" + "00000004302e3235",
  );
});

Deno.test("rows: DataRow in binary, a format for each column", () => {
  const answer = new Answer();
  answer.dataRow([text("a"), int4("b"), numeric("c")], ["x", -5, 10000], [1, 1, 1]);
  assert.equal(
    hex(answer.take()),
    "44" + "00000021" + "0003" + "0000000178" + "00000004fffffffb" +
      "0000000a00010001000000000001",
  );
});

Deno.test("rows: numeric's binary form equals what numeric_send of PostgreSQL 15 gave", () => {
  const vectors: [string, string][] = [
    ["0", "0000000000000000"],
    ["1", "00010000000000000001"],
    ["-1", "00010000400000000001"],
    ["9999", "0001000000000000270f"],
    ["10000", "00010001000000000001"],
    ["123456789012", "000300020000000004d2162e2334"],
    ["1099511627776", "0004000300000000000103e3048a1e60"],
    ["9007199254740991", "0004000300000000232f07c8156203df"],
    ["0.25", "0001ffff0000000209c4"],
    ["-0.000001", "0001fffe400000060064"],
    ["1234.5678", "000200000000000404d2162e"],
    ["10000.01", "0003000100000002000100000064"],
    ["100000000", "00010002000000000001"],
    ["-98765.4321", "00030001400000040009223d10e1"],
    ["NaN", "00000000c0000000"],
    ["0.5", "0001ffff000000011388"],
    ["1.000001", "0003000000000006000100000064"],
  ];
  for (const [value, expected] of vectors) {
    assert.equal(hex(numericBinary(value)), expected, value);
  }
});

Deno.test("rows: numbers never show an exponent", () => {
  const answer = new Answer();
  const columns = [numeric("a")];
  const shown = (value: number) => {
    answer.dataRow(columns, [value], []);
    return new TextDecoder().decode(read(answer.take())[0].values[0] ?? undefined);
  };
  assert.equal(shown(2 ** 53), "9007199254740992");
  assert.equal(shown(1e21), "1000000000000000000000");
  assert.equal(shown(0.0000001), "0");
  assert.equal(shown(1.5), "1.5");
  assert.equal(shown(100.10), "100.1");
  assert.equal(shown(-0), "0");
  assert.equal(shown(NaN), "NaN");
});

Deno.test("rows: a value beyond int4 becomes the largest int4", () => {
  const answer = new Answer();
  answer.dataRow([int4("a")], [2 ** 40], [1]);
  answer.dataRow([int4("a")], [2 ** 40], [0]);
  const [binary, plain] = read(answer.take());
  assert.equal(hex(binary.values[0] ?? new Uint8Array()), "7fffffff");
  assert.equal(new TextDecoder().decode(plain.values[0] ?? undefined), "2147483647");
});

Deno.test("rows: an answer grows as needed and starts anew after take", () => {
  const answer = new Answer();
  const long = "x".repeat(3000);
  for (let index = 0; index < 100; index++) answer.dataRow([text("a")], [long], []);
  const messages = read(answer.take());
  assert.equal(messages.length, 100);
  assert.ok(messages.every((message) => message.values[0]?.length === 3000));
  answer.commandComplete("SHOW");
  assert.equal(hex(answer.take()), "43" + "00000009" + "53484f5700");
  assert.equal(answer.take().length, 0);
});

Deno.test("rows: a NUL in a value can't end a string early", () => {
  const answer = new Answer();
  answer.rowDescription([text("a\0b")], []);
  answer.dataRow([text("a")], ["c\0d"], []);
  const [description, row] = read(answer.take());
  assert.equal(description.columns[0].name, "a\\0b");
  assert.equal(new TextDecoder().decode(row.values[0] ?? undefined), "c\\0d");
});
