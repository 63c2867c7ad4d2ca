/** SHOW POOL_COORDINATOR: the databases that have `max_db_connections`, and how often it was felt. */

import type { LimitRow } from "../../mail.ts";
import { numeric, text } from "../rows.ts";
import type { Show } from "./show.ts";

/** `current` counts every server connection of the database, idle ones, logins and the reserve included. */
export const showPoolCoordinator: Show = {
  name: "pool_coordinator",
  columns: [
    text("database"),
    numeric("max_db_conn"),
    numeric("current"),
    numeric("reserve_size"),
    numeric("reserve_used"),
    numeric("evictions"),
    numeric("reserve_acq"),
    numeric("exhaustions"),
  ],
  async rows(environment) {
    return mergeLimits(await environment.limits()).map((row) => [
      row.database,
      row.max,
      row.current,
      row.reserve,
      row.reserveUsed,
      row.evictions,
      row.reserveGrants,
      row.exhaustions,
    ]);
  },
};

/** One row a database, by name. */
export function mergeLimits(rows: readonly LimitRow[]): LimitRow[] {
  const merged = new Map<string, LimitRow>();
  for (const row of rows) {
    const known = merged.get(row.database);
    merged.set(row.database, known === undefined ? row : merge(known, row));
  }
  return [...merged.values()].sort((a, b) => (a.database < b.database ? -1 : 1));
}

/** A database may be on two workers for a moment: while a reload brings its pools together. */
function merge(a: LimitRow, b: LimitRow): LimitRow {
  const current = a.current + b.current;
  return {
    ...a,
    current,
    reserveUsed: Math.max(0, current - a.max),
    evictions: a.evictions + b.evictions,
    reserveGrants: a.reserveGrants + b.reserveGrants,
    exhaustions: a.exhaustions + b.exhaustions,
  };
}
