/**
 * The ways to the end of the process. SIGTERM closes everything at once: the kernel does it for all clients when the
 * process exits. Ctrl+C and SHUTDOWN let transactions end first, for `shutdown_timeout` at most; with WAIT_FOR_SERVERS for
 * as long as they take. SHUTDOWN WAIT_FOR_CLIENTS takes no new clients and waits until those that are here have left.
 * Whoever asks again meanwhile is asking for more: in the end, for the end at once.
 *
 * ```
 *   [serving] ── Ctrl+C, SHUTDOWN ──▶ [draining] ── nobody left, or time is over ──▶ exit 0
 *    │     │                            ▲     │
 *    │     └─ WAIT_FOR_CLIENTS ─▶ [lingering] │ ──────────── nobody left ──▶ exit 0
 *    │                                │       │
 *    └──────── SIGTERM ───────────────┴───────┴─── SIGTERM, Ctrl+C again ──▶ [ending] ──▶ exit 0
 * ```
 */

import type { Log } from "../../log/log.ts";
import type { ShutdownWait } from "../../admin/environment.ts";
import type { PresenceRow } from "../../mail.ts";

const TARGET = "pg_doorman::app";
/** Workers that do not answer by then are not waited for: the end is to come at once. */
const COUNT_MS = 200;
const LOOK_MS = 50;

/** What the end needs of the process. */
export interface Ending {
  log: Log;
  presence: () => Promise<PresenceRow[]>;
  /** Takes no new clients; resolves when all workers do so. */
  stopAccepting: () => Promise<unknown>;
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

type Stage = "serving" | "lingering" | "draining" | "ending";

export class Shutdown {
  readonly #ending: Ending;
  #stage: Stage = "serving";
  #deadline = Infinity;

  constructor(ending: Ending) {
    this.#ending = ending;
  }

  get begun(): boolean {
    return this.#stage !== "serving";
  }

  /** Closes everything and exits, after one line on what that cuts off. */
  async atOnce(why: string): Promise<void> {
    const { log, stopping, exit } = this.#ending;
    if (this.#stage === "draining" || this.#stage === "ending") {
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

  /** Lets clients or transactions end, and exits. */
  gently(why: string, waitFor: ShutdownWait = "transactions"): Promise<void> {
    const { log, shutdownTimeoutMs } = this.#ending;
    const limited = waitFor === "transactions";
    const serving = this.#stage === "serving";
    if (serving && waitFor === "clients") return this.#linger(why);
    if (serving || this.#stage === "lingering" && waitFor !== "clients") {
      return this.#drain(why, limited ? shutdownTimeoutMs() : Infinity);
    }
    if (this.#stage === "draining" && limited && this.#deadline === Infinity) {
      this.#deadline = performance.now() + shutdownTimeoutMs();
      log.info(TARGET, `${why} during a shutdown: waiting ${shutdownTimeoutMs()} ms at most`);
      return Promise.resolve();
    }
    if (limited) return this.atOnce(why);
    log.info(TARGET, `${why} during a shutdown: it waits already`);
    return Promise.resolve();
  }

  async #linger(why: string): Promise<void> {
    const { log, stopping, stopAccepting, stopListening, exit } = this.#ending;
    this.#stage = "lingering";
    const first = await this.#count();
    log.info(TARGET, `${why}: no new clients, waiting until the ${first.clients} have left`);
    await inTime(stopAccepting(), COUNT_MS);
    stopListening();
    for (;;) {
      const { clients } = await this.#count();
      // Somebody has asked for more meanwhile.
      if (this.#stage !== "lingering") return;
      if (clients === 0) break;
      await pause(LOOK_MS);
    }
    stopping("stopping");
    log.info(TARGET, "all clients have left: exiting");
    exit();
  }

  async #drain(why: string, limitMs: number): Promise<void> {
    const { log, stopping, stopListening, drain, exit } = this.#ending;
    this.#stage = "draining";
    this.#deadline = performance.now() + limitMs;
    // Who may take as long as it likes is not stopping yet for a service manager, which would run out of patience.
    if (limitMs !== Infinity) stopping("waiting for the last transactions");
    const first = await this.#count();
    const most = limitMs === Infinity ? "for as long as they take" : `${limitMs} ms at most`;
    log.info(
      TARGET,
      `${why}: shutting down, ${first.clients} clients, ${first.inTransaction} of them in a ` +
        `transaction; waiting ${most}`,
    );
    await inTime(drain(), COUNT_MS);
    stopListening();
    for (;;) {
      const { clients, inTransaction } = await this.#count();
      if (clients === 0) {
        log.info(TARGET, "all clients have left: exiting");
        break;
      }
      if (performance.now() >= this.#deadline) {
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
