import assert from "node:assert/strict";
import { type Baseline, comparison, loadBaseline, saveBaseline } from "./baseline.ts";
import { compare, figuresOf } from "./comparison.ts";

const SAVED: Baseline = {
  bench: "relay",
  at: "2026-01-01T00:00:00.000Z",
  commit: "abcdef0",
  machine: { cpu: "Some CPU", cores: 2, kernel: "6.1" },
  load: 0.1,
  noisy: false,
  figures: { simple: { "best ns": 200, "rule ns": 300 }, extended: { "best ns": 400 } },
};
const NOW: Baseline = {
  ...SAVED,
  commit: "1234567",
  figures: { simple: { "best ns": 100, "rule ns": 330 }, prepared: { "best ns": 1 } },
};

Deno.test("baseline: comes back as it was saved, and only under its benchmark", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await saveBaseline("v1.2", SAVED, folder);
    assert.deepEqual(await loadBaseline("relay", "v1.2", folder), SAVED);
    await assert.rejects(loadBaseline("relay", "v1", folder), /no baseline v1 of relay.* v1\.2$/);
    await assert.rejects(loadBaseline("pgbench", "v1.2", folder), /there are none/);
    await assert.rejects(saveBaseline("../v1", SAVED, folder), RangeError);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("baseline: ratios of the cases that both have", () => {
  assert.deepEqual(comparison(SAVED, NOW).split("\n").map((line) => line.split(/ {2,}/)), [
    ["case", "figure", "abcdef0", "1234567", "×"],
    ["simple", "best ns", "200", "100", "0.50"],
    ["simple", "rule ns", "300", "330", "1.10"],
  ]);
});

Deno.test("baseline: says what speaks against comparing", () => {
  const machine = { ...NOW.machine, cores: 64 };
  const text = comparison({ ...SAVED, noisy: true, load: 3 }, { ...NOW, machine });
  assert.match(text, /! machines differ: Some CPU, 2 cores; Some CPU, 64 cores/);
  assert.match(text, /! the baseline was made on a busy machine \(load 3\)/);
  assert.doesNotMatch(text, /the machine is busy/);
  assert.match(comparison(SAVED, { ...NOW, noisy: true, load: 5 }), /! the machine is busy/);
  assert.equal(
    comparison(SAVED, { ...NOW, figures: {} }),
    "! no case of this run is in the baseline",
  );
});

Deno.test("baseline: keeps of pgbench's rows what was measured", () => {
  const measurement = {
    ...{ tps: 100, p50Us: 10, p95Us: 20, p99Us: 30, transactions: 1, machineUs: 9 },
    ...{ userUs: 0, systemUs: 0, rssKb: 0 },
  };
  const rows = compare([
    { target: "direct", mode: "simple", clients: 20, round: 0, measurement },
    {
      target: "doorman",
      mode: "simple",
      clients: 20,
      round: 0,
      measurement: { ...measurement, userUs: 3, systemUs: 4, rssKb: 1024 },
    },
  ]);
  assert.deepEqual(figuresOf(rows), {
    "simple 20 direct": { "TPS": 100, "p50 µs": 10, "p99 µs": 30, "machine µs": 9 },
    "simple 20 doorman": {
      ...{ "TPS": 100, "p50 µs": 10, "p99 µs": 30, "machine µs": 9 },
      ...{ "CPU µs": 7, "RSS kB": 1024 },
    },
  });
});
