import assert from "node:assert/strict";
import { formatByteSize, parseByteSize } from "./byte_size.ts";

Deno.test("byte size: one number with at most one unit, powers of 1024", () => {
  for (
    const [text, bytes] of [
      ["0", 0],
      ["100", 100],
      ["100B", 100],
      ["1K", 1024],
      ["1kb", 1024],
      [" 2 Mb ", 2_097_152],
      ["256MB", 268_435_456],
      ["1G", 1_073_741_824],
      ["3gB", 3_221_225_472],
    ] as const
  ) assert.equal(parseByteSize(text), bytes, text);
});

Deno.test("byte size: refuses what upstream refuses, and what cannot be counted exactly", () => {
  for (
    const text of ["", "KB", "1KiB", "1MiB", "1T", "1TB", "5.5MB", "-5MB", "1_000", "9999999999GB"]
  ) assert.equal(parseByteSize(text), undefined, JSON.stringify(text));
});

Deno.test("byte size: formats with the largest unit that is exact, and reads itself", () => {
  for (
    const [bytes, text] of [[0, "0"], [1000, "1000"], [1024, "1KB"], [1_048_576, "1MB"]] as const
  ) {
    assert.equal(formatByteSize(bytes), text);
    assert.equal(parseByteSize(text), bytes);
  }
});
