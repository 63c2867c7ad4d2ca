/**
 * What this worker answers when the control plane asks for rows: pools, clients and servers as plain records.
 */

import type { ClientRow, PoolRow, PresenceRow, ServerRow } from "../../mail.ts";
import { pinReasons } from "../../client/pinning/pin.ts";
import type { Session } from "../../client/session.ts";
import { hasPlace } from "../../client/login/places.ts";
import { Stage } from "../../client/state.ts";
import type { Pool } from "../../pool/pool.ts";
import type { ServerConnection } from "../../server/connection.ts";
import { Dirty, ServerStage } from "../../server/state.ts";
import { TlsStream } from "../../tls/stream.ts";

/** Clients of a pool by what they do, and, where several users share it, by user. */
interface ClientCounts {
  states: Pick<PoolRow, "cl_idle" | "cl_active" | "cl_waiting">;
  users: Map<string, number> | undefined;
}

/** Rows of SHOW POOLS and its relatives, in pieces of `most`, each made when it is asked for; the last is returned. */
export function* poolRows(
  pools: Iterable<Pool>,
  sessions: Iterable<Session>,
  { now, worker, most }: { now: number; worker: number; most: number },
): Generator<PoolRow[], PoolRow[]> {
  const clients = new Map<Pool, ClientCounts>();
  for (const pool of pools) {
    clients.set(pool, {
      states: { cl_idle: 0, cl_active: 0, cl_waiting: 0 },
      users: pool.settings.users === undefined ? undefined : new Map(),
    });
  }
  for (const session of sessions) {
    const counts = session.pool === undefined ? undefined : clients.get(session.pool);
    if (counts === undefined) continue;
    const { user, stage } = session.state;
    if (hasPlace(stage)) counts.users?.set(user, (counts.users.get(user) ?? 0) + 1);
    const state = clientState(session);
    if (state === "idle") counts.states.cl_idle++;
    else if (state === "active") counts.states.cl_active++;
    else if (state === "waiting") counts.states.cl_waiting++;
  }
  let rows: PoolRow[] = [];
  for (const [pool, counts] of clients) {
    if (rows.length >= most) {
      yield rows;
      rows = [];
    }
    rows.push(poolRow(pool, counts, { now, worker }));
  }
  return rows;
}

function poolRow(
  pool: Pool,
  { states, users }: ClientCounts,
  { now, worker }: { now: number; worker: number },
): PoolRow {
  const { settings } = pool;
  const { buffer } = pool.counters.times;
  let active = 0;
  let canceling = 0;
  let beingCanceled = 0;
  let outdated = 0;
  let encrypted = 0;
  let oldest = 0;
  const prepared = { hits: 0, misses: 0 };
  for (const server of pool.servers()) {
    const { state, owed, cancelsUnderWay } = server;
    canceling += cancelsUnderWay;
    prepared.hits += state.prepareHits;
    prepared.misses += state.prepareMisses;
    if (pool.isOutdated(server)) outdated++;
    if (server.stream instanceof TlsStream) encrypted++;
    if (state.stage === ServerStage.Idle) continue;
    if (state.stage === ServerStage.Cleaning && owed.length === 0 && cancelsUnderWay > 0) {
      beingCanceled++;
      continue;
    }
    active++;
    if (state.stage === ServerStage.Linked) oldest = Math.max(oldest, now - state.heldSinceMs);
  }
  return {
    database: settings.database,
    user: settings.user,
    pool_mode: settings.pool_mode,
    pool_size: settings.pool_size,
    min_pool_size: settings.min_pool_size,
    max_user_connections: settings.max_user_connections,
    max_db_connections: settings.max_db_connections,
    max_db_client_connections: settings.max_db_client_connections,
    max_user_client_connections: settings.max_user_client_connections,
    reserve_pool_size: settings.reserve_pool_size,
    server_host: settings.server_host,
    server_port: settings.server_port,
    server_database: settings.server_database,
    paused: pool.paused,
    disabled: pool.disabled,
    clients: pool.seated,
    users: settings.users?.map(({ user, max_user_client_connections }) => ({
      user,
      max_user_client_connections,
      clients: users?.get(user) ?? 0,
    })),
    retired: pool.retired,
    ...states,
    cl_active_cancel_req: canceling,
    sv_active: active - pool.checks.underWay,
    sv_idle: pool.idle,
    sv_used: 0,
    sv_login: pool.connecting,
    sv_active_cancel: canceling,
    sv_being_canceled: beingCanceled,
    sv_tested: pool.checks.underWay,
    sv_close_needed: outdated,
    sv_encrypted: encrypted,
    sv_replication: pool.replication.size,
    scaling: { ...pool.pacing.counters, inflight: pool.connecting },
    maxwait_us: Math.round(pool.longestWaitMs(now) * 1000),
    oldest_active_age_ms: Math.round(oldest),
    prepared,
    total: { ...pool.counters.total },
    averages: { ...pool.counters.averages },
    times: buffer === undefined ? [] : [buffer],
    worker,
  };
}

function clientState(session: Session): ClientRow["state"] {
  const { stage } = session.state;
  if (stage === Stage.Idle || stage === Stage.Admin) return "idle";
  if (stage === Stage.Waiting) return "waiting";
  if (stage === Stage.Linked || stage === Stage.Syncing) return "active";
  return "login";
}

/** How many sessions are here, and how many of them are in the middle of something. */
export function presenceRow(sessions: Iterable<Session>, worker: number): PresenceRow {
  const row: PresenceRow = { clients: 0, inTransaction: 0, encrypted: 0, worker };
  for (const session of sessions) {
    if (session.encrypted || session.handshaking) row.encrypted++;
    if (session.state.stage === Stage.Admin) continue;
    row.clients++;
    if (session.inTransaction) row.inTransaction++;
  }
  return row;
}

/** Rows of SHOW CLIENTS. */
export function clientRows(sessions: Iterable<Session>, now: number, worker: number): ClientRow[] {
  const rows: ClientRow[] = [];
  for (const session of sessions) {
    const { state, stream } = session;
    // It has been told, and its end is awaited.
    if (state.stage === Stage.Closing) continue;
    const status = clientState(session);
    rows.push({
      id: state.id,
      database: state.database,
      user: state.user,
      application_name: session.applicationName,
      addr: state.unix ? "unix:" : state.address,
      tls: session.encrypted,
      tls_version: stream instanceof TlsStream ? stream.info.protocol : "",
      tls_cipher: stream instanceof TlsStream ? stream.info.cipher : "",
      state: status,
      wait: status === "active" ? "write" : status === "login" ? "read" : "idle",
      transaction_count: state.xactCount,
      query_count: state.queryCount,
      error_count: state.errorCount,
      age_seconds: Math.floor((now - state.connectedAtMs) / 1000),
      replication: state.replication,
      // Until the listener has taken over it keeps its server for that, too.
      pinned: pinReasons(state.pinned | (state.listens?.moving === undefined ? 0 : Dirty.Listen)),
      channels: state.listens?.channels.length ?? 0,
      worker,
    });
  }
  return rows;
}

/** Rows of SHOW SERVERS. */
export function serverRows(pools: Iterable<Pool>, now: number, worker: number): ServerRow[] {
  const rows: ServerRow[] = [];
  for (const pool of pools) {
    for (const server of pool.servers()) rows.push(serverRow(pool, server, now, worker));
    for (const server of pool.replication.servers()) {
      const { replication } = (server.link as Session).state;
      rows.push({ ...serverRow(pool, server, now, worker), replication });
    }
    for (const server of pool.listener.servers()) {
      rows.push({ ...serverRow(pool, server, now, worker), state: "listening" });
    }
  }
  return rows;
}

function serverRow(
  pool: Pool,
  { state, stream }: ServerConnection,
  now: number,
  worker: number,
): ServerRow {
  const idle = state.stage === ServerStage.Idle;
  const tls = stream instanceof TlsStream ? stream.info : undefined;
  return {
    id: state.id,
    server_process_id: state.pid,
    database: pool.settings.database,
    user: pool.settings.user,
    // A client's own is set at the checkout, so this is the last client's.
    application_name: state.parameters.values.get("application_name") ?? "",
    tls: tls !== undefined,
    tls_version: tls?.protocol ?? "",
    tls_cipher: tls?.cipher ?? "",
    state: idle ? "idle" : "active",
    wait: idle ? "idle" : "read",
    transaction_count: state.xactCount,
    query_count: state.queryCount,
    bytes_sent: state.sent,
    bytes_received: state.received,
    age_seconds: Math.floor((now - state.createdAtMs) / 1000),
    prepare_cache_hit: state.prepareHits,
    prepare_cache_miss: state.prepareMisses,
    prepare_cache_size: state.statements.size,
    replication: "none",
    worker,
  };
}
