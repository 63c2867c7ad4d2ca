import assert from "node:assert/strict";
import type { LogRecord } from "./format.ts";
import { MOST_ADDRESSES, ProvokedLines } from "./provoked.ts";
import { Periods } from "./testing/periods.ts";

class Place extends Periods {
  readonly messages: string[] = [];
  readonly lines: ProvokedLines;

  constructor() {
    super();
    this.lines = new ProvokedLines({
      emit: ({ message }) => this.messages.push(message),
      now: () => 0,
      later: this.later,
    });
  }

  take(kind: string, address: string, message: string): void {
    const record: LogRecord = { level: "warn", target: "t", message, file: "f", line: 1, at: 0 };
    this.lines.take(record, { kind, address });
  }
}

Deno.test("provoked lines: the first at once, the others of ten seconds in one line with the last of them", () => {
  const place = new Place();
  for (let i = 1; i <= 1000; i++) place.take("wrong", "10.0.0.1", `line ${i}`);
  assert.deepEqual(place.messages, ["line 1"]);
  place.period();
  assert.deepEqual(place.messages.slice(1), [
    "wrong: … and 999 more of these in the last 10 s from 10.0.0.1, the last one: line 1000",
  ]);
  place.take("wrong", "10.0.0.1", "one more");
  assert.equal(place.messages.length, 2);
  place.period();
  assert.match(place.messages[2]!, /and 1 more .*: one more$/);
});

Deno.test("provoked lines: after ten quiet seconds the next is the first again, and nothing is kept", () => {
  const place = new Place();
  place.take("wrong", "10.0.0.1", "a");
  place.period();
  assert.equal(place.timers, 0);
  place.take("wrong", "10.0.0.1", "b");
  assert.deepEqual(place.messages, ["a", "b"]);
});

Deno.test("provoked lines: other addresses and other kinds have lines of their own", () => {
  const place = new Place();
  place.take("wrong", "10.0.0.1", "a");
  place.take("wrong", "10.0.0.2", "b");
  place.take("broken", "10.0.0.1", "c");
  assert.deepEqual(place.messages, ["a", "b", "c"]);
});

Deno.test("provoked lines: beyond the table's bound further addresses share a line for each kind, and none is forgotten", () => {
  const place = new Place();
  for (let i = 0; i < MOST_ADDRESSES + 5000; i++) place.take("wrong", `a${i}`, `line ${i}`);
  place.take("broken", "a0", "another kind");
  place.take("wrong", "a0", "a known address");
  assert.equal(place.messages.length, MOST_ADDRESSES + 2);
  assert.ok(place.messages.includes("another kind"));
  assert.equal(place.timers, MOST_ADDRESSES + 2);
  place.period();
  assert.deepEqual(place.messages.slice(MOST_ADDRESSES + 2), [
    "wrong: … and 1 more of these in the last 10 s from a0, the last one: a known address",
    `wrong: … and 4999 more of these in the last 10 s from other addresses, the last one: line ${
      MOST_ADDRESSES + 4999
    }`,
  ]);
});
