/**
 * Mail of a thread that never runs Deno's event loop: an eventfd says that there is some, and it is taken by hand.
 */

import { receiveMessageOnPort } from "node:worker_threads";
import type { MessagePort as NodeMessagePort } from "node:worker_threads";
import type { Fd } from "../os/fd.ts";
import * as libc from "../os/libc.ts";

const ONE = Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0);

/** Tells the thread that this eventfd wakes that mail is there. */
export function wake(fd: Fd): void {
  libc.write(fd, ONE, 8);
}

/** The mail that is there. */
export function* received<T>(port: MessagePort): Iterable<T> {
  for (;;) {
    const mail = receiveMessageOnPort(port as unknown as NodeMessagePort);
    if (mail === undefined) return;
    yield mail.message as T;
  }
}
