import assert from "node:assert/strict";
import type { ReceivedError } from "../../protocol/error_response.ts";
import { Greeting } from "./greeting.ts";

const ERROR: ReceivedError = {
  severity: "ERROR",
  code: "22012",
  message: "division\nby zero",
  detail: "",
  hint: "",
};

/** A server, and what was run on it. */
function server(pid: number): { state: { pid: number }; ran: string[]; runOwn(sql: string): void } {
  const ran: string[] = [];
  return { state: { pid }, ran, runOwn: (sql) => void ran.push(sql) };
}

function greeting(): { greeting: Greeting<ReturnType<typeof server>>; lines: string[] } {
  const lines: string[] = [];
  const log = { warn: (_target: string, message: string) => void lines.push(message) };
  return { greeting: new Greeting({ name: "a@b" }, log), lines };
}

Deno.test("greeting: without a connect_query nothing is run", () => {
  const { greeting: none } = greeting();
  const one = server(7);
  assert.ok(!none.begin(one, { connect_query: "" }));
  assert.ok(!none.end(one, undefined));
  assert.deepEqual(one.ran, []);
});

Deno.test("greeting: an error is a line in the log, and that server's own", () => {
  const { greeting: both, lines } = greeting();
  const [one, other] = [server(7), server(8)];
  assert.ok(both.begin(one, { connect_query: "SELECT 1/0" }));
  assert.ok(!both.end(other, ERROR));
  assert.ok(both.end(one, ERROR));
  assert.deepEqual(one.ran, ["SELECT 1/0"]);
  assert.equal(lines.length, 1);
  assert.match(lines[0]!, /^\[a@b\] pid=7 connect_query failed: 22012: division.by zero/);
  // Later errors of it are no greeting's.
  assert.ok(!both.end(one, ERROR));
});
