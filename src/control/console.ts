/**
 * The admin consoles: whose they are, and what they ask. Rows come from the workers, everything else from the parts of
 * this process, which the commands reach by way of it.
 */

import { Console } from "../admin/console.ts";
import type {
  AdminEnvironment,
  PoolCommand,
  ReloadOutcome,
  ShutdownWait,
  StartupParameterRow,
  UpgradeReport,
  WorkerReport,
} from "../admin/environment.ts";
import { VERSION } from "../cli/version.ts";
import { configRows } from "../config/diff.ts";
import { startupParameterRows } from "../config/startup_parameters.ts";
import type { Config } from "../config/types.ts";
import { formatFilter, type LogFilter, parseFilter } from "../log/filter.ts";
import type { Log } from "../log/log.ts";
import type {
  AuthQueryRow,
  ClientRow,
  ControlToWorker,
  CountsRow,
  InternerRow,
  InternerTextRow,
  LimitRow,
  PoolRow,
  PreparedMemoryRow,
  PreparedRow,
  ServerRow,
  WorkerCommand,
  WorkerQuestion,
  WorkerToControl,
} from "../mail.ts";
import { countSockets } from "./sockets.ts";

/** So long a command of the console has to be answered before its effect sets in. */
const ANSWER_MS = 50;

/** What consoles reach of the process. */
export interface ConsoleHost {
  readonly log: Log & { readonly filter: LogFilter };
  ask<Row>(what: WorkerQuestion, most?: number): Promise<Row[]>;
  order(command: WorkerCommand): Promise<number>;
  send(worker: number, mail: ControlToWorker): void;
  /** As it was loaded last. */
  config(): Config;
  /** Configured, or with pools that live on. */
  hasDatabase(name: string): boolean;
  /** What the command line and the configuration ask for. */
  configuredFilter(): LogFilter;
  setFilter(filter: LogFilter): void;
  reload(cause: string): Promise<ReloadOutcome>;
  shutdown(cause: string, waitFor: ShutdownWait): void;
  /** Why an upgrade can't begin now, if so; then it counts as refused. */
  upgradeObstacle(): string | undefined;
  beginUpgrade(cause: string): void;
  upgrades(): UpgradeReport;
  workers(): WorkerReport;
  lostLogLines(): number;
}

export class Consoles implements AdminEnvironment {
  readonly version = VERSION;
  readonly #host: ConsoleHost;
  readonly #open = new Map<number, { console: Console; worker: number }>();

  constructor(host: ConsoleHost) {
    this.#host = host;
  }

  // ── whose they are ──────────────────────────────────────────────────────────────────────────────────────────────

  opened(worker: number, { client, ...given }: WorkerToControl & { kind: "admin_open" }): void {
    this.#open.set(client, { console: new Console(this, { id: client, ...given }), worker });
  }

  /** Answers by mail; resolves when it is sent. */
  async asked(worker: number, client: number, bytes: Uint8Array): Promise<void> {
    const console = this.#open.get(client)?.console;
    if (console === undefined) return;
    const reply = await console.handle(bytes);
    this.#host.send(worker, { kind: "admin_reply", client, ...reply });
  }

  closed(client: number): void {
    this.#open.get(client)?.console.end();
    this.#open.delete(client);
  }

  /** With it the consoles that it had. */
  lost(worker: number): void {
    for (const [client, one] of this.#open) if (one.worker === worker) this.closed(client);
  }

  // ── what they ask ───────────────────────────────────────────────────────────────────────────────────────────────

  pools(): Promise<PoolRow[]> {
    return this.#host.ask("pools");
  }

  clients(): Promise<ClientRow[]> {
    return this.#host.ask("clients");
  }

  servers(): Promise<ServerRow[]> {
    return this.#host.ask("servers");
  }

  prepared(): Promise<PreparedRow[]> {
    return this.#host.ask("prepared");
  }

  interner(): Promise<InternerRow[]> {
    return this.#host.ask("interner");
  }

  internerTexts(most: number): Promise<InternerTextRow[]> {
    return this.#host.ask("interner_texts", most);
  }

  resetInterner(): Promise<number> {
    return this.#host.order({ name: "reset_interner", database: undefined });
  }

  preparedMemory(): Promise<PreparedMemoryRow[]> {
    return this.#host.ask("prepared_memory");
  }

  counts(): Promise<CountsRow[]> {
    return this.#host.ask("counts");
  }

  limits(): Promise<LimitRow[]> {
    return this.#host.ask("limits");
  }

  authQueries(): Promise<AuthQueryRow[]> {
    return this.#host.ask("auth_query");
  }

  configRows(): ReturnType<AdminEnvironment["configRows"]> {
    return configRows(this.#host.config()).map((row) => ({
      ...row,
      changeable: row.changeable === "yes",
    }));
  }

  startupParameters(): StartupParameterRow[] {
    return startupParameterRows(this.#host.config());
  }

  sockets(): number[] {
    return countSockets();
  }

  hasDatabase(name: string): boolean {
    return this.#host.hasDatabase(name);
  }

  command(name: PoolCommand, database: string | undefined): Promise<number> {
    return this.#host.order({ name, database });
  }

  kill(database: string | undefined): Promise<number> {
    return this.#host.order({ name: "kill", database });
  }

  async killClient(client: number): Promise<boolean> {
    return await this.#host.order({ name: "kill_client", database: undefined, client }) > 0;
  }

  reload(): Promise<ReloadOutcome> {
    return this.#host.reload("RELOAD");
  }

  shutdown(waitFor: ShutdownWait): void {
    // The command's own answer is on its way to the worker first.
    setTimeout(() => this.#host.shutdown("SHUTDOWN", waitFor), ANSWER_MS);
  }

  upgrade(): string | undefined {
    const obstacle = this.#host.upgradeObstacle();
    if (obstacle === undefined) setTimeout(() => this.#host.beginUpgrade("UPGRADE"), ANSWER_MS);
    return obstacle;
  }

  workers(): WorkerReport {
    return this.#host.workers();
  }

  lostLogLines(): number {
    return this.#host.lostLogLines();
  }

  upgrades(): UpgradeReport {
    return this.#host.upgrades();
  }

  setLogLevel(text: string): string | undefined {
    const parsed = parseFilter(text, this.#host.configuredFilter());
    if ("fault" in parsed) return parsed.fault;
    this.#host.setFilter(parsed.filter);
    return undefined;
  }

  logLevel(): string {
    return formatFilter(this.#host.log.filter);
  }

  log(level: "error" | "warn" | "info" | "debug" | "trace", message: string): void {
    this.#host.log[level]("pg_doorman::admin", message);
  }
}
