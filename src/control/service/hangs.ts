/**
 * Watches for workers that hang: one that takes no mail serves none of its clients, accepts nobody, and can't say so. It is
 * given up, so that it costs its own clients and no others.
 */

const LOOK_MS = 1000;
/**
 * So many looks in a row without an answer. What a worker legitimately does in one go is far below: a message of 200 MB
 * takes a second. Looks are counted and not time: where the whole process stands still, nobody is to blame.
 */
const SILENT_LOOKS = 10;

/** What is asked about. */
export interface Heart {
  /** Asks every worker for a sign of life. */
  ping(): void;
  /** How many signs of life each worker has given. */
  heartbeats(): number[];
  /** This worker has not answered for so long. */
  hangs(worker: number, ms: number): void;
}

export class Hangs {
  readonly #heart: Heart;
  #beats: number[] = [];
  /** Looks since each has answered. */
  readonly #silent: number[] = [];
  #timer: number | undefined;

  constructor(heart: Heart) {
    this.#heart = heart;
  }

  start(): void {
    this.look();
    this.#timer = setInterval(() => this.look(), LOOK_MS);
    Deno.unrefTimer(this.#timer);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** One round. */
  look(): void {
    const beats = this.#heart.heartbeats();
    const before = this.#beats;
    this.#beats = beats;
    beats.forEach((count, worker) => {
      if (count !== before[worker]) this.#silent[worker] = 0;
      else if (++this.#silent[worker] % SILENT_LOOKS === 0) {
        this.#heart.hangs(worker, this.#silent[worker] * LOOK_MS);
      }
    });
    this.#heart.ping();
  }

  /** It is another thread: its time begins anew. */
  replaced(worker: number): void {
    this.#silent[worker] = 0;
  }
}
