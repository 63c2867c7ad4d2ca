/**
 * Durations as the config file writes them: a whole number of milliseconds, or a number with one of the units
 * `ms`, `s`, `m` (minutes), `h`, `d`, in any letter case. One number and one unit: `1h30m` and `1.5s` are refused.
 */

const UNIT_MS: ReadonlyMap<string, number> = new Map([
  ["ms", 1],
  ["s", 1_000],
  ["m", 60_000],
  ["h", 3_600_000],
  ["d", 86_400_000],
]);

const SHAPE = /^\s*\+?([0-9]+)\s*(ms|[smhd])?\s*$/i;

/** What a duration may look like, for hints. */
export const DURATION_FORMS =
  'a whole number of milliseconds, or a number with ms, s, m, h or d, as in "30s"';

/** Milliseconds of a duration written as text; undefined when it is none or too large to count exactly. */
export function parseDuration(text: string): number | undefined {
  const match = SHAPE.exec(text);
  if (match === null) return undefined;
  const ms = Number(match[1]) * (UNIT_MS.get((match[2] ?? "ms").toLowerCase()) as number);
  return Number.isSafeInteger(ms) ? ms : undefined;
}

/** True when the text names its unit, which keys counted in seconds insist on. */
export function namesDurationUnit(text: string): boolean {
  return SHAPE.exec(text)?.[2] !== undefined;
}

/** The shortest exact spelling: `1500ms`, `20m`, `0`. */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0";
  for (const unit of ["d", "h", "m", "s"]) {
    const unitMs = UNIT_MS.get(unit) as number;
    if (ms % unitMs === 0) return `${ms / unitMs}${unit}`;
  }
  return `${ms}ms`;
}
