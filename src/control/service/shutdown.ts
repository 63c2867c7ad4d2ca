/**
 * The ways to the end of the process. SIGTERM closes everything at once: the kernel does it for all clients when the
 * process exits. Ctrl+C and SHUTDOWN let transactions end first, for `shutdown_timeout` at most. Whoever asks again
 * meanwhile has the end at once.
 *
 * ```
 *   [serving] ── Ctrl+C, SHUTDOWN ──▶ [draining] ── nobody left, or time is over ──▶ exit 0
 *       │                                 │
 *       └──────── SIGTERM ────────────────┴─── SIGTERM, Ctrl+C ──▶ [ending] ──▶ exit 0
 * ```
 */

import type { Log } from "../../log/log.ts";
import type { PresenceRow } from "../../mail.ts";

const TARGET = "pg_doorman::app";
/** Workers that do not answer by then are not waited for: the end is to come at once. */
const COUNT_MS = 200;
const LOOK_MS = 50;

/** What the end needs of the process. */
export interface Ending {
  log: Log;
  presence: () => Promise<PresenceRow[]>;
  /** Sends home who is at rest, and lets nobody begin anything; resolves when all workers do so. */
  drain: () => Promise<unknown>;
  /** Nobody can connect any more: sockets are closed, their files are gone. */
  stopListening: () => void;
  /** Begun; said once. */
  stopping: (status: string) => void;
  shutdownTimeoutMs: () => number;
  /** Gives back what lives outside of the process, and exits with status 0. */
  exit: () => void;
}

type Stage = "serving" | "draining" | "ending";

export class Shutdown {
  readonly #ending: Ending;
  #stage: Stage = "serving";

  constructor(ending: Ending) {
    this.#ending = ending;
  }

  get begun(): boolean {
    return this.#stage !== "serving";
  }

  /** Closes everything and exits, after one line on what that cuts off. */
  async atOnce(why: string): Promise<void> {
    const { log, stopping, exit } = this.#ending;
    if (this.begun) {
      log.info(TARGET, `${why} during a shutdown: exiting`);
      exit();
      return;
    }
    this.#stage = "ending";
    stopping("stopping");
    const { clients, inTransaction, silent } = await this.#count();
    const unknown = silent ? " (not all workers have answered)" : "";
    log.info(
      TARGET,
      `${why}: exiting with ${clients} clients, ${inTransaction} of them in a transaction${unknown}`,
    );
    exit();
  }

  /** Lets transactions end, and exits. */
  async gently(why: string): Promise<void> {
    const { log, stopping, stopListening, drain, shutdownTimeoutMs, exit } = this.#ending;
    if (this.begun) return this.atOnce(why);
    this.#stage = "draining";
    stopping("waiting for the last transactions");
    const deadline = performance.now() + shutdownTimeoutMs();
    const first = await this.#count();
    log.info(
      TARGET,
      `${why}: shutting down, ${first.clients} clients, ${first.inTransaction} of them in a ` +
        `transaction; waiting ${shutdownTimeoutMs()} ms at most`,
    );
    await inTime(drain(), COUNT_MS);
    stopListening();
    for (;;) {
      const { clients, inTransaction } = await this.#count();
      if (clients === 0) {
        log.info(TARGET, "all clients have left: exiting");
        break;
      }
      if (performance.now() >= deadline) {
        log.warn(
          TARGET,
          `shutdown_timeout is over: exiting with ${clients} clients, ` +
            `${inTransaction} of them in a transaction`,
        );
        break;
      }
      await pause(LOOK_MS);
    }
    exit();
  }

  async #count(): Promise<{ clients: number; inTransaction: number; silent: boolean }> {
    const rows = await inTime(this.#ending.presence(), COUNT_MS);
    const sum = { clients: 0, inTransaction: 0, silent: rows === undefined };
    for (const row of rows ?? []) {
      sum.clients += row.clients;
      sum.inTransaction += row.inTransaction;
    }
    // A worker that does not answer may have clients: only its silence would pass for an empty house.
    if (sum.silent) sum.clients = Math.max(1, sum.clients);
    return sum;
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

/** What comes of it; `undefined` when it takes longer. */
function inTime<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), ms);
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
