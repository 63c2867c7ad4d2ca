/**
 * Whom a server connection talks to above it: the client that it is linked with, and the pool that keeps it. Declared
 * here, implemented there; and a connection as it travels.
 */

import type { ReceivedError } from "../protocol/error_response.ts";
import type { OwedReplies } from "../protocol/owed_replies.ts";
import type { Reason } from "../reasons.ts";
import type { ParameterSet } from "./parameters.ts";
import type { ServerState } from "./state.ts";
import type { TlsState } from "../tls/state.ts";
import type { Statement, Tracked } from "./statements/on_server.ts";
import type { StatementLink } from "./statements/replies.ts";

/** What passes between the pooler and PostgreSQL: bytes, and Parse messages that were carried out. */
export interface Traffic {
  received: number;
  sent: number;
  server_parses: number;
}

/** The client's side of a server connection; implemented above (client/session.ts). */
export interface ServerLink extends StatementLink {
  /** Bytes for the client, valid during the call only. */
  deliver(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): void;
  /** A ReadyForQuery of the client's was delivered. `settled`: nothing more is owed, nothing is unsent. */
  readyForQuery(status: number, settled: boolean): void;
  /** A transaction is open that must not be (`ServerState.refusesBlocks`); the ReadyForQuery that says so is kept back. */
  blockOpened(): void;
  /** An ErrorResponse of PostgreSQL was (or is about to be) delivered. */
  errorDelivered(error: ReceivedError): void;
  /** The server reported a parameter to the client, or DISCARD ALL has reset all of them. */
  parametersChanged(parameters: ParameterSet): void;
  /** DISCARD ALL went through, and nothing was sent behind it. */
  discarded(): void;
  /** A whole NotificationResponse, valid during the call only. Those between the pooler's own replies come, too. */
  notified(bytes: Uint8Array<ArrayBuffer>, start: number, end: number): void;
  /** LISTEN went through: its server listens when the transaction has ended. */
  listened(): void;
  /** UNLISTEN of these channels (`*`: all) went through; `undefined`: what the transaction did was undone. */
  unlistened(channels: readonly string[] | undefined): void;
  /** The server takes bytes again. */
  serverWritable(): void;
  /** Bits of `Dirty`: why the client keeps this server between transactions. */
  readonly pinned: number;
  /** The question of the pooler's is answered (`state.answer`), or has failed. */
  answered(error: ReceivedError | undefined): void;
  /** The pooler's own query of this link is through; `error` is PostgreSQL's, if it failed. */
  ownQueryDone(error: ReceivedError | undefined): void;
  /**
   * PostgreSQL says FATAL in the pooler's own query. Who can do with another server lets go of this one: sets its link to
   * nobody. Else the FATAL is delivered.
   */
  serverDoomed(error: ReceivedError): void;
  /** The connection is closed. `toldWhy`: PostgreSQL's own FATAL message was delivered. */
  serverLost(reason: Reason, detail: string, toldWhy: boolean): void;
}

/** A link that wants to hear of nothing: for connections without a client, which say what they do want. */
export abstract class SilentLink implements ServerLink {
  readonly pinned: number = 0;
  deliver(_bytes: Uint8Array<ArrayBuffer>, _start: number, _end: number): void {}
  readyForQuery(_status: number, _settled: boolean): void {}
  blockOpened(): void {}
  errorDelivered(_error: ReceivedError): void {}
  parametersChanged(_parameters: ParameterSet): void {}
  discarded(): void {}
  notified(_bytes: Uint8Array<ArrayBuffer>, _start: number, _end: number): void {}
  listened(): void {}
  unlistened(_channels: readonly string[] | undefined): void {}
  serverWritable(): void {}
  answered(_error: ReceivedError | undefined): void {}
  ownQueryDone(_error: ReceivedError | undefined): void {}
  serverDoomed(_error: ReceivedError): void {}
  serverLost(_reason: Reason, _detail: string, _toldWhy: boolean): void {}
  skipped(_tracked: readonly Tracked[]): void {}
  shapeChecked(_statement: Statement, _same: boolean): void {}
  parsedAgain(_statement: Statement, _known: Statement, _alias: Uint8Array): void {}
  caughtUp(): void {}
  statementName(_statement: Statement): string | undefined {
    return undefined;
  }
  unnamedLost(): void {}
  statementsDropped(_later: readonly Tracked[]): void {}
}

/** A server connection as it travels: ages instead of times, since clocks differ between threads and processes. */
export interface ServerSnapshot {
  state: ServerState;
  owed: ReturnType<OwedReplies["freeze"]>;
  /** Its TLS; `undefined`: none. Secrets. */
  tls: TlsState | undefined;
  outbox: Uint8Array | undefined;
  tail: Uint8Array | undefined;
  ownError: ReceivedError | undefined;
  /** Why PostgreSQL is about to hang up. */
  fatal: ReceivedError | undefined;
  drained: number;
}

/** Who keeps server connections; implemented above (pool/pool.ts). */
export interface ServerOwner<Server> {
  /** Nothing is owed any more and no client is linked: what was draining or being cleaned is through. */
  serverSettled(server: Server, error: ReceivedError | undefined): void;
  serverClosed(server: Server, reason: Reason, detail: string): void;
  /** A statement that changes the schema went through. */
  schemaChanged(): void;
  /** Names that PostgreSQL reports by itself. */
  readonly reported: Set<string>;
  readonly traffic: Traffic;
}
