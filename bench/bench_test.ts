import assert from "node:assert/strict";
import denoJson from "../deno.json" with { type: "json" };
import { V8_FLAGS } from "../tools/engine_flags.ts";
import { compare, median, type Run, table } from "./comparison.ts";
import { type Measurement, parseLog, parseReport, percentile } from "./pgbench.ts";
import { cpuBetween, ticksOf } from "./process_cost.ts";
import { keepsPrepared } from "./targets.ts";

Deno.test("bench: reads pgbench's log and report", () => {
  const log = parseLog("0 1 1234 0 1700000000 500000\n1 1 99 0 1700000001 250\n");
  assert.deepEqual([...log.latencyUs], [1234, 99]);
  assert.deepEqual([...log.endUs], [1700000000500000, 1700000001000250]);
  const report = `number of transactions actually processed: 4711
number of failed transactions: 0 (0.000%)
latency average = 1.0 ms
tps = 942.5 (without initial connection time)`;
  assert.deepEqual(parseReport(report), { transactions: 4711, tps: 942.5 });
  assert.throws(() =>
    parseReport(report.replace("failed transactions: 0", "failed transactions: 2"))
  );
  assert.throws(() => parseReport("pgbench: error"));
});

Deno.test("bench: percentiles by nearest rank, medians of even and odd counts", () => {
  const values = Float64Array.from({ length: 100 }, (_, i) => i + 1);
  assert.deepEqual([0.5, 0.95, 0.99, 1].map((share) => percentile(values, share)), [
    50,
    95,
    99,
    100,
  ]);
  assert.ok(Number.isNaN(percentile(new Float64Array(0), 0.5)));
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
});

Deno.test("bench: CPU time keeps the exact sum and the division into user and system", () => {
  const fields = "S 1 1 1 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 4 0 99";
  assert.deepEqual(ticksOf(`42 (a) b (c) ${fields}`), { user: 150, system: 50 });
  const before = { ticks: { user: 0, system: 0 }, scheduledUs: 0 };
  const after = { ticks: { user: 150, system: 50 }, scheduledUs: 2_100_000 };
  const { userUs, systemUs } = cpuBetween(before, after);
  assert.equal(Math.round(userUs), 1_575_000);
  assert.equal(Math.round(systemUs), 525_000);
  assert.deepEqual(cpuBetween(before, { ...after, scheduledUs: 0 }), {
    userUs: 1_500_000,
    systemUs: 500_000,
  });
});

function run(target: Run["target"], round: number, figures: Partial<Measurement>): Run {
  const measurement: Measurement = {
    tps: 0,
    p50Us: 0,
    p95Us: 0,
    p99Us: 0,
    transactions: 0,
    userUs: 0,
    systemUs: 0,
    machineUs: 0,
    rssKb: 0,
    ...figures,
  };
  return { target, mode: "simple", clients: 20, round, measurement };
}

Deno.test("bench: ratios are those of the medians to PgBouncer's", () => {
  const rows = compare([
    run("pgbouncer", 0, { tps: 100, userUs: 4, systemUs: 16, p99Us: 1000 }),
    run("doorman", 0, { tps: 110, userUs: 1, systemUs: 14, p99Us: 900 }),
    run("doorman", 1, { tps: 130, userUs: 3, systemUs: 14, p99Us: 1100 }),
    run("direct", 0, { tps: 200, p99Us: 500 }),
  ]);
  const [pgbouncer, doorman, direct] = rows;
  assert.equal(pgbouncer!.cpuRatio, 1);
  assert.equal(doorman!.cpuRatio, 0.8);
  assert.equal(doorman!.tpsRatio, 1.2);
  assert.equal(doorman!.p99Ratio, 1);
  assert.equal(direct!.cpuRatio, null);
  assert.equal(table(rows).split("\n").length, 4);
});

Deno.test("bench: knows which PgBouncer keeps prepared statements in transaction mode", () => {
  assert.ok(!keepsPrepared("PgBouncer 1.18.0"));
  assert.ok(keepsPrepared("PgBouncer 1.21.0"));
  assert.ok(keepsPrepared("PgBouncer 1.25.2"));
  assert.ok(keepsPrepared("PgBouncer 2.0.0"));
  assert.ok(!keepsPrepared("something else"));
});

Deno.test("bench: code without the kernel runs with the engine flags of the compiled program", () => {
  assert.ok(denoJson.tasks["bench:relay"].command.includes(` --v8-flags=${V8_FLAGS.join(",")} `));
});
