/**
 * A server under test as a process that is no child of ours. A child process would be a resource of the test or step
 * that started it, and the leak checks of `deno test` forbid that another step stops it; so a shell in a session of its
 * own starts the server, waits for it and writes down its exit status.
 */

import { join } from "node:path";

/** The Unix user that a process runs as. */
export interface UnixUser {
  uid: number;
  gid: number;
}

/** What to start, and where. */
export interface LaunchOptions {
  command: string;
  args: string[];
  /** Folder of the process: its working directory, and the place of its log and exit status. */
  folder: string;
  /** Stem of the file names of log and status in the folder. */
  name: string;
  env?: Record<string, string>;
  user?: UnixUser;
}

const LAUNCHER = `
name=$1; shift
setsid sh -c '
  name=$1; shift
  "$@" >>"$name.log" 2>&1 </dev/null &
  echo $! >"$name.pid.new"; mv "$name.pid.new" "$name.pid"
  wait $!
  echo $? >"$name.status.new"; mv "$name.status.new" "$name.status"
' sh "$name" "$@" >/dev/null 2>&1 </dev/null &
`;

/** Waits until `done` answers something other than undefined, or throws when the time is over. */
export async function waitFor<T>(
  what: string,
  timeoutMs: number,
  done: () => T | undefined | Promise<T | undefined>,
): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (let pauseMs = 2;; pauseMs = Math.min(pauseMs * 2, 25)) {
    const result = await done();
    if (result !== undefined) return result;
    if (performance.now() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

/** The text of a file, or undefined if there is none. */
export function readIfThere(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    // ESRCH: a process that ended while its file in /proc was open.
    if (error instanceof Error && /os error 3\b/.test(error.message)) return undefined;
    throw error;
  }
}

/** Process ids of the direct children of a process. */
export function childrenOf(pid: number): number[] {
  const text = readIfThere(`/proc/${pid}/task/${pid}/children`) ?? "";
  return text.split(" ").filter((word) => word !== "").map(Number);
}

/** True while a process runs; a zombie does not. */
export function isRunning(pid: number): boolean {
  const stat = readIfThere(`/proc/${pid}/stat`);
  if (stat === undefined) return false;
  const state = stat.charAt(stat.lastIndexOf(")") + 2);
  return state !== "Z" && state !== "X";
}

/** A started server. */
export class DetachedProcess {
  readonly pid: number;
  readonly logPath: string;
  readonly #statusPath: string;

  private constructor(pid: number, logPath: string, statusPath: string) {
    this.pid = pid;
    this.logPath = logPath;
    this.#statusPath = statusPath;
  }

  /** Starts a process and returns as soon as its id is known. Its output is appended to the log. */
  static async launch(options: LaunchOptions): Promise<DetachedProcess> {
    const stem = join(options.folder, options.name);
    const statusPath = `${stem}.status`;
    for (const path of [`${stem}.pid`, statusPath]) {
      if (readIfThere(path) !== undefined) Deno.removeSync(path);
    }
    const { success } = await new Deno.Command("sh", {
      args: ["-c", LAUNCHER, "sh", options.name, options.command, ...options.args],
      cwd: options.folder,
      env: options.env,
      uid: options.user?.uid,
      gid: options.user?.gid,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).output();
    if (!success) throw new Error(`${options.command}: the launching shell failed`);
    const pid = await waitFor(
      `${options.command}: process id`,
      10_000,
      () => readIfThere(`${stem}.pid`),
    );
    return new DetachedProcess(Number(pid), `${stem}.log`, statusPath);
  }

  /** True until the exit status is known. */
  get running(): boolean {
    return this.exitStatus === undefined;
  }

  /** Exit status as a shell tells it (128 + signal number after a signal), or undefined while it runs. */
  get exitStatus(): number | undefined {
    const text = readIfThere(this.#statusPath);
    return text === undefined ? undefined : Number(text);
  }

  /** All output so far. */
  get log(): string {
    return readIfThere(this.logPath) ?? "";
  }

  /** Sends a signal; false if the process is gone. */
  signal(signal: Deno.Signal): boolean {
    if (!this.running) return false;
    try {
      Deno.kill(this.pid, signal);
      return true;
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return false;
      throw error;
    }
  }

  /** Waits for the end and returns the exit status. */
  async waitForExit(timeoutMs: number): Promise<number> {
    return await waitFor(`exit of process ${this.pid}`, timeoutMs, () => this.exitStatus);
  }
}
