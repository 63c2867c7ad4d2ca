/** SHOW POOL_SCALING: how server connections came to those who waited for one. */

import { numeric, text } from "../rows.ts";
import { gatherPools } from "./gathered_pools.ts";
import type { Show } from "./show.ts";

export const showPoolScaling: Show = {
  name: "pool_scaling",
  columns: [
    text("user"),
    text("database"),
    numeric("inflight"),
    numeric("creates"),
    numeric("gate_waits"),
    numeric("gate_budget_ex"),
    numeric("antic_notify"),
    numeric("antic_timeout"),
    numeric("create_fallback"),
    numeric("replenish_def"),
    // Not in upstream.
    numeric("replace_begun"),
    numeric("replace_in_time"),
    numeric("replace_failed"),
    numeric("replace_skipped"),
  ],
  async rows(environment) {
    const pools = await gatherPools(environment);
    return pools.map(({ user, database, scaling }) => [
      user,
      database,
      scaling.inflight,
      scaling.creates,
      scaling.gate_waits,
      scaling.gate_budget_ex,
      scaling.antic_notify,
      scaling.antic_timeout,
      scaling.create_fallback,
      scaling.replenish_def,
      scaling.replace_begun,
      scaling.replace_in_time,
      scaling.replace_failed,
      scaling.replace_skipped,
    ]);
  },
};
