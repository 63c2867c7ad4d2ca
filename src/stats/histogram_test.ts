import assert from "node:assert/strict";
import { Histogram } from "./histogram.ts";

Deno.test("histogram: small numbers are exact", () => {
  const times = new Histogram();
  for (let us = 1; us <= 20; us++) times.add(us);
  assert.deepEqual(times.percentiles([0.5, 0.95, 1]), [10, 19, 20]);
});

Deno.test("histogram: what is read is at most 6 % off, whatever the size", () => {
  for (let us = 1; us < 2 ** 31; us = Math.ceil(us * 1.37)) {
    const times = new Histogram();
    times.add(us);
    const [read] = times.percentiles([0.99]) as [number];
    assert.ok(Math.abs(read - us) <= us * 0.06, `${us}: ${read}`);
  }
});

Deno.test("histogram: nothing, less than nothing, and more than is kept", () => {
  const times = new Histogram();
  assert.deepEqual(times.percentiles([0.5, 0.99]), [0, 0]);
  times.add(-3);
  assert.deepEqual(times.percentiles([0.5]), [0]);
  times.add(1e12);
  const [most] = times.percentiles([1]) as [number];
  assert.ok(most > 2e9 && most < 2 ** 31, String(most));
});

Deno.test("histogram: a period counts until the next one is over", () => {
  const times = new Histogram();
  times.add(5);
  times.closePeriod();
  times.add(7);
  assert.deepEqual(times.percentiles([0.5, 1]), [5, 7]);
  times.closePeriod();
  assert.deepEqual(times.percentiles([0.5, 1]), [7, 7]);
  times.closePeriod();
  assert.deepEqual(times.percentiles([0.5, 1]), [0, 0]);
});
