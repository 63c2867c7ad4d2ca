/**
 * The configuration as the operator wrote it: typed, validated, with the defaults of each key filled in, but without
 * inheritance between user, pool and general (`effective.ts` resolves that). Fields keep the key of the config file;
 * durations are milliseconds, sizes bytes, an optional field is a key that was not set and has no default of its own.
 * `schema.ts` describes every field; the two are tied together by the compiler.
 */

import type { HbaRule, IdentRule } from "./hba_rule.ts";
import type {
  ClientTlsMode,
  PoolMode,
  ServerTlsMode,
  SessionIsolation,
  SocketSettings,
  TlsVersion,
} from "./settings.ts";

/** Severities by name, as the command line and `general.log_level` write them. */
export type ConfigLogLevel = "error" | "warn" | "info" | "debug" | "trace";

/** Shape of log lines. */
export type ConfigLogFormat = "text" | "structured" | "debug";

/** Shape of messages to syslog. */
export type ConfigSyslogFormat = "rfc5424" | "rfc3164";

/** Facility of messages to syslog. */
export type ConfigSyslogFacility =
  | "user"
  | "daemon"
  | "auth"
  | "authpriv"
  | `local${0 | 1 | 2 | 3 | 4 | 5 | 6 | 7}`;

/** `general.pg_hba` or `general.pg_ident` after reading: where its text came from, and the rules in it. */
export interface RulesSetting<Rule> {
  /** The file the rules were read from; undefined when they stand in the config itself. */
  path: string | undefined;
  rules: Rule[];
}

/** The keys of `[general]` about the log. */
export interface LoggingConfig {
  log_level?: ConfigLogLevel;
  log_format?: ConfigLogFormat;
  log_client_connections: boolean;
  log_client_disconnections: boolean;
  log_min_duration: number;
  log_min_duration_text: number;
  log_file?: string;
  syslog_prog_name?: string;
  syslog_socket: string;
  syslog_format: ConfigSyslogFormat;
  syslog_facility: ConfigSyslogFacility;
}

/** The keys of `[general]` that the listening sockets are opened by. */
export interface ListenConfig {
  host: string;
  port: number;
  backlog: number;
  max_connections: number;
  unix_socket_dir?: string;
  /** Permission bits. */
  unix_socket_mode: number;
}

/** The keys of `[general]` about TLS towards clients. */
export interface ClientTlsConfig {
  tls_certificate?: string;
  tls_private_key?: string;
  tls_ca_cert?: string;
  tls_mode?: ClientTlsMode;
  tls_min_version: TlsVersion;
  /** Colon-separated, by OpenSSL's names: of TLS 1.2, and of TLS 1.3. */
  tls_ciphers?: string;
  tls_ciphersuites?: string;
  tls_rate_limit_per_second: number;
}

/** The keys about TLS towards PostgreSQL, in `[general]` and, one by one, in pools. */
export interface ServerTlsConfig {
  server_tls_mode: ServerTlsMode;
  server_tls_ca_cert?: string;
  server_tls_certificate?: string;
  server_tls_private_key?: string;
  server_tls_direct: boolean;
}

/** The keys of `[general]` about logins. */
export interface LoginConfig {
  auth_failure_delay: number;
  auth_failure_delay_max: number;
  auth_failures_free: number;
  auth_check_timeout: number;
  auth_checks_at_once: number;
  pam_config_dir?: string;
  ldap_tls_ca_cert?: string;
  jwt_audience: string[];
  jwt_issuer?: string;
  jwt_leeway: number;
  jwt_user_claim: string;
}

/** `[general]`. */
export interface GeneralConfig
  extends
    ListenConfig,
    LoggingConfig,
    SocketSettings,
    ClientTlsConfig,
    ServerTlsConfig,
    LoginConfig {
  client_login_timeout: number;
  connect_timeout: number;
  query_wait_timeout: number;
  idle_timeout: number;
  server_lifetime: number;
  server_idle_check_timeout: number;
  retain_connections_time: number;
  retain_connections_max: number;
  shutdown_timeout: number;
  proxy_copy_data_timeout: number;

  query_timeout: number;
  transaction_timeout: number;
  idle_transaction_timeout: number;
  client_idle_timeout: number;
  query_wait_notify: number;
  login_notify_message: string;
  server_auth: string;
  session_isolation: SessionIsolation;

  max_user_connections: number;
  max_db_client_connections: number;
  max_user_client_connections: number;
  max_concurrent_creates: number;
  scaling_warm_pool_ratio: number;
  scaling_fast_retries: number;
  scaling_max_parallel_creates: number;
  max_memory_usage: number;
  message_size_to_be_stream: number;
  server_round_robin: boolean;
  server_fast_close: boolean;
  sync_server_parameters: boolean;

  worker_threads: number;
  io_uring: boolean;
  worker_cpu_affinity_pinning: boolean;
  worker_stack_size?: number;
  max_blocking_threads?: number;
  tokio_global_queue_interval?: number;
  tokio_event_interval?: number;

  patroni_api_urls?: string[];
  fallback_cooldown?: number;
  patroni_api_timeout?: number;
  fallback_connect_timeout?: number;
  fallback_lifetime?: number;

  admin_username: string;
  admin_password: string;
  /** Passwords by name. */
  admin_users: Map<string, string>;
  stats_users: Map<string, string>;
  prepared_statements: boolean;
  prepared_statements_cache_size: number;
  server_prepared_statements_cache_size?: number;
  client_anonymous_prepared_cache_size?: number;
  max_client_prepared_memory: number;
  max_prepared_memory: number;
  query_interner_gc_interval_seconds: number;
  query_interner_anon_idle_ttl_seconds: number;
  pooler_check_query: string;

  /** Legacy allow-list of networks; excludes `pg_hba`. */
  hba: string[];
  pg_hba?: RulesSetting<HbaRule>;
  /** Maps of users for the rules of `pg_hba`. */
  pg_ident?: RulesSetting<IdentRule>;
  startup_parameters: Map<string, string>;
  daemon_pid_file: string;
}

/** `[web]`, also spelled `[prometheus]`. */
export interface WebConfig {
  enabled: boolean;
  host: string;
  port: number;
  ui: boolean;
  ui_anonymous: boolean;
  log_tap_max_entries: number;
  metrics_max_pools: number;
  sso_enabled: boolean;
  sso_proxy_url?: string;
  sso_public_key_file?: string;
  sso_audience: string[];
  sso_allowed_users: string[];
  sso_groups_claim: string;
  sso_admin_groups: string[];
  sso_require_https: boolean;
  trusted_proxies: string[];
}

/** `[talos]`. */
export interface TalosConfig {
  keys: string[];
  databases: string[];
}

/** One entry of `pools.NAME.users`. */
export interface UserConfig {
  username: string;
  password: string;
  pool_size: number;
  min_pool_size?: number;
  max_user_connections?: number;
  max_user_client_connections?: number;
  pool_mode?: PoolMode;
  query_wait_timeout?: number;
  server_lifetime?: number;
  idle_timeout?: number;
  query_timeout?: number;
  transaction_timeout?: number;
  idle_transaction_timeout?: number;
  client_idle_timeout?: number;
  query_wait_notify?: number;
  server_username?: string;
  server_password?: string;
  server_password_file?: string;
  server_password_command?: string[];
  auth_pam_service?: string;
}

/** `[pools.NAME.auth_query]`. */
export interface AuthQueryConfig {
  query: string;
  user: string;
  password: string;
  database?: string;
  workers: number;
  server_user?: string;
  server_password?: string;
  pool_size: number;
  min_pool_size: number;
  max_dynamic_pools: number;
  cache_ttl: number;
  cache_failure_ttl: number;
  min_interval: number;
}

/** `[pools.NAME]`. */
export interface PoolConfig extends Partial<ServerTlsConfig> {
  server_host: string;
  server_port: number;
  server_database?: string;
  application_name: string;
  pool_mode: PoolMode;
  connect_timeout?: number;
  query_wait_timeout?: number;
  idle_timeout?: number;
  server_lifetime?: number;
  query_timeout?: number;
  transaction_timeout?: number;
  idle_transaction_timeout?: number;
  client_idle_timeout?: number;
  query_wait_notify?: number;
  cleanup_server_connections: boolean;
  server_auth?: string;
  session_isolation?: SessionIsolation;
  log_client_parameter_status_changes: boolean;
  log_min_duration?: number;
  log_min_duration_text?: number;
  max_replication_connections: number;
  prepared_statements_cache_size?: number;
  server_prepared_statements_cache_size?: number;
  scaling_warm_pool_ratio?: number;
  scaling_fast_retries?: number;
  connect_query: string;
  max_db_client_connections?: number;
  max_db_connections?: number;
  min_connection_lifetime: number;
  reserve_pool_size: number;
  reserve_pool_timeout: number;
  min_guaranteed_pool_size: number;
  patroni_api_urls?: string[];
  fallback_cooldown?: number;
  patroni_api_timeout?: number;
  fallback_connect_timeout?: number;
  fallback_lifetime?: number;
  server_username?: string;
  server_password?: string;
  shared_pool_size?: number;
  min_shared_pool_size: number;
  server_password_file?: string;
  server_password_command?: string[];
  server_password_command_ttl: number;
  server_password_command_timeout: number;
  auth_query?: AuthQueryConfig;
  startup_parameters: Map<string, string>;
  users: UserConfig[];
}

/** `[include]`. */
export interface IncludeConfig {
  files: string[];
}

/** A whole configuration. */
export interface Config {
  /** The file it was loaded from, as given. */
  path: string;
  general: GeneralConfig;
  web: WebConfig;
  talos?: TalosConfig;
  include: IncludeConfig;
  /** By database name, in the order of the file. */
  pools: Map<string, PoolConfig>;
}
