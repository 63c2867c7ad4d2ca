/** An `AdminEnvironment` for tests: fixed rows, and a record of what it was asked to do. */

import type { AuthQueryRow, ClientRow, PoolCounters, PoolRow, ServerRow } from "../../mail.ts";
import { noCounts, noScaling, noSums, type PoolSums } from "../../stats/counters.ts";
import { newUpgradeTotals } from "../../stats/upgrades.ts";
import type { AdminEnvironment, PoolCommand } from "../environment.ts";

/** A pool with nothing going on. */
export function poolRow(
  { total, ...changes }: Partial<Omit<PoolRow, "total">> & { total?: Partial<PoolSums> } = {},
): PoolRow {
  return {
    database: "app",
    user: "alice",
    pool_mode: "transaction",
    pool_size: 20,
    min_pool_size: 2,
    max_user_connections: 0,
    max_db_connections: 0,
    max_db_client_connections: 0,
    max_user_client_connections: 0,
    reserve_pool_size: 0,
    server_host: "10.0.0.5",
    server_port: 5432,
    server_database: "app_production",
    paused: false,
    disabled: false,
    clients: 0,
    retired: false,
    cl_idle: 0,
    cl_active: 0,
    cl_waiting: 0,
    cl_active_cancel_req: 0,
    sv_active: 0,
    sv_idle: 0,
    sv_used: 0,
    sv_login: 0,
    sv_active_cancel: 0,
    sv_being_canceled: 0,
    sv_tested: 0,
    sv_close_needed: 0,
    sv_encrypted: 0,
    sv_replication: 0,
    maxwait_us: 0,
    oldest_active_age_ms: 0,
    prepared: { hits: 0, misses: 0 },
    total: { ...noSums(), ...total },
    averages: counters(),
    times: [],
    scaling: { ...noScaling(), inflight: 0 },
    worker: 0,
    ...changes,
  };
}

/** Counters at zero, but for `changes`. */
export function counters(changes: Partial<PoolCounters> = {}): PoolCounters {
  return { ...noCounts(), ...changes };
}

/** A client that waits for nothing. */
export function clientRow(changes: Partial<ClientRow> = {}): ClientRow {
  return {
    id: 7,
    database: "app",
    user: "alice",
    application_name: "psql",
    addr: "10.0.0.9:40000",
    tls: false,
    state: "idle",
    wait: "read",
    transaction_count: 3,
    query_count: 4,
    error_count: 1,
    age_seconds: 60,
    replication: "none",
    pinned: "",
    channels: 0,
    tls_version: "",
    tls_cipher: "",
    worker: 0,
    ...changes,
  };
}

/** A server connection that nobody uses. */
export function serverRow(changes: Partial<ServerRow> = {}): ServerRow {
  return {
    id: 0xbeef,
    server_process_id: 4242,
    database: "app",
    user: "alice",
    application_name: "psql",
    tls: true,
    tls_version: "TLSv1.3",
    tls_cipher: "TLS_AES_256_GCM_SHA384",
    state: "idle",
    wait: "idle",
    transaction_count: 5,
    query_count: 6,
    bytes_sent: 700,
    bytes_received: 800,
    age_seconds: 90,
    prepare_cache_hit: 1,
    prepare_cache_miss: 2,
    prepare_cache_size: 3,
    replication: "none",
    worker: 0,
    ...changes,
  };
}

/** What the environment was told, in order. */
export interface Told {
  commands: string[];
  log: string[];
}

/** An environment with the pools `app`/`alice` and `My DB`/`bob`, without any optional feature. */
export function fakeEnvironment(
  changes: Partial<AdminEnvironment> = {},
): { environment: AdminEnvironment; told: Told } {
  const told: Told = { commands: [], log: [] };
  const databases = ["app", "My DB", "MyDb", "mydb", "lower"];
  const environment: AdminEnvironment = {
    version: "3.10.7",
    workers: () => ({ running: 4, lost: 1 }),
    lostLogLines: () => 12,
    pools: () => Promise.resolve([poolRow(), poolRow({ database: "My DB", user: "bob" })]),
    clients: () => Promise.resolve([clientRow()]),
    servers: () => Promise.resolve([serverRow()]),
    prepared: () =>
      Promise.resolve([{
        database: "app",
        user: "app",
        hash: 4_000_000_000,
        name: "DOORMAN_7",
        query: "SELECT $1",
        parses: 3,
        kind: "named",
        worker: 0,
      }]),
    internerTexts: (most) =>
      Promise.resolve(
        [
          {
            hash: 0xff,
            kind: "named" as const,
            bytes: 20,
            idle_ms: -1,
            query: "SELECT 1",
            worker: 0,
          },
          {
            hash: 1,
            kind: "anonymous" as const,
            bytes: 30,
            idle_ms: 5,
            query: "SELECT 2",
            worker: 1,
          },
        ].slice(0, most),
      ),
    interner: () =>
      Promise.resolve([0, 1].map((worker) => ({
        named: { entries: 2, bytes: 20 },
        anonymous: { entries: 1, bytes: 5 },
        worker,
      }))),
    preparedMemory: () =>
      Promise.resolve([{
        database: "app",
        user: "app",
        pool_prepared_count: 1,
        pool_prepared_bytes: 10,
        client_named_count: 2,
        client_named_bytes: 24,
        client_anonymous_count: 3,
        client_anonymous_bytes: 30,
        worker: 0,
      }]),
    authQueries: () => Promise.resolve([authQueryRow({ database: "app", worker: 1 })]),
    limits: () =>
      Promise.resolve([{
        database: "app",
        max: 10,
        current: 11,
        reserve: 2,
        reserveUsed: 1,
        evictions: 5,
        reserveGrants: 6,
        exhaustions: 7,
      }]),
    counts: () =>
      Promise.resolve([
        { total: 10, tls: 2, plain: 5, cancel: 1, clients: 3, worker: 0 },
        { total: 4, tls: 0, plain: 4, cancel: 0, clients: 1, worker: 1 },
      ]),
    configRows: () => [
      { key: "host", value: "0.0.0.0", default: "0.0.0.0", changeable: false },
      { key: "idle_timeout", value: "30s", default: "10m", changeable: true },
    ],
    upgrades: () => ({
      phase: "idle",
      pid: 4711,
      startedAtMs: Date.UTC(2024, 1, 29, 12),
      predecessorPid: undefined,
      totals: newUpgradeTotals(),
    }),
    startupParameters: () => [
      { database: "b", user: "bob", parameter: "work_mem", value: "8MB", source: "general" },
      { database: "a", user: "bob", parameter: "work_mem", value: "4MB", source: "pool" },
    ],
    sockets: () => Array.from({ length: 34 }, (_, at) => at),
    hasDatabase: (name) => databases.includes(name),
    command: (name: PoolCommand, database) => {
      told.commands.push(database === undefined ? name : `${name} ${database}`);
      return Promise.resolve(1);
    },
    logLevel: () => "info,pg_doorman::pool=debug",
    log: (level, message) => {
      told.log.push(`${level} ${message}`);
    },
    ...changes,
  };
  return { environment, told };
}

/** A row of an auth_query, each count another one. */
export function authQueryRow(change: Partial<AuthQueryRow> = {}): AuthQueryRow {
  return {
    database: "app",
    cache_entries: 1,
    cache_hits: 2,
    cache_misses: 3,
    cache_refetches: 4,
    cache_rate_limited: 5,
    auth_success: 6,
    auth_failure: 7,
    executor_queries: 8,
    executor_errors: 9,
    dynamic_pools_current: 10,
    dynamic_pools_created: 11,
    dynamic_pools_destroyed: 12,
    dropped: {},
    worker: 0,
    ...change,
  };
}
