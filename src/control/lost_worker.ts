/**
 * What a lost worker leaves: a thread that has ended, or that never comes back from what it does and can't be ended. The
 * connections are the process's, so they can be ended from here: shut down at once, so that clients and PostgreSQL hear of
 * it, and closed when the thread is gone. Before that their numbers must not become other connections, since the thread
 * may come round and use them.
 */

import type { Fd } from "../os/fd.ts";
import { EPOLL_CTL_DEL, SHUT_RDWR } from "../os/layout.ts";
import * as libc from "../os/libc.ts";
import { peerOf, runLast, threadLives, watchedBy } from "../os/threads.ts";
import { ofWorker, Own } from "../stats/shared.ts";

const LOOK_MS = 500;

/** A thread that was a worker. */
export interface Remains {
  /** 0: it had not begun. */
  thread: number;
  epoll: Fd;
  /** Its number among the threads that have been a worker. */
  life: number;
}

/** What all threads share, and what is no single one's. */
export interface Estate {
  readonly shared: Int32Array;
  /** By descriptor: the life that was to take it; negative where it is another process's, too. */
  readonly given: Int32Array;
  /** Listening sockets, and the event descriptors of workers. */
  kept(): ReadonlySet<number>;
}

/** What the worker's thread is known to have. */
export function remainsOf(shared: Int32Array, worker: number): Remains {
  return {
    thread: Atomics.load(shared, ofWorker(worker, Own.Thread)),
    epoll: Atomics.load(shared, ofWorker(worker, Own.Epoll)) as Fd,
    life: Atomics.load(shared, ofWorker(worker, Own.Life)),
  };
}

/** Whose event the worker is dealing with: an address, or `undefined`. */
export function busyWith(shared: Int32Array, worker: number): string | undefined {
  const fd = Atomics.load(shared, ofWorker(worker, Own.Busy));
  return fd < 0 ? undefined : peerOf(fd as Fd);
}

/** Ends all its connections: how many. What is kept it accepts and hears no more. */
export function sever({ thread, epoll, life }: Remains, { given, kept }: Estate): number {
  const spared = kept();
  let ended = 0;
  for (const fd of thread === 0 ? [] : watchedBy(epoll)) {
    if (spared.has(fd)) libc.epollCtl(epoll, EPOLL_CTL_DEL, fd, new Uint32Array(4));
    else if (libc.shutdown(fd, SHUT_RDWR) >= 0) ended++;
  }
  for (const fd of givenTo(given, life)) libc.shutdown(fd, SHUT_RDWR);
  return ended;
}

/**
 * Closes what it has once the thread has ended. Until then it gets what is left of the processors; `restless` is called if
 * it does not end at once.
 */
export function bury(
  remains: Remains,
  estate: Estate,
  { restless }: { restless: (obstacle: string | undefined) => void },
): void {
  const { thread, epoll, life } = remains;
  let asked = false;
  const look = () => {
    if (thread !== 0 && threadLives(thread)) {
      if (!asked) restless(runLast(thread));
      asked = true;
      Deno.unrefTimer(setTimeout(look, LOOK_MS));
      return;
    }
    const spared = estate.kept();
    if (thread !== 0) {
      for (const fd of watchedBy(epoll)) if (!spared.has(fd)) libc.close(fd);
      libc.close(epoll);
    }
    for (const owner of [life, -life]) {
      for (const fd of givenTo(estate.given, owner)) {
        estate.given[fd] = 0;
        libc.close(fd);
      }
    }
  };
  // One that has thrown needs a moment.
  Deno.unrefTimer(setTimeout(look, LOOK_MS));
}

function* givenTo(given: Int32Array, life: number): Iterable<Fd> {
  for (let fd = 0; fd < given.length; fd++) if (given[fd] === life) yield fd as Fd;
}
