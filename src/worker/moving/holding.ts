/**
 * Binary upgrade, new process: what has come and is not thawed yet. The old process forgets it when it hears that it is
 * here whole, so everything that can fail for want of memory or for its form is done before that, and nothing that a
 * client or server would notice.
 */

import type { FrozenItem } from "../../mail.ts";
import type { Fd } from "../../os/fd.ts";
import * as libc from "../../os/libc.ts";
import type { Log } from "../../log/log.ts";
import { unpack } from "./blobs.ts";
import { completeListener, completePool, completeServer, completeSession } from "./completion.ts";

/** An item that is here whole, and its place in what it came with. */
export interface HeldItem {
  item: FrozenItem;
  index: number;
}

export class Holding {
  readonly #log: Pick<Log, "error">;
  readonly #held = new Map<number, HeldItem[]>();

  constructor({ log }: { log: Pick<Log, "error"> }) {
    this.#log = log;
  }

  /** Takes items whose long byte arrays are in a file; returns the indexes of those that it can't have. */
  take(ticket: number, items: readonly FrozenItem[], blobs: number | undefined): number[] {
    const refused: number[] = [];
    const held: HeldItem[] = [];
    for (const [i, item] of items.entries()) {
      try {
        if (blobs !== undefined) unpack(item, blobs as Fd);
        held.push({ item: completed(item), index: i });
      } catch (error) {
        this.#log.error(
          "pg_doorman::app",
          `a ${item.type} of ${item.user}@${item.database} can't be taken over: ${String(error)}`,
        );
        refused.push(i);
        for (const fd of item.fds) libc.close(fd as Fd);
      }
    }
    if (blobs !== undefined) libc.close(blobs as Fd);
    this.#held.set(ticket, held);
    return refused;
  }

  /** The old process knows: they are this one's to thaw. */
  release(ticket: number): HeldItem[] {
    const held = this.#held.get(ticket) ?? [];
    this.#held.delete(ticket);
    return held;
  }
}

/** The item with all that this version has. Throws when it has not the form of one. */
function completed(item: FrozenItem): FrozenItem {
  switch (item.type) {
    case "pool":
      return { ...item, pool: completePool(item.pool) };
    case "server":
      return { ...item, server: completeServer(item.server) };
    case "session":
      return { ...item, session: completeSession(item.session) };
    case "listener":
      return { ...item, listener: completeListener(item.listener) };
    case "lost":
      return item;
    default:
      return item satisfies never;
  }
}
