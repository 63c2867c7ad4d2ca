import assert from "node:assert/strict";
import type { Fd } from "./fd.ts";
import { close } from "./libc.ts";
import { createMemoryFile, forgetAt, readAt, writeAt } from "./memory_file.ts";

function read(fd: Fd, length: number, at: number): Uint8Array {
  const bytes = new Uint8Array(length);
  readAt(fd, bytes, at);
  return bytes;
}

Deno.test("memory file: has what was written where it was written", () => {
  const fd = createMemoryFile()!;
  const bytes = crypto.getRandomValues(new Uint8Array(50_000));
  assert.ok(writeAt(fd, bytes.subarray(10_000), 10_000));
  assert.ok(writeAt(fd, bytes.subarray(0, 10_000), 0));
  assert.deepEqual(read(fd, 50_000, 0), bytes);
  assert.deepEqual(read(fd, 5, 12_345), bytes.slice(12_345, 12_350));
  assert.deepEqual(read(fd, 0, 50_000), new Uint8Array(0));
  for (const [length, at] of [[1, 50_000], [50_001, 0]]) {
    assert.throws(() => read(fd, length!, at!), RangeError);
  }
  forgetAt(fd, 20_000, 10_001);
  const rest = bytes.slice().fill(0, 10_001, 30_001);
  assert.deepEqual(read(fd, 50_000, 0), rest, "nothing else is touched");
  close(fd);
  assert.ok(!writeAt(fd, bytes, 0), "it is closed");
});
