import assert from "node:assert/strict";
import { FAILURE_WORDS, type FailureLimits, Failures } from "./failures.ts";

const LIMITS: FailureLimits = {
  auth_failure_delay: 100,
  auth_failure_delay_max: 5000,
  auth_failures_free: 3,
};
/** Beyond what 31 bits hold. */
const NOW = 3_000_000_000;

function table(): Failures {
  const words = new Int32Array(new SharedArrayBuffer(FAILURE_WORDS * 4));
  return new Failures(words, Uint8Array.of(1, 2, 3));
}

function fail(failures: Failures, times: number, address = "10.0.0.1", user = "ann", now = NOW) {
  for (let i = 0; i < times; i++) failures.failed(address, user, now);
}

Deno.test("failures: the wait grows with each one, to a limit", () => {
  const failures = table();
  const waits: number[] = [];
  for (let i = 0; i < 12; i++) {
    waits.push(failures.wait("10.0.0.1", "ann", NOW, LIMITS).pairMs);
    fail(failures, 1);
  }
  assert.deepEqual(waits, [0, 0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
  assert.equal(failures.wait("10.0.0.1", "ann", NOW + 4999, LIMITS).pairMs, 1);
  assert.equal(failures.wait("10.0.0.1", "ann", NOW + 5000, LIMITS).pairMs, 0);
  const off = { ...LIMITS, auth_failure_delay: 0 };
  assert.equal(failures.wait("10.0.0.1", "ann", NOW, off).pairMs, 0);
});

Deno.test("failures: another address, or another user, does not wait", () => {
  const failures = table();
  fail(failures, 50);
  assert.equal(failures.wait("10.0.0.1", "ann", NOW, LIMITS).pairMs, 5000);
  assert.deepEqual(failures.wait("10.0.0.2", "ann", NOW, LIMITS), { pairMs: 0, addressMs: 0 });
  assert.deepEqual(failures.wait("10.0.0.1", "bob", NOW, LIMITS), { pairMs: 0, addressMs: 0 });
});

Deno.test("failures: an address with many of many users waits, whoever it names", () => {
  const failures = table();
  for (let i = 0; i < 59; i++) fail(failures, 1, "10.0.0.1", `user${i}`);
  assert.equal(failures.wait("10.0.0.1", "new", NOW, LIMITS).addressMs, 0);
  fail(failures, 1, "10.0.0.1", "last");
  assert.equal(failures.wait("10.0.0.1", "new", NOW, LIMITS).addressMs, 100);
  fail(failures, 1000, "10.0.0.1", "last");
  assert.equal(failures.wait("10.0.0.1", "new", NOW, LIMITS).addressMs, 5000);
  assert.equal(failures.wait("10.0.0.2", "new", NOW, LIMITS).addressMs, 0);
});

Deno.test("failures: one network of IPv6 is one address", () => {
  const failures = table();
  for (let i = 0; i < 10; i++) fail(failures, 1, `2001:db8:0:1::${i}`);
  assert.equal(failures.wait("2001:db8:0:1:ffff::1", "ann", NOW, LIMITS).pairMs, 5000);
  assert.equal(failures.wait("2001:db8:0:2::1", "ann", NOW, LIMITS).pairMs, 0);
  assert.equal(failures.wait("fe80::1%eth0", "ann", NOW, LIMITS).pairMs, 0);
  fail(failures, 10, "::ffff:10.0.0.9");
  assert.equal(failures.wait("::ffff:10.0.0.8", "ann", NOW, LIMITS).pairMs, 0);
});

Deno.test("failures: a right password makes good, and time does", () => {
  const failures = table();
  fail(failures, 10);
  failures.succeeded("10.0.0.1", "ann", NOW);
  assert.equal(failures.wait("10.0.0.1", "ann", NOW, LIMITS).pairMs, 0);
  fail(failures, 4);
  assert.equal(failures.wait("10.0.0.1", "ann", NOW, LIMITS).pairMs, 200);
  // Two are forgotten: two are free again.
  fail(failures, 0);
  failures.failed("10.0.0.1", "ann", NOW + 180_000);
  assert.equal(failures.wait("10.0.0.1", "ann", NOW + 180_000, LIMITS).pairMs, 0);
  assert.equal(failures.wait("10.0.0.1", "ann", NOW + 7_000_000, LIMITS).pairMs, 0);
});

Deno.test("failures: strangers' failures do not push those out that count", () => {
  const failures = table();
  fail(failures, 10);
  // More keys than the table has places, each with one failure.
  for (let i = 0; i < 20_000; i++) failures.failed(`10.1.${i >> 8}.${i & 255}`, `u${i}`, NOW + 1);
  assert.equal(failures.wait("10.0.0.1", "ann", NOW, LIMITS).pairMs, 5000);
});

Deno.test("failures: workers see each other's", () => {
  const words = new Int32Array(new SharedArrayBuffer(FAILURE_WORDS * 4));
  const [here, there] = [0, 1].map(() => new Failures(words, Uint8Array.of(7)));
  fail(here!, 5);
  assert.equal(there!.wait("10.0.0.1", "ann", NOW, LIMITS).pairMs, 400);
});
