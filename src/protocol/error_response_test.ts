import assert from "node:assert/strict";
import fc from "fast-check";
import { errorResponse, noticeResponse, readError } from "./error_response.ts";
import { concat, frontend } from "./testing/wire.ts";

function read(message: Uint8Array): ReturnType<typeof readError> {
  return readError(message, 5, message.length);
}

Deno.test("error response: fields by their letters, severity twice", () => {
  const fields = { severity: "FATAL", code: "53300", message: "too many é" } as const;
  const head = ["SFATAL", "VFATAL", "C53300", "Mtoo many é"];
  assert.deepEqual(errorResponse(fields), frontend("E", ...head, [0]));
  assert.deepEqual(
    noticeResponse({ ...fields, detail: "why", hint: "do" }),
    frontend("N", ...head, "Dwhy", "Hdo", [0]),
  );
});

Deno.test("error response: a NUL in a text can't end the message early", () => {
  const bytes = errorResponse({ severity: "ERROR", code: "XX000", message: "a\0Cevil\0" });
  assert.equal(read(bytes).code, "XX000");
  assert.equal(read(bytes).message, "a\\0Cevil\\0");
});

Deno.test("error response: what PostgreSQL sends, in its order and with fields of no use here", () => {
  const bytes = frontend(
    "E",
    "SFEHLER",
    "VERROR",
    "C42P01",
    "Mrelation missing",
    "Dmore",
    "Hless",
    "P15",
    "Fparse.c",
    "L1449",
    [0],
  );
  assert.deepEqual(read(bytes), {
    severity: "ERROR",
    code: "42P01",
    message: "relation missing",
    detail: "more",
    hint: "less",
  });
});

Deno.test("error response: the untranslated severity counts wherever it stands, S where there is none", () => {
  assert.equal(read(frontend("E", "VERROR", "SFEHLER", [0])).severity, "ERROR");
  assert.equal(read(frontend("E", "SFATAL", [0])).severity, "FATAL");
});

Deno.test("error response: cut, empty and random bodies are read as far as they go", () => {
  const empty = { severity: "", code: "", message: "", detail: "", hint: "" };
  assert.deepEqual(readError(new Uint8Array(0), 0, 0), empty);
  assert.deepEqual(read(frontend("E", [0])), empty);
  const whole = frontend("E", "C42P01", "Mlong text", [0]);
  assert.deepEqual(readError(whole, 5, 14), { ...empty, code: "42P01", message: "l" });
  fc.assert(fc.property(fc.uint8Array(), fc.uint8Array(), (body, behind) => {
    const clean = readError(body, 0, body.length);
    assert.deepEqual(readError(concat(body, behind), 0, body.length), clean);
  }));
});

Deno.test("error response: what is written is read", () => {
  const text = fc.string({ unit: "grapheme" }).filter((value) => !value.includes("\0"));
  fc.assert(fc.property(text, text, text, (message, detail, hint) => {
    const fields = { severity: "ERROR", code: "22012", message, detail, hint } as const;
    assert.deepEqual(read(errorResponse(fields)), fields);
  }));
});
