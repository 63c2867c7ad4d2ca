/**
 * Binary upgrade, new process: what has come and is not thawed yet. The old process forgets it when it hears that it is
 * here whole, so everything that can fail for want of memory or for its form is done before that, and nothing that a
 * client or server would notice.
 */

import type { FrozenItem } from "../../mail.ts";
import type { Fd } from "../../os/fd.ts";
import * as libc from "../../os/libc.ts";
import type { Log } from "../../log/log.ts";
import type { Reactor } from "../../reactor/reactor.ts";
import { Unpacking } from "./blobs.ts";
import { completeListener, completePool, completeServer, completeSession } from "./completion.ts";

/** An item that is here whole, and its place in what it came with. */
export interface HeldItem {
  item: FrozenItem;
  index: number;
}

/** What holding needs of its worker. */
export interface HoldingPlace {
  readonly log: Pick<Log, "error">;
  readonly reactor: Pick<Reactor, "atEndOfTurn">;
}

export class Holding {
  readonly #place: HoldingPlace;
  readonly #held = new Map<number, HeldItem[]>();

  constructor(place: HoldingPlace) {
    this.#place = place;
  }

  /**
   * Takes items whose long byte arrays are in a file. `done` is called, in a later turn if they are very long, with the
   * indexes of those that it can't have.
   */
  take(
    ticket: number,
    items: readonly FrozenItem[],
    blobs: number | undefined,
    done: (refused: number[]) => void,
  ): void {
    const refused: number[] = [];
    const held: HeldItem[] = [];
    const unpacking = blobs === undefined ? undefined : new Unpacking(blobs as Fd);
    let next = 0;
    let begun = false;
    /** Whether the item is whole, or can't be had. */
    const step = (item: FrozenItem, index: number): boolean => {
      try {
        if (!begun) unpacking?.begin(item);
        begun = true;
        if (unpacking?.step() === false) return false;
        held.push({ item: completed(item), index });
      } catch (error) {
        this.#place.log.error(
          "pg_doorman::app",
          `a ${item.type} of ${item.user}@${item.database} can't be taken over: ${String(error)}`,
        );
        refused.push(index);
        for (const fd of item.fds) libc.close(fd as Fd);
      }
      begun = false;
      return true;
    };
    const turn = () => {
      unpacking?.nextTurn();
      for (; next < items.length; next++) {
        if (step(items[next], next)) continue;
        this.#place.reactor.atEndOfTurn(turn);
        return;
      }
      if (blobs !== undefined) libc.close(blobs as Fd);
      this.#held.set(ticket, held);
      done(refused);
    };
    turn();
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
