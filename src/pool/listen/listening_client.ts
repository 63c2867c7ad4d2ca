/**
 * What a pool's listener and the clients that listen know of each other.
 */

/** Where marks are sent. All poolers of a database share it: a mark is of one client or switch alone. */
export const MARK_CHANNEL = "pg_doorman.listener";

/** A client that listens; implemented above (client/listen/listening.ts). */
export interface ListeningClient {
  readonly id: number;
  /** PostgreSQL listens to all that it wants. */
  ready(): void;
  /** Its mark came by the listener. */
  markRead(): void;
  notify(channel: string, message: Uint8Array): void;
  /** The connection is gone, and notifications with it. */
  lost(code: string, detail: string): void;
  /** There is no connection to be had. */
  unavailable(detail: string): void;
}
