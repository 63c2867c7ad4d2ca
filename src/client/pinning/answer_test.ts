import assert from "node:assert/strict";
import { checkedAnswer } from "./answer.ts";

Deno.test("answer: as PostgreSQL makes it", () => {
  for (
    const text of [
      "{}",
      '{"set" : null, "role" : "none", "user" : "me", "custom" : {"a.b" : null, "c.d" : ""}}',
      '{"set" : {"work_mem" : "64"}, "locks" : 2, "channels" : ["a", "b"], "timeout" : "0"}',
    ]
  ) {
    assert.deepEqual(checkedAnswer(text), JSON.parse(text));
  }
});

Deno.test("answer: anything else is none", () => {
  for (
    const text of [
      ...["", "well", "{", "null", "5", '"text"', "[]", "[{}]"],
      ...['{"set": 5}', '{"set": [1]}', '{"set": {"a": 1}}', '{"custom": {"a.b": {}}}'],
      ...['{"channels": "a"}', '{"channels": [1]}', '{"role": {}}', '{"locks": []}'],
    ]
  ) {
    assert.equal(checkedAnswer(text), undefined, text);
  }
});
