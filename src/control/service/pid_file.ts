/**
 * The PID file of a daemon: it appears whole or not at all, names a process that lives, and goes with it. A file that a
 * killed process has left is taken over; one of a living PgDoorman is not.
 *
 * What must hold: in a folder that others may write to nobody leads the process to another file, by a symbolic link or by
 * anything else under one of the two names.
 */

import { closeSync, constants, fstatSync, openSync, readFileSync } from "node:fs";
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
      write(unfinished);
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
    write(unfinished);
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
    let owner: number | undefined;
    try {
      owner = this.#owner();
    } catch {
      // Whatever has come in its place.
      return;
    }
    if (owner === this.#pid) removeIfThere(this.#path);
  }

  /** The process that the file names. */
  #owner(): number | undefined {
    const text = read(this.#path);
    if (text === undefined) return undefined;
    const pid = Number(text.trim());
    return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
  }
}

/** Makes a file of its own with this process's id. What another process of this number has left makes room. */
function write(path: string): void {
  removeIfThere(path);
  Deno.writeTextFileSync(path, `${Deno.pid}\n`, { createNew: true });
}

/** What a file says that is one; `undefined`: it is not there. */
function read(path: string): string | undefined {
  let fd: number;
  try {
    // It may be a pipe, which nobody writes to.
    fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === "ENOENT") return undefined;
    if (code === "ELOOP") throw new Error("it is a symbolic link");
    throw error;
  }
  try {
    if (!fstatSync(fd).isFile()) throw new Error("it is no file");
    return readFileSync(fd, "utf8");
  } finally {
    closeSync(fd);
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
