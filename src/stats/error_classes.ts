/**
 * Errors of a pool by SQLSTATE, in the classes that upstream's metric has: two codes that say something of a pooler's
 * work, three classes that say something of PostgreSQL's health, and all others.
 */

export const ERROR_CLASSES = ["25P02", "26000", "08", "53", "57", "other"] as const;

type ErrorClass = typeof ERROR_CLASSES[number];

export type ErrorCounts = Record<`errors_${ErrorClass}`, number>;

/** An error of this code was told to a client. */
export function countError(counts: ErrorCounts & { errors: number }, code: string): void {
  counts.errors++;
  counts[`errors_${classOf(code)}`]++;
}

function classOf(code: string): ErrorClass {
  if (code === "25P02" || code === "26000") return code;
  const start = code.slice(0, 2);
  return start === "08" || start === "53" || start === "57" ? start : "other";
}
