/**
 * Counters that all threads of the process share, by index into an `Int32Array` over one `SharedArrayBuffer`.
 */

export const Shared = {
  /** Connections of clients, those that log in and those that are told goodbye included. */
  Clients: 0,
  /** Last client id given out. */
  LastClientId: 1,
  LastServerId: 2,
  /** Prepared statements are numbered through the process, since servers may change workers. */
  LastStatementId: 4,
  /** Times that a statement which changes a schema went through. */
  SchemaGeneration: 5,
  /** Clients that have a place of `max_connections`. */
  LoggedIn: 6,
  /** Servers that were closed for their time in this period, and which period that is (worker/rounds.ts). */
  Retained: 7,
  /** So many connections of clients leave the descriptors that the rest needs; 0 = no bound. */
  MostClients: 8,
  /** What named statements of all clients take, in KiB (prepared_memory.ts). */
  PreparedKiB: 9,
  /** From here on, one heartbeat a worker: turns of its loop, modulo 2³². */
  Heartbeats: 16,
} as const;

export const SHARED_WORDS = 16 + 256;
