/**
 * A file that lines are appended to, by several processes if need be: each line is one write, and O_APPEND puts it behind
 * all others. Whoever moves the file away (logrotate) has it opened anew.
 */

import { errnoText } from "./errno.ts";
import type { Fd } from "./fd.ts";
import * as libc from "./libc.ts";

/** For writing, made if it is not there, appended to; no terminal of ours, never waited for, not for children. */
const FLAGS = 0o1 | 0o100 | 0o2000 | 0o400 | 0o4000 | 0o2000000;
const MODE = 0o640;

/** The file can't be opened. */
export class LogFileError extends Error {}

export class LogFile {
  readonly #path: string;
  #fd: Fd;
  #last = 0;

  /** Opens or makes the file. Throws a `LogFileError`. */
  constructor(path: string) {
    this.#path = path;
    this.#fd = this.#open();
  }

  #open(): Fd {
    const fd = libc.open(this.#path, FLAGS, MODE);
    if (fd < 0) throw new LogFileError(`log_file ${this.#path}: ${errnoText(-fd)}`);
    return fd as Fd;
  }

  /** From here on lines go to what the path leads to now. Throws a `LogFileError`: then nothing has changed. */
  reopen(): void {
    const fd = this.#open();
    libc.close(this.#fd);
    this.#fd = fd;
  }

  /** How many of the bytes were taken, or −errno. */
  write(bytes: Uint8Array<ArrayBuffer>): number {
    this.#last = libc.write(this.#fd, bytes, bytes.length);
    return this.#last;
  }

  /** A file that takes nothing is full or broken, and stays so for the time being. */
  wait(): boolean {
    return this.#last >= 0;
  }
}
