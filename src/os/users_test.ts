import assert from "node:assert/strict";
import { userName } from "./users.ts";

Deno.test("users: names by number, and none where there is none", async () => {
  assert.equal(await userName(0), "root");
  const lines = Deno.readTextFileSync("/etc/passwd").trim().split("\n").slice(0, 10);
  for (const line of lines) {
    const [name, , uid] = line.split(":");
    assert.equal(await userName(Number(uid)), name);
  }
  assert.equal(await userName(4_000_000_000), undefined);
});
