/** What a client's socket is to others: its part of a snapshot, its limits, and who notes what goes out by it. */

import type { TlsState } from "../tls/state.ts";

/** Replies owed to one client beyond this: its next messages stay in its socket. */
export const MOST_OWED = 8192;

/** Notes what a client is sent; check_query.ts. */
export interface AnswerRecording {
  add(bytes: Uint8Array, start: number, end: number): void;
  end(status: number): void;
}

/** The socket's part of a snapshot. */
export interface SocketSnapshot {
  /** What was read and not looked at yet. */
  tail: Uint8Array | undefined;
  /** What the client has not taken yet. */
  outbox: Uint8Array | undefined;
  throttled: boolean;
  /** Of a connection with TLS: what its records are sealed and opened with. */
  tls: TlsState | undefined;
  /** The tail waits for the answer to a Describe of the pooler's (`held`). */
  checking: boolean;
  /** The tail has what was not looked at: nothing need come before it is. */
  unread: boolean;
}
