/** SHOW AUTH_QUERY: users whom PostgreSQL is asked for, by database (`*`: all that are not configured). */

import type { AuthQueryRow } from "../../mail.ts";
import { numeric, text } from "../rows.ts";
import type { Show } from "./show.ts";

/** The columns, in their order. */
const NUMBERS = [
  "cache_entries",
  "cache_hits",
  "cache_misses",
  "cache_refetches",
  "cache_rate_limited",
  "auth_success",
  "auth_failure",
  "executor_queries",
  "executor_errors",
  "dynamic_pools_current",
  "dynamic_pools_created",
  "dynamic_pools_destroyed",
] as const satisfies readonly (keyof AuthQueryRow)[];

/** Counts since the start, but for `cache_entries` and `dynamic_pools_current`. */
export const showAuthQuery: Show = {
  name: "auth_query",
  columns: [text("database"), ...NUMBERS.map((name) => numeric(name))],
  async rows(environment) {
    const rows = await environment.authQueries();
    return rows
      .sort((a, b) => (a.database < b.database ? -1 : 1))
      .map((row) => [row.database, ...NUMBERS.map((name) => row[name])]);
  },
};
