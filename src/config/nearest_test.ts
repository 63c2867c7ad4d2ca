import assert from "node:assert/strict";
import { nearestName } from "./nearest.ts";

const KNOWN = ["connect_timeout", "idle_timeout", "port", "host", "pool_size"];

Deno.test("nearest: finds the name that a mistyped one was meant to be", () => {
  for (
    const [typed, meant] of [
      ["conect_timeout", "connect_timeout"],
      ["idle_timout", "idle_timeout"],
      ["Port", "port"],
      ["prt", "port"],
      ["prot", "port"],
      ["ohst", "host"],
      ["poolsize", "pool_size"],
    ] as const
  ) assert.equal(nearestName(typed, KNOWN), meant);
});

Deno.test("nearest: leaves strangers alone", () => {
  for (const typed of ["zebra", "x", "", "timeouts_of_nothing"]) {
    assert.equal(nearestName(typed, KNOWN), undefined, typed);
  }
});
