// hot path
/**
 * How long things take, as counts by size: buckets of 1/16 of a power of two, so what is read from them is at most 6 %
 * off. Two periods are kept, the one that runs and the one before: what is read is of the last 15 to 30 seconds.
 */

/** Bits of a bucket's number within its power of two. */
const FINE_BITS = 4;
const FINE = 1 << FINE_BITS;
/** The longest time is 2³¹ µs, 36 minutes: longer ones count as that. */
const MOST = 0x7fffffff;
const BUCKETS = (31 - FINE_BITS + 1) * FINE;

export class Histogram {
  #current = new Uint32Array(BUCKETS);
  #before = new Uint32Array(BUCKETS);

  /** Counts one, in microseconds. */
  add(us: number): void {
    this.#current[bucketOf(us)]++;
  }

  /** A period is over. */
  closePeriod(): void {
    const spare = this.#before;
    this.#before = this.#current;
    spare.fill(0);
    this.#current = spare;
  }

  /** What each of these shares did not exceed; 0 when there was nothing. `shares` rise. */
  percentiles(shares: readonly number[]): number[] {
    let count = 0;
    for (let i = 0; i < BUCKETS; i++) count += this.#current[i]! + this.#before[i]!;
    if (count === 0) return shares.map(() => 0);
    let bucket = -1;
    let seen = 0;
    return shares.map((share) => {
      const wanted = Math.max(1, Math.ceil(share * count));
      while (seen < wanted) {
        bucket++;
        seen += this.#current[bucket]! + this.#before[bucket]!;
      }
      return middleOf(bucket);
    });
  }
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
