import assert from "node:assert/strict";
import { Refusal } from "./refusal.ts";
import { splitStatements } from "./tokens.ts";

function shape(text: string): string[][] {
  return splitStatements(text).map((statement) =>
    statement.tokens.map((token) => `${token.kind[0]}:${token.text}`)
  );
}

Deno.test("tokens: blanks, comments and bare semicolons make no statement", () => {
  for (const text of ["", " \n\t", ";", " ; ;\n", "-- ping", "/* a /* nested */ b */;", "--\r;"]) {
    assert.deepEqual(shape(text), [], JSON.stringify(text));
  }
});

Deno.test("tokens: statements end at semicolons outside quotes and comments", () => {
  assert.deepEqual(shape(`SHOW POOLS ;\nPAUSE "a;b" -- ;\n; SET x='1;2'`), [
    ["w:SHOW", "w:POOLS"],
    ["w:PAUSE", "q:a;b"],
    ["w:SET", "w:x", "s:=", "s:1;2"],
  ]);
});

Deno.test("tokens: doubled quotes stand for one", () => {
  assert.deepEqual(shape(`"a""b" 'c''d' "" ''`), [['q:a"b', "s:c'd", "q:", "s:"]]);
});

Deno.test("tokens: names of databases need no quotes for dashes and dots", () => {
  assert.deepEqual(shape("PAUSE my-db.eu--comment"), [["w:PAUSE", "w:my-db.eu"]]);
  assert.deepEqual(shape("PAUSE größe"), [["w:PAUSE", "w:größe"]]);
});

Deno.test("tokens: the text from a token on is kept verbatim", () => {
  const [statement] = splitStatements("SET log_level = warn,a::b=debug  ; x");
  assert.equal(statement.from(3), "warn,a::b=debug");
  assert.equal(statement.from(99), "");
});

Deno.test("tokens: what is not closed is refused", () => {
  for (const text of ['PAUSE "x', "SET a='x", "SHOW /* x /* y */", "'a''"]) {
    assert.throws(
      () => splitStatements(text),
      (error) => error instanceof Refusal && error.code === "42601",
      text,
    );
  }
});
