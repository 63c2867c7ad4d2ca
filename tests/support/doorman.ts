/**
 * PgDoorman under test: the compiled executable with a configuration of its own, in a folder of its own.
 *
 *     await using postgres = await Postgres.start();
 *     await using doorman = await Doorman.start({ config: { pools: { app: poolOf(postgres) } } });
 *     const client = new pg.Client({ connectionString: doorman.url("app", "postgres") });
 *
 * Leaving the scope stops it and fails the test if it had died before, did not stop on SIGTERM, or wrote a warning or an
 * error that the test had not announced in `allowLog`. `PG_DOORMAN_TEST_LOGS=1` prints the log of every instance.
 */

import { join } from "node:path";
import { stringify } from "smol-toml";
import { build } from "../../tools/build.ts";
import { say } from "../../tools/say.ts";
import { DetachedProcess, readIfThere, type UnixUser, waitFor } from "./detached_process.ts";
import { freePort } from "./ports.ts";
import type { Postgres } from "./postgres.ts";
import { killProcessesIn, makeTestFolder, removeFolder } from "./test_folder.ts";

/** A value of a configuration given as an object. */
export type ConfigValue =
  | string
  | number
  | boolean
  | ConfigValue[]
  | { [key: string]: ConfigValue };

/** A configuration given as an object: tables and keys as in the file. */
export type Config = { [key: string]: ConfigValue };

/** Options of an instance under test. */
export interface DoormanOptions {
  /**
   * An object, or the whole text of a file in which `${PORT}` and `${DIR}` stand for the instance's port and folder.
   * To an object, `general.host`, `port`, `admin_username` and `admin_password` are added where they are absent.
   */
  config: Config | string;
  /** Name of the configuration file; its ending chooses the format of a text. */
  configName?: string;
  /** Command line before the configuration file. */
  args?: string[];
  env?: Record<string, string>;
  /** A command that runs the one behind it in its own process, such as `nice -n 5`. */
  launcher?: string[];
  /** Log lines of level WARN or ERROR that this test provokes. */
  allowLog?: RegExp[];
  /** TCP port; a free one if absent. */
  port?: number;
  /** Exit status that the test provokes, if not 0 on SIGTERM. */
  allowExit?: number[];
  user?: UnixUser;
}

/** Name and password of the admin user that `Doorman` puts into a configuration. */
export const ADMIN = { user: "admin", password: "admin-secret" } as const;

const START_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 15_000;
const CLOCK_TICK_MS = 10;
/** What the command line would else take from the environment of the tests. */
const FOREIGN_ENVIRONMENT = [
  "CONFIG_FILE",
  "LOG_LEVEL",
  "LOG_FORMAT",
  "DAEMON",
  "INHERIT_FD",
  "NOTIFY_SOCKET",
];
const FAULT_IN_LOG =
  /^(?:\S+\s+){0,3}\[?(?:WARN|ERROR|FATAL)\b|"level":\s*"(?:warn|error|fatal)"|^error: |^thread '.*panicked|\bUncaught\b/i;

let executable: Promise<string> | undefined;

/** The executable under test: made from the present sources, or the one that PG_DOORMAN_BINARY names. */
export function doormanExecutable(): Promise<string> {
  const named = Deno.env.get("PG_DOORMAN_BINARY");
  if (named) return Promise.resolve(named);
  executable ??= build().then(({ path }) => path);
  return executable;
}

/** A pool table for a server under test, with superuser `postgres` as its only user unless `pool` names others. */
export function poolOf(postgres: Postgres, pool: Config = {}): Config {
  return {
    server_host: "127.0.0.1",
    server_port: postgres.port,
    server_database: "postgres",
    users: [{ username: "postgres", password: "postgres", pool_size: 10 }],
    ...pool,
  };
}

/** True if some process of this machine listens on a TCP port. */
export function isListening(port: number): boolean {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    for (const line of (readIfThere(table) ?? "").split("\n")) {
      const [, local, , state] = line.trim().split(/\s+/);
      if (state === "0A" && local?.endsWith(wanted)) return true;
    }
  }
  return false;
}

function configText(options: DoormanOptions, port: number, dir: string): string {
  const { config } = options;
  if (typeof config === "string") {
    return config.replaceAll("${PORT}", String(port)).replaceAll("${DIR}", dir);
  }
  const general = {
    host: "127.0.0.1",
    port,
    admin_username: ADMIN.user,
    admin_password: ADMIN.password,
    ...config.general as Config | undefined,
  };
  return stringify({ ...config, general });
}

/** Log lines that tell of a fault and that none of the patterns allows. */
export function unexpectedFaults(log: string, allowed: RegExp[]): string[] {
  return log.split("\n").filter((line) =>
    FAULT_IN_LOG.test(line) && !allowed.some((pattern) => pattern.test(line))
  );
}

export class Doorman {
  readonly port: number;
  /** Folder of configuration and log; also its working directory. */
  readonly dir: string;
  readonly configPath: string;
  readonly #options: DoormanOptions;
  readonly #allowedLog: RegExp[];
  #process: DetachedProcess | null = null;
  #stopAsked = false;

  private constructor(place: { port: number; dir: string }, options: DoormanOptions) {
    this.port = place.port;
    this.dir = place.dir;
    this.configPath = join(place.dir, options.configName ?? "pg_doorman.toml");
    this.#options = options;
    this.#allowedLog = [...options.allowLog ?? []];
  }

  /** Starts an instance and waits until it listens. */
  static async start(options: DoormanOptions): Promise<Doorman> {
    const doorman = await Doorman.create(options);
    try {
      await doorman.start();
      return doorman;
    } catch (error) {
      await doorman.#remove();
      throw error;
    }
  }

  /** Makes folder and configuration of an instance without starting it. */
  static async create(options: DoormanOptions): Promise<Doorman> {
    const dir = await makeTestFolder("doorman");
    const doorman = new Doorman({ port: options.port ?? freePort(), dir }, options);
    await doorman.writeConfig(options.config);
    if (options.user) {
      await Deno.chown(dir, options.user.uid, options.user.gid);
      await Deno.chown(doorman.configPath, options.user.uid, options.user.gid);
    }
    return doorman;
  }

  /** Replaces the configuration file, by rename; the running instance does not learn of it until it is told. */
  async writeConfig(config: Config | string): Promise<void> {
    const text = configText({ ...this.#options, config }, this.port, this.dir);
    const unfinished = `${this.configPath}.new`;
    await Deno.writeTextFile(unfinished, text);
    await Deno.rename(unfinished, this.configPath);
  }

  /** Starts the instance (again) and waits until it listens. */
  async start(): Promise<void> {
    if (this.running) throw new Error("pg_doorman runs already");
    this.#stopAsked = false;
    const launched = await DetachedProcess.launch({
      command: "env",
      args: [
        ...FOREIGN_ENVIRONMENT.flatMap((name) => ["-u", name]),
        ...Object.entries(this.#options.env ?? {}).map(([name, value]) => `${name}=${value}`),
        ...this.#options.launcher ?? [],
        await doormanExecutable(),
        ...this.#options.args ?? [],
        this.configPath,
      ],
      folder: this.dir,
      name: "doorman",
      user: this.#options.user,
    });
    this.#process = launched;
    await waitFor(`pg_doorman listens on port ${this.port}`, START_TIMEOUT_MS, () => {
      if (!launched.running) {
        throw new Error(`pg_doorman ended with status ${launched.exitStatus}:\n${this.logs}`);
      }
      return isListening(this.port) || undefined;
    }).catch((error) => {
      throw new Error(`${error.message}\n${this.logs}`, { cause: error });
    });
  }

  /** Process id. */
  get pid(): number {
    if (!this.#process) throw new Error("pg_doorman is not running");
    return this.#process.pid;
  }

  get running(): boolean {
    return this.#process !== null && this.#process.running;
  }

  /** Exit status, or undefined while it runs. */
  get exitStatus(): number | undefined {
    return this.#process?.exitStatus;
  }

  /** Everything that it has written to stdout and stderr. */
  get logs(): string {
    return readIfThere(join(this.dir, "doorman.log")) ?? "";
  }

  /** Connection URL of a database for a user; the password is the user's name unless given. */
  url(database: string, user: string, password: string = user): string {
    const [name, secret] = [user, password].map(encodeURIComponent);
    return `postgres://${name}:${secret}@127.0.0.1:${this.port}/${encodeURIComponent(database)}`;
  }

  /** Connection URL of the admin console. */
  get adminUrl(): string {
    return this.url("pgdoorman", ADMIN.user, ADMIN.password);
  }

  /** Announces more log lines of level WARN or ERROR that the test provokes from here on. */
  allowLog(...patterns: RegExp[]): void {
    this.#allowedLog.push(...patterns);
  }

  /** Sends a signal. One that ends the process must be followed by `waitForExit`. */
  signal(signal: Deno.Signal): void {
    if (!this.#process?.signal(signal)) throw new Error(`${signal}: pg_doorman is not running`);
  }

  /** Waits for the end and returns the exit status: from here on its end is no surprise. */
  async waitForExit(timeoutMs: number = STOP_TIMEOUT_MS): Promise<number> {
    if (!this.#process) throw new Error("pg_doorman is not running");
    const status = await this.#process.waitForExit(timeoutMs);
    this.#stopAsked = true;
    return status;
  }

  /** Stops it and returns the exit status. */
  async stop(signal: Deno.Signal = "SIGTERM"): Promise<number> {
    this.signal(signal);
    return await this.waitForExit();
  }

  /** Waits for a log line and returns the match. Only what was written at or after `from` (an index) counts. */
  async waitForLog(
    pattern: RegExp,
    timeoutMs: number = 5_000,
    from: number = 0,
  ): Promise<RegExpMatchArray> {
    try {
      return await waitFor(
        `log line ${pattern}`,
        timeoutMs,
        () => this.logs.slice(from).match(pattern) ?? undefined,
      );
    } catch (error) {
      throw new Error(`${(error as Error).message}; the log:\n${this.logs}`, { cause: error });
    }
  }

  /** Number of open descriptors. */
  fdCount(): number {
    return [...Deno.readDirSync(`/proc/${this.pid}/fd`)].length;
  }

  /** Resident memory in KB. */
  rssKb(): number {
    const status = readIfThere(`/proc/${this.pid}/status`) ?? "";
    return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]);
  }

  /** CPU time of all threads so far, user and system together, in milliseconds. */
  cpuMs(): number {
    const stat = readIfThere(`/proc/${this.pid}/stat`) ?? "";
    // The command's name may hold anything; the fields begin behind its closing parenthesis.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) * CLOCK_TICK_MS;
  }

  async #remove(): Promise<void> {
    killProcessesIn(this.dir);
    await removeFolder(this.dir);
  }

  /** Stops it, judges its log and removes its folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    const faults: string[] = [];
    const launched = this.#process;
    if (launched && !this.#stopAsked) {
      const allowed = this.#options.allowExit ?? [0];
      if (!launched.running) {
        if (!this.#options.allowExit?.includes(launched.exitStatus!)) {
          faults.push(`pg_doorman had ended by itself with status ${launched.exitStatus}`);
        }
      } else {
        launched.signal("SIGCONT");
        launched.signal("SIGTERM");
        try {
          const status = await launched.waitForExit(STOP_TIMEOUT_MS);
          if (!allowed.includes(status)) faults.push(`pg_doorman ended with status ${status}`);
        } catch (error) {
          faults.push(`pg_doorman did not stop on SIGTERM: ${(error as Error).message}`);
        }
      }
    }
    const { logs } = this;
    const lines = unexpectedFaults(logs, this.#allowedLog);
    if (lines.length > 0) faults.push(`unexpected in the log:\n${lines.join("\n")}`);
    await this.#remove();
    if (Deno.env.get("PG_DOORMAN_TEST_LOGS")) say(`--- log of pg_doorman:\n${logs}`);
    if (faults.length > 0) {
      throw new Error(`${faults.join("\n")}\n--- end of its log:\n${logs.slice(-4000)}`);
    }
  }
}
