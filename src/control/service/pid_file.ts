/**
 * The PID file of a daemon: it appears whole or not at all, names a process that lives, and goes with it. A file that a
 * killed process has left is taken over; one of a living PgDoorman is not.
 */

import { basename } from "node:path";

/** Another process has the file, or it can't be written. */
export class PidFileError extends Error {}

export class PidFile {
  readonly #path: string;
  readonly #pid: number;

  private constructor(path: string, pid: number) {
    this.#path = path;
    this.#pid = pid;
  }

  /** Writes this process's id. Throws a PidFileError. */
  static claim(path: string): PidFile {
    const file = new PidFile(path, Deno.pid);
    const unfinished = `${path}.${Deno.pid}`;
    try {
      Deno.writeTextFileSync(unfinished, `${Deno.pid}\n`);
      try {
        file.#link(unfinished);
      } finally {
        Deno.removeSync(unfinished);
      }
    } catch (cause) {
      if (cause instanceof PidFileError) throw cause;
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new PidFileError(`daemon_pid_file: write ${path}: ${why}`, { cause });
    }
    return file;
  }

  /** Writes this process's id over that of the process it replaces. */
  static takeOver(path: string): PidFile {
    const unfinished = `${path}.${Deno.pid}`;
    Deno.writeTextFileSync(unfinished, `${Deno.pid}\n`);
    Deno.renameSync(unfinished, path);
    return new PidFile(path, Deno.pid);
  }

  /** A link is refused when the name is taken, so of two that start together one loses. */
  #link(unfinished: string): void {
    for (let attempt = 1;; attempt++) {
      try {
        Deno.linkSync(unfinished, this.#path);
        return;
      } catch (error) {
        if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
      }
      const owner = this.#owner();
      if (owner !== undefined && isDoorman(owner)) {
        throw new PidFileError(
          `daemon_pid_file: ${this.#path} belongs to process ${owner}, which runs`,
        );
      }
      if (attempt === 5) throw new Error("the file comes back as fast as it is removed");
      removeIfThere(this.#path);
    }
  }

  /** Removes the file, unless it is a successor's by now. */
  remove(): void {
    if (this.#owner() === this.#pid) removeIfThere(this.#path);
  }

  /** The process that the file names. */
  #owner(): number | undefined {
    let text: string;
    try {
      text = Deno.readTextFileSync(this.#path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
    const pid = Number(text.trim());
    return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
  }
}

/** Whether a process runs the same program: numbers of processes are used again by others. */
function isDoorman(pid: number): boolean {
  try {
    return programOf(pid) === programOf(Deno.pid);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    // Another user's process may not be looked at: then its name decides.
    if (error instanceof Deno.errors.PermissionDenied) {
      return commandOf(pid) === commandOf(Deno.pid);
    }
    throw error;
  }
}

/** Name of the executable; after an upgrade by rename the kernel adds ` (deleted)` to the old one's. */
function programOf(pid: number): string {
  return basename(Deno.readLinkSync(`/proc/${pid}/exe`).replace(/ \(deleted\)$/, ""));
}

function commandOf(pid: number): string {
  return Deno.readTextFileSync(`/proc/${pid}/comm`).trim();
}

/** Removes a file that may be gone. */
export function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
