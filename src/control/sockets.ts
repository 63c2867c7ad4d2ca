/**
 * The sockets of this process, counted by the state that the kernel has them in: inodes of `/proc/self/fd`, looked up in
 * the tables of `/proc/self/net`.
 */

import { TCP_STATES, UNIX_STATES } from "../admin/show/sockets.ts";

const TCP = 0;
const TCP6 = TCP_STATES.length;
const UNIX = 2 * TCP_STATES.length;
const UNKNOWN = UNIX + UNIX_STATES.length;

/** What `/proc` holds. */
export interface ProcFiles {
  /** Where the descriptors lead. */
  links(): Iterable<string>;
  /** A table's text; empty where there is none. */
  read(path: string): string;
}

/** Counts in the order of SHOW SOCKETS. */
export function countSockets(proc: ProcFiles = PROC): number[] {
  const counts = new Array<number>(UNKNOWN + 1).fill(0);
  const inodes = new Set<string>();
  for (const link of proc.links()) {
    const inode = /^socket:\[([0-9]+)\]$/.exec(link)?.[1];
    if (inode !== undefined) inodes.add(inode);
  }
  const count = (inode: string | undefined, at: number) => {
    if (inode === undefined || !inodes.delete(inode)) return;
    counts[counts[at] === undefined ? UNKNOWN : at]!++;
  };
  for (
    const [path, first] of [["/proc/self/net/tcp", TCP], ["/proc/self/net/tcp6", TCP6]] as const
  ) {
    for (const fields of rows(proc.read(path))) {
      const state = parseInt(fields[3] ?? "", 16);
      const known = state >= 1 && state <= TCP_STATES.length;
      count(fields[9], known ? first + state - 1 : UNKNOWN);
    }
  }
  for (const fields of rows(proc.read("/proc/self/net/unix"))) {
    count(fields[6], unixPlace(parseInt(fields[4] ?? "", 16), parseInt(fields[5] ?? "", 16)));
  }
  counts[UNKNOWN]! += inodes.size;
  return counts;
}

function unixPlace(type: number, state: number): number {
  switch (type) {
    case 1:
      return UNIX + (state >= 1 && state <= 4 ? state : 0);
    case 2:
      return UNIX + 5;
    case 5:
      return UNIX + 6;
    default:
      return UNKNOWN;
  }
}

/** The rows behind a table's head, cut into fields. */
function rows(table: string): string[][] {
  return table.split("\n").slice(1).map((line) => line.trim().split(/\s+/));
}

const PROC: ProcFiles = {
  *links() {
    for (const { name } of Deno.readDirSync("/proc/self/fd")) {
      try {
        yield Deno.readLinkSync(`/proc/self/fd/${name}`);
      } catch (error) {
        // Closed in the meantime.
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
  },
  read(path) {
    try {
      return Deno.readTextFileSync(path);
    } catch (error) {
      // No IPv6, or no such table in this kernel.
      if (error instanceof Deno.errors.NotFound) return "";
      throw error;
    }
  },
};
