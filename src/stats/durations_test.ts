import assert from "node:assert/strict";
import { noSums } from "./counters.ts";
import {
  countHandshakeDuration,
  countQueryDuration,
  countWaitDuration,
  countXactDuration,
  durationCounts,
  HANDSHAKE_BOUNDS_US,
  QUERY_BOUNDS_US,
  WAIT_BOUNDS_US,
  XACT_BOUNDS_US,
} from "./durations.ts";
import { countError } from "./error_classes.ts";
import { REASONS } from "../reasons.ts";
import { countRejection, readRejections, REJECTIONS } from "./rejections.ts";
import { SHARED_WORDS } from "./shared.ts";

Deno.test("durations: each bound counts with what is below it, one more with what is above", () => {
  for (
    const [of, bounds, count] of [
      ["query", QUERY_BOUNDS_US, countQueryDuration],
      ["xact", XACT_BOUNDS_US, countXactDuration],
      ["wait", WAIT_BOUNDS_US, countWaitDuration],
      ["handshake", HANDSHAKE_BOUNDS_US, countHandshakeDuration],
    ] as const
  ) {
    const sums = noSums();
    count(sums, 0);
    for (const bound of bounds) {
      count(sums, bound);
      count(sums, bound + 1);
    }
    // A transaction that took no time is none.
    const first = of === "xact" ? 1 : 2;
    const between = bounds.slice(1).map(() => 2);
    assert.deepEqual(durationCounts(sums, of), [first, ...between, 1], of);
  }
});

Deno.test("errors: two codes and three classes are told from the rest", () => {
  const sums = noSums();
  for (const code of ["25P02", "25P01", "26000", "08006", "08P01", "53300", "57014", "42P01", ""]) {
    countError(sums, code);
  }
  const { errors, errors_25P02, errors_26000, errors_08, errors_53, errors_57, errors_other } =
    sums;
  assert.equal(errors, 9);
  assert.deepEqual([errors_25P02, errors_26000], [1, 1]);
  assert.deepEqual([errors_08, errors_53, errors_57, errors_other], [2, 1, 1, 3]);
});

Deno.test("rejections: some reason leads to each of them", () => {
  const shared = new Int32Array(SHARED_WORDS);
  for (const { name } of Object.values(REASONS)) countRejection(shared, name);
  readRejections(shared).forEach((count, at) => assert.ok(count > 0, REJECTIONS[at]));
});

Deno.test("rejections: by reason, and none for a wrong password", () => {
  const shared = new Int32Array(SHARED_WORDS);
  for (const reason of ["hba", "hba", "too_many_clients", "authentication_failed", "no_pool"]) {
    countRejection(shared, reason);
  }
  const counts = Object.fromEntries(readRejections(shared).map((n, at) => [REJECTIONS[at], n]));
  assert.equal(counts.hba, 2);
  assert.equal(counts.too_many_clients, 1);
  assert.equal(readRejections(shared).reduce((sum, n) => sum + n), 3);
});
