/** Settings for tests of parts that want all of them. */

import type { PoolSettings, ServerTls } from "../config/settings.ts";

/** Towards a server that is never asked for TLS. */
export const NO_TLS: ServerTls = {
  mode: "disable",
  direct: false,
  files: { ca: undefined, certificate: undefined, key: undefined, digest: "" },
};

/** A pool's settings for tests that make its server connections themselves. */
export function poolSettings(change: Partial<PoolSettings>): PoolSettings {
  return {
    database: "db",
    user: "me",
    home: 0,
    password: { kind: "empty" },
    pool_mode: "transaction",
    pool_size: 10,
    min_pool_size: 0,
    max_db_connections: 0,
    max_user_connections: 0,
    max_db_client_connections: 0,
    max_user_client_connections: 0,
    connect_query: "",
    server_fast_close: false,
    min_connection_lifetime: 30_000,
    reserve_pool_size: 0,
    reserve_pool_timeout: 3000,
    min_guaranteed_pool_size: 0,
    server_host: "127.0.0.1",
    server_port: 5432,
    server_database: "db",
    server_username: "me",
    credentials: { kind: "none" },
    server_tls: NO_TLS,
    application_name: "pg_doorman",
    application_name_pinned: false,
    startup_parameters: [],
    connect_timeout: 3000,
    query_wait_timeout: 5000,
    idle_timeout: 0,
    server_lifetime: 0,
    query_timeout: 0,
    transaction_timeout: 0,
    idle_transaction_timeout: 0,
    client_idle_timeout: 0,
    query_wait_notify: 0,
    server_idle_check_timeout: 0,
    server_round_robin: false,
    sync_server_parameters: true,
    cleanup_server_connections: true,
    server_auth: [],
    session_isolation: "tracked",
    log_client_parameter_status_changes: false,
    max_replication_connections: 10,
    max_concurrent_creates: 0,
    scaling_warm_pool_ratio: 0,
    scaling_fast_retries: 0,
    scaling_max_parallel_creates: 0,
    prepared_statements: false,
    prepared_statements_cache_size: 0,
    server_prepared_statements_cache_size: 0,
    client_anonymous_prepared_cache_size: 0,
    server_digest: "",
    ...change,
  };
}
