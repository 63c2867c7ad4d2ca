/**
 * What a session needs of its worker; implemented there (worker/worker.ts).
 */

import type { Reactor } from "../reactor/reactor.ts";
import type { Log } from "../log/log.ts";
import type { GeneralSettings } from "../config/settings.ts";
import type { WorkerToControl } from "../mail.ts";
import type { Derivations } from "../auth/derivations.ts";
import type { Failures } from "../auth/failures.ts";
import type { ExternalLine } from "../auth/external.ts";
import type { HbaMatcher } from "../auth/hba.ts";
import type { GiveUp, Looked } from "../auth/lookup_cache.ts";
import type { UserMaps } from "../auth/user_maps.ts";
import type { FoundUser } from "../pool/auth_query/answer.ts";
import type { AuthQuery } from "../pool/auth_query/auth_query.ts";
import type { Pool } from "../pool/pool.ts";
import type { Reason } from "../reasons.ts";
import type { ClientTlsMode, PasswordShape } from "../config/settings.ts";
import type { Tally } from "../stats/shared.ts";
import type { ServingContext } from "../tls/context.ts";

/** Where the pool of a (database, user) is, or why there is none. */
export type PoolLookup =
  | { kind: "here"; pool: Pool }
  | { kind: "elsewhere"; worker: number }
  /** PostgreSQL says whether there is such a user. */
  | { kind: "lookup"; users: UserLookup }
  /** `known` are the passwords that could have been meant. */
  | { kind: "no_user" | "no_database"; known: readonly PasswordShape[] };

/** Users whom PostgreSQL is asked for; implemented in worker/auth_queries.ts. */
export interface UserLookup extends Pick<AuthQuery, "shapes" | "ended" | "refetch" | "count"> {
  /** As it is known, or known again; `told` may be called before this returns. */
  find(
    claimed: { database: string; user: string },
    told: (looked: Looked<FoundUser>) => void,
  ): GiveUp;
  /** The pool of a user who has proven itself, or why there is none. */
  enter(
    proven: { database: string; user: string },
    found: FoundUser,
  ): Pool | { reason: Reason; first: string; second: string };
}

/** A log-in, as the worker sees it. */
export interface WaitingLogin {
  giveWay(): void;
}

/** The log-ins under way; implemented in worker/logins.ts. */
export interface LoginsUnderWay {
  /** The login has done a step: from now on its client is waited for. */
  waits(login: WaitingLogin): void;
  /** It is through, or has come to its end. */
  over(login: WaitingLogin): void;
}

/** A client whose TLS handshake is under way, as the worker sees it. */
export interface EncryptingClient {
  /** Its address: no more than its share of places is kept for it. */
  readonly ip: string;
  /** There is a place: it may begin. */
  proceed(): void;
  giveWay(): void;
}

/** The TLS handshakes under way; implemented in worker/handshakes.ts. */
export interface HandshakesUnderWay {
  /** Whether the client may begin now; if not, it is told to `proceed` later. */
  begin(client: EncryptingClient): boolean;
  /** It goes on: its next step is the client's. */
  stepped(client: EncryptingClient): void;
  /** It is through, has failed, or does not wait any more. */
  over(client: EncryptingClient): void;
}

/** TLS towards clients. */
export interface ClientEncryption {
  readonly serving: ServingContext;
  readonly mode: ClientTlsMode;
}

export interface ClientContext {
  readonly reactor: Reactor;
  readonly log: Log;
  readonly shared: Int32Array;
  /** This worker's part of its sums. */
  readonly tally: Tally;
  readonly mockSecret: Uint8Array;
  general: GeneralSettings;
  hba: HbaMatcher | undefined;
  /** Who may log in as whom by certificate, or by the system's word. */
  userMaps: UserMaps;
  /** The message of `pooler_check_query`; another object when the text has changed. */
  readonly checkQuery: Uint8Array<ArrayBuffer>;
  /** The process shuts down: whoever begins something new is sent home. */
  readonly draining: boolean;
  /** Bytes that sessions of this worker keep of long messages which are needed whole. */
  longBytes: number;
  /** How much that may be. */
  readonly mostLongBytes: number;
  /** Connections by kind, for SHOW CONNECTIONS. */
  readonly counts: { total: number; tls: number; plain: number; cancel: number };
  readonly logins: LoginsUnderWay;
  /** `undefined`: clients are offered no TLS. */
  readonly tls: ClientEncryption | undefined;
  readonly handshakes: HandshakesUnderWay;
  /** Checks of passwords that came in clear. */
  readonly passwords: Pick<Derivations, "ask">;
  /** Wrong passwords of this process. */
  readonly failures: Pick<
    Failures,
    "wait" | "failed" | "succeeded" | "checkBegins" | "checkEnds"
  >;
  /** Checks of passwords by others. */
  readonly externalChecks: Pick<ExternalLine, "ask">;
  findPool(database: string, user: string): PoolLookup;
  handOver(worker: number, client: number): void;
  /**
   * A CancelRequest came from this address: the client may be on any worker. `through` is called once, perhaps before this returns: from
   * then on no statement can be hit by it.
   */
  cancel(
    processId: number,
    sent: { secret: Uint8Array; address: string },
    through: () => void,
  ): void;
  /** The session is closed. */
  leave(client: number): void;
  toControl(mail: WorkerToControl): void;
}
