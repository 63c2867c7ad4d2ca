/**
 * What a pool needs of its worker; implemented there (worker/worker.ts).
 */

import type { PasswordSource } from "../config/settings.ts";
import type { FoundPassword } from "../mail.ts";
import type { Reactor } from "../reactor/reactor.ts";
import type { Log } from "../log/log.ts";
import type { ServerConnection } from "../server/connection.ts";
import type { LoginSecrets } from "../server/authentication.ts";
import type { ServerAddress, SocketTuner } from "../server/dial.ts";
import type { TlsSource } from "../server/encryption.ts";
import type { Coordinator } from "./coordinator.ts";
import type { StatementSource } from "./statement_cache.ts";

export interface PoolEnvironment extends TlsSource {
  readonly reactor: Reactor;
  readonly log: Log;
  readonly tune: SocketTuner;
  readonly statements: StatementSource;
  readonly coordinator: Coordinator;
  nextServerId(): number;
  /** Addresses of the server, in the order to try. May answer at once. */
  addresses(
    host: string,
    port: number,
    done: (addresses: ServerAddress[], error: string | undefined) => void,
  ): void;
  derive: LoginSecrets["derive"];
  /** A password towards PostgreSQL that is not `refused`, unless there is no other. */
  serverPassword(
    source: PasswordSource,
    refused: string | undefined,
    done: (found: FoundPassword) => void,
  ): void;
}

/** Who has the pool; implemented above (worker/worker.ts). */
export interface PoolOwner<Pool> {
  /** The last client of a retired pool has left. */
  retiredEmpty(pool: Pool): void;
  /** A client of a pool that has moved asks for a server: it has to move, too. */
  stranded(pool: Pool): void;
  /** A server of a pool that has moved is free to follow; `undefined`: it is gone instead. */
  lateServer(pool: Pool, server: ServerConnection | undefined): void;
}
