import assert from "node:assert/strict";
import { canonicalName, isParameterName } from "./parameter_names.ts";

Deno.test("parameter names: reported ones keep PostgreSQL's spelling, others are lower case", () => {
  assert.equal(canonicalName("TIMEZONE"), "TimeZone");
  assert.equal(canonicalName("datestyle"), "DateStyle");
  assert.equal(canonicalName("intervalSTYLE"), "IntervalStyle");
  assert.equal(canonicalName("Client_Encoding"), "client_encoding");
  assert.equal(canonicalName("Work_Mem"), "work_mem");
  assert.equal(canonicalName("My.Own"), "my.own");
});

Deno.test("parameter names: what PostgreSQL takes", () => {
  for (const name of ["work_mem", "_x", "my.own.name", "my.odd$$name", "TimeZone"]) {
    assert.ok(isParameterName(name), name);
  }
  for (const name of ["", "1a", "a-b", "a b", "ä", ".a", "$a", "a'b", 'a"b', "a;b", "a\0b"]) {
    assert.ok(!isParameterName(name), name);
  }
});
