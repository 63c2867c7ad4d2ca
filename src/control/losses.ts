/**
 * Workers that are lost: what hangs or has ended costs its own clients, once, and another thread takes its place.
 */

import type { Log } from "../log/log.ts";
import type { Circumstances, Supervisor } from "./supervisor.ts";

const TARGET = "pg_doorman::app";
/** One that is lost so soon after its start is replaced later and later. */
const SOON_MS = 60_000;
const PAUSE_MS = 1000;
const MOST_PAUSE_MS = 60_000;

/** What replacing workers needs of the process. */
export interface LossesPlace {
  readonly log: Log;
  readonly supervisor: Pick<Supervisor, "serves" | "giveUp" | "replace" | "workers">;
  circumstances(): Circumstances;
  mayReplace(): boolean;
  /** Whatever else waits for this worker waits in vain. */
  lost(worker: number): void;
  replaced(worker: number): void;
  /** A worker has failed before the process served anybody. */
  failedToStart(): void;
}

export class Losses {
  readonly #place: LossesPlace;
  /** Since the start of the process. */
  count = 0;
  /** Without a thread. */
  readonly #vacant = new Set<number>();
  readonly #startedMs = new Map<number, number>();
  readonly #inARow = new Map<number, number>();

  constructor(place: LossesPlace) {
    this.#place = place;
  }

  /** The worker's thread has ended by an exception. */
  died(worker: number, message: string): void {
    const { supervisor, log, failedToStart } = this.#place;
    if (!supervisor.serves(worker) && !this.#startedMs.has(worker)) {
      log.error(TARGET, `worker ${worker} failed: ${message}`);
      failedToStart();
      return;
    }
    this.#lost(worker, `ended by an exception: ${message}`);
  }

  /** The worker has not answered for so long. */
  hangs(worker: number, ms: number): void {
    if (this.#place.supervisor.serves(worker)) this.#lost(worker, `has not answered for ${ms} ms`);
  }

  /** A lost one's thread can't be ended. */
  restless(worker: number, obstacle: string | undefined): void {
    const how = obstacle === undefined
      ? "with what the others leave of the processors"
      : `as before (${obstacle})`;
    this.#place.log.warn(
      TARGET,
      `the lost thread of worker ${worker} does not end: it runs on, ${how}, until it comes round, a ` +
        "restart or a binary upgrade",
    );
  }

  #lost(worker: number, how: string): void {
    const { supervisor, log, lost } = this.#place;
    this.count++;
    this.#vacant.add(worker);
    const { busyWith, connections } = supervisor.giveUp(worker);
    const dealingWith = busyWith === undefined ? "" : ` while it dealt with ${busyWith}`;
    log.error(
      TARGET,
      `worker ${worker} is given up with its ${connections} connections, those of the others go on: ` +
        `it ${how}${dealingWith}`,
    );
    lost(worker);
    if (!this.#place.mayReplace()) return;
    const pause = this.#pause(worker);
    if (pause === 0) this.#replace(worker);
    else Deno.unrefTimer(setTimeout(() => this.#replace(worker), pause));
  }

  #pause(worker: number): number {
    const livedMs = performance.now() - (this.#startedMs.get(worker) ?? -Infinity);
    const inARow = livedMs < SOON_MS ? (this.#inARow.get(worker) ?? 0) + 1 : 0;
    this.#inARow.set(worker, inARow);
    return inARow === 0 ? 0 : Math.min(MOST_PAUSE_MS, PAUSE_MS * 2 ** (inARow - 1));
  }

  /** Those that could not be replaced while an upgrade was under way. */
  replaceAll(): void {
    for (const worker of [...this.#vacant]) this.#replace(worker);
  }

  async #replace(worker: number): Promise<void> {
    const { supervisor, log, circumstances, mayReplace, replaced } = this.#place;
    if (!mayReplace() || !this.#vacant.delete(worker)) return;
    this.#startedMs.set(worker, performance.now());
    replaced(worker);
    try {
      await supervisor.replace(worker, circumstances());
    } catch {
      // `died` has been told, too.
      return;
    }
    log.warn(TARGET, `worker ${worker} is another thread now and takes clients of its pools`);
  }
}
