import assert from "node:assert/strict";
import { readAnswer } from "./answer.ts";

const MD5 = "md5" + "0123456789abcdef".repeat(2);
const SCRAM = "SCRAM-SHA-256$4096:c2FsdHNhbHRzYWx0c2FsdA==$" +
  "I1mpvZ6lp5b6r7QZJZ8bkHe0bx0ysqyB5QLp5t8l7BY=:I1mpvZ6lp5b6r7QZJZ8bkHe0bx0ysqyB5QLp5t8l7BY=";

const encoder = new TextEncoder();

function message(type: string, ...parts: (number[] | Uint8Array)[]): number[] {
  const body = parts.flatMap((part) => [...part]);
  const length = body.length + 4;
  return [type.charCodeAt(0), length >> 24, length >> 16 & 255, length >> 8 & 255, length & 255]
    .concat(body);
}

const short = (n: number) => [n >> 8, n & 255];
const long = (n: number) => [0, 0, n >> 8 & 255, n & 255];

/** An answer with these columns, by name and type, and rows. */
function answer(columns: Record<string, number>, ...rows: (string | null)[][]): Uint8Array {
  const names = Object.entries(columns);
  return Uint8Array.from([
    ...message("1"),
    ...message("2"),
    ...message(
      "T",
      short(names.length),
      ...names.map(([name, type]) => [
        ...encoder.encode(name + "\0"),
        ...[0, 0, 0, 0, 0, 0],
        ...long(type),
        ...[255, 255, 255, 255, 255, 255, 0, 0],
      ]),
    ),
    ...rows.flatMap((row) =>
      message(
        "D",
        short(row.length),
        ...row.map((value) =>
          value === null
            ? [255, 255, 255, 255]
            : [...long(encoder.encode(value).length), ...encoder.encode(value)]
        ),
      )
    ),
    ...message("C", encoder.encode("SELECT 1\0")),
    ...message("Z", [0x49]),
  ]);
}

function passwordOf(bytes: Uint8Array): unknown {
  const looked = readAnswer(bytes);
  return looked.kind === "found" ? looked.found.password : looked;
}

const TEXT = 25;
const MISSING = { kind: "missing" };

Deno.test("auth_query's answer: the password's column", () => {
  const md5 = { kind: "md5", hash: MD5 };
  for (const type of [19, TEXT, 1042, 1043, 705]) {
    assert.deepEqual(passwordOf(answer({ passwd: type }, [MD5])), md5);
  }
  const two = { usename: 19, passwd: TEXT };
  assert.deepEqual(passwordOf(answer(two, ["me", MD5])), md5);
  assert.deepEqual(passwordOf(answer({ passwd: 23, password: TEXT }, ["1", MD5])), md5);
  assert.deepEqual(passwordOf(answer({ anything: TEXT }, [SCRAM])), {
    kind: "scram",
    verifier: SCRAM,
  });
  assert.deepEqual(
    passwordOf(answer({ anything: TEXT, startup_parameters: 114 }, [MD5, null])),
    md5,
  );
  const none = /no column "passwd" or "password"/;
  for (const columns of [{ a: TEXT, b: TEXT }, { passwd: 23 }, {}] as Record<string, number>[]) {
    const looked = readAnswer(answer(columns));
    assert.equal(looked.kind, "failed");
    assert.match((looked as { message: string }).message, none);
  }
});

Deno.test("auth_query's answer: nobody, or more than one", () => {
  assert.deepEqual(readAnswer(answer({ passwd: TEXT })), MISSING);
  assert.deepEqual(readAnswer(answer({ passwd: TEXT }, [null])), MISSING);
  assert.deepEqual(readAnswer(answer({ passwd: TEXT }, [""])), MISSING);
  assert.deepEqual(readAnswer(answer({ passwd: TEXT }, [MD5], [MD5])), {
    kind: "failed",
    message: "the query returns 2 rows, and not one",
  });
});

Deno.test("auth_query's answer: what is no hash lets nobody in", () => {
  for (const text of ["secret", "md5 nonsense", "SCRAM-SHA-256$x", "jwt-pkey-fpath:/x"]) {
    assert.equal(
      (passwordOf(answer({ passwd: TEXT }, [text])) as { kind: string }).kind,
      "unsupported",
    );
  }
});

Deno.test("auth_query's answer: an error says where names are looked for", () => {
  const bytes = message(
    "E",
    encoder.encode('SERROR\0VERROR\0C42P01\0Mrelation "users" does not exist\0\0'),
  );
  assert.deepEqual(readAnswer(Uint8Array.from([...bytes, ...message("Z", [0x49])])), {
    kind: "failed",
    message: '42P01: relation "users" does not exist ' +
      "(search_path is pg_catalog here: name the schema in the query)",
  });
});

Deno.test("auth_query's answer: startup_parameters", () => {
  const read = (value: string | null, type = 114) => {
    const columns = { passwd: TEXT, startup_parameters: type };
    const looked = readAnswer(answer(columns, [MD5, value]));
    assert.equal(looked.kind, "found");
    const { parameters, dropped } = (looked as { found: { parameters: unknown; dropped: unknown } })
      .found;
    return [parameters, dropped];
  };
  for (const type of [TEXT, 114, 3802]) {
    assert.deepEqual(read('{"TIMEZONE":"UTC","work_mem":"1MB"}', type), [[
      ["TimeZone", "UTC"],
      ["work_mem", "1MB"],
    ], []]);
  }
  assert.deepEqual(read(null), [[], []]);
  assert.deepEqual(read(""), [[], []]);
  assert.deepEqual(read("5", 23), [[], ["auth_query_bad_type"]]);
  assert.deepEqual(read("{"), [[], ["auth_query_invalid_json"]]);
  for (const text of ["[]", "1", "null"]) {
    assert.deepEqual(read(text), [[], ["auth_query_invalid_shape"]]);
  }
  const some = JSON.stringify({ role: "postgres", search_path: "x", "a b": "1", work_mem: 1 });
  assert.deepEqual(read(some), [
    [["search_path", "x"]],
    ["auth_query_invalid_entry", "auth_query_invalid_entry", "auth_query_invalid_entry"],
  ]);
  assert.deepEqual(read(JSON.stringify({ "my.text": "x".repeat(9488) })), [
    [],
    ["auth_query_oversize"],
  ]);
});
