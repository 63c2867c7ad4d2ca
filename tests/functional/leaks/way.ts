/**
 * A way to leave something on a session: SQL that is crossed with the forms of forms.ts, or messages that are sent as they
 * are. `{lane}` stands for the lane (crossing.ts), for what all databases of a server have in common.
 */

/** What a client may leave, and how. */
export interface Way {
  /** Whether a direct connection has nothing more behind it: it ends with its transaction, or is undone. */
  nothing?: true;
  /** Statements, in their order; without `bytes` only. */
  sql?: string[];
  /** Values of `$1` …: for the forms that have parameters alone. */
  values?: string[];
  /** Messages, each answered before the next is sent. */
  bytes?: (lane: string) => Uint8Array[];
  /** Fields of the client's StartupMessage. */
  login?: Record<string, string>;
  /** Forms to cross it with; absent: all that are apt. */
  only?: string[];
  /** What both databases are freed of behind it: it is no state of a session. */
  after?: string;
  /** What else both clients are asked, by a query of its own: its first value, or its SQLSTATE, is a direct connection's. */
  look?: string;
  /**
   * Whether nothing in PostgreSQL takes it back, DISCARD ALL included: the server connection has to be closed. With what
   * the test has to do itself then.
   */
  stays?: string;
}

/** Ways by their names. */
export type Ways = Record<string, Way>;

/** Ways of one statement each, which is their name. */
export function statements(list: string[], more: Way = {}): Ways {
  return Object.fromEntries(list.map((sql) => [sql, { sql: [sql], ...more }]));
}
