/**
 * Which files of tests run beside each other. Files that wait for most of their time leave the processors to others; one
 * that keeps them busy wants them for itself. What each takes the runner has measured the last time that it ran it on this
 * machine (`dist/test_times.json`); before that, what it took where the project was measured (`tests/times.json`).
 */

/** What the last good run of a file took. */
export interface TestTime {
  seconds: number;
  /** CPU time of the file and of all that it has started. */
  cpuSeconds: number;
}

/** Last times by file. */
export type TestTimes = Record<string, TestTime>;

/** A file that nobody has measured. */
const UNKNOWN: TestTime = { seconds: 30, cpuSeconds: 30 };
/** Bursts of several files come together: this much of a machine is given away. */
const GIVEN_SHARE = 0.8;
/** Files at once for each processor. */
const MOST_PER_CORE = 2;
/** Folders whose tests use what the machine has once: its service manager, its package database. */
const ONE_AT_A_TIME = ["tests/systemd/", "tests/packaging/"];

/** Processors that a file keeps busy on average. */
function share(file: string, times: TestTimes): number {
  const { seconds, cpuSeconds } = times[file] ?? UNKNOWN;
  return seconds > 0 ? cpuSeconds / seconds : 0;
}

function isSingle(file: string): boolean {
  return ONE_AT_A_TIME.some((folder) => file.startsWith(folder));
}

/** The files, what takes the longest first. */
export function byLength(files: readonly string[], times: TestTimes): string[] {
  const seconds = (file: string) => (times[file] ?? UNKNOWN).seconds;
  return [...files].sort((a, b) => seconds(b) - seconds(a));
}

/** The first of `left` that may begin beside `running`; with nothing running, the first. */
export function next(
  left: readonly string[],
  running: ReadonlySet<string>,
  { times, cores }: { times: TestTimes; cores: number },
): string | undefined {
  if (running.size === 0) return left[0];
  if (running.size >= MOST_PER_CORE * cores) return undefined;
  const single = [...running].some(isSingle);
  let room = GIVEN_SHARE * cores;
  for (const file of running) room -= share(file, times);
  return left.find((file) => share(file, times) <= room && !(single && isSingle(file)));
}

/** Runs all files, as many at once as the machine has room for. */
export async function runBeside(
  files: readonly string[],
  { times, cores }: { times: TestTimes; cores: number },
  run: (file: string) => Promise<void>,
): Promise<void> {
  // What is measured meanwhile may not change what is counted.
  const known = { ...times };
  const left = byLength(files, known);
  const running = new Map<string, Promise<void>>();
  while (left.length > 0 || running.size > 0) {
    const file = next(left, new Set(running.keys()), { times: known, cores });
    if (file === undefined) {
      await Promise.race(running.values());
      continue;
    }
    left.splice(left.indexOf(file), 1);
    running.set(file, run(file).finally(() => running.delete(file)));
  }
}

/** Reads times; none if nothing was measured yet, or by a runner that wrote them otherwise. */
export async function readTimes(path: string): Promise<TestTimes> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(await Deno.readTextFile(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) return {};
    throw error;
  }
  const good = Object.entries(parsed as TestTimes).filter(([, time]) =>
    Number.isFinite(time?.seconds) && Number.isFinite(time?.cpuSeconds)
  );
  return Object.fromEntries(good);
}

/** Writes times in the order of their files' names. */
export function writeTimes(path: string, times: TestTimes): void {
  const sorted = Object.fromEntries(
    Object.entries(times).sort(([a], [b]) => a < b ? -1 : 1).map(([file, time]) => [file, {
      seconds: Number(time.seconds.toFixed(1)),
      cpuSeconds: Number(time.cpuSeconds.toFixed(1)),
    }]),
  );
  Deno.writeTextFileSync(path, JSON.stringify(sorted, null, 1) + "\n");
}
