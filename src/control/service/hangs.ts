/**
 * Watches for workers that hang: one that takes no mail serves none of its clients, and only the log can tell. The
 * clients of the other workers go on, upgrades and shutdowns do not wait for it, and it accepts nobody meanwhile, since it
 * does not ask the kernel for anything.
 */

import type { Log } from "../../log/log.ts";

const TARGET = "pg_doorman::app";
const LOOK_MS = 1000;
/** So long a worker may be busy with one thing before it is said to hang. */
const HANGS_MS = 10_000;

/** What is asked about. */
export interface Heart {
  /** Asks every worker for a sign of life. */
  ping(): void;
  /** How many signs of life each worker has given. */
  heartbeats(): number[];
}

export class Hangs {
  readonly #heart: Heart;
  readonly #log: Log;
  #beats: number[] = [];
  /** When each was last known to live. */
  #aliveMs: number[] = [];
  readonly #hanging = new Set<number>();
  #timer: number | undefined;

  constructor(heart: Heart, log: Log) {
    this.#heart = heart;
    this.#log = log;
  }

  start(): void {
    this.look(performance.now());
    this.#timer = setInterval(() => this.look(performance.now()), LOOK_MS);
    Deno.unrefTimer(this.#timer);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** One round. */
  look(nowMs: number): void {
    this.#heart.heartbeats().forEach((beats, worker) => {
      if (beats !== this.#beats[worker]) this.#lives(worker, nowMs);
      else if (!this.#hanging.has(worker) && nowMs - this.#aliveMs[worker] >= HANGS_MS) {
        this.#hanging.add(worker);
        this.#log.error(
          TARGET,
          `worker ${worker} has not answered for ${HANGS_MS} ms: its clients hang, and new ones of ` +
            "its pools do. A binary upgrade moves the clients of the other workers",
        );
      }
      this.#beats[worker] = beats;
    });
    this.#heart.ping();
  }

  #lives(worker: number, nowMs: number): void {
    if (this.#hanging.delete(worker)) {
      const ms = Math.round(nowMs - this.#aliveMs[worker]);
      this.#log.warn(TARGET, `worker ${worker} answers again, after ${ms} ms`);
    }
    this.#aliveMs[worker] = nowMs;
  }
}
