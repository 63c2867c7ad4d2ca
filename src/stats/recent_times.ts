// hot path
/**
 * How long a pool's queries, transactions and waits take, as counts by size in memory that all threads share: the worker
 * counts, and whoever wants percentiles reads, without a word between the two. Buckets are 1/32 of a power of two, so
 * what is read is at most 1.6 % off. Two periods are kept, the one that runs and the one before: what is read is of the
 * last 15 to 30 seconds. Nothing is locked: a reader may miss what is counted at that moment, no more.
 */

/** Shares of the times that percentiles are told of. */
export const TOLD_SHARES: readonly number[] = [0.5, 0.9, 0.95, 0.99];

/** What is timed. */
export type TimeKind = "query" | "xact" | "wait";

/** Bits of a bucket's number within its power of two. */
const FINE_BITS = 5;
const FINE = 1 << FINE_BITS;
/** The longest time is 2³⁰ µs, 18 minutes: longer ones count as that. */
const MOST = 2 ** 30 - 1;
const BUCKETS = (30 - FINE_BITS + 1) * FINE;

const KINDS: readonly TimeKind[] = ["query", "xact", "wait"];
/** The first word tells which of the two halves is the period that runs; then each kind has both. */
const HEAD = 1;
const WORDS = HEAD + KINDS.length * 2 * BUCKETS;

/** The times of one pool, as its worker counts them. */
export class RecentTimes {
  /** `undefined`: nothing was ever counted. Most of a thousand pools may never be used. */
  #words: Uint32Array | undefined;
  /** Where the running period of the queries begins. */
  #queries = 0;
  /** Something was counted in the period that runs, and in the one before. */
  #some = false;
  #someBefore = false;

  /** What others read; `undefined` as long as nothing was counted. */
  get buffer(): SharedArrayBuffer | undefined {
    return this.#words?.buffer as SharedArrayBuffer | undefined;
  }

  /** Counts one, in microseconds. */
  addQuery(us: number): void {
    this.#open()[this.#queries + bucketOf(us)]++;
  }

  addXact(us: number): void {
    this.#open()[this.#queries + 2 * BUCKETS + bucketOf(us)]++;
  }

  addWait(us: number): void {
    this.#open()[this.#queries + 4 * BUCKETS + bucketOf(us)]++;
  }

  #open(): Uint32Array {
    this.#some = true;
    if (this.#words !== undefined) return this.#words;
    this.#words = new Uint32Array(new SharedArrayBuffer(WORDS * 4));
    this.#queries = HEAD;
    return this.#words;
  }

  /** A period is over. */
  closePeriod(): void {
    const words = this.#words;
    if (words === undefined || !this.#some && !this.#someBefore) return;
    const half = 1 - words[0]!;
    for (let kind = 0; kind < KINDS.length; kind++) {
      const at = HEAD + (2 * kind + half) * BUCKETS;
      words.fill(0, at, at + BUCKETS);
    }
    words[0] = half;
    this.#queries = HEAD + half * BUCKETS;
    this.#someBefore = this.#some;
    this.#some = false;
  }
}

/**
 * What each of these shares of the times did not exceed, in microseconds; 0 when there was nothing. `shares` rise. Several
 * buffers count as one: a pool's on several workers, or of several pools.
 */
export function timePercentiles(
  buffers: readonly SharedArrayBuffer[],
  kind: TimeKind,
  shares: readonly number[],
): number[] {
  const counts = new Float64Array(BUCKETS);
  const first = HEAD + 2 * KINDS.indexOf(kind) * BUCKETS;
  let count = 0;
  for (const buffer of buffers) {
    const words = new Uint32Array(buffer);
    for (let i = 0; i < BUCKETS; i++) {
      const times = words[first + i]! + words[first + BUCKETS + i]!;
      counts[i]! += times;
      count += times;
    }
  }
  if (count === 0) return shares.map(() => 0);
  let bucket = -1;
  let seen = 0;
  return shares.map((share) => {
    const wanted = Math.max(1, Math.ceil(share * count));
    while (seen < wanted) {
      bucket++;
      seen += counts[bucket]!;
    }
    return middleOf(bucket);
  });
}

function bucketOf(us: number): number {
  if (us < FINE) return us <= 0 ? 0 : us | 0;
  const value = us > MOST ? MOST : us | 0;
  const shift = 31 - FINE_BITS - Math.clz32(value);
  return shift * FINE + (value >> shift);
}

function middleOf(bucket: number): number {
  if (bucket < 2 * FINE) return bucket;
  const shift = (bucket >> FINE_BITS) - 1;
  const first = (bucket & FINE - 1 | FINE) * 2 ** shift;
  return Math.trunc(first + (2 ** shift - 1) / 2);
}
