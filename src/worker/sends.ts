/** How this thread's sends reach the kernel: `io_uring` of the configuration, and whether the kernel will have it. */

import type { Log } from "../log/log.ts";
import { errnoText } from "../os/errno.ts";
import { putOff } from "../reactor/posts.ts";

let wanted: boolean | undefined;

/** Follows the configuration; a change of it is said in the log. */
export function followIoUring(on: boolean, log: Log): void {
  if (on === wanted) return;
  const first = wanted === undefined;
  wanted = on;
  const result = putOff(on);
  if (result < 0) {
    log.info(
      "pg_doorman::worker",
      `no io_uring: ${errnoText(-result)}; each send is a system call of its own`,
    );
  } else if (on) log.debug("pg_doorman::worker", "sends through io_uring");
  else if (!first) log.info("pg_doorman::worker", "sends without io_uring");
}
