import assert from "node:assert/strict";
import { isConstantQuery } from "./constant_query.ts";

Deno.test("constant query: nothing, and literals, have the same answer for everybody", () => {
  const constant = [
    "",
    ";",
    " ; ;\n",
    "/* ping */",
    "-- ping",
    "select 1",
    "SELECT 1;",
    "select 1.5, 'x', true, NULL as nothing",
    `SELECT 'here' AS "Answer" ;;`,
    "/* ping */ select 1",
  ];
  for (const text of constant) assert.ok(isConstantQuery(text), text);
});

Deno.test("constant query: whatever may depend on the session, or is not understood, has not", () => {
  const others = [
    "select current_user",
    "select user",
    "show timezone",
    "SHOW TRANSACTION_READ_ONLY",
    "select now()",
    "select version()",
    "select -1",
    "select 1 + 1",
    "select 1::bool",
    "select date '2024-01-01'",
    "select interval '1 day'",
    "select 1 from t",
    "select 1 where true",
    "select * from ping",
    "select a",
    "select $1",
    "select 1 2",
    "select 1,",
    "select",
    "select 1 as",
    "select 1; select current_user",
    "select 1; set role x",
    "select 'a' 'b'",
    "select 'a\\b'",
    "select E'a'",
    "select N'a'",
    "select 'ä'",
    "select 1 as ä",
    "select U&'\\0061'",
    "select 'unterminated",
    "values (1)",
    "ping",
    "begin",
  ];
  for (const text of others) assert.ok(!isConstantQuery(text), text);
});
