import assert from "node:assert/strict";
import {
  customNames,
  isLocalSet,
  NAMES,
  textMarks,
  unlistenedChannels,
  UNLISTENS,
} from "./marks.ts";
import { Dirty } from "./state.ts";

function marks(text: string): number {
  const bytes = new TextEncoder().encode(`xx_temp${text}\0`);
  return textMarks(bytes, 7, bytes.length);
}

Deno.test("marks: set_config, but for its transaction alone", () => {
  for (
    const text of [
      "SELECT set_config('a.b', 'c', false)",
      "select pg_catalog.SET_CONFIG($1, $2, $3)",
      "SELECT set_config('a', 'b', true), set_config('c', 'd', false)",
      "SELECT set_config('a', f(x, true), false)",
    ]
  ) assert.equal(marks(text), Dirty.Config | NAMES, text);
  for (
    const text of [
      "SELECT set_config('a.b', 'c', true)",
      "select set_config($1,$2, TRUE ), set_config( 'x' , $3::text , true)",
      "SELECT set_up, config_set FROM t",
    ]
  ) assert.equal(marks(text), 0, text);
});

Deno.test("marks: advisory locks of the session, not those of a transaction", () => {
  assert.equal(marks("SELECT pg_advisory_lock(1)"), Dirty.Advisory);
  assert.equal(marks("SELECT pg_try_advisory_lock_shared(1)"), Dirty.Advisory);
  assert.equal(marks("SELECT PG_ADVISORY_UNLOCK_ALL()"), Dirty.Advisory);
  assert.equal(marks("SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2)"), 0);
  assert.equal(marks("SELECT no_advisory FROM t"), 0);
});

Deno.test("marks: temporary objects", () => {
  for (
    const text of [
      "CREATE TEMP TABLE t (x int)",
      "create temporary  table t (x int)",
      "BEGIN;\nCREATE\n\tTEMP TABLE t AS SELECT 1",
      "CREATE LOCAL TEMPORARY TABLE t (x int)",
      "CREATE OR REPLACE TEMP VIEW v AS SELECT 1",
      "SELECT 1 INTO TEMP t",
      "CREATE /* not kept */ TEMP SEQUENCE s",
      "CREATE TABLE pg_temp.t (x int)",
    ]
  ) assert.equal(marks(text), Dirty.Temp, text);
  for (
    const text of [
      "SELECT temp, temperature FROM template WHERE max_temp > 1",
      "CREATE TABLE temps (temp int)",
      "SELECT attempt FROM t",
      "temp",
    ]
  ) assert.equal(marks(text), 0, text);
});

Deno.test("marks: nothing before the text is looked at, nor behind it", () => {
  const bytes = new TextEncoder().encode("set_config");
  for (let cut = 1; cut < bytes.length; cut++) assert.equal(textMarks(bytes, 0, cut), 0);
  assert.equal(textMarks(new TextEncoder().encode("create temp"), 7, 11), 0);
});

Deno.test("marks: a SET that ends with its transaction", () => {
  const is = (text: string) => {
    const bytes = new TextEncoder().encode(`${text}\0`);
    return isLocalSet(bytes, 0, bytes.length);
  };
  for (const text of ["SET LOCAL a = 1", "set  local x to 'y';", " SET TRANSACTION READ ONLY\n"]) {
    assert.ok(is(text), text);
  }
  for (
    const text of [
      "SET a = 1",
      "SET LOCAL a = 1; SET b = 2",
      "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
      "SELECT 1",
      "SETLOCAL",
      "",
    ]
  ) assert.ok(!is(text), text);
});

Deno.test("marks: a statement that is a SET may name any parameter", () => {
  for (
    const text of ["SET a.b = 1", " /* why */ set\tx to y", "BEGIN; SET a = 1", ";\nSET x=1"]
  ) assert.equal(marks(text), NAMES, text);
  assert.equal(marks("SET a TO DEFAULT"), NAMES | Dirty.Default);
  for (const text of ["UPDATE t SET a = 1", "SETTLE", "SELECT 1; SELECT 2", "/* SET a"]) {
    assert.equal(marks(text), 0, text);
  }
});

Deno.test("marks: names with a dot", () => {
  const bytes = new TextEncoder().encode("SET App.Tenant TO 'x.y'; SET work_mem = '1.5GB', a.b.c");
  assert.deepEqual(customNames(bytes, 4, bytes.length), ["app.tenant", "x.y", "a.b.c"]);
});

Deno.test("marks: UNLISTEN at the beginning of a statement, and what it names", () => {
  const cases: [text: string, channels: string[]][] = [
    ["UNLISTEN a", ["a"]],
    [" /* x */ unlisten *;", ["*"]],
    ["UNLISTEN*", ["*"]],
    ["SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;", ["*"]],
    [`UNLISTEN "A ""b"" *"; UnListen MiXed$1; unlisten "*x"`, ['A "b" *', "mixed$1", "*x"]],
    ["UNLISTEN ümläut", ["ümläut"]],
    [`UNLISTEN ${"x".repeat(70)}`, ["x".repeat(63)]],
    [`UNLISTEN "${"ü".repeat(40)}"`, ["ü".repeat(31)]],
  ];
  for (const [text, channels] of cases) {
    assert.notEqual(marks(text) & UNLISTENS, 0, text);
    const bytes = new TextEncoder().encode(`${text}\0`);
    assert.deepEqual(unlistenedChannels(bytes, 0, bytes.length), channels, text);
  }
  for (const text of ["SELECT 'UNLISTEN a'", "LISTEN a", "u", "UNLISTE", "UPDATE t SET u = 1"]) {
    assert.equal(marks(text) & UNLISTENS, 0, text);
  }
});
