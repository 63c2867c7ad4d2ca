/**
 * `[pools.NAME.auth_query]` resolved: the connections that look up, and what the pools of those who are found are made of.
 *
 * What must hold: the connections that look up have the pool's address and TLS, and nothing else of what is set for
 * clients: no startup_parameters, no connect_query.
 */

import type { AuthQuerySettings, PoolSettings } from "./settings.ts";
import type { AuthQueryConfig, Config, GeneralConfig, PoolConfig, UserConfig } from "./types.ts";

/** The pool for databases that are not configured. */
export const ANY_DATABASE = "*";

/** Limits that a user has of its own. */
export type OwnLimits = Pick<UserConfig, "max_user_connections" | "max_user_client_connections">;

/** Settings of a pool, without the limits of its user. */
type ResolvePool = (database: string, pool: PoolConfig, user: UserConfig) => PoolSettings;

/** Those of all pools that have one; `home` is set later. */
export function resolveAuthQueries(
  { general, pools }: Config,
  ofUsers: ReadonlyMap<string, OwnLimits>,
  resolvePool: ResolvePool,
): AuthQuerySettings[] {
  const user_limits = Array.from(
    ofUsers,
    ([user, own]): AuthQuerySettings["user_limits"][number] => [
      user,
      limitsOf(general, own),
    ],
  ).filter(([, own]) => Object.values(own).some((max) => max > 0));
  const found: AuthQuerySettings[] = [];
  for (const [database, pool] of pools) {
    const query = pool.auth_query;
    if (query === undefined) continue;
    const { max_dynamic_pools, cache_ttl, cache_failure_ttl, min_interval } = query;
    const template = resolvePool(database, alone(pool), foundUser(query));
    Object.assign(template, limitsOf(general, ofUsers.get(template.user)));
    found.push({
      database,
      home: 0,
      query: query.query,
      executor: executorOf(database, pool, { query, resolvePool }),
      template,
      others: database === ANY_DATABASE
        ? [...pools.keys()].filter((name) => name !== database)
        : [],
      user_limits,
      max_dynamic_pools,
      cache_ttl,
      cache_failure_ttl,
      min_interval,
    });
  }
  return found;
}

/** Without what is for users who are listed. */
function alone(pool: PoolConfig): PoolConfig {
  const none = { server_username: undefined, server_password: undefined };
  return { ...pool, ...none, shared_pool_size: undefined };
}

/** A user's limits: its own before those of all. */
export function limitsOf(general: GeneralConfig, own: OwnLimits = {}): Required<OwnLimits> {
  return {
    max_user_connections: own.max_user_connections ?? general.max_user_connections,
    max_user_client_connections: own.max_user_client_connections ??
      general.max_user_client_connections,
  };
}

/** Whoever is found: the role that all share, or a user without a name. */
function foundUser(query: AuthQueryConfig): UserConfig {
  const { server_user, server_password, pool_size, min_pool_size } = query;
  if (server_user === undefined) return { username: "", password: "", pool_size, min_pool_size };
  return {
    username: server_user,
    password: "",
    pool_size,
    min_pool_size: 0,
    server_username: server_user,
    server_password: server_password === "" ? undefined : server_password,
  };
}

function executorOf(
  name: string,
  pool: PoolConfig,
  { query, resolvePool }: { query: AuthQueryConfig; resolvePool: ResolvePool },
): PoolSettings {
  const { user, password, workers } = query;
  const database = query.database ?? (name === ANY_DATABASE ? "postgres" : name);
  const settings = resolvePool(name, {
    ...alone(pool),
    server_database: database,
    application_name: "pg_doorman auth_query",
    pool_mode: "transaction",
    connect_query: "",
    max_db_connections: undefined,
    max_db_client_connections: 0,
    cleanup_server_connections: true,
  }, {
    username: user,
    password: "",
    pool_size: workers,
    server_username: user,
    server_password: password === "" ? undefined : password,
  });
  return {
    ...settings,
    application_name_pinned: false,
    startup_parameters: [
      ["search_path", "pg_catalog"],
      ["statement_timeout", String(settings.connect_timeout)],
    ],
    // Whoever waits for longer is told so: it waits in a login.
    query_wait_timeout: settings.connect_timeout,
    max_user_connections: 0,
    max_user_client_connections: 0,
  };
}
