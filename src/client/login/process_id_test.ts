import assert from "node:assert/strict";
import fc from "fast-check";
import { clientOf, processIdOf } from "./process_id.ts";

const SECRET = Uint8Array.of(1, 2, 3);

Deno.test("process id: above Linux's, positive, each client's own, and back again", () => {
  const ids = new Set<number>();
  for (let client = 1; client <= 20_000; client++) {
    const id = processIdOf(client, SECRET);
    assert.ok(id >= 4_194_304 && id < 2_147_483_648, String(id));
    assert.equal(clientOf(id, SECRET), client);
    ids.add(id);
  }
  assert.equal(ids.size, 20_000);
  const most = 2 ** 31 - 2 ** 22;
  fc.assert(fc.property(fc.integer({ min: 1, max: most }), fc.uint8Array(), (client, secret) => {
    assert.equal(clientOf(processIdOf(client, secret), secret), client);
  }));
});

Deno.test("process id: one tells nothing of the next, nor of another process's", () => {
  const steps = new Set<number>();
  for (let client = 1; client <= 100; client++) {
    steps.add(processIdOf(client + 1, SECRET) - processIdOf(client, SECRET));
  }
  assert.equal(steps.size, 100);
  assert.notEqual(processIdOf(1, SECRET), processIdOf(1, Uint8Array.of(3)));
});

Deno.test("process id: those of older programs are numbers of clients", () => {
  for (const id of [0, 1, 77, 4_194_303, 2_147_483_648, 0xffffffff]) {
    assert.equal(clientOf(id, SECRET), id);
  }
});
