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

import { build } from "../../tools/build.ts";
import { say } from "../../tools/say.ts";
import { type DetachedProcess, readIfThere, type UnixUser } from "./detached_process.ts";
import { ADMIN, type Config, Instance } from "./instance.ts";
import { freePort } from "./ports.ts";
import { everywhereTls, type Postgres } from "./postgres.ts";
import { makeTestFolder } from "./test_folder.ts";

export { ADMIN, isListening, unexpectedFaults } from "./instance.ts";
export type { Config } from "./instance.ts";

/** Options of an instance under test. */
export interface DoormanOptions {
  /**
   * An object, or the whole text of a file in which `${PORT}` and `${DIR}` stand for the instance's port and folder.
   * To an object, `general.host`, `port`, `admin_username` and `admin_password` are added where they are absent.
   */
  config: Config | string;
  /** Name of the configuration file; its ending chooses the format of a text. */
  configName?: string;
  /** Another build than the one under test. */
  program?: string;
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

const START_TIMEOUT_MS = 20_000;
const STOP_TIMEOUT_MS = 15_000;
const CLOCK_TICK_MS = 10;
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
    ...(everywhereTls ? { server_tls_mode: "require" } : {}),
    ...pool,
  };
}

export class Doorman extends Instance {
  readonly #options: DoormanOptions;
  #process: DetachedProcess | null = null;
  #stopAsked = false;

  private constructor(place: { port: number; dir: string }, options: DoormanOptions) {
    super({ ...place, configName: options.configName ?? "pg_doorman.toml" }, options.allowLog);
    this.#options = options;
  }

  /** Starts an instance and waits until it listens. */
  static async start(options: DoormanOptions): Promise<Doorman> {
    const doorman = await Doorman.create(options);
    try {
      await doorman.start();
      return doorman;
    } catch (error) {
      await doorman.remove();
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

  /** Replaces the configuration file; the running instance does not learn of it until it is told. */
  async writeConfig(config: Config | string): Promise<void> {
    await this.writeConfigText(
      typeof config === "string"
        ? config.replaceAll("${PORT}", String(this.port)).replaceAll("${DIR}", this.dir)
        : this.configText(config),
    );
  }

  /** Starts the instance (again) and waits until it listens. */
  async start(): Promise<void> {
    if (this.running) throw new Error("pg_doorman runs already");
    this.#stopAsked = false;
    this.#process = await this.launch({
      command: [
        ...this.#options.launcher ?? [],
        this.#options.program ?? await doormanExecutable(),
        ...this.#options.args ?? [],
        this.configPath,
      ],
      env: this.#options.env,
      user: this.#options.user,
      timeoutMs: START_TIMEOUT_MS,
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

  /** Connection URL of a database for a user; the password is the user's name unless given. */
  url(database: string, user: string, password: string = user): string {
    const [name, secret] = [user, password].map(encodeURIComponent);
    return `postgres://${name}:${secret}@127.0.0.1:${this.port}/${encodeURIComponent(database)}`;
  }

  /** Connection URL of the admin console. */
  get adminUrl(): string {
    return this.url("pgdoorman", ADMIN.user, ADMIN.password);
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
    const lines = this.unexpectedFaults();
    if (lines.length > 0) faults.push(`unexpected in the log:\n${lines.join("\n")}`);
    await this.remove();
    if (Deno.env.get("PG_DOORMAN_TEST_LOGS")) say(`--- log of pg_doorman:\n${logs}`);
    if (faults.length > 0) {
      throw new Error(`${faults.join("\n")}\n--- end of its log:\n${logs.slice(-4000)}`);
    }
  }
}
