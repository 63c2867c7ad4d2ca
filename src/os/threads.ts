/**
 * Other threads of this process, as the kernel has them: whether one runs, what its epoll watches, and how it is made to
 * run behind all others. The runtime can't end a thread that never comes back from its code.
 */

import { errnoText } from "./errno.ts";
import type { Fd } from "./fd.ts";
import { SCHED_IDLE, SOCKADDR_BYTES } from "./layout.ts";
import * as libc from "./libc.ts";
import { readAddress } from "./socket_address.ts";

/** The kernel's number of the thread that asks. */
export function ownThread(): number {
  return Number(Deno.readLinkSync("/proc/thread-self").split("/").at(-1));
}

/** Whether a thread of this process has not ended. */
export function threadLives(thread: number): boolean {
  try {
    Deno.statSync(`/proc/self/task/${thread}`);
    return true;
  } catch {
    return false;
  }
}

/** From now on the thread runs when nobody else wants its processor. Says what stood in the way. */
export function runLast(thread: number): string | undefined {
  const result = libc.schedSetscheduler(thread, SCHED_IDLE);
  return result < 0 ? errnoText(-result) : undefined;
}

/** What an epoll instance watches. */
export function watchedBy(epoll: Fd): Fd[] {
  let text: string;
  try {
    text = Deno.readTextFileSync(`/proc/self/fdinfo/${epoll}`);
  } catch {
    return [];
  }
  return Array.from(text.matchAll(/^tfd:\s*(\d+)/gm), ([, fd]) => Number(fd) as Fd);
}

const address = new Uint8Array(SOCKADDR_BYTES);
const length = new Uint32Array(1);

/** The peer of a connected socket, as `readAddress` prints it; `undefined` where there is none. */
export function peerOf(fd: Fd): string | undefined {
  length[0] = SOCKADDR_BYTES;
  if (libc.getpeername(fd, address, length) < 0) return undefined;
  return readAddress(address, length[0]);
}
