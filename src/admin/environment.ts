/**
 * What the admin console needs of the rest of the process, declared here and implemented by the control plane. Rows are
 * gathered from every worker at the moment of asking. Optional members are features that a build may lack: their
 * commands are then refused with SQLSTATE 0A000 and left out of SHOW HELP.
 */

import type {
  AuthQueryRow,
  ClientRow,
  CountsRow,
  InternerRow,
  InternerTextRow,
  LimitRow,
  LogLevel,
  PoolRow,
  PreparedMemoryRow,
  PreparedRow,
  ServerRow,
} from "../mail.ts";
import type { ConsoleRole } from "../config/settings.ts";
import type { UpgradeTotals } from "../stats/upgrades.ts";

/** One line of SHOW CONFIG; secrets are masked by whoever makes it. */
export interface ConfigRow {
  key: string;
  value: string;
  default: string;
  /** Whether a reload applies a new value. */
  changeable: boolean;
}

/** What came of reading the configuration anew. */
export interface ReloadOutcome {
  ok: boolean;
  /** One line on what changed; empty when nothing did. */
  summary: string;
  /** Why the configuration was rejected, one fault an entry, without secrets. */
  faults: string[];
}

/** Where the process stands in the line of processes that took over from one another. */
export interface UpgradeReport {
  phase: "idle" | "validating" | "starting" | "moving" | "taking_over";
  pid: number;
  startedAtMs: number;
  /** Absent in one that was started by hand. */
  predecessorPid: number | undefined;
  totals: UpgradeTotals;
}

/** The threads that serve clients. */
export interface WorkerReport {
  running: number;
  /** Since the start: given up, and replaced. */
  lost: number;
}

/** Commands on the pools of one database, or of all. */
export type PoolCommand = "pause" | "resume" | "reconnect" | "enable" | "disable";

/**
 * What a shutdown waits for: the ends of transactions, for `shutdown_timeout` at most; the same for as long as it takes;
 * or that every client leaves by itself.
 */
export type ShutdownWait = "transactions" | "servers" | "clients";

/** A parameter that a pool sends in its StartupMessages. */
export interface StartupParameterRow {
  database: string;
  user: string;
  parameter: string;
  value: string;
  source: "general" | "pool";
}

/** The control plane as the admin console sees it. A rejected promise is answered as an error; the session goes on. */
export interface AdminEnvironment {
  /** Version of the program, as `3.10.7`. */
  readonly version: string;
  /** A pool that is spread over workers may give one row for each; they are added up here. */
  pools(): Promise<PoolRow[]>;
  clients(): Promise<ClientRow[]>;
  servers(): Promise<ServerRow[]>;
  prepared(): Promise<PreparedRow[]>;
  interner(): Promise<InternerRow[]>;
  /** The longest texts of each worker, `most` of each at most. */
  internerTexts(most: number): Promise<InternerTextRow[]>;
  preparedMemory(): Promise<PreparedMemoryRow[]>;
  counts(): Promise<CountsRow[]>;
  /** Databases with `max_db_connections`. */
  limits(): Promise<LimitRow[]>;
  authQueries(): Promise<AuthQueryRow[]>;
  configRows(): ConfigRow[];
  /** Of the configuration in force. */
  startupParameters(): StartupParameterRow[];
  /** Sockets of this process by what the kernel says of them, in the order of SHOW SOCKETS. */
  sockets(): number[];
  upgrades(): UpgradeReport;
  workers(): WorkerReport;
  /** Lines that neither standard error nor the log's file could be given. */
  lostLogLines(): number;
  hasDatabase(name: string): boolean;
  /** Resolves to the number of pools touched, once all workers have obeyed. */
  command(name: PoolCommand, database: string | undefined): Promise<number>;
  /** The log filter in force. */
  logLevel(): string;
  log(level: LogLevel, message: string): void;

  /** Forgets the texts of statements; clients keep what they have prepared. */
  resetInterner?(): Promise<number>;
  /** Ends every client and server connection of the pools; resolves to the number of pools touched. */
  kill?(database: string | undefined): Promise<number>;
  reload?(): Promise<ReloadOutcome>;
  /** Ends one client, a console too; resolves to whether there is one. */
  killClient?(client: number): Promise<boolean>;
  /** Begins the shutdown and returns at once: the answer to the command is still to be sent. */
  shutdown?(waitFor: ShutdownWait): void;
  /** Begins a binary upgrade like `shutdown`; returns why it can't begin, or nothing. */
  upgrade?(): string | undefined;
  /** Replaces the log filter until the process ends; returns why it is refused, or nothing. */
  setLogLevel?(filter: string): string | undefined;
}

/** The admin client of one console. */
export interface AdminClient {
  id: number;
  user: string;
  database: string;
  /** `ip:port`, for the log. */
  address: string;
  role: ConsoleRole;
}
