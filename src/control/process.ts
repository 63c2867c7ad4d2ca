/**
 * The running process: configuration, log, listening sockets, workers, consoles and signals, wired together. The control
 * plane never touches a client's bytes.
 */

import { EXIT, type RunOptions } from "../cli/args.ts";
import { VERSION } from "../cli/version.ts";
import { formatFault } from "../config/source.ts";
import type { LoadResult } from "../config/load.ts";
import type { Config } from "../config/types.ts";
import type { LogFilter } from "../log/filter.ts";
import type { LineLog } from "../log/log.ts";
import type { PresenceRow } from "../mail.ts";
import { newUpgradeTotals, type UpgradeTotals } from "../stats/upgrades.ts";
import type { Fd } from "../os/fd.ts";
import * as libc from "../os/libc.ts";
import {
  clientTlsOf,
  type Configured,
  currentSaltSecret,
  fromStartDirectory,
  load,
  readFile,
  resolve,
  verifiersToHand,
} from "./configuration.ts";
import { Consoles } from "./console.ts";
import { daemonVariables, letGoOfLauncher } from "./service/daemon.ts";
import { FileLimit } from "./service/file_limit.ts";
import { FirstProcess } from "./service/first_process.ts";
import { Hangs } from "./service/hangs.ts";
import { Losses } from "./losses.ts";
import { trimLater } from "./trim.ts";
import { ListenError, mailOf, type OpenListener, openListeners } from "./service/listeners.ts";
import { configuredFilter, reopenLog, startLog } from "./log.ts";
import { PidFile, PidFileError } from "./service/pid_file.ts";
import type { Program } from "./service/program.ts";
import { Reloader } from "./reload/reload.ts";
import { logRule, methodsRule, settingsRule } from "./reload/rules.ts";
import { Shutdown } from "./service/shutdown.ts";
import {
  type Interrupt,
  interruptMeans,
  type OperatorSignal,
  type Signals,
} from "./service/signals.ts";
import { SocketFiles } from "./service/socket_files.ts";
import type { Succession } from "./upgrade/successor.ts";
import { type Circumstances, Supervisor, type WorkerMail } from "./supervisor.ts";
import { ServiceManager, Watchdog, watchdogPeriod } from "./service/systemd.ts";
import { Upgrade } from "./upgrade/upgrade.ts";
import { Web, webDescriptors } from "./web.ts";
import { asks, WorkerRequests } from "./worker_requests.ts";

const TARGET = "pg_doorman::app";
const LOG_ENDS = "serving in the background: the log of this process ends here";

export class Doorman {
  readonly #log: LineLog;
  readonly #logPlace: ReturnType<typeof startLog>["place"];
  readonly #lostLogLines: () => number;
  readonly #supervisor: Supervisor;
  readonly #requests: WorkerRequests;
  readonly #consoles: Consoles;
  readonly #options: RunOptions;
  readonly #reloader: Reloader;
  readonly #shutdown: Shutdown;
  readonly #manager: ServiceManager;
  readonly #watchdog: Watchdog;
  readonly #hangs: Hangs;
  readonly #losses: Losses;
  readonly #interrupt: Interrupt;
  readonly #upgrade: Upgrade;
  readonly #web: Web;
  /** Ends when the last one that serves does. */
  readonly #first: FirstProcess | undefined = FirstProcess.find((name) => Deno.env.get(name));
  readonly #mockSecret: Uint8Array<ArrayBuffer>;
  readonly #upgradeTotals: UpgradeTotals;
  readonly #startedAtMs: number = Date.now();
  /** Of the process that this one took over from. */
  readonly #oldPid: number | undefined;
  #succession: Succession | undefined;
  #successor = false;
  #configured: Configured;
  #listeners: OpenListener[] = [];
  readonly #socketFiles = new SocketFiles();
  #pidFile: PidFile | undefined;
  readonly #fileLimit: FileLimit;
  /** Pools that a reload has taken out of the configuration may live on in these. */
  readonly #formerDatabases = new Set<string>();
  #serving = false;
  /** SIGHUP came before there was anything to reload. */
  #reloadWaits = false;
  /** SIGUSR2 came before. */
  #upgradeWaits = false;

  constructor(
    options: RunOptions,
    config: Config,
    start: { signals: Signals; program: Program; succession: Succession | undefined },
  ) {
    const { signals, program, succession } = start;
    this.#succession = succession;
    this.#successor = succession !== undefined;
    this.#oldPid = succession?.init.oldPid;
    this.#upgradeTotals = succession?.totals ?? newUpgradeTotals();
    this.#mockSecret = succession?.init.secrets.mock.slice() ??
      crypto.getRandomValues(new Uint8Array(32));
    this.#options = options;
    this.#configured = resolve(config, config.general.worker_threads);
    this.#fileLimit = new FileLimit(config.general.worker_threads, webDescriptors(config));
    const { log, place, lostLines } = startLog(options, config);
    this.#logPlace = place;
    this.#lostLogLines = lostLines;
    this.#log = log;
    this.#supervisor = new Supervisor({
      mail: (mail, worker) => this.#mail(mail, worker),
      died: (worker, message) => this.#losses.died(worker, message),
      restless: (worker, obstacle) => this.#losses.restless(worker, obstacle),
    });
    this.#losses = this.#makeLosses();
    this.#requests = new WorkerRequests((worker, mail) => this.#supervisor.send(worker, mail));
    this.#manager = new ServiceManager((name) => Deno.env.get(name), log);
    this.#hangs = new Hangs({
      ping: () => this.#supervisor.broadcast({ kind: "ping" }),
      heartbeats: () => this.#supervisor.heartbeats(),
      hangs: (worker, ms) => this.#losses.hangs(worker, ms),
    });
    this.#watchdog = new Watchdog(this.#manager, this.#supervisor, log);
    this.#reloader = this.#makeReloader(config, program);
    this.#shutdown = this.#makeShutdown();
    this.#upgrade = this.#makeUpgrade(program);
    this.#consoles = this.#makeConsoles();
    this.#web = new Web({
      log,
      admin: this.#consoles,
      supervisor: this.#supervisor,
      shutdown: this.#shutdown,
      upgrade: this.#upgrade,
      accepting: () => this.#serving || this.#successor,
      config: () => this.#reloader.config,
    });
    this.#interrupt = interruptMeans({
      daemon: options.daemon,
      terminal: Deno.stdin.isTerminal(),
      shutdownOnly: Deno.env.get("PG_DOORMAN_CI_SHUTDOWN_ONLY"),
    });
    signals.deliver((signal) => this.#signal(signal));
  }

  /** Starts everything; resolves when clients are accepted. Rejects with a ListenError when a socket can't be opened. */
  async start(load: LoadResult): Promise<void> {
    const { config, settings } = this.#configured;
    this.#log.info(TARGET, `PgDoorman ${VERSION}, process ${Deno.pid}`);
    for (const warning of load.warnings) this.#log.warn("pg_doorman::config", formatFault(warning));
    for (const notice of load.notices) this.#log.info("pg_doorman::config", formatFault(notice));
    if (this.#options.daemon && this.#succession === undefined) {
      this.#pidFile = PidFile.claim(fromStartDirectory(config.general.daemon_pid_file));
    }
    try {
      await this.#serve(config, settings);
    } catch (error) {
      this.#cleanUp();
      throw error;
    }
    if (this.#options.daemon) {
      if (!this.#logPlace.lasting) this.#log.info(TARGET, LOG_ENDS);
      letGoOfLauncher();
    }
    this.#serving = true;
    this.#manager.ready(this.#status());
    this.#succession = undefined;
    const watchdog = watchdogPeriod((name) => Deno.env.get(name), Deno.pid, this.#successor);
    if (watchdog !== undefined) this.#watchdog.start(watchdog);
    this.#hangs.start();
    if (this.#reloadWaits) this.#reloader.request("SIGHUP received during the start");
    if (this.#upgradeWaits) this.#upgrade.begin("SIGUSR2 received during the start");
  }

  async #serve(config: Config, settings: Configured["settings"]): Promise<void> {
    const succession = this.#succession;
    this.#fileLimit.check();
    this.#fileLimit.apply(settings, this.#supervisor.shared, this.#log);
    if (succession === undefined) this.#web.open();
    this.#listeners = succession?.listeners ?? await openListeners(config.general);
    this.#socketFiles.note(this.#listeners);
    await this.#supervisor.start({
      workers: config.general.worker_threads,
      ...this.#circumstances(),
      // A successor accepts when the old process has stopped to.
      listeners: succession === undefined ? mailOf(this.#listeners) : [],
      listening: this.#listeners,
      mockSecret: this.#mockSecret,
      clientTls: clientTlsOf(config),
    });
    if (succession !== undefined) await this.#takeOver(succession);
    for (const { name } of this.#listeners) this.#log.info(TARGET, `Running on ${name}`);
    this.#log.info(
      TARGET,
      `Accepting connections: pools=${settings.pools.length} workers=${config.general.worker_threads}`,
    );
  }

  /** What a worker that starts now is to know. */
  #circumstances(): Circumstances {
    return {
      listeners: mailOf(this.#listeners),
      settings: this.#configured.settings,
      logFilter: this.#log.filter,
      successor: this.#succession !== undefined,
    };
  }

  /** Resolves when the old process has nothing left. */
  async #takeOver(succession: Succession): Promise<void> {
    const { settings } = this.#configured;
    this.#log.info(TARGET, `taking over from process ${succession.init.oldPid}`);
    const reload = await succession.take({
      supervisor: this.#supervisor,
      settings,
      log: this.#log,
      accepting: () => {
        this.#first?.announce(Deno.pid);
        this.#log.info(TARGET, "accepting new connections");
      },
      complete: (metrics) => this.#web.takeOver(metrics),
    });
    if (reload) this.#reloadWaits = true;
    if (this.#options.daemon) {
      this.#pidFile = PidFile.takeOver(
        fromStartDirectory(this.#configured.config.general.daemon_pid_file),
      );
    }
  }

  // ── signals ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #signal(signal: OperatorSignal): void {
    const cause = `${signal} received`;
    switch (signal) {
      case "SIGTERM":
        this.#upgrade.abandon();
        this.#shutdown.atOnce(
          this.#upgrade.phase === "moving" ? `${cause} during a binary upgrade` : cause,
        );
        return;
      case "SIGINT":
        if (this.#shutdown.begun || this.#interrupt === "shutdown") this.#shutdown.gently(cause);
        else this.#beginUpgrade(`${cause} without a terminal`);
        return;
      case "SIGUSR2":
        this.#beginUpgrade(cause);
        return;
      case "SIGHUP":
        if (this.#shutdown.begun) this.#log.info(TARGET, `${cause} during a shutdown: ignored`);
        else if (!this.#serving) this.#reloadWaits = true;
        else {
          // The new process may have read the configuration before it was changed.
          this.#upgrade.reloadAfterwards();
          if (this.#upgrade.phase !== "moving") this.#reloader.request(cause);
          else this.#log.info(TARGET, `${cause} during a binary upgrade: for the new process`);
        }
        return;
      default:
        signal satisfies never;
    }
  }

  /** Where a binary upgrade begins: SIGUSR2, SIGINT without a terminal, UPGRADE. */
  #beginUpgrade(cause: string): void {
    if (this.#shutdown.begun) {
      this.#upgradeTotals.refused++;
      this.#log.warn(TARGET, `${cause} during a shutdown: ignored`);
    } else if (this.#serving) this.#upgrade.begin(cause);
    else if (this.#succession === undefined) this.#upgradeWaits = true;
    else {
      this.#upgradeTotals.refused++;
      this.#log.warn(TARGET, `${cause}: refused, the last binary upgrade is under way`);
    }
  }

  #makeUpgrade(program: Program): Upgrade {
    return new Upgrade({
      log: this.#log,
      program,
      configFile: this.#options.configFile,
      supervisor: this.#supervisor,
      secrets: () => ({
        mock: this.#mockSecret,
        salt: currentSaltSecret(),
        verifiers: verifiersToHand(this.#configured),
      }),
      totals: this.#upgradeTotals,
      directory: fromStartDirectory("."),
      variables: () => this.#options.daemon ? daemonVariables(fromStartDirectory("")) : {},
      passedOn: this.#first === undefined ? [] : [this.#first.fd],
      launched: this.#manager.present,
      listeners: () => this.#listeners,
      pools: () =>
        this.#configured.settings.pools.map(({ database, user }) => ({ database, user })),
      shutdownTimeoutMs: () => this.#configured.settings.general.shutdown_timeout,
      serveOn: () => {
        this.#losses.replaceAll();
        this.#first?.announce(Deno.pid);
        this.#manager.ready(this.#status());
      },
      handedOver: (pid) => {
        this.#first?.announce(pid);
        this.#manager.mainProcess(pid);
      },
      metrics: () => this.#web.snapshot(),
      exit: (gone) => void this.#web.leave(gone).then(() => Deno.exit(EXIT.ok)),
    });
  }

  #makeShutdown(): Shutdown {
    return new Shutdown({
      log: this.#log,
      presence: () => this.#supervisor.ask<PresenceRow>("presence"),
      drain: () => this.#supervisor.command({ name: "drain", database: undefined }),
      stopAccepting: () =>
        this.#supervisor.command({ name: "stop_accepting", database: undefined }),
      stopListening: () => this.#stopListening(),
      stopping: (status) => {
        this.#watchdog.stop();
        this.#hangs.stop();
        this.#manager.stopping(status);
      },
      shutdownTimeoutMs: () => this.#configured.settings.general.shutdown_timeout,
      exit: () => {
        this.#upgrade.leave();
        this.#cleanUp();
        Deno.exit(EXIT.ok);
      },
    });
  }

  #stopListening(): void {
    for (const { fd } of this.#listeners) libc.close(fd as Fd);
    this.#listeners = [];
    this.#removeSocketFiles();
  }

  /** While two processes have the same sockets, their files are the other one's, too. */
  #removeSocketFiles(): void {
    if (this.#succession !== undefined || this.#upgrade.phase === "moving") return;
    this.#socketFiles.remove();
  }

  /** Gives back what would outlive the process. */
  #cleanUp(): void {
    this.#removeSocketFiles();
    this.#pidFile?.remove();
    this.#pidFile = undefined;
  }

  // ── reload ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #makeReloader(config: Config, program: Program): Reloader {
    const log = this.#log;
    return new Reloader({
      log,
      config,
      load: () => load(this.#options.configFile),
      readFile,
      rules: [
        logRule(log, this.#logPlace, this.#options, (filter) => this.#setFilter(filter)),
        methodsRule(config, program),
        settingsRule({
          log,
          supervisor: this.#supervisor,
          configured: () => this.#configured,
          put: (configured) => this.#put(configured),
          workers: config.general.worker_threads,
        }),
      ],
      begun: () => {
        reopenLog(log, this.#logPlace);
        this.#manager.reloading();
      },
      ended: ({ ok }) => {
        if (!this.#shutdown.begun) {
          this.#manager.ready(ok ? this.#status() : `${this.#status()}; last reload was rejected`);
        }
      },
    });
  }

  #put(configured: Configured): void {
    for (const name of this.#configured.config.pools.keys()) {
      if (!configured.config.pools.has(name)) this.#formerDatabases.add(name);
    }
    this.#configured = configured;
    this.#fileLimit.apply(configured.settings, this.#supervisor.shared, this.#log);
  }

  #setFilter(filter: LogFilter): void {
    this.#log.setFilter(filter);
    this.#supervisor.broadcast({ kind: "log_filter", filter });
  }

  #status(): string {
    const { settings } = this.#configured;
    const names = this.#listeners.map(({ name }) => name).join(", ");
    return `serving ${settings.pools.length} pools on ${names}`;
  }

  // ── workers ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #mail(mail: WorkerMail, worker: number): void {
    if (asks(mail)) return this.#requests.take(worker, mail);
    switch (mail.kind) {
      case "log":
        this.#log.take(mail.record);
        return;
      case "admin_open":
        this.#consoles.opened(worker, mail);
        return;
      case "admin_request":
        this.#consoles.asked(worker, mail.client, mail.bytes);
        return;
      case "admin_closed":
        this.#consoles.closed(mail.client);
        return;
      case "collected":
        trimLater();
        return;
      case "frozen":
        this.#upgrade.frozen(worker, mail);
        return;
      case "held":
        this.#succession?.held(mail.ticket, mail.refused);
        return;
      case "thawed":
        this.#succession?.thawed(mail.ticket, mail.failed);
        return;
      case "cancel_elsewhere":
        this.#upgrade.cancel(mail.processId, mail.secret);
        void this.#succession?.cancel(mail.processId, mail.secret);
        return;
      default:
        mail satisfies never;
    }
  }

  #makeLosses(): Losses {
    return new Losses({
      log: this.#log,
      supervisor: this.#supervisor,
      circumstances: () => this.#circumstances(),
      // The new process has its pools already; in a shutdown nobody needs it.
      mayReplace: () => !this.#shutdown.begun && this.#upgrade.phase !== "moving",
      lost: (worker) => {
        this.#consoles.lost(worker);
        this.#requests.lost(worker);
        this.#succession?.lost(worker);
      },
      replaced: (worker) => this.#hangs.replaced(worker),
      failedToStart: () => {
        this.#cleanUp();
        Deno.exit(EXIT.failure);
      },
    });
  }

  #makeConsoles(): Consoles {
    const supervisor = this.#supervisor;
    return new Consoles({
      log: this.#log,
      ask: (what, most) => supervisor.ask(what, most),
      order: (command) => supervisor.command(command),
      send: (worker, mail) => supervisor.send(worker, mail),
      config: () => this.#reloader.config,
      hasDatabase: (name) =>
        this.#configured.config.pools.has(name) || this.#formerDatabases.has(name),
      configuredFilter: () => configuredFilter(this.#options, this.#reloader.config),
      setFilter: (filter) => this.#setFilter(filter),
      reload: (cause) => this.#reloader.request(cause),
      shutdown: (cause, waitFor) => void this.#shutdown.gently(cause, waitFor),
      upgradeObstacle: () => {
        const obstacle = this.#upgrade.obstacle();
        if (obstacle !== undefined) this.#upgradeTotals.refused++;
        return obstacle;
      },
      beginUpgrade: (cause) => this.#beginUpgrade(cause),
      workers: () => ({ running: supervisor.serving, lost: this.#losses.count }),
      lostLogLines: () => this.#lostLogLines(),
      upgrades: () => ({
        phase: this.#succession === undefined ? this.#upgrade.phase : "taking_over",
        pid: Deno.pid,
        startedAtMs: this.#startedAtMs,
        predecessorPid: this.#oldPid,
        totals: this.#upgradeTotals,
      }),
    });
  }
}

export { ListenError, PidFileError };
