/**
 * What the data plane is told of the configuration: plain, structured-cloneable records with every inheritance already
 * resolved, one `PoolSettings` for each (database, user). Workers read nothing else, so that a reload is the exchange
 * of these records. Fields keep the key of the config file; durations are milliseconds, sizes bytes.
 */

import type { ExternalTerms } from "./external_check.ts";
import type { HbaRule, IdentRule } from "./hba_rule.ts";
import type { ServerAuthMethod } from "./server_auth.ts";

/** What clients are offered and asked for on SSLRequest. */
export type ClientTlsMode = "allow" | "disable" | "require" | "verify-ca" | "verify-full";

/** The oldest version of TLS that is spoken. */
export type TlsVersion = "1.2" | "1.3";

/** How a pool secures its connections to PostgreSQL. */
export type ServerTlsMode =
  | "disable"
  | "allow"
  | "prefer"
  | "require"
  | "verify-ca"
  | "verify-full";

/** How long a client keeps its server connection. */
export type PoolMode = "session" | "transaction" | "statement";

/** How clients in transaction mode are kept apart. */
export type SessionIsolation = "tracked" | "strict";

/** What a user's `password` is, found once when the config is loaded. */
export type StoredPassword =
  | { kind: "empty" }
  /** A SCRAM verifier as in `pg_authid`; a plain password has been made into one, and is kept beside it. */
  | { kind: "scram"; verifier: string }
  | { kind: "md5"; hash: string }
  | { kind: "plain"; password: string; verifier: string; md5: string }
  /** Others check what the client sends. */
  | { kind: "external"; terms: ExternalTerms }
  /** A form that nobody checks here: logins are refused with this reason. */
  | { kind: "unsupported"; what: string };

/** What a challenge tells of a stored password. */
export interface PasswordShape {
  kind: StoredPassword["kind"];
  /** Of its SCRAM verifier; where it has none, what a new one would have. */
  iterations: number;
  saltBytes: number;
  /** Who checks it. */
  external?: ExternalTerms;
}

/** How a pool proves itself to PostgreSQL. */
export type ServerCredentials =
  /** `server_username` + `server_password`. */
  | { kind: "password"; password: string }
  /** The md5 hash of the pool's user, as PostgreSQL stores it. */
  | { kind: "md5"; hash: string }
  /** The SCRAM ClientKey that the first client's login yields; the verifier must be the server's own. */
  | { kind: "scram_passthrough"; verifier: string }
  /** Fetched when a connection is opened. */
  | { kind: "fetched"; source: PasswordSource }
  /** Nothing: PostgreSQL must trust this role. */
  | { kind: "none" };

/** Where a password towards PostgreSQL is fetched. */
export type PasswordSource =
  | { from: "file"; file: string }
  /** A token of this role that the private key in the file signs. */
  | { from: "token"; file: string; role: string }
  /** A program and its arguments; what it says is used for `ttlMs`. */
  | { from: "command"; command: string[]; ttlMs: number; timeoutMs: number };

/** Limits for what clients do; 0 = none. */
export type ClientLimit =
  | "query_timeout"
  | "transaction_timeout"
  | "idle_transaction_timeout"
  | "client_idle_timeout"
  | "query_wait_notify";

/** TLS towards PostgreSQL: the keys of the pool and of `[general]`, merged one by one. */
export interface ServerTls {
  mode: ServerTlsMode;
  /** TLS from the first byte on, without SSLRequest (`server_tls_direct`). */
  direct: boolean;
  /** What the files held when the configuration was read, PEM. Pools of the same files share one object. */
  files: ServerTlsFiles;
}

/** A file in PEM format. */
export interface PemFile {
  name: string;
  text: Uint8Array<ArrayBuffer>;
}

/** The contents of `server_tls_ca_cert`, `server_tls_certificate` and `server_tls_private_key`. Secrets. */
export interface ServerTlsFiles {
  ca: PemFile | undefined;
  certificate: PemFile | undefined;
  key: PemFile | undefined;
  /** Of names and contents. */
  digest: string;
}

/** A user that logs in to a pool which several share. */
export interface PoolUser {
  user: string;
  password: StoredPassword;
  /** In all databases; 0 = no limit. */
  max_user_client_connections: number;
}

/** One (database, user) pool. */
export interface PoolSettings extends Record<ClientLimit, number> {
  database: string;
  /** Who logs in to it, or the role that all `users` share. */
  user: string;
  /** Who logs in to it where that is not `user` by `password` (`shared_pool_size`). */
  users?: PoolUser[];
  /** Index of the worker that owns this pool. */
  home: number;
  password: StoredPassword;
  pool_mode: PoolMode;
  pool_size: number;
  min_pool_size: number;
  /** Of all users of the database, and of the user in all databases; 0 = no limit. */
  max_db_connections: number;
  max_user_connections: number;
  /** The same of clients that have logged in. */
  max_db_client_connections: number;
  max_user_client_connections: number;
  min_connection_lifetime: number;
  reserve_pool_size: number;
  reserve_pool_timeout: number;
  min_guaranteed_pool_size: number;
  /** Host name, IP address, or a directory (starts with `/`) with a unix socket. */
  server_host: string;
  server_port: number;
  server_database: string;
  server_username: string;
  credentials: ServerCredentials;
  server_tls: ServerTls;
  application_name: string;
  /** The operator fixed it by `startup_parameters`: what a client sends in its StartupMessage does not replace it. */
  application_name_pinned: boolean;
  /** Operator's parameters for each server's StartupMessage: canonical name → value, in name order, without application_name. */
  startup_parameters: [string, string][];
  connect_timeout: number;
  query_wait_timeout: number;
  idle_timeout: number;
  server_lifetime: number;
  server_idle_check_timeout: number;
  /** Run once on each new server connection; empty: nothing is. */
  connect_query: string;
  /** A server that is to be replaced is taken from a client that keeps it, with the client. */
  server_fast_close: boolean;
  server_round_robin: boolean;
  sync_server_parameters: boolean;
  cleanup_server_connections: boolean;
  /** What PostgreSQL may ask for; empty: anything. */
  server_auth: readonly ServerAuthMethod[];
  session_isolation: SessionIsolation;
  log_client_parameter_status_changes: boolean;
  /** Milliseconds; the largest safe integer: no query is logged. */
  log_min_duration: number;
  log_min_duration_text: number;
  max_replication_connections: number;
  max_concurrent_creates: number;
  scaling_warm_pool_ratio: number;
  scaling_fast_retries: number;
  scaling_max_parallel_creates: number;
  prepared_statements: boolean;
  prepared_statements_cache_size: number;
  server_prepared_statements_cache_size: number;
  client_anonymous_prepared_cache_size: number;
  /** A digest of all that forces new server connections when it changes (address, credentials, parameters, TLS). */
  server_digest: string;
}

/** The keys of `[general]` that concern every accepted and every connecting socket. */
export interface SocketSettings {
  unix_socket_buffer_size: number;
  tcp_socket_buffer_size: number;
  /** This and the `tcp_` numbers below are seconds or counts, the kernel's units. */
  tcp_so_linger: number;
  tcp_no_delay: boolean;
  tcp_keepalives_idle: number;
  tcp_keepalives_interval: number;
  tcp_keepalives_count: number;
  tcp_user_timeout: number;
}

/** What a user of the console may do: anything, or look. */
export type ConsoleRole = "admin" | "stats";

/** A user of the console. */
export interface ConsoleUser {
  user: string;
  password: StoredPassword;
  role: ConsoleRole;
}

/** Settings that hold for every client and server of the process. */
export interface GeneralSettings extends SocketSettings {
  max_connections: number;
  /** Who may enter the console; each name once. */
  console_users: ConsoleUser[];
  /** Milliseconds from accept to the end of the login; 0 = as many as it likes. */
  client_login_timeout: number;
  retain_connections_time: number;
  retain_connections_max: number;
  shutdown_timeout: number;
  proxy_copy_data_timeout: number;
  max_memory_usage: number;
  message_size_to_be_stream: number;
  log_client_connections: boolean;
  log_client_disconnections: boolean;
  pooler_check_query: string;
  login_notify_message: string;
  io_uring: boolean;
  max_client_prepared_memory: number;
  max_prepared_memory: number;
  query_interner_gc_interval_seconds: number;
  query_interner_anon_idle_ttl_seconds: number;
  /** pg_hba rules, first match decides; `undefined` = no rules at all: everything is allowed. */
  hba: HbaRule[] | undefined;
  /** What `map=…` in the rules names. */
  ident: IdentRule[];
  /** Databases that `talos` may log in to; empty: he is a user like others. */
  talos_databases: string[];
  /** How long passwords wait after failed ones. */
  auth_failure_delay: number;
  auth_failure_delay_max: number;
  auth_failures_free: number;
}

/** What clients are served TLS with: the files' contents, as they were read at the start. */
export interface ClientTls {
  mode: ClientTlsMode;
  /** `ca`: whose certificates clients must have. */
  files: {
    certificate: PemFile;
    key: PemFile;
    /** Clients are asked for a certificate of these, and must have one where it is demanded. */
    ca?: PemFile;
    demanded?: boolean;
  };
  /** Suites are separated by colons; without any all that there are. */
  limits: { minVersion: TlsVersion; ciphers?: string; ciphersuites?: string };
  ratePerSecond: number;
}

/** Limits of one user over all databases; 0 = no limit. */
export type UserLimits = Pick<PoolSettings, "max_user_connections" | "max_user_client_connections">;

/** Users of a database whom PostgreSQL is asked for: `[pools.NAME.auth_query]`. */
export interface AuthQuerySettings {
  /** `*`: every database that is not configured. */
  database: string;
  /** Index of the worker that looks up, and that has the pools of those who are found. */
  home: number;
  query: string;
  /** Of the connections that look up. */
  executor: PoolSettings;
  /** Of the pools of those who are found: its user is the role that all share, or empty where each is passed through. */
  template: PoolSettings;
  /** Of `*`: databases that are configured, and so none of it. */
  others: string[];
  /** Of users who have some of their own. */
  user_limits: [user: string, limits: UserLimits][];
  max_dynamic_pools: number;
  cache_ttl: number;
  cache_failure_ttl: number;
  min_interval: number;
}

/** All that the workers are told. */
export interface Settings {
  general: GeneralSettings;
  pools: PoolSettings[];
  auth_queries: AuthQuerySettings[];
}
