/** Names of PostgreSQL's parameters: what may be one, and how PostgreSQL spells it. */

const MIXED_CASE = new Map(
  ["DateStyle", "IntervalStyle", "TimeZone"].map((name) => [name.toLowerCase(), name]),
);

const SHAPE = /^[A-Za-z_][A-Za-z0-9_.$]*$/;

/** PostgreSQL's spelling of the names it reports, lower case for all others. */
export function canonicalName(name: string): string {
  const lower = name.toLowerCase();
  return MIXED_CASE.get(lower) ?? lower;
}

/** Whether it could be a parameter's name; those of extensions have a dot. */
export function isParameterName(name: string): boolean {
  return SHAPE.test(name);
}
