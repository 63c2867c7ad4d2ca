/**
 * A client session as data: all that must survive when it is frozen here and thawed in another worker or process.
 *
 * ```
 *            first packet           credentials             server's parameters known
 *  [startup] ────────────▶ [login] ────────────▶ [preparing] ─────────────────────────▶ [idle]
 *                              (1)                                                       │  ▲
 *                                                         first message of a request (2) │  │ ReadyForQuery I (3)
 *                                                                                        ▼  │
 *                                            [waiting] ──server──▶ [syncing] ──▶ [linked] ──┘
 *  [admin]: a console session instead of idle … linked
 *  [closing]: the last words are sent, the client's end of the stream is awaited        [closed]
 * ```
 * 1. A session whose pool lives on another worker is handed over when its StartupMessage has been read.
 * 2. Sync, Terminate and a plain BEGIN need no server, nor does the end of a transaction in which nothing else was sent.
 * 3. In transaction mode; in session mode when the client leaves.
 */

import type { Replication } from "../protocol/startup.ts";
import type { Statement } from "../server/statements/on_server.ts";
import type { CertificateNames } from "../tls/certificate_names.ts";
import { NO_PARAMETERS, type ParameterSet } from "../server/parameters.ts";

/** A name and its statement. Names of one hash form a chain. */
export interface NamedStatement {
  readonly name: Uint8Array<ArrayBuffer>;
  statement: Statement;
  next: NamedStatement | undefined;
}

/** Stages of a session. */
export const Stage = {
  Startup: 0,
  Login: 1,
  Preparing: 2,
  Idle: 3,
  Waiting: 4,
  Syncing: 5,
  Linked: 6,
  Admin: 7,
  Closing: 8,
  Closed: 9,
} as const;

/** Channels of a client in transaction mode; listening.ts has the stages. */
export interface Listens {
  /** Channels whose notifications come by the pool's listener. */
  channels: string[];
  /** What its server listens to and the listener is to take over. */
  moving: MovingChannels | undefined;
  /** Channels that UNLISTEN names in the transaction that runs, and in those that have ended; `*`: all. */
  unlistened: string[];
  gone: string[];
  /** What its statements name in UNLISTEN, for the replies that will confirm it. */
  bound: string[];
  /** Notifications that wait until the client may have them. */
  waiting: Uint8Array[];
  waitingBytes: number;
}

/** Channels on their way from a server to the listener. */
export interface MovingChannels {
  channels: string[];
  /** Payload of the notification that tells what came before from what comes after. */
  mark: string;
  /** The listener listens to all of them. */
  ready: boolean;
  /** The mark was sent; it has come by the server; by the listener. */
  sent: boolean;
  byServer: boolean;
  byListener: boolean;
}

/** Plain data, structured-cloneable. Times are on the reactor's clock in milliseconds. */
export interface SessionState {
  /** The process id of its BackendKeyData is made of it (login/process_id.ts). */
  id: number;
  stage: number;
  /** `ip:port`, or `unix:` for a unix socket. */
  address: string;
  /** The address that pg_hba is asked about. */
  ip: string;
  unix: boolean;
  connectedAtMs: number;
  database: string;
  user: string;
  applicationName: string;
  /** Other than `none`: it has a server connection of its own from its login to its end. */
  replication: Replication;
  /** Until the login is through: who it is has been proven, on its way to the pool. */
  proven: boolean;
  /** What its StartupMessage asked for, until the login is through; for replication as it was sent. */
  startup: [string, string][];
  /** Until the login is through: what SCRAM binds its exchange to, by the certificate that the client was shown. */
  channelBinding: Uint8Array | undefined;
  /** Until the login is through: the certificate that the client has shown. It was verified. */
  clientCertificate: CertificateNames | undefined;
  /** Minor version of the protocol that it speaks. */
  minor: number;
  secret: Uint8Array;
  parameters: ParameterSet;
  /** Reported names among them that it asked for or set itself; the values of others are its server's (`Holder`). */
  own: readonly string[] | undefined;
  /** What its StartupMessage asked for: what RESET goes back to. */
  initial: ParameterSet;
  /** Bytes of the frontend message under way that are still to come. */
  left: number;
  /** The server was checked out in session mode: the client keeps it, whatever the mode becomes meanwhile. */
  keepsServer: boolean;
  /** It knows that it waits for a server. */
  toldWaiting: boolean;
  /** A CancelRequest came before its request was sent to the server. */
  canceled: boolean;
  /** The message that `left` belongs to is dropped, not sent on. */
  leftDropped: boolean;
  /** The client was told that its transaction has begun, and no server knows of it yet (transaction.ts). */
  deferredBegin: boolean;
  /** After a refused request of the extended protocol: drop everything up to the next Sync. */
  skipToSync: boolean;
  /** Prepared statements by the hash of the client's name for them; only where they are rewritten. */
  statements: Map<number, NamedStatement>;
  /** What they take of memory. */
  statementBytes: number;
  /** Times that it was refused one more. */
  refusedStatements: number;
  /** Body of the last unnamed Parse, the first `unnamedLength` bytes; −1: it was too long to be kept. */
  unnamed: Uint8Array<ArrayBuffer> | undefined;
  unnamedLength: number;
  /** How much of it is there: the rest is part of the message under way. */
  unnamedFilled: number;
  /** When it was parsed. */
  unnamedAtMs: number;
  /** Tells the unnamed statements of a worker's sessions apart; 0: there is none. New numbers after thawing. */
  unnamedId: number;
  /** Marks of its text (server/marks.ts). */
  unnamedMarks: number;
  /** The unnamed portal is a SET that ends with its transaction. */
  boundLocalSet: boolean;
  /** What the text belongs to that passes in pieces (`Marking`), and the end of the last piece. */
  marking: number;
  carry: Uint8Array<ArrayBuffer> | undefined;
  /** Names with a dot that its statements may have set since PostgreSQL was asked: it does not list those by itself. */
  setNames: string[];
  /** Bits of `Dirty`: why it keeps its server between transactions, though it would not have to; 0: it does not. */
  pinned: number;
  /** What it listens to in transaction mode; `undefined` until the first LISTEN. */
  listens: Listens | undefined;
  queryCount: number;
  xactCount: number;
  errorCount: number;
  /** Bytes that it has sent, and was sent; those of TLS itself apart. */
  receivedBytes: number;
  sentBytes: number;
  /** Longest checkout wait in microseconds. */
  maxWaitUs: number;
}

const NO_SECRET = new Uint8Array(0);

/** The state of a connection that was accepted just now. */
export function newSessionState(id: number, now: number): SessionState {
  return {
    id,
    stage: Stage.Startup,
    address: "",
    ip: "",
    unix: false,
    connectedAtMs: now,
    database: "",
    user: "",
    applicationName: "",
    replication: "none",
    proven: false,
    startup: [],
    channelBinding: undefined,
    clientCertificate: undefined,
    minor: 0,
    secret: NO_SECRET,
    parameters: NO_PARAMETERS,
    own: undefined,
    initial: NO_PARAMETERS,
    left: 0,
    keepsServer: false,
    toldWaiting: false,
    canceled: false,
    leftDropped: false,
    deferredBegin: false,
    skipToSync: false,
    statements: new Map(),
    statementBytes: 0,
    refusedStatements: 0,
    unnamed: undefined,
    unnamedLength: 0,
    unnamedFilled: 0,
    unnamedAtMs: now,
    unnamedId: 0,
    unnamedMarks: 0,
    boundLocalSet: false,
    marking: 0,
    carry: undefined,
    setNames: [],
    pinned: 0,
    listens: undefined,
    queryCount: 0,
    xactCount: 0,
    errorCount: 0,
    receivedBytes: 0,
    sentBytes: 0,
    maxWaitUs: 0,
  };
}

/** Where a client comes from, whatever its port. */
export function peerAddress({ ip }: Pick<SessionState, "ip">): string {
  return ip || "unix socket";
}
