/**
 * What psql asks when the Tab key is pressed after SHOW or SET: a query on `pg_catalog.pg_settings`, recognised by its
 * text. The words are filtered by what has been typed, since psql takes for granted that the answer matches it: a word
 * that does not would wipe out the typed beginning.
 */

import type { Column, Row } from "./rows.ts";
import { text } from "./rows.ts";

/** Words to choose from, in one column. */
export interface Completion {
  readonly columns: readonly Column[];
  readonly rows: readonly Row[];
}

const LOG_LEVELS = ["error", "warn", "info", "debug", "trace", "off", "default"];

/** psql's are of some hundred letters, and what has been typed. The patterns below are not for longer ones. */
const MOST_LETTERS = 4000;

/** Answers `query` if it is one of psql's; `shows` are the names of all SHOWs. */
export function completeWord(query: string, shows: readonly string[]): Completion | undefined {
  if (query.length > MOST_LETTERS) return undefined;
  if (!/^\s*select\b/i.test(query) || !query.includes("pg_catalog.pg_settings")) return undefined;
  const lower = query.toLowerCase();
  const typed = typedBeginning(lower);
  const choose = (column: string, words: readonly string[]): Completion => ({
    columns: [text(column)],
    rows: words.filter((word) => word.startsWith(typed)).map((word) => [word]),
  });
  if (lower.includes("unnest(enumvals)")) return choose("val", LOG_LEVELS);
  // The type of a parameter is asked for by its whole name, to learn whether its values can be listed.
  if (lower.includes("vartype")) return { columns: [text("vartype")], rows: [["enum"]] };
  if (lower.includes("context")) return choose("name", ["log_level"]);
  return choose("name", shows);
}

/** The beginning that psql looks for: `LIKE …('abc%')` from version 15 on, `substring(…)='abc'` before. */
function typedBeginning(lower: string): string {
  const like = /\blike\s+(?:pg_catalog\.lower\()?\s*e?'((?:[^']|'')*)%'/.exec(lower);
  const substring = /\bsubstring\s*\([^)]*\)\s*=\s*(?:pg_catalog\.lower\()?\s*e?'((?:[^']|'')*)'/
    .exec(lower);
  const found = like?.[1] ?? substring?.[1] ?? "";
  return found.replaceAll("''", "'").replaceAll(/\\+(.)/g, "$1");
}
