/**
 * A pool moves to another worker of this process: a reload has tied it to pools that live there by a limit they share.
 * It goes as in a binary upgrade, frozen here and thawed there, so its clients notice nothing; only that the descriptors
 * are duplicated instead of sent, and that the other worker takes all that it is given.
 */

import type { WorkerToWorker } from "../../mail.ts";
import { duplicate } from "../../os/descriptors.ts";
import type { Fd } from "../../os/fd.ts";
import * as libc from "../../os/libc.ts";
import type { Log } from "../../log/log.ts";
import type { Pool } from "../../pool/pool.ts";
import type { Reactor } from "../../reactor/reactor.ts";
import type { Session } from "../../client/session.ts";
import { Departure } from "./departure.ts";
import type { Directory } from "../directory.ts";

/** What moving needs of its worker. */
export interface RelocatingWorker {
  readonly reactor: Reactor;
  readonly log: Log;
  readonly index: number;
  readonly sessions: ReadonlyMap<number, Session>;
  readonly directory: Directory;
  post(worker: number, mail: WorkerToWorker): void;
}

export class Relocations {
  readonly #worker: RelocatingWorker;
  readonly #underWay = new Map<Pool, { departure: Departure; home: number }>();

  constructor(worker: RelocatingWorker) {
    this.#worker = worker;
  }

  /** Begins to move a pool that no client finds here any more. */
  begin(pool: Pool, home: number): void {
    const { reactor, log, directory } = this.#worker;
    const { database, user } = pool.settings;
    log.info(
      "pg_doorman::pool",
      `[${pool.name}] moves to worker ${home}, where the pools are that it shares a limit with`,
    );
    const departure: Departure = new Departure({
      ...this.#worker,
      apart: false,
      tls: true,
      whole: true,
      post: (mail) => {
        if (mail.kind !== "frozen") return;
        const { batch, items } = mail;
        const copies = this.#duplicate(items.flatMap(({ fds }) => fds));
        if (copies === undefined) {
          departure.notTaken(batch);
          return;
        }
        this.#worker.post(home, {
          kind: "thaw",
          items: items.map((item) => ({ ...item, fds: copies.splice(0, item.fds.length) })),
        });
        // Not before the one who sends it has noted that it did.
        reactor.atEndOfTurn(() => departure.taken(batch, []));
      },
      done: () => {
        this.#underWay.delete(pool);
        directory.left(pool);
        this.#worker.post(home, { kind: "thaw_over", database, user });
      },
    });
    this.#underWay.set(pool, { departure, home });
    departure.begin([pool]);
  }

  /** All of them, or none when there are no descriptors left: then it is tried again. */
  #duplicate(fds: readonly number[]): number[] | undefined {
    const copies: Fd[] = [];
    try {
      for (const fd of fds) copies.push(duplicate(fd as Fd));
    } catch {
      for (const copy of copies) libc.close(copy);
      return undefined;
    }
    return copies;
  }

  /** What moves the pool, if it is on its way to another worker. */
  departureOf(pool: Pool): Departure | undefined {
    return this.#underWay.get(pool)?.departure;
  }

  /** Where the pool is on its way to. */
  homeOf(pool: Pool | undefined): number | undefined {
    return pool === undefined ? undefined : this.#underWay.get(pool)?.home;
  }
}
