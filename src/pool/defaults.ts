/**
 * What a pool's servers have by themselves: what a new client has that asks for nothing. A reload of PostgreSQL's
 * configuration, an ALTER ROLE or a promotion changes it while servers live.
 */

import type { PoolSettings } from "../config/settings.ts";
import { type ParameterSet, withDefaultsOf } from "../server/parameters.ts";
import type { ServerState } from "../server/state.ts";

/** What is needed of a pool, and what is changed of it. */
export interface LearningPool {
  readonly settings: Pick<PoolSettings, "server_digest">;
  readonly reported: ReadonlySet<string>;
  defaults: ParameterSet | undefined;
}

/** What no client has set on a server is what it has by itself: the newest word counts. */
export function learnDefaults(pool: LearningPool, { parameters, own, digest }: ServerState): void {
  const { defaults, reported, settings } = pool;
  if (defaults === undefined || own === undefined || digest !== settings.server_digest) return;
  pool.defaults = withDefaultsOf(defaults, parameters, { own, reported });
}
