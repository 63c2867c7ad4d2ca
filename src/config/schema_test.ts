import assert from "node:assert/strict";
import { formatSetting } from "./format_setting.ts";
import type { KeyRows, KeySpec } from "./schema.ts";
import { GENERAL_KEYS } from "./schema_general.ts";
import { AUTH_QUERY_KEYS, POOL_KEYS, USER_KEYS } from "./schema_pool.ts";
import { INCLUDE_KEYS, TALOS_KEYS, WEB_KEYS } from "./schema_web.ts";

/**
 * The compatibility specification's tables: key, type, default. `-` is unset, `!` required. Keys that upstream takes
 * as bare milliseconds (`u64 ms`) are durations here, which accept those, too.
 */
const GENERAL = `
host string 0.0.0.0
port u16 5432
backlog u32 0
max_connections usize 8192
unix_socket_dir path -
unix_socket_mode octal_mode 0600
unix_socket_buffer_size bytes 1048576
tcp_socket_buffer_size bytes 0
tcp_so_linger seconds 0
tcp_no_delay bool true
tcp_keepalives_idle seconds 5
tcp_keepalives_interval seconds 5
tcp_keepalives_count u32 5
tcp_user_timeout seconds 60
connect_timeout duration 3000
query_wait_timeout duration 5000
idle_timeout duration 600000
server_lifetime duration 1200000
server_idle_check_timeout duration 60000
retain_connections_time duration 30000
retain_connections_max usize 3
shutdown_timeout duration 10000
proxy_copy_data_timeout duration 15000
max_concurrent_creates usize 4
scaling_warm_pool_ratio percent 20
scaling_fast_retries u32 10
scaling_max_parallel_creates u32 2
max_memory_usage bytes 268435456
message_size_to_be_stream bytes 1048576
server_round_robin bool false
sync_server_parameters bool false
log_client_connections bool false
log_client_disconnections bool false
syslog_prog_name string -
worker_threads usize 4
worker_cpu_affinity_pinning bool false
worker_stack_size bytes -
max_blocking_threads usize -
tokio_global_queue_interval u32 -
tokio_event_interval u32 -
tls_certificate path -
tls_private_key path -
tls_ca_cert path -
tls_mode enum -
tls_min_version enum 1.2
tls_ciphers string -
tls_ciphersuites string -
tls_rate_limit_per_second usize 0
server_tls_mode enum allow
server_tls_ca_cert path -
server_tls_certificate path -
server_tls_private_key path -
server_tls_direct bool false
patroni_api_urls url_list -
fallback_cooldown duration -
patroni_api_timeout duration -
fallback_connect_timeout duration -
fallback_lifetime duration -
admin_username string !
admin_password string !
prepared_statements bool true
prepared_statements_cache_size usize 8192
server_prepared_statements_cache_size usize -
client_anonymous_prepared_cache_size usize -
query_interner_gc_interval_seconds seconds 60
query_interner_anon_idle_ttl_seconds seconds 60
pooler_check_query string ;
hba cidr_list
pg_hba hba -
startup_parameters string_map
daemon_pid_file path /run/pg_doorman.pid
`;

const WEB = `
enabled bool false
host string 0.0.0.0
port u16 9127
ui bool false
ui_anonymous bool false
log_tap_max_entries u32 8192
sso_enabled bool false
sso_proxy_url string -
sso_public_key_file path -
sso_audience string_list
sso_allowed_users string_list *
sso_groups_claim string groups
sso_admin_groups string_list
sso_require_https bool false
trusted_proxies cidr_list
`;

const TALOS = `
keys path_list !
databases string_list !
`;

const POOL = `
server_host string 127.0.0.1
server_port u16 5432
server_database string -
application_name string pg_doorman
pool_mode enum transaction
connect_timeout duration -
idle_timeout duration -
server_lifetime duration -
cleanup_server_connections bool true
log_client_parameter_status_changes bool false
prepared_statements_cache_size usize -
server_prepared_statements_cache_size usize -
scaling_warm_pool_ratio percent -
scaling_fast_retries u32 -
max_db_connections u32 -
min_connection_lifetime duration 30000
reserve_pool_size u32 0
reserve_pool_timeout duration 3000
min_guaranteed_pool_size u32 0
patroni_api_urls url_list -
fallback_cooldown duration -
patroni_api_timeout duration -
fallback_connect_timeout duration -
fallback_lifetime duration -
server_tls_mode enum -
server_tls_ca_cert path -
server_tls_certificate path -
server_tls_private_key path -
server_tls_direct bool -
auth_query table -
startup_parameters string_map
users user_list
`;

const USER = `
username string !
password string !
pool_size u32 !
min_pool_size u32 -
pool_mode enum -
server_lifetime duration -
server_username string -
server_password string -
auth_pam_service string -
`;

const AUTH_QUERY = `
query string !
user string !
password string
database string -
workers u32 2
server_user string -
server_password string -
pool_size u32 40
min_pool_size u32 0
cache_ttl duration 3600000
cache_failure_ttl duration 30000
min_interval duration 1000
`;

/** Limits for clients, which upstream lacks. */
const LIMITS = [
  "query_timeout",
  "transaction_timeout",
  "idle_transaction_timeout",
  "client_idle_timeout",
  "query_wait_notify",
];

const SECTIONS: readonly [string, string, KeyRows, number, readonly string[]][] = [
  ["general", GENERAL, GENERAL_KEYS, 71, [
    "client_login_timeout",
    "log_level",
    "log_format",
    "log_file",
    "log_min_duration",
    "log_min_duration_text",
    "syslog_socket",
    "syslog_format",
    "syslog_facility",
    "io_uring",
    "pg_ident",
    "admin_users",
    "stats_users",
    "max_client_prepared_memory",
    "max_prepared_memory",
    "max_user_connections",
    "max_db_client_connections",
    "max_user_client_connections",
    "login_notify_message",
    "auth_failure_delay",
    "auth_failure_delay_max",
    "auth_failures_free",
    "auth_check_timeout",
    "auth_checks_at_once",
    "pam_config_dir",
    "ldap_tls_ca_cert",
    "jwt_audience",
    "jwt_issuer",
    "jwt_leeway",
    "jwt_user_claim",
    "server_fast_close",
    "server_auth",
    "session_isolation",
    ...LIMITS,
  ]],
  ["web", WEB, WEB_KEYS, 15, ["metrics_max_pools"]],
  ["talos", TALOS, TALOS_KEYS, 2, []],
  ["include", "files path_list ", INCLUDE_KEYS, 1, []],
  ["pool", POOL, POOL_KEYS, 32, [
    "max_replication_connections",
    "query_wait_timeout",
    "connect_query",
    "max_db_client_connections",
    "server_auth",
    "session_isolation",
    "log_min_duration",
    "log_min_duration_text",
    "server_username",
    "server_password",
    "shared_pool_size",
    "min_shared_pool_size",
    "server_password_file",
    "server_password_command",
    "server_password_command_ttl",
    "server_password_command_timeout",
    ...LIMITS,
  ]],
  ["user", USER, USER_KEYS, 9, [
    "idle_timeout",
    "max_user_connections",
    "max_user_client_connections",
    "query_wait_timeout",
    "server_password_file",
    "server_password_command",
    ...LIMITS,
  ]],
  ["auth_query", AUTH_QUERY, AUTH_QUERY_KEYS, 12, ["max_dynamic_pools"]],
];

function specifiedKeys(text: string): Map<string, string> {
  const lines = text.trim().split("\n");
  return new Map(lines.map((line) => {
    const [name, type, ...rest] = line.split(" ") as [string, string, ...string[]];
    return [name, `${type} ${rest.join(" ")}`];
  }));
}

function described(spec: KeySpec): string {
  if (spec.required) return `${spec.type} !`;
  if (spec.default === undefined) return `${spec.type} -`;
  return `${spec.type} ${formatSetting(spec, spec.default)}`;
}

for (const [name, text, rows, count, own] of SECTIONS) {
  Deno.test(`schema: every key of ${name} is there, with its type and default`, () => {
    const specified = specifiedKeys(text);
    assert.equal(specified.size, count);
    for (const [key, wanted] of specified) {
      const spec = rows.get(key);
      assert.ok(spec !== undefined, `${key} is missing`);
      assert.equal(described(spec), wanted, key);
    }
    const extra = [...rows.keys()].filter((key) => !specified.has(key));
    assert.deepEqual(extra.sort(), [...own].sort());
  });
}

Deno.test("schema: every row is fit for the reference", () => {
  for (const [name, , rows] of SECTIONS) {
    for (const [key, spec] of rows) {
      const where = `${name}.${key}`;
      assert.match(spec.doc, /^[A-Z\u0060].*\.$/, where);
      assert.equal(spec.type === "enum", spec.choices !== undefined, where);
      assert.ok(!(spec.required && spec.default !== undefined), where);
      const optional = spec.default === undefined && !spec.required;
      const silent = spec.ignored !== undefined ||
        /_(private_key|ca_cert|certificate)$/.test(key) ||
        spec.unset !== undefined;
      assert.ok(!optional || silent, `${where}: what holds while it is unset?`);
    }
  }
});

Deno.test("schema: every password is secret", () => {
  for (const [name, , rows] of SECTIONS) {
    for (const [key, spec] of rows) {
      const isPassword = /password(_command)?$|^(admin|stats)_users$/.test(key);
      assert.equal(spec.secret === true, isPassword, `${name}.${key}`);
    }
  }
});

Deno.test("schema: what a reload leaves alone is what the signals page names, and what is fixed at start", () => {
  const restart = [...GENERAL_KEYS].filter(([, spec]) => spec.reload === "R").map(([key]) => key);
  assert.deepEqual(restart.sort(), [
    "auth_checks_at_once",
    "backlog",
    "daemon_pid_file",
    "host",
    "log_file",
    "max_blocking_threads",
    "port",
    "syslog_facility",
    "syslog_format",
    "syslog_prog_name",
    "syslog_socket",
    "tls_ca_cert",
    "tls_certificate",
    "tls_ciphers",
    "tls_ciphersuites",
    "tls_min_version",
    "tls_mode",
    "tls_private_key",
    "tls_rate_limit_per_second",
    "tokio_event_interval",
    "tokio_global_queue_interval",
    "unix_socket_dir",
    "unix_socket_mode",
    "worker_cpu_affinity_pinning",
    "worker_stack_size",
    "worker_threads",
  ]);
});
