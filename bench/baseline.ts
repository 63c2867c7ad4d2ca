/**
 * Figures that a change is compared with: `--save NAME` writes those of a run to `bench/baselines/`, `--compare NAME`
 * prints each figure of a run beside the saved one and their ratio. `bench/baselines/README.md` says how to read them.
 */

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { alignColumns } from "./comparison.ts";

/** Which benchmark: what they measure is not to be compared with each other. */
export type BenchName = "pgbench" | "relay" | "records";

/** The machine that figures belong to. */
export interface Machine {
  cpu: string;
  cores: number;
  kernel: string;
}

/** Numbers by case ("simple 20 doorman") and name ("TPS"). */
export type Figures = Record<string, Record<string, number>>;

/** What a file in `bench/baselines/` holds. */
export interface Baseline {
  bench: BenchName;
  at: string;
  /** Short hash of the commit, with "-dirty" if sources differed from it. */
  commit: string;
  machine: Machine;
  /** Processes that were running or wanted to, on average over the minute before the first round. */
  load: number;
  /** True if others used the machine: good for orders of magnitude alone. */
  noisy: boolean;
  figures: Figures;
}

/** What is done with the figures of a run. */
export interface BaselineOptions {
  save?: string;
  compare?: string;
}

const FOLDER = fileURLToPath(new URL("baselines/", import.meta.url));
const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** More than this on average, by core, and the machine was not free. */
const FREE_LOAD_PER_CORE = 0.25;

function fileOf(bench: BenchName, name: string, folder: string): string {
  if (!/^[\w.-]+$/.test(name)) throw new RangeError(`${name}: letters, digits, ".", "-", "_"`);
  return join(folder, `${bench}-${name}.json`);
}

async function thisMachine(): Promise<Machine> {
  const cpu = /model name\s*: (.*)/.exec(await Deno.readTextFile("/proc/cpuinfo"))?.[1] ??
    "unknown";
  return { cpu, cores: navigator.hardwareConcurrency, kernel: Deno.osRelease() };
}

async function git(...args: string[]): Promise<string> {
  const run = await new Deno.Command("git", { args, cwd: ROOT, stderr: "piped" }).output();
  const decoder = new TextDecoder();
  if (!run.success) throw new Error(`git ${args[0]}: ${decoder.decode(run.stderr).trim()}`);
  return decoder.decode(run.stdout).trim();
}

async function thisCommit(): Promise<string> {
  const commit = await git("rev-parse", "--short=7", "HEAD");
  return await git("status", "--porcelain", "--", "src") === "" ? commit : `${commit}-dirty`;
}

/** What is around a run, asked before it makes a load of its own. */
export type Surroundings = Omit<Baseline, "figures">;

/** Begins a run. */
export async function beginBaseline(bench: BenchName): Promise<Surroundings> {
  const machine = await thisMachine();
  const load = Number(Deno.loadavg()[0]!.toFixed(2));
  return {
    bench,
    at: new Date().toISOString(),
    // Sources without their history can be measured, too.
    commit: await thisCommit().catch(() => "unknown"),
    machine,
    load,
    noisy: load > FREE_LOAD_PER_CORE * machine.cores,
  };
}

/** Writes a baseline, and returns where. */
export async function saveBaseline(
  name: string,
  baseline: Baseline,
  folder: string = FOLDER,
): Promise<string> {
  const path = fileOf(baseline.bench, name, folder);
  await Deno.writeTextFile(path, JSON.stringify(baseline, null, 2) + "\n");
  return path;
}

/** Reads a baseline; without one of that name, the error says which there are. */
export async function loadBaseline(
  bench: BenchName,
  name: string,
  folder: string = FOLDER,
): Promise<Baseline> {
  try {
    return JSON.parse(await Deno.readTextFile(fileOf(bench, name, folder)));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    const names = [...Deno.readDirSync(folder)].map((entry) => entry.name)
      .filter((file) => file.startsWith(`${bench}-`) && file.endsWith(".json"))
      .map((file) => file.slice(bench.length + 1, -".json".length)).sort();
    throw new RangeError(
      `no baseline ${name} of ${bench}: there are ${names.join(", ") || "none"}`,
    );
  }
}

function shown(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2);
}

/** Saved and new figures with their ratios as a table, and what speaks against comparing them. */
export function comparison(saved: Baseline, now: Baseline): string {
  const lines = [["case", "figure", saved.commit, now.commit, "×"]];
  for (const [name, figures] of Object.entries(now.figures)) {
    for (const [figure, value] of Object.entries(figures)) {
      const before = saved.figures[name]?.[figure];
      if (before === undefined) continue;
      lines.push([name, figure, shown(before), shown(value), (value / before).toFixed(2)]);
    }
  }
  const doubts: string[] = [];
  if (lines.length === 1) doubts.push("no case of this run is in the baseline");
  if (saved.machine.cpu !== now.machine.cpu || saved.machine.cores !== now.machine.cores) {
    const of = ({ machine }: Baseline) => `${machine.cpu}, ${machine.cores} cores`;
    doubts.push(`machines differ: ${of(saved)}; ${of(now)}: ratios to PgBouncer alone compare`);
  }
  if (saved.noisy) doubts.push(`the baseline was made on a busy machine (load ${saved.load})`);
  if (now.noisy) doubts.push(`the machine is busy (load ${now.load})`);
  const table = lines.length > 1 ? [alignColumns(lines, [0, 1])] : [];
  return [...table, ...doubts.map((doubt) => `! ${doubt}`)].join("\n");
}

/** What `options` ask for, once a run is through; returns what to print. */
export async function settleBaseline(
  options: BaselineOptions,
  baseline: Baseline,
): Promise<string> {
  const parts: string[] = [];
  if (options.compare !== undefined) {
    parts.push(comparison(await loadBaseline(baseline.bench, options.compare), baseline));
  }
  if (options.save !== undefined) {
    const path = await saveBaseline(options.save, baseline);
    parts.push(`saved: ${path}${baseline.noisy ? ", marked as noisy" : ""}`);
  }
  return parts.join("\n");
}
