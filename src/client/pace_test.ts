import assert from "node:assert/strict";
import { READ_BYTES } from "../reactor/stream.ts";
import { paced } from "./pace.ts";

Deno.test("pace: what takes long is read in pieces that take as long as a client may", () => {
  assert.equal(paced(READ_BYTES, READ_BYTES, 4), READ_BYTES);
  assert.equal(paced(READ_BYTES, READ_BYTES, 50), Math.floor(READ_BYTES / 10));
  assert.equal(paced(6000, 6000, 10), 3000);
  assert.equal(paced(6000, 3000, 10), 1500);
});

Deno.test("pace: never so few that nothing comes of it, and more again when it goes quickly", () => {
  assert.equal(paced(2000, 2000, 10_000), 1024);
  let most = 1024;
  for (let i = 0; i < 6; i++) most = paced(most, most, 1);
  assert.equal(most, READ_BYTES);
});
