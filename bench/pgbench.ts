/**
 * Runs pgbench against one target and measures, over a window that leaves out logins and the end, what the target's
 * process has cost by transaction. Latencies come from pgbench's log of every transaction.
 */

import { join } from "node:path";
import { cpuBetween, type CpuReading, readCpu, readMachineUs, readRssKb } from "./process_cost.ts";

/** What a transaction is: a query by one of pgbench's protocols, a result of a megabyte, or a connection and a query. */
export type Mode = "simple" | "extended" | "prepared" | "megabyte" | "connect";

/** One run. */
export interface RunOptions {
  port: number;
  mode: Mode;
  clients: number;
  seconds: number;
  /** Folder for script and logs. */
  folder: string;
  /** Process whose CPU and memory are measured; none for a direct connection. */
  pid: number | null;
  /** By TLS. */
  encrypted: boolean;
}

/** What one run has shown. Times in microseconds. */
export interface Measurement {
  tps: number;
  p50Us: number;
  p95Us: number;
  p99Us: number;
  transactions: number;
  /** CPU of the measured process by transaction. */
  userUs: number;
  systemUs: number;
  /** CPU of the whole machine by transaction: client, pooler, server and kernel. */
  machineUs: number;
  rssKb: number;
}

/** A transaction of pgbench's log. */
interface LogColumns {
  latencyUs: Float64Array;
  /** When it ended: microseconds since 1970. */
  endUs: Float64Array;
}

const SCRIPT = "\\set aid random(1, 100000)\nSELECT :aid;\n";
const MEGABYTE = "SELECT repeat('x', 1048576);\n";
/** More log lines than these bring no better percentiles. */
const SAMPLED_ABOVE_SECONDS = 10;
/** Logins at the start, and the staggered end. */
const WARM_UP_MS = 700;
const THREADS = 2;

/** Reads pgbench's per-transaction log: `client transaction latency script seconds microseconds`. */
export function parseLog(text: string): LogColumns {
  const lines = text.split("\n").filter((line) => line !== "");
  const latencyUs = new Float64Array(lines.length);
  const endUs = new Float64Array(lines.length);
  for (let i = 0; i < lines.length; i++) {
    const fields = lines[i]!.split(" ");
    latencyUs[i] = Number(fields[2]);
    endUs[i] = Number(fields[4]) * 1e6 + Number(fields[5]);
  }
  return { latencyUs, endUs };
}

/** The value below which a share of the sorted values lies (nearest rank). */
export function percentile(sorted: Float64Array, share: number): number {
  if (sorted.length === 0) return NaN;
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)]!;
}

/** Transactions and rate out of pgbench's closing report. */
export function parseReport(text: string): { transactions: number; tps: number } {
  const transactions = /number of transactions actually processed: (\d+)/.exec(text)?.[1];
  const tps =
    /^tps = ([\d.]+) \((?:without initial connection time|including reconnection times)\)/m.exec(
      text,
    )?.[1];
  const failed = /number of failed transactions: (\d+)/.exec(text)?.[1] ?? "0";
  if (transactions === undefined || tps === undefined) throw new Error(`pgbench said:\n${text}`);
  if (failed !== "0") throw new Error(`pgbench: ${failed} transactions failed`);
  return { transactions: Number(transactions), tps: Number(tps) };
}

function protocolOf(mode: Mode): string[] {
  switch (mode) {
    case "megabyte":
      return [];
    case "connect":
      return ["--connect"];
    default:
      return [`--protocol=${mode}`];
  }
}

function pgbenchArguments(options: RunOptions, script: string, sampling: number): string[] {
  return [
    ...["--no-vacuum", `--file=${script}`, ...protocolOf(options.mode)],
    ...[`--client=${options.clients}`, `--jobs=${Math.min(THREADS, options.clients)}`],
    ...[
      `--time=${options.seconds}`,
      "--log",
      `--log-prefix=${join(options.folder, "pgbench_log")}`,
    ],
    ...(sampling < 1 ? [`--sampling-rate=${sampling}`] : []),
    ...["--host=127.0.0.1", `--port=${options.port}`, "--username=postgres", "postgres"],
  ];
}

async function readLogs(folder: string): Promise<LogColumns> {
  let text = "";
  for await (const { name } of Deno.readDir(folder)) {
    if (!name.startsWith("pgbench_log.")) continue;
    text += await Deno.readTextFile(join(folder, name));
    await Deno.remove(join(folder, name));
  }
  return parseLog(text);
}

interface Reading {
  atUs: number;
  machineUs: number;
  cpu: CpuReading | null;
}

function read(pid: number | null): Reading {
  return {
    atUs: Date.now() * 1000,
    machineUs: readMachineUs(),
    cpu: pid === null ? null : readCpu(pid),
  };
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Runs pgbench once. */
export async function runPgbench(options: RunOptions): Promise<Measurement> {
  const script = join(options.folder, "script.sql");
  await Deno.writeTextFile(script, options.mode === "megabyte" ? MEGABYTE : SCRIPT);
  const sampling = Math.min(1, SAMPLED_ABOVE_SECONDS / options.seconds);
  const child = new Deno.Command("pgbench", {
    args: pgbenchArguments(options, script, sampling),
    env: { PGSSLMODE: options.encrypted ? "require" : "disable", PGGSSENCMODE: "disable" },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = child.output();
  // Many logins take longer; the window only begins when they are through.
  await sleep(WARM_UP_MS + options.clients * 2);
  const first = read(options.pid);
  await sleep(Math.max(300, options.seconds * 1000 - 2 * WARM_UP_MS - options.clients * 2));
  const last = read(options.pid);
  const rssKb = options.pid === null ? 0 : readRssKb(options.pid);

  const { success, stdout, stderr } = await output;
  const decoder = new TextDecoder();
  if (!success) throw new Error(`pgbench: ${decoder.decode(stderr).slice(-2000)}`);
  const { transactions, tps } = parseReport(decoder.decode(stdout));
  const log = await readLogs(options.folder);
  const inWindow = log.endUs.filter((end) => end >= first.atUs && end < last.atUs).length;
  const counted = transactions * inWindow / log.endUs.length;
  const cpu = first.cpu && last.cpu ? cpuBetween(first.cpu, last.cpu) : { userUs: 0, systemUs: 0 };
  const latency = log.latencyUs.sort();
  return {
    tps,
    p50Us: percentile(latency, 0.5),
    p95Us: percentile(latency, 0.95),
    p99Us: percentile(latency, 0.99),
    transactions,
    userUs: cpu.userUs / counted,
    systemUs: cpu.systemUs / counted,
    machineUs: (last.machineUs - first.machineUs) / counted,
    rssKb,
  };
}
