import assert from "node:assert/strict";
import { Audience } from "./audience.ts";

Deno.test("audience: a channel is told when its first client comes and its last one goes", () => {
  const changes: string[] = [];
  const audience = new Audience<string>((channel) => {
    changes.push(`${audience.has(channel) ? "+" : "-"}${channel}`);
  });
  audience.add("one", ["a", "b"]);
  audience.add("two", ["b", "c"]);
  audience.add("two", ["c"]);
  assert.deepEqual(changes.splice(0), ["+a", "+b", "+c"]);
  assert.deepEqual(audience.of("b"), ["one", "two"]);
  audience.remove("one", ["b", "c", "x"]);
  assert.deepEqual(changes.splice(0), []);
  assert.deepEqual(audience.channelsOf("one"), ["a"]);
  audience.remove("two", audience.channelsOf("two"));
  assert.deepEqual(changes.splice(0), ["-b", "-c"]);
  assert.deepEqual(audience.clients, ["one"]);
  audience.remove("one", ["a"]);
  assert.deepEqual([audience.size, audience.channels, changes], [0, [], ["-a"]]);
});
