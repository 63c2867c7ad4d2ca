/**
 * From single runs to a table: the median of the rounds of each figure, and the ratio to PgBouncer in the same run.
 */

import type { Measurement, Mode } from "./pgbench.ts";
import type { TargetName } from "./targets.ts";

/** One run with what was run. */
export interface Run {
  target: TargetName;
  mode: Mode;
  clients: number;
  round: number;
  measurement: Measurement;
}

/** Medians of a target in a case, with ratios to PgBouncer where it took part. */
export interface Row {
  target: TargetName;
  mode: Mode;
  clients: number;
  median: Measurement;
  /** CPU time, user and system, by transaction. */
  cpuRatio: number | null;
  tpsRatio: number | null;
  p99Ratio: number | null;
}

/** The middle value, or the mean of the two in the middle. */
export function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function medianOf(measurements: Measurement[]): Measurement {
  const keys = Object.keys(measurements[0]!) as (keyof Measurement)[];
  return Object.fromEntries(
    keys.map((key) => [key, median(measurements.map((one) => one[key]))]),
  ) as unknown as Measurement;
}

function cpuUs(measurement: Measurement): number {
  return measurement.userUs + measurement.systemUs;
}

/** Rows in the order in which their first runs came. */
export function compare(runs: Run[]): Row[] {
  const groups = new Map<string, Run[]>();
  for (const run of runs) {
    const key = `${run.mode} ${run.clients} ${run.target}`;
    groups.set(key, [...groups.get(key) ?? [], run]);
  }
  const medians = new Map(
    [...groups].map(([key, group]) => [key, medianOf(group.map((run) => run.measurement))]),
  );
  return [...groups].map(([key, [first]]) => {
    const { target, mode, clients } = first!;
    const own = medians.get(key)!;
    const yardstick = medians.get(`${mode} ${clients} pgbouncer`);
    const pooler = target !== "direct";
    return {
      target,
      mode,
      clients,
      median: own,
      cpuRatio: yardstick && pooler ? cpuUs(own) / cpuUs(yardstick) : null,
      tpsRatio: yardstick ? own.tps / yardstick.tps : null,
      p99Ratio: yardstick ? own.p99Us / yardstick.p99Us : null,
    };
  });
}

const HEADINGS = [
  ...["mode", "clients", "target", "TPS", "p50 ms", "p95 ms", "p99 ms", "user µs", "sys µs"],
  ...["CPU µs", "machine µs", "RSS MB", "CPU ×", "TPS ×", "p99 ×"],
];

function ratio(value: number | null): string {
  return value === null ? "" : value.toFixed(2);
}

function cells(row: Row): string[] {
  const { median } = row;
  const pooler = row.target !== "direct";
  const ms = (us: number) => (us / 1000).toFixed(2);
  const us = (value: number) => pooler ? value.toFixed(1) : "";
  return [
    ...[row.mode, String(row.clients), row.target, median.tps.toFixed(0)],
    ...[ms(median.p50Us), ms(median.p95Us), ms(median.p99Us)],
    ...[us(median.userUs), us(median.systemUs), us(cpuUs(median))],
    ...[median.machineUs.toFixed(1), pooler ? (median.rssKb / 1024).toFixed(0) : ""],
    ...[ratio(row.cpuRatio), ratio(row.tpsRatio), ratio(row.p99Ratio)],
  ];
}

/** The table as text; × columns are ratios to PgBouncer. */
export function table(rows: Row[]): string {
  return alignColumns([HEADINGS, ...rows.map(cells)], [0, 2]);
}

/** Lines of cells as text; columns of words begin at the left. */
export function alignColumns(lines: readonly string[][], words: readonly number[]): string {
  const widths = lines[0]!.map((_, column) =>
    Math.max(...lines.map((line) => line[column]!.length))
  );
  return lines.map((line) =>
    line.map((cell, column) =>
      words.includes(column) ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)
    ).join("  ").trimEnd()
  ).join("\n");
}

/** The medians as figures that a baseline keeps. */
export function figuresOf(rows: readonly Row[]): Record<string, Record<string, number>> {
  return Object.fromEntries(rows.map((row) => {
    const { median, cpuRatio, tpsRatio, p99Ratio } = row;
    const figures: Record<string, number | null> = {
      "TPS": median.tps,
      "p50 µs": median.p50Us,
      "p99 µs": median.p99Us,
      "machine µs": median.machineUs,
      // Zero where nobody's process was measured.
      "CPU µs": cpuUs(median) || null,
      "RSS kB": median.rssKb || null,
      "CPU to PgBouncer": cpuRatio,
      "TPS to PgBouncer": tpsRatio,
      "p99 to PgBouncer": p99Ratio,
    };
    const known = Object.entries(figures).filter(([, value]) => value !== null);
    return [`${row.mode} ${row.clients} ${row.target}`, Object.fromEntries(known)];
  })) as Record<string, Record<string, number>>;
}
