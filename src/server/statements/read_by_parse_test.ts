import assert from "node:assert/strict";
import { CHANGES_PARSE, CREATES, DEALLOCATES_ALL } from "../mark_bits.ts";
import { textMarks } from "../marks.ts";
import { parameterSet } from "../parameters.ts";
import { Dirty, newServerState } from "../state.ts";
import {
  isSettled,
  noteParseMarks,
  parseKey,
  parseMarks,
  settle,
  WITHIN,
} from "./read_by_parse.ts";

const encoder = new TextEncoder();

function marks(text: string, within = false): string {
  const bytes = encoder.encode(`${text}\0`);
  const found = parseMarks(bytes, 0, bytes.length - 1, textMarks(bytes, 0, bytes.length), within);
  return ((found & CHANGES_PARSE) !== 0 ? "changes " : "") +
    ((found & DEALLOCATES_ALL) !== 0 ? "deallocates " : "") +
    ((found & CREATES) !== 0 ? "creates " : "");
}

Deno.test("read by parse: the key has what a Parse may read, and nothing that PostgreSQL has by itself", () => {
  const key = (values: Record<string, string>) =>
    parseKey(parameterSet(new Map(Object.entries(values))));
  assert.equal(key({ application_name: "a", statement_timeout: "1s", work_mem: "1MB" }), "");
  assert.equal(
    key({ client_encoding: "UTF8", DateStyle: "ISO, MDY", search_path: '"$user", public' }),
    "",
  );
  assert.equal(key({ TimeZone: "UTC", application_name: "a" }), key({ TimeZone: "UTC" }));
  assert.equal(key({ TimeZone: "UTC", role: "r" }), key({ role: "r", TimeZone: "UTC" }));
  for (
    const [name, value] of [
      ["TimeZone", "Asia/Tokyo"],
      ["DateStyle", "ISO, DMY"],
      ["IntervalStyle", "iso_8601"],
      ["client_encoding", "LATIN1"],
      ["standard_conforming_strings", "off"],
      ["search_path", "s1"],
      ["role", "r"],
      ["backslash_quote", "on"],
      ["xmloption", "document"],
      ["transform_null_equals", "on"],
      ["array_nulls", "off"],
      ["app.tenant", "5"],
      ["of_tomorrow", "on"],
    ]
  ) assert.notEqual(key({ [name!]: value! }), "", name);
});

Deno.test("read by parse: texts behind which a Parse may read something else", () => {
  for (
    const text of [
      "SET search_path = a",
      "set local TimeZone to 'UTC'",
      "  /* c */ SET LOCAL search_path = a",
      "SELECT set_config('search_path', $1, true)",
      "SELECT set_config('search_path', 'a', false)",
      "RESET ALL",
      "DO $$ BEGIN END $$",
      "CALL p()",
      "EXECUTE p",
      "EXPLAIN ANALYZE SELECT f()",
      "ALTER TABLE t ADD a int",
      "-- c\nDROP TABLE t",
      "CREATE TEMP TABLE t(a int)",
      "SET statement_timeout = 1; SET search_path = a",
      "BEGIN; SELECT 1",
      "UPDATE pg_settings SET setting = 'a' WHERE name = 'search_path'",
      "IMPORT FOREIGN SCHEMA a FROM SERVER s INTO b",
      "LOAD 'a'",
      'SET "search_path" = a',
      "SET statement_timeout, search_path = 1",
    ]
  ) assert.match(marks(text), /^changes /, text);
  for (
    const text of [
      "",
      "SELECT 1",
      "SELECT 'set' INTO t",
      "INSERT INTO t VALUES (1)",
      "BEGIN",
      "COMMIT",
      "ROLLBACK",
      "SET LOCAL statement_timeout = 5",
      "SET statement_timeout TO '5s'",
      "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
      "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
      "SELECT pg_advisory_lock(1)",
      "SHOW search_path",
      "SAVEPOINT into_a",
      "DEALLOCATE a",
    ]
  ) assert.equal(marks(text, text.startsWith("SAVE")), "", text);
});

Deno.test("read by parse: what creates, and what deallocates everything", () => {
  assert.equal(marks("CREATE TABLE t AS SELECT 1"), "changes creates ");
  assert.equal(marks("/* c */ SELECT 1 INTO t", WITHIN), "changes creates ");
  assert.equal(marks("WITH a AS (SELECT 1) SELECT * INTO t FROM a", WITHIN), "changes creates ");
  for (
    const text of [
      "DISCARD ALL",
      "deallocate all",
      "/**/ DEALLOCATE PREPARE ALL",
      "SELECT 1; DISCARD ALL",
      "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$",
    ]
  ) assert.match(marks(text), /deallocates/, text);
});

Deno.test("read by parse: what was noted holds until the transaction is over and all is asked about", () => {
  const state = newServerState(1, 0);
  assert.ok(isSettled(state, 0));
  noteParseMarks(state, CHANGES_PARSE);
  assert.ok(!isSettled(state, 0));
  state.dirty = Dirty.Set;
  settle(state);
  assert.ok(!isSettled(state, 0));
  state.dirty = 0;
  settle(state);
  assert.ok(isSettled(state, 0));
  assert.ok(isSettled(state, Dirty.Advisory));
  assert.ok(!isSettled(state, Dirty.Temp));
  state.changedSchema = true;
  assert.ok(!isSettled(state, 0));
});
