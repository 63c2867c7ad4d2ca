import assert from "node:assert/strict";
import type { LogLevel } from "./format.ts";
import { MOST_KINDS, MOST_LINES, StormLimit } from "./storm.ts";
import { Periods } from "./testing/periods.ts";

class Place extends Periods {
  readonly told: string[] = [];
  readonly limit: StormLimit;

  constructor() {
    super();
    this.limit = new StormLimit({
      tell: (level, target, message) => this.told.push(`${level} ${target} ${message}`),
      later: this.later,
    });
  }

  /** How many of so many lines are written. */
  written(count: number, message: (i: number) => string, level: LogLevel = "warn"): number {
    let written = 0;
    for (let i = 0; i < count; i++) if (this.limit.admit(level, "t", message(i))) written++;
    return written;
  }
}

const LOST = (i: number) => `[user${i}@app #c${i}] client lost its server pid=${i}: "x${i}"`;

Deno.test("storm: the first lines of a kind are written, the others told of in one, whatever their names and numbers", () => {
  const place = new Place();
  assert.equal(place.written(5000, LOST), MOST_LINES);
  assert.deepEqual(place.told, []);
  place.period();
  assert.deepEqual(place.told, [
    `warn t … and ${5000 - MOST_LINES} more like this in the last 10 s, the last one: ${
      LOST(4999)
    }`,
  ]);
});

Deno.test("storm: as long as it goes on, one line a period is all; then lines are written again", () => {
  const place = new Place();
  place.written(5000, LOST);
  place.period();
  assert.equal(place.written(5000, LOST), 0);
  place.period();
  assert.match(place.told[1]!, /and 5000 more like this/);
  assert.equal(place.written(7, LOST), 0);
  place.period();
  assert.match(place.told[2]!, /and 7 more like this .*pid=6/);
  assert.equal(place.written(7, LOST), 7);
  place.period();
  assert.equal(place.told.length, 3);
});

Deno.test("storm: other texts, levels and modules are other kinds, and nothing is kept of what is quiet", () => {
  const place = new Place();
  place.written(5000, LOST);
  assert.equal(place.written(1, () => "something else"), 1);
  assert.equal(place.written(1, LOST, "error"), 1);
  assert.ok(place.limit.admit("warn", "other", LOST(1)));
  assert.equal(place.timers, 4);
  place.period();
  assert.equal(place.timers, 4);
  place.period();
  assert.equal(place.timers, 0);
});

Deno.test("storm: kinds beyond the table's bound share what one may write", () => {
  const place = new Place();
  const letters = (i: number) => String(i).replace(/[0-9]/g, (digit) => "abcdefghij"[+digit]!);
  assert.equal(place.written(MOST_KINDS, letters), MOST_KINDS);
  const more = place.written(5000, (i) => letters(MOST_KINDS + i));
  assert.equal(more, MOST_LINES);
  place.period();
  assert.equal(place.told.length, 1);
  assert.match(place.told[0]!, new RegExp(`and ${5000 - MOST_LINES} more like this`));
});
