/**
 * The running process: configuration, log, listening sockets, workers, consoles and signals, wired together. The control
 * plane never touches a client's bytes; what it answers to workers (names, keys, console) is here.
 */

import { pbkdf2 } from "node:crypto";
import { Console } from "../admin/console.ts";
import type { AdminEnvironment } from "../admin/environment.ts";
import { passwordBytes } from "../auth/saslprep.ts";
import { EXIT, type RunOptions } from "../cli/args.ts";
import { VERSION } from "../cli/version.ts";
import { configRows } from "../config/diff.ts";
import { formatFault } from "../config/source.ts";
import type { LoadResult } from "../config/load.ts";
import type { Config } from "../config/types.ts";
import { formatFilter } from "../log/filter.ts";
import type { LineLog } from "../log/log.ts";
import type { ClientRow, CountsRow, PoolRow, ServerRow } from "../mail.ts";
import { Shared } from "../stats/shared.ts";
import { type Configured, resolve } from "./configuration.ts";
import { ListenError, type OpenListener, openListeners } from "./listeners.ts";
import { startLog } from "./log.ts";
import { Resolver } from "./resolver.ts";
import { Supervisor, type WorkerMail } from "./supervisor.ts";

const TARGET = "pg_doorman::app";

export class Doorman implements AdminEnvironment {
  readonly version = VERSION;
  readonly #log: LineLog;
  readonly #supervisor: Supervisor;
  readonly #resolver = new Resolver();
  readonly #consoles = new Map<number, Console>();
  #configured: Configured;
  #listeners: OpenListener[] = [];
  #stopping = false;

  constructor(options: RunOptions, config: Config) {
    this.#configured = resolve(config);
    this.#log = startLog(options, config);
    this.#supervisor = new Supervisor((mail, worker) => this.#mail(mail, worker));
  }

  /** Starts everything; resolves when clients are accepted. Rejects with a ListenError when a socket can't be opened. */
  async start(load: LoadResult): Promise<void> {
    const { config, settings } = this.#configured;
    this.#log.info(TARGET, `PgDoorman ${VERSION}, process ${Deno.pid}`);
    for (const warning of load.warnings) this.#log.warn("pg_doorman::config", formatFault(warning));
    for (const notice of load.notices) this.#log.info("pg_doorman::config", formatFault(notice));
    this.#watchSignals();
    this.#listeners = await openListeners(config.general);
    await this.#supervisor.start({
      workers: config.general.worker_threads,
      listeners: this.#listeners.map(({ fd, transport }) => ({ fd, transport })),
      settings,
      logFilter: this.#log.filter,
    });
    for (const { name } of this.#listeners) this.#log.info(TARGET, `Running on ${name}`);
    this.#log.info(
      TARGET,
      `Accepting connections: pools=${settings.pools.length} workers=${config.general.worker_threads}`,
    );
  }

  // ── signals ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #watchSignals(): void {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      Deno.addSignalListener(signal, () => this.#stop(`${signal} received`));
    }
  }

  #stop(why: string): void {
    if (this.#stopping) Deno.exit(EXIT.ok);
    this.#stopping = true;
    const shared = new Int32Array(this.#supervisor.shared);
    const clients = Atomics.load(shared, Shared.Clients);
    this.#log.info(TARGET, `${why}: closing ${clients} client connections`);
    for (const { transport, name } of this.#listeners) {
      if (transport === "unix") removeIfThere(name);
    }
    Deno.exit(EXIT.ok);
  }

  // ── workers ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #mail(mail: WorkerMail, worker: number): void {
    switch (mail.kind) {
      case "log":
        this.#log.take(mail.record);
        return;
      case "resolve":
        this.#resolve(worker, mail.request, mail.host);
        return;
      case "derive":
        this.#derive(worker, mail);
        return;
      case "admin_open":
        this.#consoles.set(mail.client, new Console(this, { id: mail.client, ...mail }));
        return;
      case "admin_request":
        this.#console(worker, mail.client, mail.bytes);
        return;
      case "admin_closed":
        this.#consoles.delete(mail.client);
        return;
      case "fatal":
        this.#log.error(TARGET, `worker ${worker} failed: ${mail.message}`);
        Deno.exit(EXIT.failure);
        break;
      default:
        mail satisfies never;
    }
  }

  async #resolve(worker: number, request: number, host: string): Promise<void> {
    let addresses: string[] = [];
    let error: string | undefined;
    try {
      addresses = await this.#resolver.resolve(host);
    } catch (cause) {
      error = cause instanceof Error ? cause.message : String(cause);
    }
    this.#supervisor.send(worker, { kind: "resolved", request, addresses, error });
  }

  /** PBKDF2 on Deno's thread pool (RFC 5802 §2.2, Hi). */
  #derive(worker: number, mail: WorkerMail & { kind: "derive" }): void {
    const { request, password, salt, iterations } = mail;
    pbkdf2(passwordBytes(password), salt, iterations, 32, "sha256", (error, key) => {
      const saltedPassword = error === null ? new Uint8Array(key) : undefined;
      this.#supervisor.send(worker, { kind: "derived", request, saltedPassword });
    });
  }

  async #console(worker: number, client: number, bytes: Uint8Array): Promise<void> {
    const console = this.#consoles.get(client);
    if (console === undefined) return;
    const reply = await console.handle(bytes);
    this.#supervisor.send(worker, { kind: "admin_reply", client, ...reply });
  }

  // ── what the console asks ───────────────────────────────────────────────────────────────────────────────────────

  pools(): Promise<PoolRow[]> {
    return this.#supervisor.ask("pools");
  }

  clients(): Promise<ClientRow[]> {
    return this.#supervisor.ask("clients");
  }

  servers(): Promise<ServerRow[]> {
    return this.#supervisor.ask("servers");
  }

  counts(): Promise<CountsRow[]> {
    return this.#supervisor.ask("counts");
  }

  configRows(): ReturnType<AdminEnvironment["configRows"]> {
    return configRows(this.#configured.config).map((row) => ({
      ...row,
      changeable: row.changeable === "yes",
    }));
  }

  hasDatabase(name: string): boolean {
    return this.#configured.config.pools.has(name);
  }

  command(name: "pause" | "resume" | "reconnect", database: string | undefined): Promise<number> {
    return this.#supervisor.command({ name, database });
  }

  logLevel(): string {
    return formatFilter(this.#log.filter);
  }

  log(level: "error" | "warn" | "info" | "debug" | "trace", message: string): void {
    this.#log[level]("pg_doorman::admin", message);
  }
}

function removeIfThere(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

export { ListenError };
