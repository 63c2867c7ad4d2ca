/**
 * Which files of tests run beside others. Files that start servers and measure times want the machine for themselves;
 * those that wait for most of their time leave it to them. Which these are the runner has measured the last time that
 * it ran them on this machine (`dist/test_times.json`); before that it takes a guess.
 */

/** What the last good run of a file took. */
export interface TestTime {
  seconds: number;
  /** CPU time of the file and of all that it has started. */
  cpuSeconds: number;
}

/** Last times by file. */
export type TestTimes = Record<string, TestTime>;

/** Files in two rows that run at the same time, each in its order. */
export interface Schedule {
  /** One after the other; when they are through, what is left of the others. */
  alone: string[];
  /** Beside them, the longest first. */
  beside: string[];
}

/** Less of one core than this on average, and a file waits. */
const WAITING_SHARE = 0.4;
/** Shorter ones are not worth it. */
const LEAST_SECONDS = 5;

/** What a machine that has measured nothing takes for waiting: limits of many seconds, systemd, dpkg and rpm. */
export const FIRST_GUESS: readonly string[] = [
  "tests/functional/checkout_test.ts",
  "tests/functional/limits_test.ts",
  "tests/functional/replacement_test.ts",
  "tests/functional/server_life_test.ts",
  "tests/functional/shared_limits_test.ts",
  "tests/hostile/broken_servers_test.ts",
  "tests/hostile/silent_connections_test.ts",
  "tests/packaging/deb_test.ts",
  "tests/packaging/rpm_test.ts",
  "tests/systemd/deb_test.ts",
  "tests/systemd/rpm_test.ts",
  "tests/upgrade/failures_test.ts",
  "tests/upgrade/launcher_test.ts",
  "tests/upgrade/many_users_test.ts",
  "tests/upgrade/program_test.ts",
  "tests/upgrade/signals_test.ts",
];

/** Divides files into those that run alone and those that run beside them. */
export function schedule(files: readonly string[], times: TestTimes): Schedule {
  const waits = (file: string): boolean => {
    const time = times[file];
    if (time === undefined) return FIRST_GUESS.includes(file);
    return time.seconds >= LEAST_SECONDS && time.cpuSeconds < WAITING_SHARE * time.seconds;
  };
  const beside = files.filter(waits);
  // One that is not measured may be the longest.
  const seconds = (file: string) => times[file]?.seconds ?? Infinity;
  beside.sort((a, b) => seconds(a) === seconds(b) ? 0 : seconds(b) - seconds(a));
  return { alone: files.filter((file) => !waits(file)), beside };
}

/** Runs two rows: who is through with `alone` helps with what is left of `beside`. */
export async function runRows(
  { alone, beside }: Schedule,
  run: (file: string) => Promise<void>,
): Promise<void> {
  const [first, left] = [[...alone], [...beside]];
  const row = async (next: () => string | undefined) => {
    for (let file = next(); file !== undefined; file = next()) await run(file);
  };
  await Promise.all([row(() => first.shift() ?? left.shift()), row(() => left.shift())]);
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
export async function writeTimes(path: string, times: TestTimes): Promise<void> {
  const sorted = Object.fromEntries(
    Object.entries(times).sort(([a], [b]) => a < b ? -1 : 1).map(([file, time]) => [file, {
      seconds: Number(time.seconds.toFixed(1)),
      cpuSeconds: Number(time.cpuSeconds.toFixed(1)),
    }]),
  );
  await Deno.writeTextFile(path, JSON.stringify(sorted, null, 1) + "\n");
}
