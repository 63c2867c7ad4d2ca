/**
 * Keys of `[pools.NAME]`, of its users and of its `auth_query`. A pool key that is also a general one overrides it; a
 * user's key overrides the pool's.
 */

import type { KeyTable } from "./schema.ts";
import { keyRows } from "./schema.ts";
import { SERVER_ROLE_TABLE, USER_SERVER_PASSWORD_TABLE } from "./schema_server_role.ts";
import { POOL_TLS_TABLE } from "./schema_tls.ts";
import type { AuthQueryConfig, PoolConfig, UserConfig } from "./types.ts";

const POOL_TABLE: KeyTable<PoolConfig> = {
  server_host: {
    type: "string",
    default: "127.0.0.1",
    reload: "B",
    doc:
      "Name or address of the PostgreSQL server; starting with `/`: directory of its Unix socket.",
  },
  server_port: {
    type: "u16",
    default: 5432,
    min: 1,
    reload: "B",
    doc: "Its port; also part of its Unix socket's name.",
  },
  server_database: {
    type: "string",
    reload: "B",
    unset: "the pool's name",
    doc: "Name of the database on the server.",
  },
  application_name: {
    type: "string",
    default: "pg_doorman",
    reload: "B",
    doc: "`application_name` of server connections until a client sets its own.",
  },
  pool_mode: {
    type: "enum",
    choices: ["transaction", "session", "statement"],
    anyCase: true,
    default: "transaction",
    reload: "P",
    doc:
      "When a client gives its server connection back: after a transaction, when it leaves, or after each query (`statement`: transaction blocks are refused; not in upstream).",
  },
  connect_timeout: {
    type: "duration",
    min: 1,
    zeroFault: "no server connection could be opened in time",
    reload: "P",
    unset: "general",
    doc: "As in `[general]`. Without effect in upstream.",
  },
  query_wait_timeout: {
    type: "duration",
    reload: "P",
    unset: "general",
    doc: "As in `[general]`. Not in upstream.",
  },
  idle_timeout: { type: "duration", reload: "P", unset: "general", doc: "As in `[general]`." },
  server_lifetime: { type: "duration", reload: "P", unset: "general", doc: "As in `[general]`." },
  query_timeout: {
    type: "duration",
    reload: "A",
    unset: "general",
    doc: "As in `[general]`. Not in upstream.",
  },
  transaction_timeout: {
    type: "duration",
    reload: "A",
    unset: "general",
    doc: "As in `[general]`. Not in upstream.",
  },
  idle_transaction_timeout: {
    type: "duration",
    reload: "A",
    unset: "general",
    doc: "As in `[general]`. Not in upstream.",
  },
  client_idle_timeout: {
    type: "duration",
    reload: "A",
    unset: "general",
    doc: "As in `[general]`. Not in upstream.",
  },
  query_wait_notify: {
    type: "duration",
    reload: "A",
    unset: "general",
    doc: "As in `[general]`. Not in upstream.",
  },
  cleanup_server_connections: {
    type: "bool",
    default: true,
    reload: "P",
    doc: "Undo what a client changed in its session before the next one gets the connection.",
  },
  server_auth: {
    type: "string",
    reload: "B",
    unset: "general",
    doc: "As in `[general]`. Not in upstream.",
  },
  session_isolation: {
    type: "enum",
    choices: ["tracked", "strict"],
    reload: "P",
    unset: "general",
    doc: "As in `[general]`. Not in upstream.",
  },
  log_client_parameter_status_changes: {
    type: "bool",
    default: false,
    reload: "P",
    doc: "Log parameters that clients change.",
  },
  log_min_duration: {
    type: "duration",
    reload: "A",
    unset: "general",
    doc: "As in `[general]`. Not in upstream.",
  },
  log_min_duration_text: {
    type: "u32",
    max: 2000,
    reload: "A",
    unset: "general",
    doc: "As in `[general]`. Not in upstream.",
  },
  max_replication_connections: {
    type: "u32",
    default: 10,
    reload: "N",
    doc:
      "Replication connections of each user, apart from `pool_size`; each belongs to one client. 0 = none. Not in upstream.",
  },
  prepared_statements_cache_size: {
    type: "usize",
    reload: "P",
    unset: "general",
    doc: "As in `[general]`; 0 = prepared statements are not rewritten.",
  },
  server_prepared_statements_cache_size: {
    type: "usize",
    reload: "P",
    unset: "general",
    doc: "As in `[general]`.",
  },
  scaling_warm_pool_ratio: {
    type: "percent",
    reload: "P",
    unset: "general",
    doc: "As in `[general]`.",
  },
  scaling_fast_retries: {
    type: "u32",
    reload: "P",
    unset: "general",
    doc: "As in `[general]`.",
  },

  connect_query: {
    type: "string",
    default: "",
    reload: "B",
    doc:
      "Run once on each new server connection, before clients have it; an error is logged and changes nothing. What " +
      "`RESET ALL` undoes is undone after a client that changed parameters: those belong in `startup_parameters`. " +
      "Not in upstream.",
  },

  max_db_client_connections: {
    heading: "Connections shared by all users of the database",
    type: "u32",
    reload: "N",
    unset: "general",
    doc: "As in `[general]`. Not in upstream.",
  },
  max_db_connections: {
    type: "u32",
    reload: "P",
    unset: "no limit",
    doc:
      "Server connections of all users of this database, at most; 0 = no limit. The database's pools then live on " +
      "one worker.",
  },
  min_connection_lifetime: {
    type: "duration",
    default: 30_000,
    reload: "P",
    doc:
      "Younger server connections are not closed for the sake of another user; also how long one beyond " +
      "`max_db_connections` may be idle.",
  },
  reserve_pool_size: {
    type: "u32",
    default: 0,
    reload: "P",
    doc: "Server connections beyond `max_db_connections`, opened before another user's are closed.",
  },
  reserve_pool_timeout: {
    type: "duration",
    default: 3_000,
    reload: "P",
    doc:
      "A client whose user has no server connection and can't get one is refused after this wait, or after " +
      "`query_wait_timeout` if that is shorter.",
  },
  min_guaranteed_pool_size: {
    type: "u32",
    default: 0,
    reload: "P",
    doc:
      "Server connections of each user that are not closed for the sake of another one; `min_pool_size` if that is " +
      "more.",
  },

  patroni_api_urls: {
    heading: "Fallback by Patroni",
    type: "url_list",
    reload: "P",
    unset: "general",
    later: true,
    doc: "As in `[general]`.",
  },
  fallback_cooldown: {
    type: "duration",
    min: 1,
    reload: "P",
    unset: "general",
    later: true,
    doc: "As in `[general]`.",
  },
  patroni_api_timeout: {
    type: "duration",
    min: 1,
    reload: "P",
    unset: "general",
    later: true,
    doc: "As in `[general]`.",
  },
  fallback_connect_timeout: {
    type: "duration",
    min: 1,
    reload: "P",
    unset: "general",
    later: true,
    doc: "As in `[general]`.",
  },
  fallback_lifetime: {
    type: "duration",
    min: 1,
    reload: "P",
    unset: "general",
    later: true,
    doc: "As in `[general]`.",
  },

  ...POOL_TLS_TABLE,
  ...SERVER_ROLE_TABLE,

  auth_query: {
    heading: "Users and parameters",
    type: "table",
    reload: "P",
    unset: "only the users listed here",
    doc: "Look users up in PostgreSQL; keys below.",
  },
  startup_parameters: {
    type: "string_map",
    default: new Map(),
    reload: "B",
    doc: "As in `[general]`; a name here beats the same name there.",
  },
  users: {
    type: "user_list",
    default: [],
    reload: "P",
    doc: "Who may log in to this database; keys below. A map with numbers as keys is accepted too.",
  },
};

const USER_TABLE: KeyTable<UserConfig> = {
  username: {
    type: "string",
    required: true,
    reload: "P",
    doc: "Name to log in with; unique in the pool.",
  },
  password: {
    type: "string",
    required: true,
    secret: true,
    reload: "B",
    doc: "SCRAM verifier, md5 hash or plain text; empty: only with a `trust` rule.",
  },
  pool_size: {
    type: "u32",
    required: true,
    min: 1,
    zeroFault: "the pool could serve nobody",
    reload: "P",
    doc: "Server connections of this user, at most.",
  },
  min_pool_size: {
    type: "u32",
    reload: "P",
    unset: "0",
    doc: "Server connections opened ahead and kept.",
  },
  max_user_connections: {
    type: "u32",
    reload: "P",
    unset: "general",
    doc:
      "As in `[general]`; holds in all databases, so a user that several list must have one value. Not in upstream.",
  },
  max_user_client_connections: {
    type: "u32",
    reload: "N",
    unset: "general",
    doc:
      "As in `[general]`; holds in all databases, so a user that several list must have one value. Not in upstream.",
  },
  pool_mode: {
    type: "enum",
    choices: ["transaction", "session", "statement"],
    anyCase: true,
    reload: "P",
    unset: "the pool's",
    doc: "As in the pool.",
  },
  query_wait_timeout: {
    type: "duration",
    reload: "P",
    unset: "the pool's",
    doc: "As in the pool. Not in upstream.",
  },
  server_lifetime: {
    type: "duration",
    reload: "P",
    unset: "the pool's",
    doc: "As in the pool. Without effect in upstream.",
  },
  idle_timeout: {
    type: "duration",
    reload: "P",
    unset: "the pool's",
    doc: "As in the pool. Not in upstream.",
  },
  query_timeout: {
    type: "duration",
    reload: "A",
    unset: "the pool's",
    doc: "As in the pool. Not in upstream.",
  },
  transaction_timeout: {
    type: "duration",
    reload: "A",
    unset: "the pool's",
    doc: "As in the pool. Not in upstream.",
  },
  idle_transaction_timeout: {
    type: "duration",
    reload: "A",
    unset: "the pool's",
    doc: "As in the pool. Not in upstream.",
  },
  client_idle_timeout: {
    type: "duration",
    reload: "A",
    unset: "the pool's",
    doc: "As in the pool. Not in upstream.",
  },
  query_wait_notify: {
    type: "duration",
    reload: "A",
    unset: "the pool's",
    doc: "As in the pool. Not in upstream.",
  },
  server_username: {
    type: "string",
    reload: "B",
    unset: "the pool's, else `username`",
    doc: "Role towards PostgreSQL.",
  },
  server_password: {
    type: "string",
    secret: true,
    reload: "B",
    unset: "the client's own proof is passed on",
    doc:
      "Password of that role, plain or its md5 hash, or `jwt-priv-key-fpath:` and a private key that signs tokens; needs `server_username`.",
  },
  ...USER_SERVER_PASSWORD_TABLE,
  auth_pam_service: {
    type: "string",
    reload: "N",
    unset: "`password` decides",
    doc: "Have PAM check the client's password.",
  },
};

const AUTH_QUERY_TABLE: KeyTable<AuthQueryConfig> = {
  query: {
    type: "string",
    required: true,
    reload: "P",
    doc: "Lookup: `$1` is the user's name, the answer one row with the password or none.",
  },
  user: { type: "string", required: true, reload: "P", doc: "Role that looks up." },
  password: {
    type: "string",
    default: "",
    secret: true,
    reload: "P",
    doc: "Its plain password.",
  },
  database: {
    type: "string",
    reload: "P",
    unset: "the pool's name",
    doc: "Database to look up in.",
  },
  workers: {
    type: "u32",
    default: 2,
    min: 1,
    zeroFault: "nobody would look up",
    reload: "P",
    doc: "Connections that look up.",
  },
  server_user: {
    type: "string",
    reload: "P",
    unset: "each user is passed through",
    doc: "Role that all users found share towards PostgreSQL.",
  },
  server_password: {
    type: "string",
    secret: true,
    reload: "P",
    unset: "empty",
    doc: "Its plain password; needs `server_user`.",
  },
  pool_size: {
    type: "u32",
    default: 40,
    min: 1,
    zeroFault: "the pool could serve nobody",
    reload: "P",
    doc: "Server connections of the shared pool, or of each user's.",
  },
  min_pool_size: {
    type: "u32",
    default: 0,
    reload: "P",
    doc: "Server connections kept for each user passed through.",
  },
  max_dynamic_pools: {
    type: "u32",
    default: 1000,
    min: 1,
    zeroFault: "nobody could log in",
    reload: "P",
    doc:
      "Pools of users passed through that there may be at once; without a connection they are removed. Not in upstream.",
  },
  cache_ttl: {
    type: "duration",
    default: 3_600_000,
    reload: "P",
    doc: "How long an answer is remembered.",
  },
  cache_failure_ttl: {
    type: "duration",
    default: 30_000,
    reload: "P",
    doc: "How long it is remembered that a user is unknown.",
  },
  min_interval: {
    type: "duration",
    default: 1_000,
    reload: "P",
    doc: "Time between two lookups of a user whose login failed.",
  },
};

/** Rows of `[pools.NAME]`. */
export const POOL_KEYS = keyRows(POOL_TABLE);

/** Rows of `[[pools.NAME.users]]`. */
export const USER_KEYS = keyRows(USER_TABLE);

/** Rows of `[pools.NAME.auth_query]`. */
export const AUTH_QUERY_KEYS = keyRows(AUTH_QUERY_TABLE);
