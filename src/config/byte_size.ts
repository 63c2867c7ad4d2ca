/**
 * Byte sizes as the config file writes them: a whole number of bytes, or a number with `B`, `K`/`KB`, `M`/`MB`,
 * `G`/`GB` in any letter case, in powers of 1024. `KiB`, `TB` and fractions are refused, as upstream does.
 */

const UNIT_BYTES: ReadonlyMap<string, number> = new Map([
  ["b", 1],
  ["k", 1024],
  ["kb", 1024],
  ["m", 1024 ** 2],
  ["mb", 1024 ** 2],
  ["g", 1024 ** 3],
  ["gb", 1024 ** 3],
]);

const SHAPE = /^\s*\+?([0-9]+)\s*(b|[kmg]b?)?\s*$/i;

/** What a size may look like, for hints. */
export const BYTE_SIZE_FORMS = 'a whole number of bytes, or a number with K, M or G, as in "256MB"';

/** Bytes of a size written as text; undefined when it is none or too large to count exactly. */
export function parseByteSize(text: string): number | undefined {
  const match = SHAPE.exec(text);
  if (match === null) return undefined;
  const bytes = Number(match[1]) * (UNIT_BYTES.get((match[2] ?? "b").toLowerCase()) as number);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The shortest exact spelling: `1MB`, `1000`. */
export function formatByteSize(bytes: number): string {
  if (bytes === 0) return "0";
  for (const unit of ["GB", "MB", "KB"]) {
    const unitBytes = UNIT_BYTES.get(unit.toLowerCase()) as number;
    if (bytes % unitBytes === 0) return `${bytes / unitBytes}${unit}`;
  }
  return String(bytes);
}
