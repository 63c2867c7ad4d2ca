import assert from "node:assert/strict";
import { Console } from "../console.ts";
import {
  countMoved,
  newUpgradeTotals,
  upgradeBegun,
  upgradeCompleted,
  upgradeFailed,
} from "../../stats/upgrades.ts";
import type { AdminEnvironment } from "../environment.ts";
import {
  authQueryRow,
  clientRow,
  counters,
  fakeEnvironment,
  poolRow,
  serverRow,
} from "../testing/fake_environment.ts";
import { query, read, rowsOf } from "../testing/wire.ts";
import { RecentTimes } from "../../stats/recent_times.ts";

const TYPES: Record<number, string> = { 25: "T", 23: "I", 1700: "N" };

async function show(
  name: string,
  changes: Partial<AdminEnvironment> = {},
): Promise<{ columns: string[]; rows: string[][] }> {
  const { environment } = fakeEnvironment(changes);
  const client = {
    id: 1,
    user: "admin",
    database: "pgdoorman",
    address: "127.0.0.1:1",
    role: "admin" as const,
  };
  const { bytes } = await new Console(environment, client).handle(query(`SHOW ${name}`));
  const messages = read(bytes);
  assert.deepEqual(messages.slice(-2).map((message) => message.text), ["SHOW", "I"]);
  const columns = messages[0].columns.map((column) => `${column.name} ${TYPES[column.oid]}`);
  return { columns, rows: rowsOf(messages) };
}

function asRecord({ columns, rows }: { columns: string[]; rows: string[][] }, row = 0) {
  return Object.fromEntries(columns.map((column, at) => [column.split(" ")[0], rows[row][at]]));
}

// The tables of the compatibility reference, column by column.
const COLUMNS: Record<string, string> = {
  HELP: "item T",
  VERSION: "version T",
  LOG_LEVEL: "log_level T",
  CONFIG: "key T, value T, default T, changeable T",
  DATABASES: "name T, host T, port I, database T, force_user T, pool_size I, min_pool_size I, " +
    "reserve_pool I, pool_mode T, max_connections I, current_connections I, " +
    "reserve_pool_size I, max_client_connections I, current_client_connections I, paused I, " +
    "disabled I",
  LISTS: "list T, items I",
  POOLS: "database T, user T, pool_mode T, cl_idle N, cl_active I, cl_waiting I, " +
    "cl_cancel_req I, sv_active I, sv_idle I, sv_used I, sv_login I, pool_size N, maxwait I, " +
    "maxwait_us I, avg_xact_time N, paused T, fallback_active T, oldest_active_age_ms N, " +
    "retired T, cl_active_cancel_req I, cl_waiting_cancel_req I, sv_active_cancel I, " +
    "sv_being_canceled I, sv_tested I",
  POOLS_EXTENDED: "database T, user T, cl_active I, cl_waiting I, sv_active I, sv_idle I, " +
    "sv_used I, sv_login I, pool_size N, maxwait N, maxwait_us I, pool_mode T, " +
    "bytes_recieved N, bytes_sent N, query_0.99 N, transaction_0.99 N, query_0.95 N, " +
    "transaction_0.95 N, query_0.5 N, transaction_0.5 N",
  STARTUP_PARAMETERS: "user T, database T, parameter T, value T, source T, state T",
  SOCKETS: [
    ...["tcp", "tcp6"].flatMap((kind) =>
      ["established", "syn_sent", "syn_recv", "fin_wait1", "fin_wait2", "time_wait", "close"]
        .concat("close_wait", "last_ack", "listen", "closing", "new_syn_recv", "bound_inactive")
        .map((state) => `${kind}_${state}`)
    ),
    ...["free", "unconnected", "connecting", "connected", "disconnecting", "dgram", "seq_packet"]
      .map((state) => `unix_${state}`),
    "unknown",
  ].map((name) => `${name} N`).join(", "),
  CLIENTS: "client_id T, database T, user T, application_name T, addr T, tls T, state T, " +
    "wait T, transaction_count N, query_count N, error_count N, age_seconds N, replication T, " +
    "pinned T, channels N, tls_version T, tls_cipher T",
  POOLS_MEMORY: "database T, user T, pool_prepared_count N, pool_prepared_bytes N, " +
    "client_prepared_count N, client_prepared_bytes N, client_named_count N, " +
    "client_anonymous_count N, client_anonymous_evictions_alive N, async_clients N",
  POOL_SCALING: "user T, database T, inflight N, creates N, gate_waits N, gate_budget_ex N, " +
    "antic_notify N, antic_timeout N, create_fallback N, replenish_def N, " +
    "replace_begun N, replace_in_time N, replace_failed N, replace_skipped N",
  POOL_COORDINATOR: "database T, max_db_conn N, current N, reserve_size N, reserve_used N, " +
    "evictions N, reserve_acq N, exhaustions N",
  AUTH_QUERY: "database T, cache_entries N, cache_hits N, cache_misses N, cache_refetches N, " +
    "cache_rate_limited N, auth_success N, auth_failure N, executor_queries N, " +
    "executor_errors N, dynamic_pools_current N, dynamic_pools_created N, " +
    "dynamic_pools_destroyed N",
  PREPARED_STATEMENTS: "pool T, hash N, name T, query T, count_used N, kind T",
  INTERNER: "kind T, entries N, bytes N",
  SERVERS: "server_id T, server_process_id T, database_name T, user T, application_name T, " +
    "tls T, state T, wait T, transaction_count N, query_count N, bytes_sent N, " +
    "bytes_received N, age_seconds N, prepare_cache_hit N, prepare_cache_miss N, " +
    "prepare_cache_size N, replication T, tls_version T, tls_cipher T",
  UPGRADE: "item T, value T",
  CONNECTIONS: "total N, errors N, tls N, plain N, cancel N",
  STATS: "database T, user T, total_xact_count N, total_query_count N, total_received N, " +
    "total_sent N, total_xact_time N, total_query_time N, total_wait_time N, total_errors N, " +
    "avg_xact_count N, avg_query_count N, avg_recv N, avg_sent N, avg_errors N, " +
    "avg_xact_time N, avg_query_time N, avg_wait_time N, total_pins N, " +
    "total_query_timeouts N, " +
    "total_transaction_timeouts N, total_idle_transaction_timeouts N, " +
    "total_client_idle_timeouts N, total_check_queries_run N, total_check_queries_answered N, " +
    "total_server_assignment_count N, total_client_parse_count N, total_server_parse_count N, " +
    "total_bind_count N, avg_server_assignment_count N, avg_client_parse_count N, " +
    "avg_server_parse_count N, avg_bind_count N, total_requests N, " +
    "total_server_tls_handshake_count N, total_server_tls_handshake_errors N, " +
    "avg_server_tls_handshake_time N",
  USERS: "name T, pool_mode T, max_user_connections I, current_connections I, " +
    "max_user_client_connections I, current_client_connections I, pool_size I",
};

for (const [name, columns] of Object.entries(COLUMNS)) {
  Deno.test(`show: ${name} has its columns in order and type, and rows`, async () => {
    const shown = await show(name);
    assert.equal(shown.columns.join(", "), columns);
    assert.ok(shown.rows.length > 0);
  });
}

Deno.test("show: POOLS splits the longest wait of now into seconds and microseconds", async () => {
  const pool = poolRow({
    cl_idle: 1,
    cl_active: 2,
    cl_waiting: 3,
    sv_active: 4,
    sv_idle: 5,
    sv_login: 6,
    maxwait_us: 12_000_345,
    oldest_active_age_ms: 78,
    paused: true,
    retired: true,
    cl_active_cancel_req: 7,
    sv_active_cancel: 8,
    sv_being_canceled: 9,
    sv_tested: 10,
    averages: counters({ xact_time: 900 }),
  });
  const shown = await show("POOLS", { pools: () => Promise.resolve([pool]) });
  assert.deepEqual(shown.rows, [[
    "app",
    "alice",
    "transaction",
    ..."1 2 3 7 4 5 0 6 20".split(" "),
    ..."12 345 900 1 0 78 1 7 0 8 9 10".split(" "),
  ]]);
});

Deno.test("show: a pool on several workers is one row", async () => {
  const shards = [
    poolRow({
      cl_active: 2,
      sv_idle: 1,
      maxwait_us: 2_000_000,
      total: counters({ xact_count: 10, received: 100, check_queries_answered: 7 }),
      averages: counters({ xact_count: 3, xact_time: 100, query_count: 0, query_time: 7 }),
    }),
    poolRow({
      cl_active: 3,
      sv_idle: 4,
      maxwait_us: 1_000_000,
      paused: true,
      total: counters({ xact_count: 5, received: 50, check_queries_answered: 6 }),
      averages: counters({ xact_count: 1, xact_time: 500, query_count: 0, query_time: 5 }),
      worker: 1,
    }),
  ];
  const changes = { pools: () => Promise.resolve(shards) };
  const pools = await show("POOLS", changes);
  assert.equal(pools.rows.length, 1);
  const pool = asRecord(pools);
  assert.deepEqual(
    [pool.cl_active, pool.sv_idle, pool.pool_size, pool.maxwait, pool.paused, pool.avg_xact_time],
    ["5", "5", "20", "2", "1", "200"],
  );
  const stats = asRecord(await show("STATS", changes));
  assert.deepEqual(
    [
      stats.total_xact_count,
      stats.total_received,
      stats.avg_xact_count,
      stats.avg_query_time,
      stats.total_check_queries_answered,
    ],
    ["15", "150", "4", "7", "13"],
  );
});

Deno.test("show: rows are ordered by database and user", async () => {
  const rows = [
    poolRow({ database: "b", user: "x" }),
    poolRow({ database: "a", user: "z" }),
    poolRow({ database: "a", user: "y" }),
  ];
  const shown = await show("USERS", { pools: () => Promise.resolve(rows) });
  assert.deepEqual(shown.rows.map((row) => row[0]), ["y", "z", "x"]);
});

Deno.test("show: DATABASES tells where a pool leads", async () => {
  const rows = [
    poolRow({
      sv_active: 3,
      sv_idle: 4,
      sv_login: 5,
      sv_tested: 1,
      sv_being_canceled: 1,
      clients: 11,
      reserve_pool_size: 6,
      max_db_connections: 30,
      max_db_client_connections: 70,
      paused: true,
      disabled: true,
    }),
    poolRow({ user: "bob" }),
  ];
  const shown = await show("DATABASES", { pools: () => Promise.resolve(rows) });
  assert.deepEqual(shown.rows, [
    [
      "app",
      "10.0.0.5",
      "5432",
      "app_production",
      "alice",
      "20",
      "2",
      "6",
      "transaction",
      "30",
      "9",
      "6",
      "70",
      "11",
      "1",
      "1",
    ],
    "app 10.0.0.5 5432 app_production bob 20 2 0 transaction 20 0 0 0 0 0 0".split(" "),
  ]);
});

Deno.test("show: STATS gives sums, rates, and the wait per transaction", async () => {
  const total = counters({
    xact_count: 1,
    query_count: 2,
    received: 2 ** 53,
    sent: 4,
    xact_time: 5,
    query_time: 6,
    wait_time: 7,
    errors: 8,
    pins: 2,
    query_timeouts: 21,
    transaction_timeouts: 22,
    idle_transaction_timeouts: 23,
    client_idle_timeouts: 24,
    check_queries_run: 25,
    check_queries_answered: 26,
    server_assignments: 31,
    client_parses: 32,
    server_parses: 33,
    binds: 34,
    server_tls_handshakes: 35,
    server_tls_handshake_errors: 36,
  });
  const averages = counters({
    xact_count: 9,
    query_count: 10,
    received: 11,
    sent: 12,
    errors: 13,
    pins: 1,
    xact_time: 14,
    query_time: 15,
    wait_time: 100,
    server_assignments: 41,
    client_parses: 42,
    server_parses: 43,
    binds: 44,
    server_tls_handshake_time: 45,
  });
  const rows = [poolRow({ total, averages })];
  const shown = await show("STATS", { pools: () => Promise.resolve(rows) });
  assert.deepEqual(
    shown.rows[0].slice(2).join(" "),
    "1 2 9007199254740992 4 5 6 7 8 9 10 11 12 13 14 15 11 2 21 22 23 24 25 26 " +
      "31 32 33 34 41 42 43 44 2 35 36 45",
  );
});

Deno.test("show: in the console of the name pgbouncer STATS and DATABASES have a row a database", async () => {
  const total = counters({ xact_count: 5, query_count: 7 });
  const rows = [
    poolRow({ user: "alice", total, pool_size: 5, clients: 1, paused: true }),
    poolRow({ user: "bob", total, pool_size: 9, clients: 2 }),
    poolRow({ database: "other", user: "carol", total }),
  ];
  const changes = { pools: () => Promise.resolve(rows) };
  const { environment } = fakeEnvironment(changes);
  const client = {
    id: 1,
    user: "admin",
    database: "pgbouncer",
    address: "127.0.0.1:1",
    role: "admin" as const,
  };
  const session = new Console(environment, client);
  const stats = rowsOf(read((await session.handle(query("SHOW STATS"))).bytes));
  assert.deepEqual(stats.map((row) => [...row.slice(0, 4), row.at(-4)].join(" ")), [
    "app  10 14 14",
    "other carol 5 7 7",
  ]);
  const databases = rowsOf(read((await session.handle(query("SHOW DATABASES"))).bytes));
  assert.deepEqual(databases.map((row) => `${row[0]} ${row[4]} ${row[5]} ${row.slice(-3)}`), [
    "app  9 3,0,0",
    "other carol 20 0,0,0",
  ]);
  assert.equal((await show("STATS", changes)).rows.length, 3);
});

Deno.test("show: POOLS_EXTENDED has the percentiles of a pool on two workers", async () => {
  const total = counters({ received: 11, sent: 12 });
  const [here, there] = [new RecentTimes(), new RecentTimes()];
  for (let us = 1; us <= 10; us++) {
    here.addQuery(us);
    there.addQuery(us + 10);
    there.addXact(us);
  }
  const one = { maxwait_us: 1_250_000, total, times: [here.buffer!] };
  const other = { total, times: [there.buffer!] };
  const shown = await show("POOLS_EXTENDED", {
    pools: () => Promise.resolve([poolRow(one), poolRow(other)]),
  });
  assert.deepEqual(shown.rows.map((row) => row.join(" ")), [
    "app alice 0 0 0 0 0 0 20 1.25 250000 transaction 22 24 20 10 19 10 10 5",
  ]);
});

Deno.test("show: STARTUP_PARAMETERS by pool, SOCKETS in one row", async () => {
  assert.deepEqual((await show("STARTUP_PARAMETERS")).rows.map((row) => row.join(" ")), [
    "bob a work_mem 4MB pool applied",
    "bob b work_mem 8MB general applied",
  ]);
  assert.deepEqual((await show("SOCKETS")).rows, [Array.from({ length: 34 }, (_, i) => String(i))]);
});

Deno.test("show: STATS has no wait per transaction under one a second", async () => {
  const rows = [poolRow({ averages: counters({ wait_time: 33 }) })];
  const shown = await show("STATS", { pools: () => Promise.resolve(rows) });
  assert.equal(asRecord(shown).avg_wait_time, "0");
});

Deno.test("show: CLIENTS by id, named as in the log", async () => {
  const rows = [clientRow({ id: 12, tls: true, state: "waiting" }), clientRow()];
  const shown = await show("CLIENTS", { clients: () => Promise.resolve(rows) });
  assert.deepEqual(
    shown.rows.map((row) => row.join("|")),
    [
      "#c7|app|alice|psql|10.0.0.9:40000|false|idle|read|3|4|1|60|none||0||",
      "#c12|app|alice|psql|10.0.0.9:40000|true|waiting|read|3|4|1|60|none||0||",
    ],
  );
});

Deno.test("show: SERVERS with ids in hex", async () => {
  const rows = [serverRow(), serverRow({ id: 0xfeedbeef, database: "aaa" })];
  const shown = await show("SERVERS", { servers: () => Promise.resolve(rows) });
  const tls = "TLSv1.3|TLS_AES_256_GCM_SHA384";
  assert.deepEqual(
    shown.rows.map((row) => row.join("|")),
    [
      `0xFEEDBEEF|4242|aaa|alice|psql|true|idle|idle|5|6|700|800|90|1|2|3|none|${tls}`,
      `0x0000BEEF|4242|app|alice|psql|true|idle|idle|5|6|700|800|90|1|2|3|none|${tls}`,
    ],
  );
});

Deno.test("show: no servers is an empty result", async () => {
  const shown = await show("SERVERS", { servers: () => Promise.resolve([]) });
  assert.equal(shown.rows.length, 0);
  assert.equal(shown.columns.length, 19);
});

Deno.test("show: CONNECTIONS adds the workers up, errors never under 0", async () => {
  const shown = await show("CONNECTIONS");
  assert.deepEqual(shown.rows, [["14", "2", "2", "9", "1"]]);
  const twice = await show("CONNECTIONS", {
    counts: () =>
      Promise.resolve([{ total: 1, tls: 1, plain: 0, cancel: 1, clients: 0, worker: 0 }]),
  });
  assert.deepEqual(twice.rows, [["1", "0", "1", "0", "1"]]);
});

Deno.test("show: LISTS counts by state, the console's own included", async () => {
  const shown = await show("LISTS", {
    pools: () => Promise.resolve([poolRow(), poolRow({ user: "bob" })]),
    clients: () =>
      Promise.resolve([
        clientRow(),
        clientRow({ state: "active" }),
        clientRow({ state: "active" }),
        clientRow({ state: "waiting" }),
        clientRow({ state: "login" }),
      ]),
    servers: () => Promise.resolve([serverRow(), serverRow({ state: "active" })]),
  });
  assert.deepEqual(shown.rows.map((row) => row.join(" ")), [
    "databases 2",
    "users 3",
    "pools 3",
    "free_clients 1",
    "used_clients 2",
    "login_clients 1",
    "free_servers 1",
    "used_servers 1",
    "dns_names 0",
    "dns_zones 0",
    "dns_queries 0",
    "dns_pending 0",
    "workers 4",
    "lost_workers 1",
    "lost_log_lines 12",
  ]);
});

Deno.test("show: prepared statements, their texts and their memory", async () => {
  assert.deepEqual((await show("PREPARED_STATEMENTS")).rows, [
    ["app@app", "4000000000", "DOORMAN_7", "SELECT $1", "3", "named"],
  ]);
  assert.deepEqual((await show("INTERNER")).rows, [["named", "4", "40"], ["anonymous", "2", "10"]]);
  assert.deepEqual((await show("INTERNER 9")).rows, [
    ["0x1", "anonymous", "30", "5", "SELECT 2"],
    ["0xff", "named", "20", "-1", "SELECT 1"],
  ]);
  assert.deepEqual((await show("INTERNER 0")).rows, []);
  assert.equal((await show("INTERNER many")).rows.length, 2);
  const memory = [["app", "app", "1", "10", "5", "54", "2", "3", "0", "0"]];
  assert.deepEqual((await show("POOLS_MEMORY")).rows, memory);
  assert.deepEqual((await show("POOL_MEMORY")).rows, memory);
});

Deno.test("show: POOL_SCALING adds up a pool that is on two workers", async () => {
  const scaling = {
    inflight: 1,
    creates: 2,
    gate_waits: 3,
    gate_budget_ex: 4,
    antic_notify: 5,
    antic_timeout: 6,
    create_fallback: 7,
    replenish_def: 8,
    replace_begun: 9,
    replace_in_time: 10,
    replace_failed: 11,
    replace_skipped: 12,
  };
  const pools = [0, 1].map((worker) => poolRow({ scaling, worker }));
  const shown = await show("POOL_SCALING", { pools: () => Promise.resolve(pools) });
  assert.deepEqual(shown.rows, [
    ["alice", "app", ..."2 4 6 8 10 12 14 16 18 20 22 24".split(" ")],
  ]);
});

Deno.test("show: POOL_COORDINATOR adds up a database that is on two workers", async () => {
  const row = {
    database: "b",
    max: 10,
    current: 6,
    reserve: 2,
    reserveUsed: 0,
    evictions: 1,
    reserveGrants: 2,
    exhaustions: 3,
  };
  const rows = [row, { ...row, database: "a" }, { ...row, current: 5 }];
  const shown = await show("POOL_COORDINATOR", { limits: () => Promise.resolve(rows) });
  assert.deepEqual(shown.rows, [
    ["a", "10", "6", "2", "0", "1", "2", "3"],
    ["b", "10", "11", "2", "1", "2", "4", "6"],
  ]);
});

Deno.test("show: AUTH_QUERY has a row for each database that has one", async () => {
  const rows = [authQueryRow({ database: "b" }), authQueryRow({ database: "*" })];
  const shown = await show("AUTH_QUERY", { authQueries: () => Promise.resolve(rows) });
  const numbers = Array.from({ length: 12 }, (_, i) => String(i + 1));
  assert.deepEqual(shown.rows, [["*", ...numbers], ["b", ...numbers]]);
});

Deno.test("show: USERS counts a user's servers over all databases", async () => {
  const alice = { user: "alice", max_user_connections: 7 };
  const rows = [
    poolRow({ ...alice, database: "a", sv_active: 1, sv_idle: 2, sv_tested: 1, clients: 5 }),
    poolRow({ ...alice, database: "b", sv_login: 1, clients: 6, max_user_client_connections: 50 }),
    poolRow({ database: "b", user: "bob", sv_idle: 1, sv_replication: 2 }),
  ];
  const shown = await show("USERS", { pools: () => Promise.resolve(rows) });
  assert.deepEqual(shown.rows.map((row) => row.join(" ")), [
    "alice transaction 7 5 0 11 20",
    "alice transaction 7 5 50 11 20",
    "bob transaction 0 3 0 0 20",
  ]);
});

Deno.test("show: CONFIG says yes and no", async () => {
  const shown = await show("CONFIG");
  assert.deepEqual(shown.rows, [
    ["host", "0.0.0.0", "0.0.0.0", "no"],
    ["idle_timeout", "30s", "10m", "yes"],
  ]);
});

Deno.test("show: VERSION and LOG_LEVEL", async () => {
  assert.deepEqual((await show("VERSION")).rows, [["PgDoorman 3.10.7"]]);
  assert.deepEqual((await show("LOG_LEVEL")).rows, [["info,pg_doorman::pool=debug"]]);
});

const SHOW_LINE =
  "SHOW HELP|CONFIG|DATABASES|POOLS|POOLS_EXTENDED|POOLS_MEMORY|POOL_COORDINATOR|POOL_SCALING|" +
  "PREPARED_STATEMENTS|INTERNER|CLIENTS|SERVERS|CONNECTIONS|STATS|VERSION|UPGRADE|USERS|" +
  "AUTH_QUERY|STARTUP_PARAMETERS|LOG_LEVEL|LISTS|SOCKETS";

Deno.test("show: HELP lists what this build can do", async () => {
  const plain = await show("HELP");
  assert.deepEqual(plain.rows.map((row) => row[0]), [
    SHOW_LINE,
    "SHOW LISTS",
    "SHOW CONNECTIONS",
    "SHOW STATS",
    "PAUSE [db]",
    "RESUME [db]",
    "RECONNECT [db]",
    "WAIT_CLOSE [db]",
    "DISABLE db",
    "ENABLE db",
  ]);
  const full = await show("HELP", {
    kill: () => Promise.resolve(0),
    killClient: async () => await Promise.resolve(1) === 1,
    reload: () => Promise.resolve({ ok: true, summary: "", faults: [] }),
    shutdown: () => {},
    upgrade: () => undefined,
    setLogLevel: () => undefined,
  });
  assert.deepEqual(full.rows.map((row) => row[0]).slice(4), [
    "SET log_level = '<filter>'",
    "RELOAD",
    "SHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]",
    "UPGRADE",
    "PAUSE [db]",
    "RESUME [db]",
    "RECONNECT [db]",
    "WAIT_CLOSE [db]",
    "DISABLE db",
    "ENABLE db",
    "KILL_CLIENT client_id",
    "KILL [db]",
  ]);
});

Deno.test("show: UPGRADE has an item a row, before there was one and after", async () => {
  const at = Date.UTC(2024, 1, 29, 12, 30);
  const fresh = Object.fromEntries((await show("UPGRADE")).rows);
  assert.equal(fresh.phase, "idle");
  assert.equal(fresh.pid, "4711");
  assert.equal(fresh.started_at, "2024-02-29T12:00:00.000Z");
  assert.equal(fresh.predecessor_pid, "none");
  assert.equal(fresh.generation, "0");
  assert.equal(fresh.last_result, "none");
  assert.equal(fresh.last_began_at, "never");
  const totals = newUpgradeTotals();
  upgradeBegun(totals, at);
  upgradeFailed(totals, "validation");
  upgradeBegun(totals, at);
  totals.last.readyMs = 240;
  countMoved(totals, { clients: 57, servers: 8, bytes: 9000 });
  upgradeCompleted(
    totals,
    { unknown_pool: 2, unknown_format: 0, refused: 0, login: 0, console: 1 },
    65,
  );
  const upgrades = () => ({
    phase: "taking_over" as const,
    pid: 4712,
    startedAtMs: at,
    predecessorPid: 4711,
    totals,
  });
  const { rows } = await show("UPGRADE", { upgrades });
  assert.deepEqual(rows.map((row) => row.join(" ")), [
    "phase taking_over",
    "pid 4712",
    "started_at 2024-02-29T12:30:00.000Z",
    "predecessor_pid 4711",
    "generation 0",
    "attempts 2",
    "completed 1",
    "refused 0",
    "failed_validation 1",
    "failed_not_started 0",
    "failed_not_ready 0",
    "failed_died 0",
    "failed_stuck 0",
    "failed_old_process_ended 0",
    "clients_moved 57",
    "servers_moved 8",
    "bytes_moved 9000",
    "clients_lost 0",
    "left_unknown_pool 2",
    "left_unknown_format 0",
    "left_refused 0",
    "left_login 0",
    "left_console 1",
    "last_result completed",
    "last_began_at 2024-02-29T12:30:00.000Z",
    "last_ready_ms 240",
    "last_moving_ms 65",
    "last_clients_moved 57",
    "last_servers_moved 8",
    "last_bytes_moved 9000",
    "last_left 3",
  ]);
});
