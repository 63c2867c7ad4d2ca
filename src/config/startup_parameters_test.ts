import assert from "node:assert/strict";
import {
  mergeParameters,
  parameterBytes,
  parameterFault,
  startupPacketBytes,
} from "./startup_parameters.ts";

Deno.test("startup parameters: reserved and impossible names, NUL in values", () => {
  for (
    const name of ["user", "Database", "REPLICATION", "options", "role", "session_authorization"]
  ) assert.match(parameterFault(name, "x") ?? "", /reserved/, name);
  assert.match(parameterFault("_PQ_.protocol", "x") ?? "", /protocol option/);
  assert.match(parameterFault("", "x") ?? "", /needs a name/);
  for (const name of ["1a", "a-b", "a b", "ä", ".a"]) {
    assert.match(parameterFault(name, "x") ?? "", /cannot be the name/, name);
  }
  assert.match(parameterFault("work_mem", "a\0b") ?? "", /NUL/);
  for (const name of ["work_mem", "_x", "my.own.name", "TimeZone"]) {
    assert.equal(parameterFault(name, ""), undefined, name);
  }
});

Deno.test("startup parameters: a later layer wins whatever its spelling", () => {
  const merged = mergeParameters(
    new Map([["TimeZone", "UTC"], ["work_mem", "4MB"]]),
    new Map([["timezone", "Asia/Tokyo"]]),
  );
  assert.deepEqual([...merged], [["TimeZone", "Asia/Tokyo"], ["work_mem", "4MB"]]);
});

Deno.test("startup parameters: sizes count bytes and both terminators", () => {
  assert.equal(parameterBytes([["a", "ä"]]), 1 + 2 + 2);
  const packet = { user: "u", database: "d", applicationName: "app" };
  // Length 4, version 4, user 4+1+2, database 8+1+2, application_name 16+3+2, terminator 1.
  assert.equal(startupPacketBytes({ ...packet, parameters: new Map() }), 48);
  const own = new Map([["application_name", "longer"]]);
  assert.equal(startupPacketBytes({ ...packet, parameters: own }), 51);
});
