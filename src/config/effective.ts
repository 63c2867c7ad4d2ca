/**
 * Resolves a configuration into what the workers are told: inheritance user → pool → general applied, passwords
 * classified, the secret of each pool towards PostgreSQL chosen, startup parameters merged, every pool given its home
 * worker.
 */

import { createHash } from "node:crypto";
import { limitsOf, type OwnLimits, resolveAuthQueries } from "./auth_query.ts";
import type { ExternalMethod, ExternalTerms } from "./external_check.ts";
import type { HbaRule } from "./hba_rule.ts";
import { assignHomes } from "./homes.ts";
import { readServerAuth, type ServerAuthMethod } from "./server_auth.ts";
import { passwordCredentials, passwordSource } from "./server_password.ts";
import { mergedTls, ServerTlsReader } from "./server_tls.ts";
import { sharingRole } from "./shared_pool.ts";
import { mergeParameters } from "./startup_parameters.ts";
import type {
  ClientLimit,
  ConsoleRole,
  ConsoleUser,
  GeneralSettings,
  PasswordSource,
  PoolSettings,
  PoolUser,
  ServerCredentials,
  ServerTlsFiles,
  Settings,
  StoredPassword,
} from "./settings.ts";
import { JWT_PUBLIC_KEY_PREFIX, passwordForm } from "./stored_password.ts";
import type { Config, GeneralConfig, PoolConfig, UserConfig } from "./types.ts";

/** What resolving needs besides the configuration. */
export interface Resolving {
  workers: number;
  /** Home worker of every pool seen so far, by `poolKey`; new pools are added. */
  homes: Map<string, number>;
  /** The SCRAM verifier of a plain password, in PostgreSQL's text form. */
  makeVerifier: (password: string, user: string) => string;
  /** The md5 hash of a plain password, as PostgreSQL stores it. */
  md5Hash: (password: string, user: string) => string;
  /** Checks of passwords by others that there are. */
  externalMethods?: ReadonlySet<ExternalMethod>;
  /** Rules that stand for the old `general.hba` list. */
  legacyHbaRules: (networks: readonly string[]) => HbaRule[];
  /** Contents of a file that the configuration names. Throws when it can't be read. */
  readFile: (file: string) => Uint8Array<ArrayBuffer>;
  /** What files for TLS held that are in force, by digest. */
  tlsFiles?: ReadonlyMap<string, ServerTlsFiles>;
  /**
   * Verifiers made before, kept by the caller from one load to the next: each costs a millisecond, and a client that
   * logs in around a reload should see the same salt.
   */
  verifiers?: Map<string, string>;
}

/** The settings that a valid configuration amounts to. */
export function resolveSettings(config: Config, resolving: Resolving): Settings {
  const pools: PoolSettings[] = [];
  const ofUsers = userLimits(config.pools.values());
  const tls = new ServerTlsReader(resolving.readFile, resolving.tlsFiles);
  for (const [database, pool] of config.pools) {
    const { general } = config;
    const role = sharingRole(pool);
    for (const user of role === undefined ? pool.users : [role]) {
      const settings = resolvePool({ general, database, pool, user, tls }, resolving);
      Object.assign(settings, limitsOf(general, ofUsers.get(user.username)));
      if (role !== undefined) settings.users = sharingUsers(pool, { general, ofUsers, resolving });
      pools.push(settings);
    }
  }
  const auth_queries = resolveAuthQueries(
    config,
    ofUsers,
    (database, pool, user) =>
      resolvePool({ general: config.general, database, pool, user, tls }, resolving),
  );
  assignHomes([...pools, ...auth_queries.map(({ template }) => template)], resolving);
  for (const each of auth_queries) each.home = each.template.home;
  return { general: resolveGeneral(config, resolving), pools, auth_queries };
}

/** Limits of users that hold in all databases; the checks see to it that all pools agree. */
export const USER_LIMITS = ["max_user_connections", "max_user_client_connections"] as const;

/** Those of users that have one of their own. */
function userLimits(pools: Iterable<PoolConfig>): Map<string, OwnLimits> {
  const limits = new Map<string, OwnLimits>();
  for (const { users } of pools) {
    for (const user of users) {
      const known = limits.get(user.username) ?? {};
      limits.set(user.username, known);
      for (const key of USER_LIMITS) known[key] = user[key] ?? known[key];
    }
  }
  return limits;
}

function sharingUsers(
  { users }: PoolConfig,
  { general, ofUsers, resolving }: {
    general: GeneralConfig;
    ofUsers: ReadonlyMap<string, OwnLimits>;
    resolving: Resolving;
  },
): PoolUser[] {
  return users.map((user) => ({
    user: user.username,
    password: passwordOf(user, resolving),
    max_user_client_connections: limitsOf(general, ofUsers.get(user.username))
      .max_user_client_connections,
  }));
}

function passwordOf(user: UserConfig, resolving: Resolving): StoredPassword {
  return user.auth_pam_service === undefined
    ? storedPassword(user.password, user.username, resolving)
    : external(resolving, "auth_pam_service", {
      method: "pam",
      options: { pamservice: user.auth_pam_service },
    });
}

function resolveGeneral({ general, talos }: Config, resolving: Resolving): GeneralSettings {
  return {
    max_connections: general.max_connections,
    console_users: consoleUsers(general, resolving),
    client_login_timeout: general.client_login_timeout,
    unix_socket_buffer_size: general.unix_socket_buffer_size,
    tcp_socket_buffer_size: general.tcp_socket_buffer_size,
    tcp_so_linger: general.tcp_so_linger,
    tcp_no_delay: general.tcp_no_delay,
    tcp_keepalives_idle: general.tcp_keepalives_idle,
    tcp_keepalives_interval: general.tcp_keepalives_interval,
    tcp_keepalives_count: general.tcp_keepalives_count,
    tcp_user_timeout: general.tcp_user_timeout,
    retain_connections_time: general.retain_connections_time,
    retain_connections_max: general.retain_connections_max,
    shutdown_timeout: general.shutdown_timeout,
    proxy_copy_data_timeout: general.proxy_copy_data_timeout,
    max_memory_usage: general.max_memory_usage,
    message_size_to_be_stream: general.message_size_to_be_stream,
    log_client_connections: general.log_client_connections,
    log_client_disconnections: general.log_client_disconnections,
    pooler_check_query: general.pooler_check_query,
    login_notify_message: general.login_notify_message,
    io_uring: general.io_uring,
    max_client_prepared_memory: general.max_client_prepared_memory,
    max_prepared_memory: general.max_prepared_memory,
    query_interner_gc_interval_seconds: general.query_interner_gc_interval_seconds,
    query_interner_anon_idle_ttl_seconds: general.query_interner_anon_idle_ttl_seconds,
    hba: hbaRules(general, resolving),
    ident: general.pg_ident?.rules ?? [],
    talos_databases: talos?.databases ?? [],
    auth_failure_delay: general.auth_failure_delay,
    auth_failure_delay_max: longestDelay(general),
    auth_failures_free: general.auth_failures_free,
  };
}

/** Who brings the right password is served in time, whoever was wrong before. */
function longestDelay({ auth_failure_delay_max, client_login_timeout }: GeneralConfig): number {
  if (client_login_timeout === 0) return auth_failure_delay_max;
  return Math.min(auth_failure_delay_max, client_login_timeout / 2);
}

function consoleUsers(general: GeneralConfig, resolving: Resolving): ConsoleUser[] {
  const { admin_username, admin_password, admin_users, stats_users } = general;
  const listed = (role: ConsoleRole, users: Iterable<[string, string]>): ConsoleUser[] =>
    Array.from(users, ([user, password]) => ({
      user,
      password: storedPassword(password, user, resolving),
      role,
    }));
  return [
    ...listed("admin", [[admin_username, admin_password], ...admin_users]),
    ...listed("stats", stats_users),
  ];
}

function hbaRules(general: GeneralConfig, resolving: Resolving): HbaRule[] | undefined {
  if (general.pg_hba !== undefined) return general.pg_hba.rules;
  return general.hba.length > 0 ? resolving.legacyHbaRules(general.hba) : undefined;
}

/** One user of one pool, with everything that it inherits from. */
interface Inheritance {
  general: GeneralConfig;
  database: string;
  pool: PoolConfig;
  user: UserConfig;
  tls: ServerTlsReader;
}

function resolvePool(from: Inheritance, resolving: Resolving): PoolSettings {
  const { general, database, pool, user } = from;
  const parameters = mergeParameters(general.startup_parameters, pool.startup_parameters);
  const pinned = parameters.get("application_name");
  parameters.delete("application_name");
  const server_username = user.server_username ?? pool.server_username ?? user.username;
  const cacheSize = pool.prepared_statements_cache_size ?? general.prepared_statements_cache_size;
  const settings: PoolSettings = {
    database,
    user: user.username,
    home: 0,
    password: passwordOf(user, resolving),
    pool_mode: user.pool_mode ?? pool.pool_mode,
    pool_size: user.pool_size,
    min_pool_size: user.min_pool_size ?? 0,
    max_db_connections: pool.max_db_connections ?? 0,
    max_user_connections: 0,
    max_db_client_connections: pool.max_db_client_connections ?? general.max_db_client_connections,
    max_user_client_connections: 0,
    min_connection_lifetime: pool.min_connection_lifetime,
    reserve_pool_size: pool.reserve_pool_size,
    reserve_pool_timeout: pool.reserve_pool_timeout,
    min_guaranteed_pool_size: pool.min_guaranteed_pool_size,
    server_host: pool.server_host,
    server_port: pool.server_port,
    server_database: pool.server_database ?? database,
    server_username,
    credentials: serverCredentials(
      pool,
      user,
      passwordSource(pool, user, {
        user: server_username,
        database: pool.server_database ?? database,
        host: pool.server_host,
        port: pool.server_port,
      }),
    ),
    server_tls: from.tls.resolve(general, pool),
    application_name: pinned ?? pool.application_name,
    application_name_pinned: pinned !== undefined,
    startup_parameters: [...parameters].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)),
    connect_timeout: pool.connect_timeout ?? general.connect_timeout,
    query_wait_timeout: user.query_wait_timeout ?? pool.query_wait_timeout ??
      general.query_wait_timeout,
    idle_timeout: user.idle_timeout ?? pool.idle_timeout ?? general.idle_timeout,
    server_lifetime: user.server_lifetime ?? pool.server_lifetime ?? general.server_lifetime,
    ...clientLimits(from),
    server_idle_check_timeout: general.server_idle_check_timeout,
    server_round_robin: general.server_round_robin,
    server_fast_close: general.server_fast_close,
    connect_query: pool.connect_query,
    sync_server_parameters: general.sync_server_parameters,
    cleanup_server_connections: pool.cleanup_server_connections,
    server_auth: allowedOf(pool.server_auth ?? general.server_auth),
    session_isolation: pool.session_isolation ?? general.session_isolation,
    log_client_parameter_status_changes: pool.log_client_parameter_status_changes,
    ...slowQueries(from),
    max_replication_connections: pool.max_replication_connections,
    max_concurrent_creates: general.max_concurrent_creates,
    scaling_warm_pool_ratio: pool.scaling_warm_pool_ratio ?? general.scaling_warm_pool_ratio,
    scaling_fast_retries: pool.scaling_fast_retries ?? general.scaling_fast_retries,
    scaling_max_parallel_creates: general.scaling_max_parallel_creates,
    prepared_statements: general.prepared_statements,
    prepared_statements_cache_size: cacheSize,
    server_prepared_statements_cache_size: serverCacheSize(from, cacheSize),
    client_anonymous_prepared_cache_size: general.client_anonymous_prepared_cache_size ?? cacheSize,
    server_digest: "",
  };
  settings.server_digest = serverDigest(settings, from);
  return settings;
}

/** How long a client of the pool may do this or that; 0 = as long as it likes. */
function clientLimits({ general, pool, user }: Inheritance): Record<ClientLimit, number> {
  const limit = (key: ClientLimit) => user[key] ?? pool[key] ?? general[key];
  return {
    query_timeout: limit("query_timeout"),
    transaction_timeout: limit("transaction_timeout"),
    idle_transaction_timeout: limit("idle_transaction_timeout"),
    client_idle_timeout: limit("client_idle_timeout"),
    query_wait_notify: limit("query_wait_notify"),
  };
}

/** Not Infinity, which JSON does not have. */
const NEVER_SLOW = Number.MAX_SAFE_INTEGER;

function slowQueries(
  { general, pool }: Inheritance,
): Pick<PoolSettings, "log_min_duration" | "log_min_duration_text"> {
  const duration = pool.log_min_duration ?? general.log_min_duration;
  const text = pool.log_min_duration_text ?? general.log_min_duration_text;
  return duration === 0
    ? { log_min_duration: NEVER_SLOW, log_min_duration_text: 0 }
    : { log_min_duration: duration, log_min_duration_text: text };
}

/** A pool without a cache keeps no statements on its servers either, whatever the server key says. */
function serverCacheSize({ general, pool }: Inheritance, cacheSize: number): number {
  if (cacheSize === 0) return 0;
  return pool.server_prepared_statements_cache_size ??
    general.server_prepared_statements_cache_size ?? cacheSize;
}

function storedPassword(password: string, user: string, resolving: Resolving): StoredPassword {
  switch (passwordForm(password)) {
    case "empty":
      return { kind: "empty" };
    case "scram":
      return { kind: "scram", verifier: password };
    case "md5":
      return { kind: "md5", hash: password.toLowerCase() };
    case "jwt":
      return external(resolving, "JWT", {
        method: "jwt",
        options: { key: password.slice(JWT_PUBLIC_KEY_PREFIX.length) },
      });
    case "plain":
    case "plain_like_md5":
    case "broken_scram":
      return {
        kind: "plain",
        password,
        verifier: verifierOf(password, user, resolving),
        md5: resolving.md5Hash(password, user),
      };
  }
}

/** A password that others check; `what` names it where nobody does. */
function external(
  { externalMethods }: Resolving,
  what: string,
  terms: ExternalTerms,
): StoredPassword {
  return externalMethods?.has(terms.method)
    ? { kind: "external", terms }
    : { kind: "unsupported", what };
}

function verifierOf(password: string, user: string, resolving: Resolving): string {
  const { verifiers, makeVerifier } = resolving;
  const key = `${user}\0${password}`;
  const known = verifiers?.get(key);
  if (known !== undefined) return known;
  const made = makeVerifier(password, user);
  verifiers?.set(key, made);
  return made;
}

/** How the pool of a listed user proves itself to PostgreSQL. */
function serverCredentials(
  pool: PoolConfig,
  user: UserConfig,
  source?: PasswordSource,
): ServerCredentials {
  const { username, password } = user;
  const { server_username, server_password } = user.server_username === undefined ? pool : user;
  if (source !== undefined) return { kind: "fetched", source };
  if (server_password !== undefined) return passwordCredentials(server_password);
  if (server_username !== undefined && server_username !== username) return { kind: "none" };
  switch (passwordForm(password)) {
    case "md5":
      return { kind: "md5", hash: password.toLowerCase() };
    case "scram":
      return { kind: "scram_passthrough", verifier: password };
    case "plain":
    case "plain_like_md5":
      return { kind: "password", password };
    default:
      return { kind: "none" };
  }
}

function allowedOf(serverAuth: string): readonly ServerAuthMethod[] {
  const read = readServerAuth(serverAuth);
  if ("fault" in read) throw new Error(`server_auth ${read.fault}`);
  return read.allowed;
}

/**
 * Changes whenever a server connection opened before would not be what the settings ask for now. Other contents of the
 * files for TLS are for new connections alone.
 */
function serverDigest(settings: PoolSettings, { general, pool }: Inheritance): string {
  const tls = mergedTls(general, pool);
  const asked = [
    settings.server_host,
    settings.server_port,
    settings.server_database,
    settings.server_username,
    settings.credentials,
    settings.application_name,
    settings.startup_parameters,
    // Not in what a program of before knew, so that its servers fit where there is none.
    ...settings.connect_query === "" ? [] : [settings.connect_query],
    ...settings.server_auth.length === 0 ? [] : [settings.server_auth],
    tls.server_tls_mode,
    tls.server_tls_ca_cert,
    tls.server_tls_certificate,
    tls.server_tls_private_key,
    ...tls.server_tls_direct ? ["server_tls_direct"] : [],
  ];
  return createHash("sha256").update(JSON.stringify(asked)).digest("hex");
}
