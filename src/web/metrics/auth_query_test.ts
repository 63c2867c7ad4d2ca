import assert from "node:assert/strict";
import { authQueryRow } from "../../admin/testing/fake_environment.ts";
import { authQueryFamilies } from "./auth_query.ts";
import { expose } from "./exposition.ts";

Deno.test("auth_query's metrics: names, labels and values", () => {
  const rows = [authQueryRow({ dropped: { auth_query_bad_type: 13 } })];
  const lines = expose(authQueryFamilies(rows), "text").split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.replace("pg_doorman_", ""));
  assert.deepEqual(lines.sort(), [
    'auth_query_auth_total{result="failure",database="app"} 7',
    'auth_query_auth_total{result="success",database="app"} 6',
    'auth_query_auth{result="failure",database="app"} 7',
    'auth_query_auth{result="success",database="app"} 6',
    'auth_query_cache_total{type="hits",database="app"} 2',
    'auth_query_cache_total{type="misses",database="app"} 3',
    'auth_query_cache_total{type="rate_limited",database="app"} 5',
    'auth_query_cache_total{type="refetches",database="app"} 4',
    'auth_query_cache{type="entries",database="app"} 1',
    'auth_query_cache{type="hits",database="app"} 2',
    'auth_query_cache{type="misses",database="app"} 3',
    'auth_query_cache{type="rate_limited",database="app"} 5',
    'auth_query_cache{type="refetches",database="app"} 4',
    'auth_query_dynamic_pools_total{type="created",database="app"} 11',
    'auth_query_dynamic_pools_total{type="destroyed",database="app"} 12',
    'auth_query_dynamic_pools{type="created",database="app"} 11',
    'auth_query_dynamic_pools{type="current",database="app"} 10',
    'auth_query_dynamic_pools{type="destroyed",database="app"} 12',
    'auth_query_executor_total{type="errors",database="app"} 9',
    'auth_query_executor_total{type="queries",database="app"} 8',
    'auth_query_executor{type="errors",database="app"} 9',
    'auth_query_executor{type="queries",database="app"} 8',
    'startup_parameters_dropped_total{pool="app",reason="auth_query_bad_type"} 13',
  ]);
});
