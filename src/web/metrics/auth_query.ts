/** Metrics of auth_query. Pure. */

import type { AuthQueryRow } from "../../mail.ts";
import { type Family, label, type Point } from "./exposition.ts";

const PREFIX = "pg_doorman_";

type Values = Readonly<Record<string, (row: AuthQueryRow) => number>>;

const CACHE: Values = {
  hits: ({ cache_hits }) => cache_hits,
  misses: ({ cache_misses }) => cache_misses,
  refetches: ({ cache_refetches }) => cache_refetches,
  rate_limited: ({ cache_rate_limited }) => cache_rate_limited,
};
const RESULTS: Values = {
  success: ({ auth_success }) => auth_success,
  failure: ({ auth_failure }) => auth_failure,
};
const EXECUTOR: Values = {
  queries: ({ executor_queries }) => executor_queries,
  errors: ({ executor_errors }) => executor_errors,
};
const POOLS: Values = {
  created: ({ dynamic_pools_created }) => dynamic_pools_created,
  destroyed: ({ dynamic_pools_destroyed }) => dynamic_pools_destroyed,
};

/** Those of every database that has one. */
export function authQueryFamilies(rows: readonly AuthQueryRow[]): Family[] {
  const points = (kind: string, values: Values): Point[] =>
    rows.flatMap((row) =>
      Object.entries(values).map(([name, value]) => ({
        labels: `${label(kind, name)},${label("database", row.database)}`,
        value: value(row),
      }))
    );
  const entries: Values = { entries: ({ cache_entries }) => cache_entries };
  const current: Values = { current: ({ dynamic_pools_current }) => dynamic_pools_current };
  const both = (name: string, kind: string, values: Values, help: string, now: Values = {}) => [
    {
      type: "gauge" as const,
      name: `${PREFIX}auth_query_${name}`,
      help: Object.keys(now).length > 0
        ? `${help} Now; of its other values use auth_query_${name}_total.`
        : `Use auth_query_${name}_total.`,
      points: points(kind, { ...now, ...values }),
    },
    {
      type: "counter" as const,
      name: `${PREFIX}auth_query_${name}_total`,
      help,
      points: points(kind, values),
    },
  ];
  return [
    ...both("cache", "type", CACHE, "What was remembered of users, and what was asked.", entries),
    ...both("auth", "result", RESULTS, "Logins of users who were looked up."),
    ...both("executor", "type", EXECUTOR, "Lookups that PostgreSQL was asked for."),
    ...both("dynamic_pools", "type", POOLS, "Pools of users who were looked up.", current),
    {
      type: "counter",
      name: `${PREFIX}startup_parameters_dropped_total`,
      help: "startup_parameters of auth_query that were not used, by cause.",
      points: rows.flatMap(({ database, dropped }) =>
        Object.entries(dropped).map(([reason, value = 0]) => ({
          labels: `${label("pool", database)},${label("reason", reason)}`,
          value,
        }))
      ),
    },
  ];
}
