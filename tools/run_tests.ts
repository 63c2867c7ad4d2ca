/**
 * `./denow task test`: everything that must hold before a change lands, in the order in which it fails fastest: format,
 * lint, spelling, types, unit tests, build, then the tests that start real servers. Ends with one line that sums up every test;
 * a stage that is no test run and fails counts as one failure. What has failed is told again before that line.
 *
 * Not called `test`: `deno test` would take it for a test and run it, and it would run `deno test`.
 *
 * Files in tests/ start servers and keep processors busy: as many run at once as the machine has room for
 * (`test_times.ts`). What a file prints comes when it is through.
 */

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import project from "../deno.json" with { type: "json" };
import { build } from "./build.ts";
import { measureCpu } from "./cpu_meter.ts";
import { parseReport, type Tally } from "./junit.ts";
import { print, say } from "./say.ts";
import { readTimes, runBeside, type TestTimes, writeTimes } from "./test_times.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** Folders with TypeScript of ours; one that does not exist yet is passed over. */
const SOURCES = ["src", "tests", "bench", "tools"];
const UNIT_TESTS = ["src", "tools", "bench"];
const SYSTEM_TESTS = "tests";
/** What shows differences between versions of PostgreSQL: messages, errors, settings, COPY. */
const VERSION_TESTS = [
  "tests/functional/cancel_test.ts",
  "tests/functional/listen_test.ts",
  "tests/functional/login_test.ts",
  "tests/functional/pipelines_test.ts",
  "tests/functional/prepared_test.ts",
  "tests/functional/protocol_test.ts",
  "tests/functional/session_state_test.ts",
  "tests/functional/transaction_test.ts",
];
/** As tests/support/postgres_binaries.ts has it. */
const OTHER_POSTGRES = "PG_DOORMAN_TEST_POSTGRES";
/** What files took the last time, on this machine. */
const TIMES = join(ROOT, "dist/test_times.json");
/** What they took where the project was measured: a copy of the former. */
const FIRST_TIMES = join(ROOT, "tests/times.json");
/** Has the file in it, in the environment of all that a file of tests starts. */
const MARKER = "PG_DOORMAN_TEST_FILE";

interface Outcome extends Tally {
  name: string;
  seconds: number;
}

type Stage = () => Promise<Partial<Tally>>;

async function deno(
  args: string[],
  env: Record<string, string> = {},
  output: "inherit" | "piped" = "inherit",
): Promise<boolean> {
  const run = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: ROOT,
    env,
    stdin: "null",
    stdout: output,
    stderr: output,
  }).output();
  if (output === "piped") {
    await writeAll(Deno.stdout, run.stdout);
    await writeAll(Deno.stderr, run.stderr);
  }
  return run.success;
}

async function writeAll(to: typeof Deno.stdout, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await to.write(bytes.subarray(at));
}

function existing(paths: string[]): string[] {
  return paths.filter((path) => {
    try {
      Deno.statSync(join(ROOT, path));
      return true;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  });
}

async function check(args: string[]): Promise<Partial<Tally>> {
  return await deno(args) ? {} : { failed: 1, failures: [`deno ${args[0]}`] };
}

interface TestRun {
  env?: Record<string, string>;
  output?: "inherit" | "piped";
}

async function runTests(
  paths: string[],
  { env = {}, output = "inherit" }: TestRun = {},
): Promise<Tally> {
  const report = await Deno.makeTempFile({ prefix: "pg_doorman-report-", suffix: ".xml" });
  try {
    const success = await deno(
      ["test", "--allow-all", "--no-check", `--junit-path=${report}`, ...existing(paths)],
      env,
      output,
    );
    const tally = parseReport(await Deno.readTextFile(report));
    // A file that cannot be loaded, or a run that was cut off, is in no report.
    if (!success && tally.failed === 0) fail(tally, `${paths.join(", ")}: the run was cut off`);
    if (success && tally.passed + tally.skipped === 0) {
      fail(tally, `no test ran in ${paths.join(", ")}`);
    }
    for (const name of tally.skippedNames) say(`skipped: ${name}`);
    return tally;
  } finally {
    await Deno.remove(report);
  }
}

function fail(tally: Tally, why: string): void {
  tally.failed++;
  tally.failures.push(why);
}

function noTests(): Tally {
  return { passed: 0, failed: 0, skipped: 0, skippedNames: [], failures: [] };
}

/** What the runs of several files tell together. */
function add(to: Tally, from: Tally): void {
  to.passed += from.passed;
  to.failed += from.failed;
  to.skipped += from.skipped;
  to.skippedNames.push(...from.skippedNames);
  to.failures.push(...from.failures);
}

function* testFiles(folder: string): Iterable<string> {
  const entries = [...Deno.readDirSync(join(ROOT, folder))];
  for (const { name, isDirectory } of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
    if (isDirectory) yield* testFiles(`${folder}/${name}`);
    else if (name.endsWith("_test.ts")) yield `${folder}/${name}`;
  }
}

async function systemTests(): Promise<Partial<Tally>> {
  const files = [...testFiles(SYSTEM_TESTS)];
  const times = await knownTimes();
  for (const file of Object.keys(times)) if (!files.includes(file)) delete times[file];
  return await runFiles(files, times, () => writeTimes(TIMES, times));
}

/** What a version of PostgreSQL may change, against the one that the environment names. */
async function versionTests(): Promise<Partial<Tally>> {
  const { [OTHER_POSTGRES]: bin } = Deno.env.toObject();
  if (!bin) throw new Error(`${OTHER_POSTGRES} names no folder with a PostgreSQL to run against`);
  say(`PostgreSQL of ${bin}`);
  // Times that are kept are those of the default version.
  return await runFiles(VERSION_TESTS, await knownTimes(), () => {});
}

async function knownTimes(): Promise<TestTimes> {
  return { ...await readTimes(FIRST_TIMES), ...await readTimes(TIMES) };
}

/**
 * Runs files of system tests with the executable of the present sources, and writes their times into `times`; `keep` is
 * called with each that is new.
 */
async function runFiles(
  files: readonly string[],
  times: TestTimes,
  keep: () => void,
): Promise<Tally> {
  const result = await build();
  say(`${result.path}: ${result.built ? "built" : "up to date"}, ${result.sha256}`);
  const sum = noTests();
  await runBeside(files, { times, cores: navigator.hardwareConcurrency }, async (file) => {
    const started = performance.now();
    const { result: tally, cpuSeconds } = await measureCpu(
      `${MARKER}=${file}`,
      () =>
        runTests([file], {
          env: { PG_DOORMAN_BINARY: result.path, [MARKER]: file },
          output: "piped",
        }),
    );
    const seconds = (performance.now() - started) / 1000;
    // What has failed took another time than it will.
    if (tally.failed === 0 && tally.passed > 0) {
      times[file] = { seconds, cpuSeconds };
      keep();
    }
    say(`${file}: ${seconds.toFixed(1)} s, ${cpuSeconds.toFixed(1)} s of CPU time`);
    add(sum, { ...tally, failures: tally.failures.map((failure) => `${file}: ${failure}`) });
  });
  return sum;
}

/** cspell with the lists of tools/spelling. It remembers files that it has seen, so only the first run takes seconds. */
async function checkSpelling(): Promise<Partial<Tally>> {
  await Deno.mkdir(join(ROOT, "dist"), { recursive: true });
  return await check([
    ...["run", "--quiet", "--no-prompt", "--deny-net"],
    ...["--allow-read", "--allow-env", "--allow-sys", "--allow-write=dist"],
    ...[project.imports.cspell, "lint", "--config", "tools/spelling/cspell.json"],
    ...["--no-progress", "--no-summary", "--show-suggestions"],
    ...["--cache", "--cache-strategy", "content", "--cache-location", "dist/.spelling"],
  ]);
}

const STAGES: Record<string, Stage> = {
  format: () => check(["fmt", "--check"]),
  lint: () => check(["lint"]),
  spelling: checkSpelling,
  types: () => check(["check", "--quiet", ...existing(SOURCES)]),
  unit: () => runTests(UNIT_TESTS),
  system: systemTests,
};

/** Stages that run only if they are asked for. */
const EXTRA_STAGES: Record<string, Stage> = { versions: versionTests };

async function runStage(name: string, stage: Stage): Promise<Outcome> {
  say(`\n=== ${name}`);
  const started = performance.now();
  const tally = noTests();
  try {
    Object.assign(tally, await stage());
  } catch (error) {
    fail(tally, error instanceof Error ? error.message : String(error));
  }
  return { name, seconds: (performance.now() - started) / 1000, ...tally };
}

function sum(outcomes: Outcome[], field: "passed" | "failed" | "skipped"): number {
  return outcomes.reduce((total, outcome) => total + outcome[field], 0);
}

const asked = Deno.args.length > 0 ? Deno.args : Object.keys(STAGES);
const known = { ...STAGES, ...EXTRA_STAGES };
const unknown = asked.filter((name) => !(name in known));
if (unknown.length > 0) {
  say(`no such stage: ${unknown.join(", ")}; there are ${Object.keys(known).join(", ")}`);
  Deno.exit(2);
}

const outcomes: Outcome[] = [];
for (const name of asked) outcomes.push(await runStage(name, known[name]!));

say("");
for (const { name, failures } of outcomes) {
  for (const failure of failures) say(`FAILED in ${name}: ${failure}\n`);
}
for (const { name, seconds, passed, failed } of outcomes) {
  const verdict = failed > 0 ? `${failed} FAILED` : "ok";
  say(
    `${name.padEnd(8)} ${seconds.toFixed(1).padStart(7)} s  ${verdict}${
      passed ? `, ${passed} passed` : ""
    }`,
  );
}
const [passed, failed, skipped] = [
  sum(outcomes, "passed"),
  sum(outcomes, "failed"),
  sum(outcomes, "skipped"),
];
print(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
Deno.exit(failed > 0 ? 1 : 0);
