/**
 * The log of a worker: records go to the control plane by mail, which owns the one place where lines are written. A
 * record under the level in force costs one comparison.
 */

import type { LogLevel, LogMail } from "../mail.ts";

const SEVERITY: Record<LogLevel, number> = { error: 0, warn: 1, info: 2, debug: 3, trace: 4 };

export class WorkerLog {
  #post: (mail: LogMail) => void;
  #limit: number;

  constructor(post: (mail: LogMail) => void, level: LogLevel) {
    this.#post = post;
    this.#limit = SEVERITY[level];
  }

  setLevel(level: LogLevel): void {
    this.#limit = SEVERITY[level];
  }

  /** Whether a record of this level would be sent: for texts that cost something to make. */
  enabled(level: LogLevel): boolean {
    return SEVERITY[level] <= this.#limit;
  }

  /** Sends a record. `target` is a module name of spec/observability.md §4.5. */
  write(level: LogLevel, target: string, message: string): void {
    if (SEVERITY[level] > this.#limit) return;
    const [file, line] = callSite();
    this.#post({ kind: "log", level, target, message, file, line, at: Date.now() });
  }

  error(target: string, message: string): void {
    this.write("error", target, message);
  }

  warn(target: string, message: string): void {
    this.write("warn", target, message);
  }

  info(target: string, message: string): void {
    this.write("info", target, message);
  }

  debug(target: string, message: string): void {
    this.write("debug", target, message);
  }
}

/** File and line of the first caller outside this file. */
function callSite(): [string, number] {
  const lines = (new Error().stack ?? "").split("\n");
  for (let i = 1; i < lines.length; i++) {
    if (lines[i].includes("/log/worker_log.ts")) continue;
    const match = /\/(src\/[^:)]+):(\d+)/.exec(lines[i]);
    return match === null ? ["unknown", 0] : [match[1], Number(match[2])];
  }
  return ["unknown", 0];
}
