import assert from "node:assert/strict";
import { Hangs } from "./hangs.ts";

Deno.test("hangs: a worker that does not answer ten times is told of, and again if nothing comes of it", () => {
  const told: string[] = [];
  const beats = [0, 0];
  let answering = [0, 1];
  const hangs = new Hangs({
    heartbeats: () => [...beats],
    ping: () => answering.forEach((worker) => beats[worker]!++),
    hangs: (worker, ms) => void told.push(`${worker} for ${ms}`),
  });
  const look = (times: number) => {
    for (let i = 0; i < times; i++) hangs.look();
    return told.splice(0);
  };
  assert.deepEqual(look(30), []);
  answering = [0];
  // It has answered what it was asked last.
  assert.deepEqual(look(10), []);
  assert.deepEqual(look(1), ["1 for 10000"]);
  assert.deepEqual(look(9), []);
  assert.deepEqual(look(1), ["1 for 20000"]);
  look(3);
  hangs.replaced(1);
  assert.deepEqual(look(8), []);
  answering = [0, 1];
  assert.deepEqual(look(30), []);
});
