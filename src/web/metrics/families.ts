/**
 * The metrics, by the names, labels and units of upstream, so that its dashboards and alert rules work. Those marked
 * "Use …" are old names of others, kept for the same reason. Pure: what is gathered goes in, families come out.
 *
 * Families of features have files of their own beside this one: tls_families.ts, auth_query.ts.
 */

import type {
  AuthQueryRow,
  CountsRow,
  InternerRow,
  LimitRow,
  PoolRow,
  PreparedMemoryRow,
} from "../../mail.ts";
import type { PoolSums } from "../../stats/counters.ts";
import {
  durationCounts,
  QUERY_BOUNDS_US,
  WAIT_BOUNDS_US,
  XACT_BOUNDS_US,
} from "../../stats/durations.ts";
import { type TimeKind, timePercentiles, TOLD_SHARES } from "../../stats/recent_times.ts";
import { ERROR_CLASSES } from "../../stats/error_classes.ts";
import { REJECTIONS } from "../../stats/rejections.ts";
import type { ConfiguredUser, ProcessCounts } from "../environment.ts";
import { authQueryFamilies } from "./auth_query.ts";
import { type Family, label, type Point } from "./exposition.ts";
import { tlsFamilies } from "./tls_families.ts";

/** All that one scrape tells of, merged over the workers, with pools beyond the bound as one. */
export interface Gathered {
  version: string;
  logLevel: string;
  residentBytes: number;
  /** In the order of SHOW SOCKETS. */
  sockets: SocketCounts;
  users: readonly UserCount[];
  pools: readonly PoolRow[];
  memory: readonly PreparedMemoryRow[];
  limits: readonly LimitRow[];
  authQueries: readonly AuthQueryRow[];
  interner: readonly InternerRow[];
  counts: readonly CountsRow[];
  process: ProcessCounts;
  /** Of all pools, those that are gone, too. */
  sums: Pick<PoolSums, "check_queries_run" | "check_queries_answered">;
  web: WebCounts;
}

/** A configured user; beyond the bound of pools, several. */
export interface UserCount extends ConfiguredUser {
  count: number;
}

/** Own sockets by family. */
export interface SocketCounts {
  tcp: number;
  tcp6: number;
  unix: number;
  unknown: number;
}

/** Answers of the web listener, by class of their status. */
export type WebCounts = Readonly<Record<"1xx" | "2xx" | "3xx" | "4xx" | "5xx" | "other", number>>;

const PREFIX = "pg_doorman_";
const US = 1e6;

function family(
  type: "counter" | "gauge",
  name: string,
  help: string,
  points: readonly Point[],
): Family {
  return { type, name: PREFIX + name, help, points };
}

function single(value: number): Point[] {
  return [{ labels: "", value }];
}

function byLabel(name: string, values: Readonly<Record<string, number>>): Point[] {
  return Object.entries(values).map(([kind, value]) => ({ labels: label(name, kind), value }));
}

/** Everything. */
export function families(gathered: Gathered): Family[] {
  return [
    ...processFamilies(gathered),
    ...clientFamilies(gathered),
    ...poolStateFamilies(gathered),
    ...trafficFamilies(gathered),
    ...oldTrafficFamilies(gathered),
    ...scalingFamilies(gathered),
    ...authQueryFamilies(gathered.authQueries),
    ...preparedFamilies(gathered),
    ...internerFamilies(gathered),
    ...tlsFamilies(gathered.pools),
    ...webFamilies(gathered),
  ];
}

function processFamilies(gathered: Gathered): Family[] {
  const { version, users, logLevel, residentBytes, sockets, process } = gathered;
  return [
    family("gauge", "build_info", "Version of the program; always 1.", [
      { labels: label("version", version), value: 1 },
    ]),
    family(
      "gauge",
      "users_configured",
      "Users of pools in the configuration; 1 each.",
      users.map(({ user, database, pool_mode, count }) => ({
        labels: ofPool({ database, user }, label("pool_mode", pool_mode)),
        value: count,
      })),
    ),
    family("gauge", "log_level", "The log's filter; always 1.", [
      { labels: label("level", logLevel), value: 1 },
    ]),
    family(
      "gauge",
      "total_memory",
      "Resident memory of the process in bytes.",
      single(residentBytes),
    ),
    family("gauge", "sockets", "Sockets of the process by kind.", byLabel("type", { ...sockets })),
    family(
      "counter",
      "log_lines_lost_total",
      "Lines of the log that could not be written. Not in upstream.",
      single(process.lostLogLines),
    ),
  ];
}

function clientFamilies({ counts, process }: Gathered): Family[] {
  const sum = (kind: "plain" | "tls" | "cancel" | "total") =>
    counts.reduce((all, row) => all + row[kind], 0);
  const kinds = byLabel("type", {
    cancel: sum("cancel"),
    plain: sum("plain"),
    tls: sum("tls"),
    total: sum("total"),
  });
  const rejections = Object.fromEntries(
    REJECTIONS.map((reason, at) => [reason, process.rejections[at] ?? 0]),
  );
  return [
    family("counter", "connections_total", "Connections of clients by kind.", kinds),
    family("gauge", "connection_count", "Use connections_total.", kinds),
    family(
      "counter",
      "listener_rejections_total",
      "Connections of clients refused before they had logged in, but for wrong passwords.",
      byLabel("reason", rejections),
    ),
  ];
}

// ── pools ─────────────────────────────────────────────────────────────────────────────────────────────────────────

type Value = (pool: PoolRow) => number;

/** A pool's own labels as they are written. Each is in some sixty series. */
const written = new WeakMap<object, { database: string; user: string; both: string }>();

/** The labels of a pool, with another one whose name is between theirs. */
function ofPool(pool: { database: string; user: string }, between?: string): string {
  let known = written.get(pool);
  if (known === undefined) {
    const database = label("database", pool.database);
    const user = label("user", pool.user);
    known = { database, user, both: `${database},${user}` };
    written.set(pool, known);
  }
  return between === undefined ? known.both : `${known.database},${between},${known.user}`;
}

/** A series a pool. */
function each(pools: readonly PoolRow[], value: Value): Point[] {
  return pools.map((pool) => ({ labels: ofPool(pool), value: value(pool) }));
}

/** Several series a pool, told apart by one label. */
function eachBy(
  pools: readonly PoolRow[],
  name: string,
  values: Readonly<Record<string, Value>>,
): Point[] {
  const kinds = Object.entries(values).map(([kind, value]) => ({ is: label(name, kind), value }));
  return pools.flatMap((pool) =>
    kinds.map(({ is, value }) => ({ labels: ofPool(pool, is), value: value(pool) }))
  );
}

function poolStateFamilies({ pools }: Gathered): Family[] {
  return [
    family(
      "gauge",
      "pools_clients",
      "Clients that have logged in, by state.",
      eachBy(pools, "status", {
        active: ({ cl_active }) => cl_active,
        idle: ({ cl_idle }) => cl_idle,
        waiting: ({ cl_waiting }) => cl_waiting,
      }),
    ),
    family(
      "gauge",
      "pools_servers",
      "Connections to PostgreSQL, by state.",
      eachBy(pools, "status", {
        active: ({ sv_active }) => sv_active,
        idle: ({ sv_idle }) => sv_idle,
      }),
    ),
    family(
      "gauge",
      "pool_size",
      "Connections to PostgreSQL that the pool may have.",
      each(pools, ({ pool_size }) => pool_size),
    ),
    family(
      "gauge",
      "pools_oldest_active_age_ms",
      "For how long the client that has had its server for the longest has it, in milliseconds.",
      each(pools, ({ oldest_active_age_ms }) => oldest_active_age_ms),
    ),
    family(
      "gauge",
      "pools_paused",
      "1 while the pool is paused.",
      each(pools, ({ paused }) => paused ? 1 : 0),
    ),
    family(
      "gauge",
      "pools_maxwait_microseconds",
      "For how long the client that waits for the longest waits now, in microseconds.",
      each(pools, ({ maxwait_us }) => maxwait_us),
    ),
  ];
}

function histogram(
  pools: readonly PoolRow[],
  head: { name: string; help: string; boundsUs: readonly number[] },
  of: "query" | "xact" | "wait",
): Family {
  return {
    type: "histogram",
    name: PREFIX + head.name,
    help: head.help,
    bounds: head.boundsUs.map((us) => us / US),
    points: pools.map((pool) => ({
      labels: ofPool(pool),
      counts: durationCounts(pool.total, of),
      sum: pool.total[`${of}_time`] / US,
    })),
  };
}

const received: Value = ({ total }) => total.received;
const sent: Value = ({ total }) => total.sent;
const queries: Value = ({ total }) => total.query_count;
const transactions: Value = ({ total }) => total.xact_count;

function trafficFamilies({ pools }: Gathered): Family[] {
  return [
    family("counter", "pools_queries_total", "Queries.", each(pools, queries)),
    family("counter", "pools_transactions_total", "Transactions.", each(pools, transactions)),
    family(
      "counter",
      "pools_bytes_total",
      "Bytes received from PostgreSQL, and sent to it.",
      eachBy(pools, "direction", { received, sent }),
    ),
    family(
      "counter",
      "pools_errors_total",
      "Errors that clients were told, by SQLSTATE or its class.",
      eachBy(
        pools,
        "sqlstate",
        Object.fromEntries(
          ERROR_CLASSES.map((name): [string, Value] => [
            name,
            ({ total }) => total[`errors_${name}`],
          ]),
        ),
      ),
    ),
    histogram(pools, {
      name: "pools_query_duration_seconds",
      help: "How long queries take.",
      boundsUs: QUERY_BOUNDS_US,
    }, "query"),
    histogram(pools, {
      name: "pools_transaction_duration_seconds",
      help: "How long transactions take.",
      boundsUs: XACT_BOUNDS_US,
    }, "xact"),
    histogram(pools, {
      name: "pools_wait_duration_seconds",
      help: "How long clients wait for a server, those that wait in vain apart.",
      boundsUs: WAIT_BOUNDS_US,
    }, "wait"),
    family(
      "gauge",
      "pools_transactions_total_time",
      "Time of all transactions together in milliseconds.",
      each(pools, ({ total }) => total.xact_time / 1000),
    ),
    family(
      "gauge",
      "pools_queries_total_time",
      "Time of all queries together in milliseconds.",
      each(pools, ({ total }) => total.query_time / 1000),
    ),
  ];
}

/** Times in milliseconds. */
function percentiles(of: TimeKind): Readonly<Record<string, Value>> {
  const known = new Map<PoolRow, number[]>();
  const at = (place: number): Value => (pool) => {
    const times = known.get(pool) ?? timePercentiles(pool.times, of, TOLD_SHARES);
    known.set(pool, times);
    return times[place]! / 1000;
  };
  return { 50: at(0), 90: at(1), 95: at(2), 99: at(3) };
}

function oldTrafficFamilies({ pools }: Gathered): Family[] {
  return [
    family(
      "gauge",
      "pools_bytes",
      "Use pools_bytes_total.",
      eachBy(pools, "direction", { received, sent }),
    ),
    family("gauge", "pools_queries_count", "Use pools_queries_total.", each(pools, queries)),
    family(
      "gauge",
      "pools_transactions_count",
      "Use pools_transactions_total.",
      each(pools, transactions),
    ),
    family(
      "gauge",
      "pools_queries_percentile",
      "Use pools_query_duration_seconds. Milliseconds, of the last 15 to 30 s.",
      eachBy(pools, "percentile", percentiles("query")),
    ),
    family(
      "gauge",
      "pools_transactions_percentile",
      "Use pools_transaction_duration_seconds. Milliseconds, of the last 15 to 30 s.",
      eachBy(pools, "percentile", percentiles("xact")),
    ),
    family(
      "gauge",
      "pools_wait_percentile",
      "How long clients waited for a server. Milliseconds, of the last 15 to 30 s.",
      eachBy(pools, "percentile", percentiles("wait")),
    ),
    family(
      "gauge",
      "pools_avg_wait_time",
      "Use pools_wait_duration_seconds. Milliseconds a transaction, of the last 15 s.",
      each(
        pools,
        ({ averages }) =>
          averages.xact_count > 0 ? averages.wait_time / averages.xact_count / 1000 : 0,
      ),
    ),
  ];
}

function scalingFamilies({ pools, limits }: Gathered): Family[] {
  const scaling = (kind: keyof PoolRow["scaling"]): Value => (pool) => pool.scaling[kind];
  const limit = (values: Readonly<Record<string, (row: LimitRow) => number>>): Point[] =>
    limits.flatMap((row) =>
      Object.entries(values).map(([type, value]) => ({
        labels: `${label("database", row.database)},${label("type", type)}`,
        value: value(row),
      }))
    );
  return [
    family(
      "gauge",
      "pool_scaling",
      "Connections to PostgreSQL that are being opened.",
      eachBy(pools, "type", { inflight_creates: scaling("inflight") }),
    ),
    family(
      "counter",
      "pool_scaling_total",
      "How servers came to those who waited for one.",
      eachBy(pools, "type", {
        creates_started: scaling("creates"),
        burst_gate_waits: scaling("gate_waits"),
        burst_gate_budget_exhausted: scaling("gate_budget_ex"),
        anticipation_wakes_notify: scaling("antic_notify"),
        anticipation_wakes_timeout: scaling("antic_timeout"),
        create_fallback: scaling("create_fallback"),
        replenish_deferred: scaling("replenish_def"),
      }),
    ),
    family(
      "gauge",
      "pool_coordinator",
      "Connections of a database with max_db_connections, and its limits.",
      limit({
        connections: ({ current }) => current,
        reserve_in_use: ({ reserveUsed }) => reserveUsed,
        max_connections: ({ max }) => max,
        reserve_pool_size: ({ reserve }) => reserve,
      }),
    ),
    family(
      "counter",
      "pool_coordinator_total",
      "How often max_db_connections was felt.",
      limit({
        evictions: ({ evictions }) => evictions,
        reserve_acquisitions: ({ reserveGrants }) => reserveGrants,
        exhaustions: ({ exhaustions }) => exhaustions,
      }),
    ),
  ];
}

// ── statements ────────────────────────────────────────────────────────────────────────────────────────────────────

function preparedFamilies({ pools, memory, sums }: Gathered): Family[] {
  const eachMemory = (value: (row: PreparedMemoryRow) => number): Point[] =>
    memory.map((row) => ({ labels: ofPool(row), value: value(row) }));
  return [
    family(
      "gauge",
      "pool_prepared_cache_entries",
      "Prepared statements of the pool.",
      eachMemory((row) => row.pool_prepared_count),
    ),
    family(
      "gauge",
      "pool_prepared_cache_bytes",
      "What they take, in bytes.",
      eachMemory((row) => row.pool_prepared_bytes),
    ),
    family(
      "gauge",
      "clients_prepared_cache_entries",
      "Prepared statements of the pool's clients.",
      eachMemory((row) => row.client_named_count + row.client_anonymous_count),
    ),
    family(
      "gauge",
      "clients_prepared_cache_bytes",
      "What they take, in bytes.",
      eachMemory((row) => row.client_named_bytes + row.client_anonymous_bytes),
    ),
    family(
      "gauge",
      "clients_prepared_named_entries",
      "Prepared statements of clients with a name.",
      eachMemory((row) => row.client_named_count),
    ),
    family(
      "gauge",
      "clients_prepared_anonymous_entries",
      "Prepared statements of clients without a name.",
      eachMemory((row) => row.client_anonymous_count),
    ),
    family(
      "gauge",
      "servers_prepared_hits",
      "Statements that the servers of now had when a client asked.",
      each(pools, ({ prepared }) => prepared.hits),
    ),
    family(
      "gauge",
      "servers_prepared_misses",
      "Statements that the servers of now had not when a client asked.",
      each(pools, ({ prepared }) => prepared.misses),
    ),
    family(
      "counter",
      "servers_prepared_hits_total",
      "Statements that a server had when a client asked.",
      each(pools, ({ prepared, total }) => prepared.hits + total.prepared_hits),
    ),
    family(
      "counter",
      "servers_prepared_misses_total",
      "Statements that a server had not when a client asked.",
      each(pools, ({ prepared, total }) => prepared.misses + total.prepared_misses),
    ),
    family(
      "counter",
      "pooler_check_query_backend_total",
      "Times that pooler_check_query was sent to PostgreSQL.",
      single(sums.check_queries_run),
    ),
    family(
      "counter",
      "pooler_check_query_cache_total",
      "Times that pooler_check_query was answered without PostgreSQL.",
      single(sums.check_queries_answered),
    ),
  ];
}

function internerFamilies({ interner, process }: Gathered): Family[] {
  const sum = (kind: "named" | "anonymous", what: "entries" | "bytes") =>
    interner.reduce((all, row) => all + row[kind][what], 0);
  const byKind = (what: "entries" | "bytes") =>
    byLabel("kind", { anonymous: sum("anonymous", what), named: sum("named", what) });
  return [
    family(
      "gauge",
      "query_interner_entries",
      "Texts of statements that are kept.",
      byKind("entries"),
    ),
    family("gauge", "query_interner_bytes", "What they take, in bytes.", byKind("bytes")),
    family(
      "counter",
      "query_interner_evictions_total",
      "Texts of statements that were let go of.",
      [
        {
          labels: 'kind="anonymous",reason="ttl_expired"',
          value: process.anonymousEvictions,
        },
        { labels: 'kind="named",reason="gc_passive"', value: process.namedEvictions },
      ],
    ),
  ];
}

// ── web ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function webFamilies({ web }: Gathered): Family[] {
  const answers = Object.values(web).reduce((all, count) => all + count, 0);
  return [
    family(
      "counter",
      "web_requests_total",
      "Answers of the web listener.",
      Object.entries(web).filter(([, count]) => count > 0).map(([status, value]) => ({
        labels: `role="anonymous",${label("status_class", status)}`,
        value,
      })),
    ),
    family("counter", "web_auth_attempts_total", "Who has asked the web listener.", [
      { labels: 'role="anonymous",source="none"', value: answers },
    ]),
  ];
}
