/**
 * A server connection as data: all that must survive when it is frozen here and thawed in another worker or process.
 *
 * ```
 *             connected, logged in              checked out              all owed is through, ReadyForQuery I
 *   [login] ────────────────────▶ [idle] ─────────────────────▶ [linked] ───────────────────────▶ [idle]
 *      │                            ▲  │                           │                                 ▲
 *      │                            │  │ (1)                       │ client left (2)                 │
 *      │                            │  ▼                           ▼                                 │
 *      │                            └─[cleaning]◀──────────── [draining] ──(nothing to clean)────────┘
 *      └───────────────▶ [closed] ◀── from everywhere: end of stream, FATAL, desync, deadline
 * ```
 * 1. ROLLBACK, resets, the server check: queries of the pooler, whose replies are swallowed.
 * 2. Replies that are owed to a client that is gone are read and dropped.
 */

import type { ServerTlsMode } from "../config/settings.ts";
import { TransactionStatus } from "../protocol/codes.ts";
import type { ParameterSet } from "./parameters.ts";

/** Stages of a server connection. */
export const ServerStage = {
  Login: 0,
  Idle: 1,
  Linked: 2,
  Cleaning: 3,
  Draining: 4,
  Closed: 5,
} as const;

/** What a client changed on a server and a check-in has to undo: bits. */
export const Dirty = {
  Set: 1,
  Prepare: 2,
  Declare: 4,
  Listen: 8,
  /** A session-mode client used it: everything may have changed. */
  All: 16,
  /** RESET or DISCARD ALL ran for the client that has it: nothing to clean, but the client's start counts again. */
  Reset: 32,
  /** Session-level advisory locks, perhaps. */
  Advisory: 64,
  /** Temporary objects, perhaps. */
  Temp: 128,
  /** PREPARE in SQL. */
  SqlPrepare: 256,
  /** Parameters, perhaps, without a tag that tells it: `set_config`, DO, CALL. */
  Config: 512,
  /** SET … TO DEFAULT, perhaps: like `Reset`, if the tag comes. */
  Default: 1024,
  /** LISTEN that nobody needs here any more: the pool's listener does it. */
  Unlisten: 2048,
  /** Something ran that is not understood: anything may be left, and PostgreSQL is asked about everything. */
  Any: 4096,
  /** Parameters that PostgreSQL does not list, under names that can't be known: they can't be followed. */
  Names: 8192,
  /** The same, perhaps, where nothing says so: whoever has the server next must not see them. */
  Hidden: 16384,
} as const;

/** What only DISCARD ALL undoes. */
export const DIRTY_DISCARD: number = Dirty.All | Dirty.Advisory | Dirty.Temp | Dirty.SqlPrepare |
  Dirty.Any | Dirty.Names;

/** Parameters may differ from what the server has by itself. */
export const DIRTY_PARAMETERS: number = Dirty.Set | Dirty.Config | Dirty.Hidden;

/** What can be asked about. */
export const DIRTY_EVERYTHING: number = Dirty.Set | Dirty.Declare | Dirty.Listen | Dirty.Advisory |
  Dirty.Temp | Dirty.SqlPrepare | Dirty.Config;

/** What PostgreSQL is asked about when the transaction has ended: did anything stay? */
export const DIRTY_ASK: number = DIRTY_EVERYTHING | Dirty.Any | Dirty.Names;

/** How a connection came to have TLS: a cancel request for it asks for the same. */
export interface ServerTlsNote {
  /** `server_tls_mode` that it was made by. */
  mode: ServerTlsMode;
  direct: boolean;
  host: string;
}

/** A statement on one server. */
export interface ServerStatement {
  /** Its ParseComplete came. */
  confirmed: boolean;
  /** The server's `segment` when its Parse was sent. */
  segment: number;
}

/** Plain data, structured-cloneable. Times are on the reactor's clock in milliseconds. */
export interface ServerState {
  id: number;
  stage: number;
  /** Backend key data. */
  pid: number;
  secret: Uint8Array;
  /** `sockaddr_*` that the connection was made to; cancel requests go there too. */
  address: Uint8Array<ArrayBuffer>;
  addressText: string;
  /** `undefined` without TLS. */
  tls: ServerTlsNote | undefined;
  createdAtMs: number;
  usedAtMs: number;
  /** Since when a client or the pooler holds it. */
  heldSinceMs: number;
  lifetimeMs: number;
  idleLimitMs: number;
  /** Times it was checked out. */
  uses: number;
  /** RECONNECT raises the pool's epoch; servers of an older one are not used again. */
  epoch: number;
  /** Digest of the settings that it was made with. */
  digest: string;
  /** Transaction status of the last ReadyForQuery. */
  status: number;
  /** Checked out in statement mode: no transaction may stay open. */
  refusesBlocks: boolean;
  /** Extended-protocol messages were sent since the last Sync that was answered. */
  unsynced: boolean;
  /** A BEGIN of the pooler's is under way: an error that comes now is that one's. */
  beginning: boolean;
  dirty: number;
  /** A question of the pooler's is under way about these bits of `dirty`; 0: none. */
  asked: number;
  /** The question before it failed. */
  askedAgain: boolean;
  /** Its answer, `undefined` when it can't be had. */
  answer: string | undefined;
  parameters: ParameterSet;
  /** Reported names among them that are not what the server has by itself (`Holder`). */
  own: readonly string[] | undefined;
  /** The pool's prepared statements that PostgreSQL has here, by id, the least used first. */
  statements: Map<number, ServerStatement>;
  /** Id of the statement used last, −1 when it is gone. */
  lastStatement: number;
  /** Syncs sent: what an error skips ends with one. */
  segment: number;
  /** Whose unnamed statement is here (`SessionState.unnamedId`), −1 when that is not known. Not valid after thawing. */
  unnamed: number;
  /** The `segment` that its Parse was sent in. */
  unnamedSegment: number;
  /** Rewritten messages whose statement was here, and those whose was not. */
  prepareHits: number;
  prepareMisses: number;
  /** A statement that changes the schema went through in the transaction that runs. */
  changedSchema: boolean;
  /** What a Parse would read here now is not known: something that ran, or was sent, may have changed it. */
  unsettled: boolean;
  /** A text that may deallocate all statements was sent, and perhaps not answered. */
  deallocating: boolean;
  /** Statements that nobody uses: they are closed before the next Parse. */
  leftovers: number[];
  /** Bytes of the backend message that is being passed on and still to come. */
  left: number;
  /** Length of that message. */
  messageBytes: number;
  /** The message that `left` belongs to is dropped, not forwarded. */
  leftDropped: boolean;
  received: number;
  sent: number;
  queryCount: number;
  xactCount: number;
}

/** The state of a connection that is about to log in. */
export function newServerState(id: number, now: number): ServerState {
  return {
    id,
    stage: ServerStage.Login,
    pid: 0,
    secret: new Uint8Array(0),
    address: new Uint8Array(0),
    addressText: "",
    tls: undefined,
    createdAtMs: now,
    usedAtMs: now,
    heldSinceMs: now,
    lifetimeMs: 0,
    idleLimitMs: 0,
    uses: 0,
    epoch: 0,
    digest: "",
    status: TransactionStatus.Idle,
    refusesBlocks: false,
    unsynced: false,
    beginning: false,
    dirty: 0,
    asked: 0,
    askedAgain: false,
    answer: undefined,
    parameters: NO_VALUES,
    own: undefined,
    statements: new Map(),
    lastStatement: -1,
    segment: 0,
    unnamed: -1,
    unnamedSegment: 0,
    prepareHits: 0,
    prepareMisses: 0,
    changedSchema: false,
    unsettled: false,
    deallocating: false,
    leftovers: [],
    left: 0,
    messageBytes: 0,
    leftDropped: false,
    received: 0,
    sent: 0,
    queryCount: 0,
    xactCount: 0,
  };
}

const NO_VALUES: ParameterSet = { values: new Map() };

/** Times to ages, as they travel from one process's clock to another's, and back. */
export function turnTimes(
  state: Pick<ServerState, "createdAtMs" | "usedAtMs" | "heldSinceMs">,
  now: number,
): void {
  state.createdAtMs = now - state.createdAtMs;
  state.usedAtMs = now - state.usedAtMs;
  state.heldSinceMs = now - state.heldSinceMs;
}
