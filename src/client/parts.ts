/**
 * What the parts of a session see of it: a part names the interfaces that it needs, and session.ts implements all of
 * them. So a part's own first lines say what it reads and what it may change, and nothing below session.ts imports it.
 * Types alone: at run time there is one class.
 */

import type { ErrorAside } from "../protocol/error_response.ts";
import type { Pool } from "../pool/pool.ts";
import type { Reason } from "../reasons.ts";
import type { ServerConnection } from "../server/connection.ts";
import type { ClientContext } from "./context.ts";
import type { SessionState } from "./state.ts";

/** Who the client is, and what it has at the moment. */
export interface ClientView {
  readonly state: SessionState;
  readonly context: ClientContext;
  /** For log lines. */
  readonly name: string;
  readonly pool: Pool | undefined;
  readonly server: ServerConnection | undefined;
}

/** What the client sends. */
export interface ClientInput {
  keep(bytes: Uint8Array<ArrayBuffer>, at: number, end: number): void;
  keepLong(bytes: Uint8Array<ArrayBuffer>, at: number, end: number, need: number): void;
  takeKept(): void;
  stall(): void;
  throttle(): void;
  hold(): void;
  goOn(): void;
}

/** What the client is sent. */
export interface ClientOutput {
  readonly backlogged: boolean;
  readonly midMessage: boolean;
  write(bytes: Uint8Array): void;
  deliver(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): void;
}

/** The ways to the end. */
export interface ClientEnd {
  fail(
    severity: "FATAL" | "ERROR",
    reason: Reason,
    first: string,
    second: string,
    code?: string | ErrorAside,
  ): void;
  say(bytes: Uint8Array, why?: string): void;
  close(reason: Reason, detail: string): void;
}

/** When what began, on the reactor's clock. */
export interface ClientTimes {
  waitStartMs: number;
  queryStartMs: number;
  xactStartMs: number;
  requestMs: number;
  readyMs: number;
  quietMs: number;
  timeoutCancelMs: number;
}
