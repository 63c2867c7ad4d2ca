/**
 * What the web listener needs of the rest of the process, implemented by the control plane: the questions that the admin
 * console asks, too, and what only metrics and health checks want to know.
 */

import type { AdminEnvironment } from "../admin/environment.ts";
import type { Log } from "../log/log.ts";

/** Whether clients that come now are served, and if not, why. */
export type Readiness = "ready" | "starting" | "draining" | "upgrading";

/** Counts of the whole process that no pool has. They only grow. */
export interface ProcessCounts {
  /** In the order of `REJECTIONS`. */
  rejections: number[];
  namedEvictions: number;
  anonymousEvictions: number;
  /** Lines of the log that could not be written. */
  lostLogLines: number;
}

/** A user of a pool as the configuration has it. */
export interface ConfiguredUser {
  user: string;
  database: string;
  pool_mode: string;
}

export interface WebEnvironment extends
  Pick<
    AdminEnvironment,
    | "version"
    | "pools"
    | "counts"
    | "limits"
    | "authQueries"
    | "preparedMemory"
    | "interner"
    | "sockets"
    | "logLevel"
  > {
  readonly log: Log;
  readiness(): Readiness;
  /** Whether every worker answers, asked now. */
  workersAnswer(): Promise<boolean>;
  processCounts(): ProcessCounts;
  configuredUsers(): ConfiguredUser[];
  /** `web.metrics_max_pools`. */
  mostPools(): number;
  /** Ends a TCP connection between these ports soon, whatever waits for it. */
  sever(localPort: number, peerPort: number): void;
  /** Bytes of memory that the process has. */
  residentBytes(): number;
}
