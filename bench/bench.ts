/**
 * `./denow task bench`: pgbench with one `SELECT :aid` a transaction, or what a mode has, against PostgreSQL directly, through PgBouncer and through
 * dist/pg_doorman, in alternating rounds of one run, so that a change of the machine's mood hits all of them. Prints a
 * table and writes all figures as JSON to bench/results/; `bench/baselines/` keeps those worth comparing with.
 *
 * Before the first round of a case each target, all alike, gets a run that is not counted: PostgreSQL's caches fill,
 * server connections are made, and PgDoorman's compiler sees what it has to make fast. What a pooler costs in its first
 * seconds is not what this measures.
 *
 * PG_DOORMAN_BENCH_PGBOUNCER=/path names the PgBouncer to compare with; prepared statements need 1.21 or later.
 *
 * PG_DOORMAN_BENCH_BASE=/path names another build of PgDoorman, which takes part as `base`.
 *
 *   --clients 1,20,100,500   --modes simple,extended,prepared,megabyte,connect   --seconds 5   --rounds 3
 *   --only doorman,base,pgbouncer,direct   --pool-size 20   --workers 2   --short
 *   --tls none | client | both       TLS 1.3 with AES-256-GCM, towards clients or PostgreSQL, too
 *   --save NAME   --compare NAME     to and with bench/baselines/
 */

import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Authority, type Certificate } from "../tests/support/certificates.ts";
import { Postgres } from "../tests/support/postgres.ts";
import { makeTestFolder, removeFolder } from "../tests/support/test_folder.ts";
import { print, say } from "../tools/say.ts";
import { type BaselineOptions, beginBaseline, loadBaseline, settleBaseline } from "./baseline.ts";
import { compare, figuresOf, type Run, table } from "./comparison.ts";
import { type Mode, runPgbench } from "./pgbench.ts";
import {
  baseBinary,
  type Encrypted,
  keepsPrepared,
  pgbenchVersion,
  pgbouncerVersion,
  startTarget,
  type Target,
  type TargetName,
} from "./targets.ts";

const MODES: Mode[] = ["simple", "extended", "prepared", "megabyte", "connect"];
const TARGETS: TargetName[] = ["direct", "pgbouncer", "base", "doorman"];
const ENCRYPTED: Encrypted[] = ["none", "client", "both"];
const WARM_UP_SECONDS = 3;
const RESULTS = fileURLToPath(new URL("results/", import.meta.url));

interface Plan {
  clients: number[];
  modes: Mode[];
  seconds: number;
  rounds: number;
  /** Seconds of the run before the first round. */
  warmUp: number;
  targets: TargetName[];
  encrypted: Encrypted;
  poolSize: number;
  workers: number;
  baseline: BaselineOptions;
}

function listOf<T extends string>(text: string, allowed: readonly T[], option: string): T[] {
  return text.split(",").map((word) => {
    const found = allowed.find((one) => one === word.trim());
    if (found === undefined) {
      throw new RangeError(`--${option}: ${word}: one of ${allowed.join(", ")}`);
    }
    return found;
  });
}

function positive(text: string, option: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new RangeError(`--${option}: ${text}: a number`);
  return value;
}

function planOf(args: string[]): Plan {
  const { values } = parseArgs({
    args,
    options: {
      clients: { type: "string" },
      modes: { type: "string", default: "simple,extended" },
      seconds: { type: "string" },
      rounds: { type: "string" },
      tls: { type: "string", default: "none" },
      only: { type: "string", default: TARGETS.join(",") },
      "pool-size": { type: "string", default: "20" },
      workers: { type: "string", default: "2" },
      short: { type: "boolean", default: false },
      save: { type: "string" },
      compare: { type: "string" },
    },
  });
  const clients = values.clients ?? (values.short ? "20,100" : "1,20,100,500");
  return {
    clients: clients.split(",").map((word) => positive(word, "clients")),
    modes: listOf(values.modes, MODES, "modes"),
    seconds: positive(values.seconds ?? (values.short ? "3" : "5"), "seconds"),
    rounds: positive(values.rounds ?? (values.short ? "1" : "3"), "rounds"),
    warmUp: WARM_UP_SECONDS,
    targets: listOf(values.only, TARGETS, "only"),
    encrypted: listOf(values.tls, ENCRYPTED, "tls")[0]!,
    poolSize: positive(values["pool-size"], "pool-size"),
    workers: positive(values.workers, "workers"),
    baseline: { save: values.save, compare: values.compare },
  };
}

function canRun(target: Target, mode: Mode): boolean {
  return target.name !== "pgbouncer" || mode !== "prepared" || keepsPrepared(target.version);
}

/** The certificate of all that have one; pgbench does not verify it. */
function certificateFor(plan: Plan, folder: string): Certificate | undefined {
  if (plan.encrypted === "none") return undefined;
  return Authority.create(folder).issue({ name: "localhost" });
}

async function measure(plan: Plan, targets: Target[], folder: string): Promise<Run[]> {
  const runs: Run[] = [];
  for (const mode of plan.modes) {
    const able = targets.filter((target) => canRun(target, mode));
    for (const { version } of targets.filter((target) => !able.includes(target))) {
      say(`${version} cannot run ${mode} in transaction mode: left out`);
    }
    for (const clients of plan.clients) {
      const once = ({ port, pid }: Target, seconds: number) =>
        runPgbench({
          port,
          pid,
          mode,
          clients,
          seconds,
          folder,
          encrypted: plan.encrypted !== "none",
        });
      for (const target of able) await once(target, plan.warmUp);
      for (let round = 0; round < plan.rounds; round++) {
        for (let i = 0; i < able.length; i++) {
          // Nobody always comes first.
          const target = able[(i + round) % able.length]!;
          const measurement = await once(target, plan.seconds);
          say(`${mode} ${clients} ${target.name}: ${measurement.tps.toFixed(0)} TPS`);
          runs.push({ target: target.name, mode, clients, round, measurement });
        }
      }
    }
  }
  return runs;
}

async function bench(plan: Plan): Promise<void> {
  const pgbench = await pgbenchVersion();
  if (pgbench === null) {
    throw new Error("pgbench is not installed: Debian has it in postgresql-contrib");
  }
  if (plan.targets.includes("pgbouncer") && await pgbouncerVersion() === null) {
    say("PgBouncer is not installed: left out, and so are the ratios");
    plan.targets = plan.targets.filter((name) => name !== "pgbouncer");
  }
  if (baseBinary() === undefined) {
    plan.targets = plan.targets.filter((name) => name !== "base");
  }
  // Better to know before the rounds than after them.
  if (plan.baseline.compare) await loadBaseline("pgbench", plan.baseline.compare);
  const begun = await beginBaseline("pgbench");
  const folder = await makeTestFolder("bench");
  await using clean = new AsyncDisposableStack();
  clean.defer(() => removeFolder(folder));
  const most = Math.max(...plan.clients, plan.poolSize);
  const certificate = certificateFor(plan, folder);
  const postgres = clean.use(
    await Postgres.start({
      settings: [`max_connections = ${most + 3 * plan.poolSize + 10}`],
      tls: certificate && { certificate },
    }),
  );
  const targets: Target[] = [];
  for (const name of plan.targets) {
    targets.push(clean.use(await startTarget(name, postgres, { ...plan, certificate })));
  }
  const runs = await measure(plan, targets, folder);
  const rows = compare(runs);
  print(table(rows));

  const { at, machine } = begun;
  const path = join(RESULTS, `${at.replaceAll(":", "-")}.json`);
  await Deno.mkdir(dirname(path), { recursive: true });
  const versions = {
    pgbench,
    ...Object.fromEntries(targets.map((one) => [one.name, one.version])),
  };
  const result = { at, machine, versions, plan, rows, runs };
  await Deno.writeTextFile(path, JSON.stringify(result, null, 1) + "\n");
  print(`\nFigures: ${relative(Deno.cwd(), path)}`);
  const settled = await settleBaseline(plan.baseline, { ...begun, figures: figuresOf(rows) });
  if (settled !== "") print(`\n${settled}`);
}

if (import.meta.main) {
  try {
    await bench(planOf(Deno.args));
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    Deno.exit(1);
  }
}
