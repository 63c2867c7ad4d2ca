import assert from "node:assert/strict";
import { levelFilter } from "../../log/filter.ts";
import { createRecordLog } from "../../log/log.ts";
import { Hangs } from "./hangs.ts";

Deno.test("hangs: a worker that does not answer is told of once, and when it answers again", () => {
  const lines: string[] = [];
  const log = createRecordLog({
    filter: levelFilter("info"),
    emit: ({ message }) => lines.push(message),
  });
  const beats = [0, 0];
  let answering = [0, 1];
  const hangs = new Hangs({
    heartbeats: () => [...beats],
    ping: () => answering.forEach((worker) => beats[worker]!++),
  }, log);
  let now = 1000;
  const pass = (seconds: number) => {
    for (let i = 0; i < seconds; i++) hangs.look(now += 1000);
  };
  pass(30);
  assert.deepEqual(lines, []);
  answering = [0];
  pass(10);
  assert.deepEqual(lines, []);
  pass(1);
  assert.match(lines.join(), /^worker 1 has not answered for 10000 ms: its clients hang/);
  pass(30);
  assert.equal(lines.length, 1);
  answering = [0, 1];
  pass(2);
  assert.match(lines[1]!, /^worker 1 answers again, after 4\d000 ms/);
  pass(30);
  assert.equal(lines.length, 2);
});
