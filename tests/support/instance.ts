/**
 * What every PgDoorman under test has: a folder with its configuration and its log, a port, and the log lines that the
 * test has announced. `Doorman` is one process (doorman.ts), `Service` those that follow one another by binary upgrades
 * (../upgrade/support.ts).
 */

import { join } from "node:path";
import { stringify } from "smol-toml";
import { DetachedProcess, readIfThere, type UnixUser, waitFor } from "./detached_process.ts";
import { killProcessesIn, removeFolder } from "./test_folder.ts";

/** A value of a configuration given as an object. */
export type ConfigValue =
  | string
  | number
  | boolean
  | ConfigValue[]
  | { [key: string]: ConfigValue };

/** A configuration given as an object: tables and keys as in the file. */
export type Config = { [key: string]: ConfigValue };

/** Name and password of the admin user that an instance under test has. */
export const ADMIN = { user: "admin", password: "admin-secret" } as const;

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

/** Log lines that tell of a fault and that none of the patterns allows. */
export function unexpectedFaults(log: string, allowed: RegExp[]): string[] {
  return log.split("\n").filter((line) =>
    FAULT_IN_LOG.test(line) && !allowed.some((pattern) => pattern.test(line))
  );
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

/** How to start a process of an instance. */
export interface Launch {
  /** Program and arguments. */
  command: string[];
  env?: Record<string, string>;
  user?: UnixUser;
  timeoutMs: number;
  /** Whether it may have ended with this status before the port is listened on, as a launcher has. */
  mayEnd?: (status: number) => boolean;
}

export abstract class Instance {
  readonly port: number;
  /** Folder of configuration and log; also its working directory. */
  readonly dir: string;
  readonly configPath: string;
  readonly #allowedLog: RegExp[];

  protected constructor(
    place: { port: number; dir: string; configName: string },
    allowLog: readonly RegExp[] = [],
  ) {
    this.port = place.port;
    this.dir = place.dir;
    this.configPath = join(place.dir, place.configName);
    this.#allowedLog = [...allowLog];
  }

  /** Everything that its processes have written to stdout and stderr. */
  get logs(): string {
    return readIfThere(join(this.dir, "doorman.log")) ?? "";
  }

  /** Announces more log lines of level WARN or ERROR that the test provokes from here on. */
  allowLog(...patterns: RegExp[]): void {
    this.#allowedLog.push(...patterns);
  }

  protected unexpectedFaults(): string[] {
    return unexpectedFaults(this.logs, this.#allowedLog);
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
      throw new Error(`${(error as Error).message}; the log:\n${this.logs.slice(-6000)}`, {
        cause: error,
      });
    }
  }

  /** A configuration's text, with what tests need to reach the instance where it is absent. */
  protected configText(config: Config, more: Config = {}): string {
    const general = {
      host: "127.0.0.1",
      port: this.port,
      admin_username: ADMIN.user,
      admin_password: ADMIN.password,
      // Each takes a tenth of a second of CPU time at every start.
      worker_threads: 2,
      ...more,
      ...config.general as Config | undefined,
    };
    return stringify({ ...config, general });
  }

  /** Replaces the configuration file, by rename; what runs does not learn of it until it is told. */
  async writeConfigText(text: string): Promise<void> {
    const unfinished = `${this.configPath}.new`;
    await Deno.writeTextFile(unfinished, text);
    await Deno.rename(unfinished, this.configPath);
  }

  /** Starts a process and waits until the port is listened on. */
  protected async launch(options: Launch): Promise<DetachedProcess> {
    const { command, env = {}, user, timeoutMs, mayEnd } = options;
    const launched = await DetachedProcess.launch({
      command: "env",
      args: [
        ...FOREIGN_ENVIRONMENT.flatMap((name) => ["-u", name]),
        ...Object.entries(env).map(([name, value]) => `${name}=${value}`),
        ...command,
      ],
      folder: this.dir,
      name: "doorman",
      user,
    });
    await waitFor(`pg_doorman listens on port ${this.port}`, timeoutMs, () => {
      const status = launched.exitStatus;
      if (status !== undefined && !mayEnd?.(status)) {
        throw new Error(`pg_doorman ended with status ${status}:\n${this.logs}`);
      }
      return isListening(this.port) || undefined;
    }).catch((error) => {
      throw new Error(`${error.message}\n${this.logs}`, { cause: error });
    });
    return launched;
  }

  /** Removes the folder, and what still runs in it. */
  protected async remove(): Promise<void> {
    killProcessesIn(this.dir);
    await removeFolder(this.dir);
  }
}
