/**
 * Counters that all threads of the process share, by index into an `Int32Array` over one `SharedArrayBuffer`; and what
 * one worker has put into the sums among them, since that has to come out again when the worker is lost.
 */

export const Shared = {
  /** Connections of clients, those that log in and those that are told goodbye included. */
  Clients: 0,
  /** Last client id given out. */
  LastClientId: 1,
  LastServerId: 2,
  /** Prepared statements are numbered through the process, since servers may change workers. */
  LastStatementId: 4,
  /** Times that a statement which changes a schema went through. */
  SchemaGeneration: 5,
  /** Clients that have a place of `max_connections`. */
  LoggedIn: 6,
  /** Servers that were closed for their time in this period, and which period that is (worker/rounds.ts). */
  Retained: 7,
  /** So many connections of clients leave the descriptors that the rest needs; 0 = no bound. */
  MostClients: 8,
  /** What named statements of all clients take, in KiB (prepared_memory.ts). */
  PreparedKiB: 9,
  /** TLS handshakes of clients begun in a hundredth of a second, and which one that is (worker/handshakes.ts). */
  HandshakesBegun: 10,
  HandshakeWindow: 11,
  /** Connections refused at the login, a word each reason (rejections.ts). */
  Rejections: 12,
  /** Texts of statements that were let go of: named ones, and unnamed ones. */
  NamedEvictions: 18,
  AnonymousEvictions: 19,
  /** From here on each worker has words of its own. */
  Workers: 20,
} as const;

/** Words of one worker; see `ofWorker`. */
export const Own = {
  /** Pings that it has answered, modulo 2³². */
  Heartbeats: 0,
  /** The number of the thread that the worker is; another one when it was replaced. */
  Life: 1,
  /** The kernel's number of the thread, and its epoll descriptor. */
  Thread: 2,
  Epoll: 3,
  /** The descriptor whose event it is dealing with; −1: none. */
  Busy: 4,
  /** Its parts of the sums. */
  Clients: 5,
  LoggedIn: 6,
  PreparedKiB: 7,
} as const;

const OWN_WORDS = 8;
/** The most that the configuration allows. */
const MOST_WORKERS = 1024;

export const SHARED_WORDS: number = Shared.Workers + MOST_WORKERS * OWN_WORDS;

/** Where a word of a worker is. */
export function ofWorker(worker: number, word: number): number {
  return Shared.Workers + worker * OWN_WORDS + word;
}

/** Sums over all workers. */
export type Sum = "Clients" | "LoggedIn" | "PreparedKiB";
const SUMS: readonly Sum[] = ["Clients", "LoggedIn", "PreparedKiB"];

/** One worker's part of the sums. */
export class Tally {
  readonly #shared: Int32Array;
  readonly #worker: number;
  readonly #life: number;

  constructor(shared: Int32Array, worker = 0, life = 0) {
    this.#shared = shared;
    this.#worker = worker;
    this.#life = life;
  }

  /** Whether another thread is this worker now: what this one has was taken for lost. */
  get replaced(): boolean {
    return Atomics.load(this.#shared, ofWorker(this.#worker, Own.Life)) !== this.#life;
  }

  /** Adds to a sum, and returns what it was before. */
  add(sum: Sum, count: number): number {
    if (this.replaced) return Atomics.load(this.#shared, Shared[sum]);
    Atomics.add(this.#shared, ofWorker(this.#worker, Own[sum]), count);
    return Atomics.add(this.#shared, Shared[sum], count);
  }

  /** Adds one, unless that made it more than `most`: whether it was done. */
  addBelow(sum: Sum, most: number): boolean {
    const shared = this.#shared;
    for (;;) {
      const taken = Atomics.load(shared, Shared[sum]);
      if (taken >= most) return false;
      if (Atomics.compareExchange(shared, Shared[sum], taken, taken + 1) !== taken) continue;
      Atomics.add(shared, ofWorker(this.#worker, Own[sum]), 1);
      return true;
    }
  }
}

/** The worker is another thread from now on: takes out of the sums what the one before had put in. */
export function beginLife(shared: Int32Array, worker: number, life: number): void {
  Atomics.store(shared, ofWorker(worker, Own.Life), life);
  Atomics.store(shared, ofWorker(worker, Own.Thread), 0);
  Atomics.store(shared, ofWorker(worker, Own.Busy), -1);
  for (const sum of SUMS) {
    Atomics.sub(shared, Shared[sum], Atomics.exchange(shared, ofWorker(worker, Own[sum]), 0));
  }
}
