/**
 * What a process has cost so far, from /proc: CPU time of all its threads, and memory.
 *
 * /proc/PID/stat counts user and system time in ticks of 10 ms, scaled by the kernel to the exact sum; the scheduler's
 * own figures of the threads are exact to the nanosecond but do not tell user from system. So the sum is taken from the
 * latter where the kernel has them, and divided as the former says.
 */

/** CPU time of a process in microseconds. */
export interface CpuTime {
  userUs: number;
  systemUs: number;
}

const TICK_US = 10_000;

/** User and system ticks out of the text of /proc/PID/stat. */
export function ticksOf(stat: string): { user: number; system: number } {
  // The command's name may hold anything; the fields begin behind its closing parenthesis.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return { user: Number(fields[11]), system: Number(fields[12]) };
}

/** CPU time of all running threads as the scheduler counts it, or 0 if the kernel does not tell. */
function scheduledUs(pid: number): number {
  let sum = 0;
  for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
    try {
      const text = Deno.readTextFileSync(`/proc/${pid}/task/${name}/schedstat`);
      sum += Number(text.split(" ")[0]) / 1000;
    } catch (error) {
      // The thread has ended, or the kernel was built without this file.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return sum;
}

/** A reading of a process's CPU time; only the difference of two of them means something. */
export interface CpuReading {
  ticks: { user: number; system: number };
  scheduledUs: number;
}

/** Reads the CPU time of a process. */
export function readCpu(pid: number): CpuReading {
  return {
    ticks: ticksOf(Deno.readTextFileSync(`/proc/${pid}/stat`)),
    scheduledUs: scheduledUs(pid),
  };
}

/** CPU time between two readings. */
export function cpuBetween(before: CpuReading, after: CpuReading): CpuTime {
  const user = (after.ticks.user - before.ticks.user) * TICK_US;
  const system = (after.ticks.system - before.ticks.system) * TICK_US;
  const exact = after.scheduledUs - before.scheduledUs;
  const scale = exact > 0 && user + system > 0 ? exact / (user + system) : 1;
  return { userUs: user * scale, systemUs: system * scale };
}

/** Time that all cores of the machine together were busy since it started, in microseconds. */
export function readMachineUs(): number {
  const [, user, nice, system, , , irq, softirq] = Deno.readTextFileSync("/proc/stat")
    .split("\n", 1)[0]!.split(/\s+/).map(Number);
  return (user! + nice! + system! + irq! + softirq!) * TICK_US;
}

/** Resident memory in KB. */
export function readRssKb(pid: number): number {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]);
}
