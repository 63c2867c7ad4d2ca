import assert from "node:assert/strict";
import { formatDuration, namesDurationUnit, parseDuration } from "./duration.ts";

Deno.test("duration: one number with at most one unit, in any letter case", () => {
  for (
    const [text, ms] of [
      ["0", 0],
      ["3000", 3000],
      ["+5", 5],
      ["250ms", 250],
      ["250MS", 250],
      ["5s", 5000],
      [" 5 s ", 5000],
      ["5m", 300_000],
      ["5M", 300_000],
      ["2h", 7_200_000],
      ["1d", 86_400_000],
      ["007s", 7000],
      ["9007199254740991", Number.MAX_SAFE_INTEGER],
    ] as const
  ) assert.equal(parseDuration(text), ms, text);
});

Deno.test("duration: refuses what upstream refuses, and what cannot be counted exactly", () => {
  for (
    const text of [
      "",
      " ",
      "s",
      "1h30m",
      "1.5s",
      "-5s",
      "5x",
      "5 min",
      "1_000",
      "0x10",
      "5 s s",
      "9007199254740992",
      "200000000000d",
      "18446744073709551616",
    ]
  ) assert.equal(parseDuration(text), undefined, JSON.stringify(text));
});

Deno.test("duration: tells whether a unit is named", () => {
  assert.ok(namesDurationUnit("5s"));
  assert.ok(!namesDurationUnit("5"));
  assert.ok(!namesDurationUnit("x"));
});

Deno.test("duration: formats with the largest unit that is exact, and reads itself", () => {
  for (
    const [ms, text] of [
      [0, "0"],
      [1, "1ms"],
      [1500, "1500ms"],
      [30_000, "30s"],
      [1_200_000, "20m"],
      [3_600_000, "1h"],
      [172_800_000, "2d"],
    ] as const
  ) {
    assert.equal(formatDuration(ms), text);
    assert.equal(parseDuration(text), ms);
  }
});
