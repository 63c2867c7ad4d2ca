/**
 * Keys of `[general]`, in the order of the reference. A table rather than code, hence its length; see `schema.ts` for
 * what a row means.
 */

import type { KeyTable } from "./schema.ts";
import { keyRows } from "./schema.ts";
import { LISTEN_TABLE } from "./schema_listen.ts";
import { LOGGING_TABLE } from "./schema_logging.ts";
import { LOGIN_TABLE } from "./schema_logins.ts";
import { CLIENT_TLS_TABLE, SERVER_TLS_TABLE } from "./schema_tls.ts";
import type { GeneralConfig } from "./types.ts";

const NO_RUST_SCHEDULER = "the scheduler it tunes does not exist here";

const TABLE: KeyTable<GeneralConfig> = {
  ...LISTEN_TABLE,

  client_login_timeout: {
    heading: "Timeouts and the life of server connections",
    type: "duration",
    default: 60_000,
    reload: "N",
    doc: "From a client's connection to the end of its login; 0 = no limit. Not in upstream.",
  },
  connect_timeout: {
    type: "duration",
    default: 3_000,
    min: 1,
    zeroFault: "no server connection could be opened in time",
    reload: "P",
    doc:
      "Deadline for opening one server connection, login included, and for its check before reuse.",
  },
  query_wait_timeout: {
    type: "duration",
    default: 5_000,
    reload: "P",
    doc:
      'How long a client waits for a server connection; 0 = not at all (PgBouncer: for ever, here `"3650d"`).',
  },
  idle_timeout: {
    type: "duration",
    default: 600_000,
    reload: "P",
    doc:
      "Server connections idle for longer are closed (±20 % each, after a first use); 0 = never.",
  },
  server_lifetime: {
    type: "duration",
    default: 1_200_000,
    reload: "P",
    doc: "Server connections older than this are closed (±20 % each); 0 = never.",
  },
  server_idle_check_timeout: {
    type: "duration",
    default: 60_000,
    reload: "P",
    doc: "A server connection idle for longer is probed before reuse; 0 = never.",
  },
  retain_connections_time: {
    type: "duration",
    default: 30_000,
    min: 1,
    zeroFault: "the task that trims and refills pools needs a period",
    reload: "A",
    doc: "Period of trimming idle server connections and of filling up to `min_pool_size`.",
  },
  retain_connections_max: {
    type: "usize",
    default: 3,
    reload: "A",
    doc: "Idle server connections closed in one such period, over all pools; 0 = no limit.",
  },
  shutdown_timeout: {
    type: "duration",
    default: 10_000,
    reload: "A",
    doc: "How long a process that is shut down or replaced waits for its clients.",
  },
  proxy_copy_data_timeout: {
    type: "duration",
    default: 15_000,
    min: 1,
    zeroFault: "no large message could be passed on in time",
    reload: "A",
    doc: "A client that takes nothing of a large message for so long is disconnected.",
  },

  query_timeout: {
    heading: "Limits for clients",
    type: "duration",
    default: 0,
    reload: "A",
    doc:
      "A query that runs for longer is canceled (57014); if PostgreSQL does not react, the client is disconnected. 0 = no limit.",
  },
  transaction_timeout: {
    type: "duration",
    default: 0,
    reload: "A",
    doc:
      "A client whose transaction, or query outside of one, takes longer is disconnected (25P04). 0 = no limit.",
  },
  idle_transaction_timeout: {
    type: "duration",
    default: 0,
    reload: "A",
    doc:
      "A client that sends nothing for longer while its transaction is open is disconnected (25P03). 0 = no limit.",
  },
  client_idle_timeout: {
    type: "duration",
    default: 0,
    reload: "A",
    doc:
      "A client that sends nothing for longer outside of a transaction is disconnected (57P05). 0 = no limit.",
  },
  query_wait_notify: {
    type: "duration",
    default: 0,
    reload: "A",
    doc: "A client that has waited so long for a server connection is told by a NOTICE. 0 = never.",
  },
  login_notify_message: {
    type: "string",
    default: "",
    reload: "N",
    doc: "Told to each client by a NOTICE when it has logged in; empty = nothing. Not in upstream.",
  },
  server_auth: {
    type: "string",
    default: "",
    reload: "B",
    doc:
      "What PostgreSQL may ask the pooler for at a log-in, as libpq's `require_auth`: a list of `none`, `password`, " +
      "`md5` and `scram-sha-256`, or of those that are refused, each behind a `!`. Empty: whatever it asks for. " +
      "Not in upstream.",
  },
  session_isolation: {
    type: "enum",
    choices: ["tracked", "strict"],
    default: "tracked",
    reload: "P",
    doc:
      "How clients in transaction mode are kept apart: `tracked` looks at what they run, and misses what a function " +
      "hides in its body; `strict` clears a server connection by `DISCARD ALL` after each transaction, at a cost: " +
      "docs/session-state.md. Not in upstream.",
  },

  max_user_connections: {
    heading: "Sizing and memory",
    type: "u32",
    default: 0,
    reload: "P",
    doc:
      "Server connections of one user over all databases, at most; 0 = no limit. The pools that such a limit ties " +
      "together live on one worker. Not in upstream.",
  },
  max_db_client_connections: {
    type: "u32",
    default: 0,
    reload: "N",
    doc:
      "Clients logged in to one database, at most; one more gets SQLSTATE 53300. 0 = no limit. The database's pools " +
      "then live on one worker. Not in upstream.",
  },
  max_user_client_connections: {
    type: "u32",
    default: 0,
    reload: "N",
    doc:
      "Clients logged in as one user over all databases, at most; one more gets SQLSTATE 53300. 0 = no limit. The " +
      "user's pools then live on one worker. Not in upstream.",
  },
  max_concurrent_creates: {
    type: "usize",
    default: 4,
    min: 1,
    zeroFault: "no server connection could be opened",
    reload: "P",
    doc: "Server connections of one pool that are opened at the same time, at most.",
  },
  scaling_warm_pool_ratio: {
    type: "percent",
    default: 20,
    reload: "P",
    doc:
      "Below this percentage of `pool_size` a server connection is opened at once for a client that waits. From there on " +
      "it first waits for one to come back, about twice as long as transactions take, 5 ms to 500 ms, but, without " +
      "`max_db_connections`, no longer than the last one took to be opened: while PostgreSQL is fast, hardly at all.",
  },
  scaling_fast_retries: {
    type: "u32",
    default: 10,
    reload: "P",
    doc:
      "How long a client of a warm pool waits for a server connection to come back before there are statistics: 10 ms for " +
      "each. With `0` connections are opened at once, always.",
  },
  scaling_max_parallel_creates: {
    type: "u32",
    default: 2,
    min: 1,
    zeroFault: "no server connection could be opened",
    reload: "P",
    doc: "Server connections of one pool that a burst of clients may have opened at the same time.",
  },
  max_memory_usage: {
    type: "bytes",
    default: 268_435_456,
    min: 1,
    zeroFault: "no message could be buffered",
    reload: "A",
    doc:
      "Bytes of long messages that are needed whole (Parse and Bind of prepared statements), over all clients; the " +
      "client that asks for more gets 53200. All other messages stream through in constant memory.",
  },
  message_size_to_be_stream: {
    type: "bytes",
    default: 1_048_576,
    reload: "A",
    doc: "Messages larger than this are under `proxy_copy_data_timeout`; 0 = none is. All stream.",
  },
  server_round_robin: {
    type: "bool",
    default: false,
    reload: "P",
    doc: "Reuse the server connection idle for longest, not the one used last.",
  },
  server_fast_close: {
    type: "bool",
    default: false,
    reload: "P",
    doc:
      "After RECONNECT, or a reload of what connections are opened by: a client that keeps its server connection " +
      "(session mode, or pinned) is sent home (57P01) between transactions, within a second. Not in upstream.",
  },
  sync_server_parameters: {
    type: "bool",
    default: false,
    reload: "P",
    ignored: "each client's parameters are always brought to the server connection it checks out",
    doc: "Bring a client's session parameters to each server connection that it checks out.",
  },

  ...LOGGING_TABLE,

  worker_threads: {
    heading: "Threads",
    type: "usize",
    default: 4,
    min: 1,
    max: 1024,
    zeroFault: "nobody would serve clients",
    reload: "R",
    doc:
      "Threads that serve clients: no more than there are processors. Each takes 6 descriptors and 20 MB, of which 14 are " +
      "the engine's own.",
  },
  io_uring: {
    type: "bool",
    default: true,
    reload: "A",
    doc:
      "Send through io_uring where the kernel allows it: less CPU for each transaction. Without it, or where a sandbox " +
      "forbids it, each send is a system call of its own. Not in upstream.",
  },
  worker_cpu_affinity_pinning: {
    type: "bool",
    default: false,
    reload: "R",
    inEffectWhen: [false],
    ignored: "threads are placed by the kernel",
    doc: "Accepted without effect.",
  },
  worker_stack_size: {
    type: "bytes",
    reload: "R",
    ignored: "stacks are sized by the runtime",
    doc: "Accepted without effect.",
  },
  max_blocking_threads: {
    type: "usize",
    min: 1,
    zeroFault: "leave the key out instead",
    reload: "R",
    ignored: "there is no pool of blocking threads",
    doc: "Accepted without effect.",
  },
  tokio_global_queue_interval: {
    type: "u32",
    min: 1,
    zeroFault: "leave the key out instead",
    reload: "R",
    ignored: NO_RUST_SCHEDULER,
    doc: "Accepted without effect.",
  },
  tokio_event_interval: {
    type: "u32",
    min: 1,
    zeroFault: "leave the key out instead",
    reload: "R",
    ignored: NO_RUST_SCHEDULER,
    doc: "Accepted without effect.",
  },

  ...CLIENT_TLS_TABLE,
  ...SERVER_TLS_TABLE,
  ...LOGIN_TABLE,

  patroni_api_urls: {
    heading: "Fallback by Patroni: defaults of pools",
    type: "url_list",
    reload: "P",
    unset: "no fallback",
    later: true,
    doc: "Patroni REST addresses asked for another server when the local one is down.",
  },
  fallback_cooldown: {
    type: "duration",
    min: 1,
    reload: "P",
    unset: "30s",
    later: true,
    doc: "How long the local server stays marked as down.",
  },
  patroni_api_timeout: {
    type: "duration",
    min: 1,
    reload: "P",
    unset: "5s",
    later: true,
    doc: "Deadline of one request to Patroni.",
  },
  fallback_connect_timeout: {
    type: "duration",
    min: 1,
    reload: "P",
    unset: "5s",
    later: true,
    doc: "Deadline for connecting to one fallback candidate.",
  },
  fallback_lifetime: {
    type: "duration",
    min: 1,
    reload: "P",
    unset: "`fallback_cooldown`",
    later: true,
    doc: "Lifetime of server connections to a fallback server.",
  },

  admin_username: {
    heading: "Admin, prepared statements",
    type: "string",
    required: true,
    reload: "N",
    doc: "Who may enter the admin console (databases `pgdoorman` and `pgbouncer`).",
  },
  admin_password: {
    type: "string",
    required: true,
    secret: true,
    reload: "N",
    doc: "Its password: plain text, an md5 hash or a SCRAM verifier.",
  },
  admin_users: {
    type: "string_map",
    secret: true,
    default: new Map(),
    reload: "N",
    doc:
      "More users of the admin console, each with a password as `admin_password`; an empty one is none, for those who come " +
      "by `cert`, `peer` or `trust` of `pg_hba`. Not in upstream.",
  },
  stats_users: {
    type: "string_map",
    secret: true,
    default: new Map(),
    reload: "N",
    doc:
      "The same for users who may look and do nothing: `SHOW` alone, without texts of queries. Not in upstream.",
  },
  prepared_statements: {
    type: "bool",
    default: true,
    reload: "P",
    doc: "Make prepared statements work across server connections in transaction mode.",
  },
  prepared_statements_cache_size: {
    type: "usize",
    default: 8192,
    reload: "P",
    doc: "Prepared statements that a pool remembers.",
  },
  server_prepared_statements_cache_size: {
    type: "usize",
    reload: "P",
    unset: "the pool's `prepared_statements_cache_size`",
    doc: "Prepared statements kept on one server connection; 0 = only the last.",
  },
  client_anonymous_prepared_cache_size: {
    type: "usize",
    reload: "N",
    unset: "the pool's `prepared_statements_cache_size`",
    aliases: ["client_prepared_statements_cache_size"],
    ignored: "a client has one unnamed statement, as at PostgreSQL, and that one is kept",
    doc: "How many unnamed statements of a client upstream keeps.",
  },
  max_client_prepared_memory: {
    type: "bytes",
    default: 67_108_864,
    reload: "A",
    doc:
      "What named prepared statements of one client may take in transaction mode: their names and texts, " +
      "and 2 KB for each; 0 = no bound. One more is refused with SQLSTATE 53400. Not in upstream.",
  },
  max_prepared_memory: {
    type: "bytes",
    default: 536_870_912,
    reload: "A",
    doc:
      "What named prepared statements of all clients may take in transaction mode, over all workers: 256 bytes and the letters of each name, " +
      "and once for each that clients share its text and 2 KB; 0 = no bound. Who asks for more is refused with SQLSTATE 53400, nobody else. Not in upstream.",
  },
  query_interner_gc_interval_seconds: {
    type: "seconds",
    default: 60,
    min: 1,
    zeroFault: "unused texts would never be looked for",
    reload: "A",
    doc: "Period in which unused query texts are forgotten.",
  },
  query_interner_anon_idle_ttl_seconds: {
    type: "seconds",
    default: 60,
    reload: "A",
    doc:
      "Clients share the text of equal unnamed statements that were not replaced for so long; 0 = each keeps its own. Upstream forgets it.",
  },
  pooler_check_query: {
    type: "string",
    default: ";",
    reload: "A",
    doc:
      "Answered without a server connection, also while the pool is paused, once PostgreSQL has answered it for the pool. " +
      "Only a simple query with exactly this text, up to 4 kB, and only if its answer can't depend on the session: " +
      "nothing but blanks, comments and semicolons, or `SELECT` of numbers, plain literals, `TRUE`, `FALSE`, `NULL`. " +
      "Any other text is PostgreSQL's to answer each time.",
  },

  hba: {
    heading: "Access and process",
    type: "cidr_list",
    default: [],
    reload: "N",
    doc: "Legacy: networks that clients may come from. Excludes `pg_hba`.",
  },
  pg_hba: {
    type: "hba",
    reload: "N",
    unset: "everyone may try",
    doc:
      "Access rules in PostgreSQL's pg_hba.conf grammar: text, `{ path = … }` or `{ content = … }`.",
  },
  pg_ident: {
    type: "ident",
    reload: "N",
    unset: "there are no maps",
    doc:
      "What `map=…` in `pg_hba` names, in PostgreSQL's pg_ident.conf grammar: text or a table as for `pg_hba`. " +
      "Not in upstream.",
  },
  startup_parameters: {
    type: "string_map",
    default: new Map(),
    reload: "B",
    doc: "Parameters given to every server connection at its start; values are strings.",
  },
  daemon_pid_file: {
    type: "path",
    default: "/run/pg_doorman.pid",
    reload: "R",
    doc: "PID file, written with `--daemon` only. Who is not root names one where he may write.",
  },
};

/** Rows of `[general]`. */
export const GENERAL_KEYS = keyRows(TABLE);
