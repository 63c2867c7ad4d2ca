/**
 * CPU time of a program with all that it has started, detached servers included: whoever has its marker in the
 * environment, and their descendants (PostgreSQL's processes write over their environment). Read from /proc twice a
 * second; what starts and ends between two looks counts as soon as its parent has waited for it.
 */

/** A line of the table of processes: times in ticks, those of children that were waited for included. */
export interface ProcessLine {
  pid: number;
  parent: number;
  /** In ticks since boot: with the id, it names a process for good. */
  started: number;
  ticks: number;
}

const TICKS_PER_SECOND = 100;
const INTERVAL_MS = 500;

/** Reads the text of /proc/PID/stat. */
export function processLine(stat: string): ProcessLine {
  // The command's name may hold anything; the fields begin behind its closing parenthesis.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ").map(Number);
  const ticks = fields[11]! + fields[12]! + fields[13]! + fields[14]!;
  return { pid: parseInt(stat), parent: fields[1]!, started: fields[19]!, ticks };
}

interface Seen extends ProcessLine {
  ours: boolean;
}

/** Adds up the CPU time of the processes that are ours. */
export class CpuSum {
  #live = new Map<number, Seen>();
  #gone = 0;

  /** Takes a look; `marked` says whether a process that is new has the marker. */
  look(lines: readonly ProcessLine[], marked: (pid: number) => boolean): void {
    const now = new Map<number, Seen>(lines.map((line) => [line.pid, { ...line, ours: false }]));
    for (const line of now.values()) {
      const before = this.#live.get(line.pid);
      line.ours = before?.started === line.started ? before.ours : marked(line.pid);
    }
    // A child may stand before its parent: again until nobody joins.
    for (let joined = true; joined;) {
      joined = false;
      for (const line of now.values()) {
        if (line.ours || !now.get(line.parent)?.ours) continue;
        line.ours = joined = true;
      }
    }
    for (const before of this.#live.values()) {
      if (!before.ours || now.get(before.pid)?.started === before.started) continue;
      // A parent of ours that goes on has its time now.
      if (!now.get(before.parent)?.ours) this.#gone += before.ticks;
    }
    this.#live = now;
  }

  /** Seconds so far. */
  get seconds(): number {
    let ticks = this.#gone;
    for (const line of this.#live.values()) if (line.ours) ticks += line.ticks;
    return ticks / TICKS_PER_SECOND;
  }
}

function readOrNothing(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    // It has ended meanwhile, or belongs to another user and so is not ours.
    return "";
  }
}

function allProcesses(): ProcessLine[] {
  return [...Deno.readDirSync("/proc")].filter(({ name }) => /^\d+$/.test(name))
    .map(({ name }) => readOrNothing(`/proc/${name}/stat`))
    .filter((stat) => stat !== "").map(processLine);
}

/** Runs `program` and measures what has `marker` (`NAME=value`) in its environment. */
export async function measureCpu<T>(
  marker: string,
  program: () => Promise<T>,
): Promise<{ result: T; cpuSeconds: number }> {
  const sum = new CpuSum();
  const look = () =>
    sum.look(
      allProcesses(),
      (pid) => `\0${readOrNothing(`/proc/${pid}/environ`)}`.includes(`\0${marker}\0`),
    );
  const timer = setInterval(look, INTERVAL_MS);
  try {
    const result = await program();
    look();
    return { result, cpuSeconds: sum.seconds };
  } finally {
    clearInterval(timer);
  }
}
