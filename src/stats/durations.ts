// hot path
/**
 * How long queries, transactions, waits and TLS handshakes with PostgreSQL take, since the pool is there: counts by the bounds of upstream's histograms,
 * beside the sums in `PoolCounters`. They are exact, never fall, and travel with the sums; for percentiles of the last
 * seconds there is recent_times.ts. Each count is of what is above the bound before it, the last one of all that is longer.
 */

/** Upper bounds in microseconds. */
export const QUERY_BOUNDS_US = [500, 5_000, 50_000, 500_000, 5_000_000] as const;
export const XACT_BOUNDS_US = [1_000, 10_000, 100_000, 1_000_000, 10_000_000] as const;
export const WAIT_BOUNDS_US = [100, 1_000, 10_000, 100_000, 1_000_000] as const;
export const HANDSHAKE_BOUNDS_US = [
  ...[1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000],
] as const;

const BUCKETS = [0, 1, 2, 3, 4, 5] as const;
const HANDSHAKE_BUCKETS = [...BUCKETS, 6, 7, 8, 9, 10] as const;

/** Of TLS handshakes with PostgreSQL. */
export type HandshakeDurationCounts = Record<
  `handshake_${(typeof HANDSHAKE_BUCKETS)[number]}`,
  number
>;

export type DurationCounts =
  & Record<`${"query" | "xact" | "wait"}_${(typeof BUCKETS)[number]}`, number>
  & HandshakeDurationCounts;

/** A query took so many microseconds. */
export function countQueryDuration(counts: DurationCounts, us: number): void {
  if (us <= 500) counts.query_0++;
  else if (us <= 5_000) counts.query_1++;
  else if (us <= 50_000) counts.query_2++;
  else if (us <= 500_000) counts.query_3++;
  else if (us <= 5_000_000) counts.query_4++;
  else counts.query_5++;
}

/** A transaction took so many. One that took none is not counted. */
export function countXactDuration(counts: DurationCounts, us: number): void {
  if (us <= 0) return;
  if (us <= 1_000) counts.xact_0++;
  else if (us <= 10_000) counts.xact_1++;
  else if (us <= 100_000) counts.xact_2++;
  else if (us <= 1_000_000) counts.xact_3++;
  else if (us <= 10_000_000) counts.xact_4++;
  else counts.xact_5++;
}

/** A client has waited so many for its server. */
export function countWaitDuration(counts: DurationCounts, us: number): void {
  if (us <= 100) counts.wait_0++;
  else if (us <= 1_000) counts.wait_1++;
  else if (us <= 10_000) counts.wait_2++;
  else if (us <= 100_000) counts.wait_3++;
  else if (us <= 1_000_000) counts.wait_4++;
  else counts.wait_5++;
}

/** A handshake took so many. */
export function countHandshakeDuration(counts: HandshakeDurationCounts, us: number): void {
  const at = HANDSHAKE_BOUNDS_US.findIndex((bound) => us <= bound);
  counts[`handshake_${HANDSHAKE_BUCKETS.at(at)!}`]++;
}

/** The counts of one of the four. */
export function durationCounts(
  counts: DurationCounts,
  of: "query" | "xact" | "wait" | "handshake",
): number[] {
  if (of === "handshake") return HANDSHAKE_BUCKETS.map((bucket) => counts[`${of}_${bucket}`]);
  return BUCKETS.map((bucket) => counts[`${of}_${bucket}`]);
}
