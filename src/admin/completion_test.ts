import assert from "node:assert/strict";
import { completeWord } from "./completion.ts";

const SHOWS = ["help", "pools", "log_level", "lists"];

function words(query: string): string[] | undefined {
  return completeWord(query, SHOWS)?.rows.map((row) => String(row[0]));
}

// Queries as psql 15 sent them.
Deno.test("completion: SHOW offers the SHOWs that begin with what was typed", () => {
  const query = (typed: string) =>
    "SELECT pg_catalog.lower(name) FROM pg_catalog.pg_settings  WHERE pg_catalog.lower(name) " +
    `LIKE pg_catalog.lower('${typed}%')\nLIMIT 1000`;
  assert.deepEqual(words(query("")), SHOWS);
  assert.deepEqual(words(query("l")), ["log_level", "lists"]);
  assert.deepEqual(words(query("log\\\\_")), ["log_level"]);
  assert.deepEqual(words(query("log\\_")), ["log_level"]);
  assert.deepEqual(words(query("it''s")), []);
});

Deno.test("completion: SET offers what can be set", () => {
  const query =
    "SELECT pg_catalog.lower(name) FROM pg_catalog.pg_settings  WHERE context IN ('user', " +
    "'superuser')    AND pg_catalog.lower(name) LIKE pg_catalog.lower('lo%')\nLIMIT 1000";
  assert.deepEqual(words(query), ["log_level"]);
});

Deno.test("completion: the values of log_level", () => {
  assert.deepEqual(
    completeWord(
      "SELECT vartype FROM pg_catalog.pg_settings WHERE pg_catalog.lower(name) = " +
        "pg_catalog.lower('log_level')",
      SHOWS,
    ),
    { columns: [{ name: "vartype", type: "text" }], rows: [["enum"]] },
  );
  const query = (typed: string) =>
    " SELECT val FROM (    SELECT name, pg_catalog.unnest(enumvals) AS val      FROM " +
    `pg_catalog.pg_settings     ) ss   WHERE val LIKE '${typed}%'        and ` +
    "pg_catalog.lower(name)=pg_catalog.lower('log_level')\nLIMIT 1000";
  assert.deepEqual(words(query("")), ["error", "warn", "info", "debug", "trace", "off", "default"]);
  assert.deepEqual(words(query("w")), ["warn"]);
});

Deno.test("completion: the older form with substring", () => {
  const query =
    "SELECT name FROM  (SELECT pg_catalog.lower(name) AS name FROM pg_catalog.pg_settings   " +
    "UNION ALL SELECT 'all') ss  WHERE substring(name,1,2)='po'\nLIMIT 1000";
  assert.deepEqual(words(query), ["pools"]);
});

Deno.test("completion: nothing but a SELECT is taken for psql's", () => {
  assert.equal(words("PAUSE -- pg_catalog.pg_settings"), undefined);
  assert.equal(words("SELECT 1"), undefined);
});
