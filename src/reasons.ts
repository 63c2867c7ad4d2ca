/**
 * Why connections close or requests fail: name, SQLSTATE, text for the client, level of the log line. Texts follow
 * PostgreSQL's manner; where a test or tool of the field looks for a word, it is in the text. `{0}` and `{1}` are
 * filled in by the caller; between double quotes they are names, which may be a peer's.
 */

/** Levels that a reason can be logged at. */
export type ReasonLevel = "error" | "warn" | "info";

/** One reason. */
export interface Reason {
  readonly name: string;
  readonly code: string;
  readonly text: string;
  readonly level: ReasonLevel;
  /** What the client hears besides, with the same gaps. */
  readonly detail?: string;
}

function reason(name: string, code: string, text: string, level: ReasonLevel = "warn"): Reason {
  return { name, code, text, level };
}

export const REASONS = {
  // A client ends
  clientTerminated: reason("client_terminated", "00000", "client said goodbye", "info"),
  clientGone: reason(
    "client_gone",
    "08006",
    "client closed the connection without Terminate",
    "info",
  ),
  clientReset: reason("client_reset", "08006", "client connection failed: {0}"),
  clientStuck: reason("client_stuck", "08006", "client took none of its result for {0} ms"),
  protocolViolation: reason("protocol_violation", "08P01", "{0}"),
  outOfMemory: reason("max_memory_usage", "53200", "out of memory: max_memory_usage is reached"),
  tooManyClients: reason("too_many_clients", "53300", "sorry, too many clients already"),
  databaseFull: reason(
    "database_full",
    "53300",
    'too many connections for database "{0}" (max_db_client_connections={1})',
  ),
  userFull: reason(
    "user_full",
    "53300",
    'too many connections for role "{0}" (max_user_client_connections={1})',
  ),
  databaseDisabled: reason(
    "database_disabled",
    "55000",
    'database "{0}" is not currently accepting connections: it is disabled in the admin console',
  ),
  silentLogin: reason(
    "silent_login",
    "53300",
    "too many connections: this one was silent for too long during its log-in",
  ),
  loginTimeout: reason("login_timeout", "08006", "canceling authentication due to timeout"),
  tlsRequired: reason(
    "tls_required",
    "28000",
    "connections without TLS are not allowed here (tls_mode={0})",
  ),
  tlsHandshakeFailed: reason(
    "tls_handshake_fail",
    "08006",
    "TLS handshake with {0} failed: {1}",
  ),
  hbaMissing: {
    ...reason("hba", "28000", "no pg_hba.conf entry for {0}"),
    detail: "{1} is not permitted by HBA configuration",
  },
  hbaRejected: {
    ...reason("hba", "28000", "pg_hba.conf rejects connection for {0}"),
    detail: "{1} is not permitted by HBA configuration",
  },
  authenticationFailed: reason(
    "authentication_failed",
    "28P01",
    'password authentication failed for user "{0}"',
  ),
  trustFailed: reason("trust_failed", "28000", '"trust" authentication failed for user "{0}"'),
  pamFailed: reason("pam_failed", "28000", 'PAM authentication failed for user "{0}"'),
  ldapFailed: reason("ldap_failed", "28000", 'LDAP authentication failed for user "{0}"'),
  peerFailed: reason("peer_failed", "28000", 'Peer authentication failed for user "{0}"'),
  certificateFailed: reason(
    "certificate_failed",
    "28000",
    'certificate authentication failed for user "{0}"',
  ),
  certificateRequired: reason(
    "certificate_required",
    "28000",
    "connection requires a valid client certificate",
  ),
  tooManyChecks: reason(
    "too_many_password_checks",
    "53300",
    "too many passwords wait to be checked, try again later",
  ),
  methodUnavailable: reason("method_unavailable", "28000", "{0}"),
  noUser: reason("invalid_startup", "28000", "no PostgreSQL user name specified in startup packet"),
  lookupFailed: reason(
    "lookup_failed",
    "58000",
    'user "{0}" could not be looked up in PostgreSQL',
  ),
  tooManyPools: reason(
    "too_many_dynamic_pools",
    "53300",
    'too many users of database "{0}" at once (max_dynamic_pools={1})',
  ),
  noPool: reason("no_pool", "3D000", 'no pool configured for database "{0}" and user "{1}"'),
  unsupportedVersion: reason(
    "unsupported_version",
    "0A000",
    "unsupported frontend protocol {0}: server supports 3.0 to 3.2",
  ),
  notSupported: reason("not_supported", "0A000", "{0}"),
  adminShutdown: reason(
    "admin_shutdown",
    "57P01",
    "terminating connection due to administrator command",
    "info",
  ),
  fastClose: reason(
    "server_fast_close",
    "57P01",
    "terminating connection: its server connection is replaced (server_fast_close)",
    "info",
  ),
  shuttingDown: reason("shutting_down", "58006", "pooler is shut down now", "info"),
  canceled: reason(
    "query_canceled",
    "57014",
    "canceling statement due to user request",
    "info",
  ),
  queryTimeout: reason(
    "query_timeout",
    "57014",
    "terminating connection: its query was over query_timeout ({0} ms) and could not be canceled",
  ),
  transactionTimeout: reason(
    "transaction_timeout",
    "25P04",
    "terminating connection due to transaction timeout (transaction_timeout, {0} ms)",
  ),
  idleTransaction: reason(
    "idle_transaction_timeout",
    "25P03",
    "terminating connection due to idle-in-transaction timeout (idle_transaction_timeout, {0} ms)",
  ),
  clientIdle: reason(
    "client_idle_timeout",
    "57P05",
    "terminating connection due to idle-session timeout (client_idle_timeout, {0} ms)",
    "info",
  ),
  noBlocks: reason(
    "statement_mode",
    "0A000",
    "transaction blocks not allowed in statement pooling mode",
  ),
  listenerLost: reason(
    "listener_lost",
    "08006",
    "the connection to PostgreSQL that listens for this client is lost, notifications may be missing: {0}",
  ),
  tooManyNotifications: reason(
    "too_many_notifications",
    "53200",
    "out of memory: more than {0} bytes of notifications wait for this client, which does not read them or " +
      "is in a transaction for too long",
  ),
  internalError: reason("internal_error", "XX000", "internal error of the pooler", "error"),

  // A checkout fails
  waitTimeout: reason(
    "query_wait_timeout",
    "53300",
    "could not get a server connection within query_wait_timeout ({0} ms): {1}",
  ),
  connectionLimit: reason(
    "connection_limit",
    "53300",
    "all server connections {0} are in use ({1})",
  ),
  loginFailed: reason("server_login_failed", "53300", "could not connect to PostgreSQL: {0}"),
  tooManyReplications: reason(
    "too_many_replications",
    "53300",
    "number of requested replication connections exceeds max_replication_connections (currently {0})",
  ),
  replicationLimit: reason(
    "replication_connection_limit",
    "53300",
    'no place for a replication connection under max_db_connections of database "{0}" or ' +
      'max_user_connections of user "{1}"',
  ),
  poolPaused: reason("pool_paused", "57P03", 'the pool of database "{0}" is paused, try again'),
  notBegun: reason("not_begun", "25000", "the transaction could not begin: {0}"),
  parametersFailed: reason("parameters_failed", "22023", "{0}"),
  parameterNotKept: reason(
    "parameter_not_kept",
    "0A000",
    'parameter "{0}" can\'t be set at the login through the pooler',
  ),
  poolRetired: reason("pool_retired", "57P01", "the pool was removed from the configuration"),

  // A server connection ends
  serverLost: reason("server_lost", "08006", "server closed the connection unexpectedly"),
  serverUnreachable: reason(
    "server_unreachable",
    "08006",
    "the connection to the server is lost: {0}",
  ),
  serverDesync: reason(
    "server_desync",
    "08P01",
    "server connection is out of step with its replies: {0}",
    "error",
  ),
  replicationOver: reason("replication_over", "00000", "its client has left", "info"),
  listenerIdle: reason("listener_idle", "00000", "nobody listens any more", "info"),
  listenerReplaced: reason(
    "listener_replaced",
    "00000",
    "another connection listens in its place",
    "info",
  ),
  serverLifetime: reason("server_lifetime", "00000", "server_lifetime reached", "info"),
  serverIdle: reason("idle_timeout", "00000", "idle_timeout reached", "info"),
  serverEvicted: reason("evicted", "00000", "makes room for {0}", "info"),
  serverSurplus: reason(
    "surplus",
    "00000",
    "more than max_db_connections or max_user_connections",
    "info",
  ),
  serverReplaced: reason("reconnect", "00000", "replaced: RECONNECT or changed settings", "info"),
  serverCheckFailed: reason("server_check_failed", "08006", "server check failed: {0}"),
  serverNotCleared: reason("not_cleared", "08006", "what was left there stays: {0}", "info"),
  serverCleanupFailed: reason("cleanup_failed", "08006", "cleanup failed: {0}"),
  serverUnusable: reason("server_unusable", "08006", "left in a state that can't be reused: {0}"),
  serverStays: reason(
    "server_stays",
    "00000",
    "the new process does not know connections with TLS",
    "info",
  ),
  poolClosed: reason("pool_closed", "57P01", "pool closed", "info"),
} as const satisfies Record<string, Reason>;

/** The reason's text with its gaps filled. What is put into double quotes is a name, and cut as one. */
export function reasonText({ text }: Pick<Reason, "text">, first = "", second = ""): string {
  return text.replace(/(")?\{([01])\}/g, (_, quote: string | undefined, gap: string) => {
    const filling = gap === "0" ? first : second;
    return quote === undefined ? filling : quote + peerName(filling);
  });
}

/** As long as PostgreSQL's own names. */
const MOST_NAME_BYTES = 63;

/**
 * A name that a peer has sent as log lines and error messages show it: cut to the length of PostgreSQL's names, at a
 * character's border, and marked where something is missing.
 */
export function peerName(name: string): string {
  // No character of a string takes more than three bytes.
  if (name.length <= MOST_NAME_BYTES / 3) return name;
  let bytes = 0;
  let units = 0;
  for (const character of name) {
    const code = character.codePointAt(0)!;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (bytes > MOST_NAME_BYTES) return `${name.slice(0, units)}…`;
    units += character.length;
  }
  return name;
}
