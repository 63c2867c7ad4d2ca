/**
 * Every mail between threads, and nothing else: types of plain data. The control plane (main thread) and the workers
 * know each other by this file alone. Mail to a worker is followed by a write to its eventfd, since a worker sleeps in
 * epoll_wait and never runs Deno's event loop.
 */

import type {
  AuthQuerySettings,
  ClientTls,
  ConsoleRole,
  GeneralSettings,
  PasswordShape,
  PasswordSource,
  PoolMode,
  PoolSettings,
  Settings,
} from "./config/settings.ts";
import type { ExternalRequest, ExternalVerdict } from "./config/external_check.ts";
import type { LogFilter } from "./log/filter.ts";
import type { LogLevel, LogRecord } from "./log/format.ts";
import type { Replication } from "./protocol/startup.ts";
import type { PoolCounters, PoolSums, ScalingCounters } from "./stats/counters.ts";

export type { LogLevel, PoolCounters };

/**
 * Mail to a worker as it is posted. In a map, since `receiveMessageOnPort` looks for ports in everything else: it walks
 * each byte of a byte array, at 2 MB a second.
 */
export type Envelope<Mail> = ReadonlyMap<"mail", Mail>;

/** A password towards PostgreSQL, or why there is none. */
export type FoundPassword = { password: string } | { error: string };

/** A listening socket that workers accept on. */
export interface ListenerMail {
  fd: number;
  transport: "tcp" | "unix";
}

export type ControlToWorker =
  | {
    kind: "start";
    index: number;
    workers: number;
    /** Counters that all threads share; see `stats/shared.ts`. */
    shared: SharedArrayBuffer;
    wakeFd: number;
    /** Which thread it is among those that have been this worker; see `Own.Life`. */
    life: number;
    /**
     * By descriptor: the life that it was given to and that has not taken it yet; negative where another process has it,
     * too.
     */
    given: SharedArrayBuffer;
    listeners: ListenerMail[];
    settings: Settings;
    logFilter: LogFilter;
    /** Local interface networks, for `samehost` and `samenet`. */
    interfaces: { address: string; netmask: string }[];
    /** Pools make no server before `expect` or `expect_over`: another process may have as many as are allowed. */
    successor: boolean;
    /** For this process's life: makes mock SCRAM verifiers of unknown users repeatable. */
    mockSecret: Uint8Array;
    /** Wrong passwords, by address and user (auth/failures.ts); all threads count in it. */
    failures: SharedArrayBuffer;
    /** What clients are served TLS with; `undefined`: they are offered none. */
    clientTls: ClientTls | undefined;
  }
  | { kind: "settings"; request: number; change: SettingsChange }
  /** The worker bumps its heartbeat: it still takes mail. */
  | { kind: "ping" }
  | { kind: "log_filter"; filter: LogFilter }
  /** Another worker was lost, and another thread is it now: with it, whatever was under way between the two. */
  | { kind: "peer_replaced"; index: number; port: MessagePort }
  /**
   * Binary upgrade, old process: freeze everything of these pools (and what has none) and mail it; `apart`: the new
   * process takes long byte arrays by a file of their own; `tls`: it takes connections with TLS; not `whole`: the pools
   * stay for the clients who can't go, and the others go one by one. `authQueries`: it has those of
   * these databases, and so the pools that they make.
   */
  | {
    kind: "move";
    pools: { database: string; user: string }[];
    authQueries: string[];
    apart: boolean;
    tls: boolean;
    whole: boolean;
  }
  /** The new process has a batch whole, but for the items of these indexes, and is about to thaw it: `taken` follows. */
  | { kind: "acknowledged"; batch: number; refused: number[] }
  /** A batch lives there, all but the items of these indexes. */
  | { kind: "taken"; batch: number; refused: number[] }
  /** A batch did not get through, for now: send it again. */
  | { kind: "not_taken"; batch: number }
  /** The new process is gone: thaw what it has not taken and go on. */
  | { kind: "move_failed" }
  /** Binary upgrade, new process: servers of these pools will come, of the others none; connections counted so far. */
  | { kind: "expect"; pools: { database: string; user: string }[]; counts: ConnectionCounts }
  /** Items to be taken, not thawed yet; answered by `held`. `blobs` is the descriptor of the file with their long bytes. */
  | { kind: "hold"; ticket: number; items: FrozenItem[]; blobs: number | undefined }
  /**
   * The old process has been told of what was held: it lives here; answered by `thawed`. `returns`: the old process takes
   * back what can't be thawed.
   */
  | { kind: "thaw_held"; ticket: number; returns: boolean }
  /** Nothing more will come. */
  | { kind: "expect_over" }
  | { kind: "listen"; listeners: ListenerMail[] }
  /** A CancelRequest that came to the other process. */
  | { kind: "cancel"; processId: number; secret: Uint8Array }
  | { kind: "admin_reply"; client: number; bytes: Uint8Array; close: boolean }
  | { kind: "resolved"; request: number; addresses: string[]; error: string | undefined }
  | { kind: "derived"; request: number; saltedPassword: Uint8Array | undefined; error?: string }
  | { kind: "checked"; request: number; verdict: ExternalVerdict }
  /** A secret. */
  | { kind: "server_password_is"; request: number; found: FoundPassword }
  /** `most`: of a list without end, so many rows at most. */
  | { kind: "ask"; request: number; what: WorkerQuestion; most?: number }
  | { kind: "command"; request: number; command: WorkerCommand }
  /** Logs in to each server that pools connect with; answered by a `TriedLogin` for each. */
  | { kind: "try_logins"; request: number };

/** Whether a login to PostgreSQL works, and of which pool it is the first. */
export interface TriedLogin {
  database: string;
  user: string;
  /** Server, role and database. */
  where: string;
  error: string | undefined;
  /** What else there is to be said. */
  note: string;
}

/**
 * A frozen thing. `fds` are descriptors of the process that reads this: of a session first the client's, then its
 * server's.
 */
export type FrozenItem =
  /** `pool` is a `PoolSnapshot` of pool/snapshot.ts. */
  | {
    type: "pool";
    database: string;
    user: string;
    fds: number[];
    pool: unknown;
    /** A `DynamicOrigin` of worker/auth_queries.ts: it is in no configuration. */
    dynamic?: unknown;
  }
  /** `server` is a `ServerSnapshot` of server/link.ts. */
  | { type: "server"; database: string; user: string; fds: number[]; server: unknown }
  /** `session` is a `SessionSnapshot` of client/freeze.ts; before its StartupMessage it has no pool. */
  | { type: "session"; database: string; user: string; fds: number[]; session: unknown }
  /** `listener` is a `ListenerSnapshot` of pool/listen/listener.ts. */
  | { type: "listener"; database: string; user: string; fds: number[]; listener: unknown }
  /** A server that was to come is gone. */
  | { type: "lost"; database: string; user: string; fds: number[] };

/** `presence`: a `PresenceRow` for each worker; `moving`: a `MovingRow`. */
export type WorkerQuestion =
  | "pools"
  | "clients"
  | "servers"
  | "prepared"
  | "interner"
  | "interner_texts"
  | "prepared_memory"
  | "counts"
  | "limits"
  | "auth_query"
  | "presence"
  | "moving";

/** What a worker of the old process still has, and what it has sent. */
export interface MovingRow {
  /** Clients of pools that the new process does not have. */
  unknownPool: number;
  /** Clients that the new process could not read, and who stay for that. */
  unknownFormat: number;
  /** Clients whose login or last words are under way. */
  underWay: number;
  /** Clients that the new process refused. */
  refused: number;
  consoles: number;
  /** Servers of moved pools that are to follow, and batches that are not acknowledged. */
  late: number;
  /** Clients that are frozen and not acknowledged: nobody serves them. */
  frozen: number;
  movedClients: number;
  movedServers: number;
  worker: number;
}

/**
 * `kill` ends clients and servers of the pools. `drain` lets no client begin anything new: those at rest are sent home
 * at once, the others when their transaction ends. `send_home` ends every client, consoles too.
 */
export type WorkerCommand =
  | {
    name: "pause" | "resume" | "reconnect" | "enable" | "disable" | "kill";
    database: string | undefined;
  }
  /** Ends one client. */
  | { name: "kill_client"; database: undefined; client: number }
  | { name: "stop_accepting" | "drain" | "send_home" | "reset_interner"; database: undefined };

/** Where a pool is, and how its users log in: what a worker knows of pools that live elsewhere. */
export interface PoolPlace {
  database: string;
  user: string;
  home: number;
  logins: { user: string; shape: PasswordShape }[];
}

/** A slice of a reload, small enough to be applied between two events. */
export interface SettingsChange {
  /** Left out when nothing of it differs. */
  general: GeneralSettings | undefined;
  /** Pools that are new, or known by something else than before. */
  places: PoolPlace[];
  /** Of this worker's pools: those that are new or differ. */
  pools: PoolSettings[];
  gone: { database: string; user: string }[];
  /** Those that are new or differ, of whatever worker. */
  authQueries: AuthQuerySettings[];
  /** Databases that have none any more. */
  goneAuthQueries: string[];
}

/** Answer of a worker to a slice of new settings. */
export interface SettingsApplied {
  worker: number;
  /** How long the worker did nothing else. */
  tookMs: number;
}

/** Answer to `presence`. */
export interface PresenceRow {
  /** Sessions but the console's. */
  clients: number;
  inTransaction: number;
  /** Clients with TLS. */
  encrypted: number;
  worker: number;
}

export type WorkerToControl =
  | { kind: "ready"; index: number }
  | { kind: "log"; record: LogRecord }
  | {
    kind: "admin_open";
    client: number;
    user: string;
    database: string;
    address: string;
    role: ConsoleRole;
  }
  /** Frontend messages of an admin client, whole messages only, type byte included. */
  | { kind: "admin_request"; client: number; bytes: Uint8Array }
  | { kind: "admin_closed"; client: number }
  /**
   * Frozen sessions and servers for the new process; answered by `taken`. `blobs` is the descriptor of the file with
   * their long bytes, to be closed by who gets it. A `large` batch may be passed by the next ones.
   */
  | {
    kind: "frozen";
    batch: number;
    large: boolean;
    items: FrozenItem[];
    blobs: number | undefined;
  }
  /** Items are here whole but for those of these indexes, whose descriptors are closed. */
  | { kind: "held"; ticket: number; refused: number[] }
  /** All of them live here now but these clients: they go back, or were told and closed. */
  | { kind: "thawed"; ticket: number; failed: number[] }
  /** A CancelRequest for a client that is not on this worker. */
  | { kind: "cancel_elsewhere"; processId: number; secret: Uint8Array }
  | { kind: "resolve"; request: number; host: string }
  | {
    kind: "derive";
    request: number;
    password: string | Uint8Array;
    salt: Uint8Array;
    iterations: number;
  }
  /** Others are to check a password; answered by `checked`, unless `check_over` comes before. */
  | { kind: "check"; request: number; asked: ExternalRequest }
  /** Nobody waits for the answer any more. */
  | { kind: "check_over"; request: number }
  /** `refused`: PostgreSQL does not take this one. */
  | { kind: "server_password"; request: number; source: PasswordSource; refused?: string }
  /** `more`: other rows follow. */
  | { kind: "answer"; request: number; rows: unknown[]; more?: boolean; error?: string }
  /** Much garbage was collected: the allocator may give its memory back. */
  | { kind: "collected" }
  /** The loop has ended by an exception: the last that is heard of this thread. */
  | { kind: "died"; message: string };

/** Row of a pool, gathered for SHOW POOLS, DATABASES, STATS, LISTS. Times are microseconds unless named otherwise. */
export interface PoolRow {
  database: string;
  user: string;
  pool_mode: PoolMode;
  pool_size: number;
  min_pool_size: number;
  max_user_connections: number;
  max_db_connections: number;
  /** Of clients: of all of the database, and of the user in all databases. */
  max_db_client_connections: number;
  max_user_client_connections: number;
  reserve_pool_size: number;
  server_host: string;
  server_port: number;
  server_database: string;
  paused: boolean;
  /** DISABLE: nobody may log in. */
  disabled: boolean;
  /** No new client may enter: the pool is gone from the config and lives until its last client leaves. */
  retired: boolean;
  /** Clients that have logged in. */
  clients: number;
  /** Of a pool that several users share: who they are, each with its clients in this pool. */
  users?: { user: string; max_user_client_connections: number; clients: number }[];
  cl_idle: number;
  cl_active: number;
  cl_waiting: number;
  /** Cancel requests of clients that are on their way to PostgreSQL. */
  cl_active_cancel_req: number;
  sv_active: number;
  sv_idle: number;
  sv_used: number;
  sv_login: number;
  /** Connections that carry a cancel request to PostgreSQL, apart from the others. */
  sv_active_cancel: number;
  /** Servers that are free but for a cancel request under way, and those that are checked before they are lent. */
  sv_being_canceled: number;
  sv_tested: number;
  /** Of all: those to be replaced since the login of others is another one now. */
  sv_close_needed: number;
  /** Of all: those with TLS. */
  sv_encrypted: number;
  /** Apart from the others: they are no part of `pool_size`. */
  sv_replication: number;
  maxwait_us: number;
  oldest_active_age_ms: number;
  total: PoolSums;
  /** Of the last closed 15 s period. */
  averages: PoolCounters;
  /** Where the times of the last 15 to 30 s are counted: see `stats/recent_times.ts`. */
  times: readonly SharedArrayBuffer[];
  /** What the servers that are there now have counted: statements that they had, and had not. */
  prepared: { hits: number; misses: number };
  /** Connections that are being opened, and how they came to be. */
  scaling: ScalingCounters & { inflight: number };
  worker: number;
}

/** Row of SHOW CLIENTS. */
export interface ClientRow {
  id: number;
  database: string;
  user: string;
  application_name: string;
  addr: string;
  tls: boolean;
  state: "idle" | "active" | "waiting" | "login";
  wait: "idle" | "read" | "write";
  transaction_count: number;
  query_count: number;
  error_count: number;
  age_seconds: number;
  replication: Replication;
  /** Why it keeps its server between transactions; empty: it does not. */
  pinned: string;
  /** Channels that it listens to by the pool's listener. */
  channels: number;
  /** `TLSv1.3` and OpenSSL's name of the suite; empty without TLS. */
  tls_version: string;
  tls_cipher: string;
  worker: number;
}

/** Row of SHOW SERVERS. */
export interface ServerRow {
  id: number;
  server_process_id: number;
  database: string;
  user: string;
  application_name: string;
  tls: boolean;
  /** "TLSv1.3" and the like, and OpenSSL's name of the suite; empty without TLS. */
  tls_version: string;
  tls_cipher: string;
  state: "login" | "active" | "idle" | "listening";
  wait: "idle" | "read" | "write";
  transaction_count: number;
  query_count: number;
  bytes_sent: number;
  bytes_received: number;
  age_seconds: number;
  prepare_cache_hit: number;
  prepare_cache_miss: number;
  prepare_cache_size: number;
  replication: Replication;
  worker: number;
}

/** Connections since the start, by kind. */
export interface ConnectionCounts {
  total: number;
  tls: number;
  plain: number;
  cancel: number;
}

/** A database with `max_db_connections`, for SHOW POOL_COORDINATOR. */
export interface LimitRow {
  database: string;
  max: number;
  current: number;
  reserve: number;
  reserveUsed: number;
  evictions: number;
  reserveGrants: number;
  exhaustions: number;
}

/** Users of a database whom PostgreSQL is asked for, for SHOW AUTH_QUERY. Counts since the start. */
export interface AuthQueryRow {
  database: string;
  cache_entries: number;
  cache_hits: number;
  cache_misses: number;
  cache_refetches: number;
  cache_rate_limited: number;
  auth_success: number;
  auth_failure: number;
  executor_queries: number;
  executor_errors: number;
  dynamic_pools_current: number;
  dynamic_pools_created: number;
  dynamic_pools_destroyed: number;
  /** Parameters of users' own that were not used, by cause. */
  dropped: Partial<Record<string, number>>;
  worker: number;
}

/** A prepared statement of a pool; one without a name has none on servers, either. */
export interface PreparedRow {
  database: string;
  user: string;
  hash: number;
  name: string;
  query: string;
  /** Times that clients asked for it; of unnamed ones, clients that have it now. */
  parses: number;
  kind: "named" | "anonymous";
  worker: number;
}

/** Texts of statements that a worker keeps: named ones once each, unnamed ones by client until they rest. */
export interface InternerRow {
  named: { entries: number; bytes: number };
  anonymous: { entries: number; bytes: number };
  worker: number;
}

/** A text that a worker keeps. */
export interface InternerTextRow {
  hash: number;
  kind: "named" | "anonymous";
  bytes: number;
  /** Since it was parsed last; −1: not known of named ones. */
  idle_ms: number;
  /** Its beginning. */
  query: string;
  worker: number;
}

/** What prepared statements take of one pool's memory. */
export interface PreparedMemoryRow {
  database: string;
  user: string;
  pool_prepared_count: number;
  pool_prepared_bytes: number;
  client_named_count: number;
  client_named_bytes: number;
  client_anonymous_count: number;
  client_anonymous_bytes: number;
  worker: number;
}

/** Process-wide connection counters of SHOW CONNECTIONS, by worker. */
export interface CountsRow extends ConnectionCounts {
  clients: number;
  worker: number;
}

/** A client that changes workers; `session` is a snapshot (client/state.ts). */
export type WorkerToWorker =
  /** `session` is a `SessionSnapshot` of client/freeze.ts. */
  | { kind: "hand_over"; fd: number; session: unknown }
  /** Parts of a pool whose home the other worker is now; the descriptors are its own. */
  | { kind: "thaw"; items: FrozenItem[] }
  /** That was all of it. */
  | { kind: "thaw_over"; database: string; user: string }
  /** Answered by `cancel_through`. */
  | { kind: "cancel"; processId: number; secret: Uint8Array; from: CancelAsker }
  /** The client is not here, or nothing for it is on its way to PostgreSQL any more. A hit: the key was right. */
  | { kind: "cancel_through"; ticket: number; key: "hit" | "miss" };

/** Who has a CancelRequest whose client other workers are asked for. */
export interface CancelAsker {
  worker: number;
  ticket: number;
}

/** What a worker is started with; ports can't be mailed later. */
export interface WorkerStart {
  mail: ControlToWorker & { kind: "start" };
  control: MessagePort;
  peers: { index: number; wakeFd: number; port: MessagePort }[];
}
