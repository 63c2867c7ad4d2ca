import assert from "node:assert/strict";
import { RecentTimes, timePercentiles } from "./recent_times.ts";

function read(times: RecentTimes, shares: number[]): number[] {
  return timePercentiles([times.buffer!], "query", shares);
}

Deno.test("recent times: small numbers are exact", () => {
  const times = new RecentTimes();
  for (let us = 1; us <= 20; us++) times.addQuery(us);
  assert.deepEqual(read(times, [0.5, 0.95, 1]), [10, 19, 20]);
});

Deno.test("recent times: what is read is at most 1.6 % off, whatever the size", () => {
  for (let us = 1; us < 2 ** 30; us = Math.ceil(us * 1.037)) {
    const times = new RecentTimes();
    times.addQuery(us);
    const [found] = read(times, [0.99]) as [number];
    assert.ok(Math.abs(found - us) <= us * 0.016, `${us}: ${found}`);
  }
});

Deno.test("recent times: nothing, less than nothing, and more than is kept", () => {
  const times = new RecentTimes();
  assert.equal(times.buffer, undefined);
  assert.deepEqual(timePercentiles([], "query", [0.5, 0.99]), [0, 0]);
  times.closePeriod();
  times.addQuery(-3);
  assert.deepEqual(read(times, [0.5]), [0]);
  times.addQuery(1e12);
  const [most] = read(times, [1]) as [number];
  assert.ok(most > 1e9 && most < 2 ** 30, String(most));
});

Deno.test("recent times: a period counts until the next one is over", () => {
  const times = new RecentTimes();
  times.addQuery(5);
  times.closePeriod();
  times.addQuery(7);
  assert.deepEqual(read(times, [0.5, 1]), [5, 7]);
  times.closePeriod();
  assert.deepEqual(read(times, [0.5, 1]), [7, 7]);
  times.closePeriod();
  assert.deepEqual(read(times, [0.5, 1]), [0, 0]);
  times.closePeriod();
  times.addQuery(9);
  assert.deepEqual(read(times, [1]), [9]);
});

Deno.test("recent times: each kind for itself, in each period, several as one", () => {
  const [one, other] = [new RecentTimes(), new RecentTimes()];
  for (let period = 0; period < 3; period++) {
    one.addQuery(10 + period);
    one.addXact(20 + period);
    one.addWait(30 + period);
    if (period < 2) one.closePeriod();
  }
  other.addXact(1);
  const both = [one.buffer!, other.buffer!];
  assert.deepEqual(timePercentiles(both, "query", [0.5, 1]), [11, 12]);
  assert.deepEqual(timePercentiles(both, "xact", [0.1, 0.5, 1]), [1, 21, 22]);
  assert.deepEqual(timePercentiles(both, "wait", [0.5, 1]), [31, 32]);
});
