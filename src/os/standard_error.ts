/**
 * Standard error, written without ever waiting for whoever reads it.
 *
 * O_NONBLOCK belongs to the open file description, and that one is shared: with the shell, with other programs of the
 * same pipe or terminal, with the other process of a binary upgrade. Set there, it would make their writes fail. So a
 * pipe or a terminal is opened once more, by way of /proc, which gives a description of our own; to a socket (the
 * journal's) each call says that it must not wait. Where neither can be had (the pipe is another user's, as after `su`)
 * the kernel is asked before each write, of no more bytes than a pipe takes in one piece: then only another writer that
 * comes between question and write could make us wait. Files and /dev/null never make anyone wait.
 *
 * A write of up to `MOST_WHOLE_BYTES` goes into a pipe whole or not at all, so the lines of several processes don't mix.
 */

import { EAGAIN } from "./errno.ts";
import type { Fd } from "./fd.ts";
import * as libc from "./libc.ts";

const STANDARD_ERROR = 2 as Fd;
const O_WRONLY_APPEND_NONBLOCK_NOCTTY_CLOEXEC = 0o1 | 0o2000 | 0o4000 | 0o400 | 0o2000000;
/** PIPE_BUF of pipe(7). */
const MOST_WHOLE_BYTES = 4096;

type Kind = "socket" | "own" | "file" | "shared";

export class StandardError {
  readonly #kind: Kind;
  readonly #fd: Fd;
  #last = 0;

  /** Another descriptor is for tests, as is the name by which the kernel knows it. */
  constructor(fd: Fd = STANDARD_ERROR, path = `/proc/self/fd/${fd}`) {
    const kind = kindOf(path);
    const own = kind === "own" ? libc.open(path, O_WRONLY_APPEND_NONBLOCK_NOCTTY_CLOEXEC, 0) : -1;
    this.#kind = kind === "own" && own < 0 ? "shared" : kind;
    this.#fd = own < 0 ? fd : own as Fd;
  }

  /** How many of the bytes were taken, or −errno. */
  write(bytes: Uint8Array<ArrayBuffer>): number {
    this.#last = this.#write(bytes);
    return this.#last;
  }

  #write(bytes: Uint8Array<ArrayBuffer>): number {
    switch (this.#kind) {
      case "socket":
        return libc.sendNow(this.#fd, bytes, bytes.length);
      case "shared":
        if (libc.pollWritable(this.#fd, 0) === 0) return -EAGAIN;
        return libc.write(this.#fd, bytes, Math.min(bytes.length, MOST_WHOLE_BYTES));
      default:
        return libc.write(this.#fd, bytes, bytes.length);
    }
  }

  /** Waits until bytes may be taken, or the time is over; `false`: what it has last answered will not change by that. */
  wait(mostMs: number): boolean {
    if (this.#last < 0 && !libc.wouldBlock(this.#last)) return false;
    libc.pollWritable(this.#fd, mostMs);
    return true;
  }
}

/**
 * Whether standard error is journald's: the service manager says which device and inode it has made for that, by
 * JOURNAL_STREAM (systemd.exec(5)), and somebody in between may have led it elsewhere.
 */
export function leadsToJournal(
  stream: string | undefined,
  path: string = `/proc/self/fd/${STANDARD_ERROR}`,
): boolean {
  if (stream === undefined) return false;
  try {
    const { dev, ino } = Deno.statSync(path);
    return stream === `${dev}:${ino}`;
  } catch {
    // Without /proc nothing is known of it.
    return false;
  }
}

function kindOf(path: string): Kind {
  let stat: Deno.FileInfo;
  try {
    stat = Deno.statSync(path);
  } catch {
    // Without /proc nothing is known of it.
    return "shared";
  }
  if (stat.isSocket) return "socket";
  return stat.isFifo || stat.isCharDevice ? "own" : "file";
}
