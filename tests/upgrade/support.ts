/**
 * An instance that is upgraded: a program file of its own that a rename replaces while it runs, the processes that
 * follow one another, and their common log.
 *
 *     await using service = await Service.start({ config });
 *     const { clients } = await service.upgrade();
 *
 * Leaving the scope stops the last process and fails the test if a process is left over, if one is a zombie, or if the
 * log has a warning or an error that the test had not announced.
 */

import assert from "node:assert/strict";
import { basename, join } from "node:path";
import { say } from "../../tools/say.ts";
import {
  type DetachedProcess,
  isRunning,
  readIfThere,
  waitFor,
} from "../support/detached_process.ts";
import { doormanExecutable } from "../support/doorman.ts";
import { ADMIN, type Config, Instance } from "../support/instance.ts";
import { freePort } from "../support/ports.ts";
import { everywhereTls, type Postgres } from "../support/postgres.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { type LoginOptions, WireClient, type WireTls } from "../support/wire_client.ts";
import { Authority } from "../support/certificates.ts";
import { clients } from "./with_tls.ts";

/** How to start an instance. */
export interface ServiceOptions {
  config: Config;
  /** The program's arguments; absent: the config file's path. */
  args?: string[];
  env?: Record<string, string>;
  /** How the program is called; `{path}` and `{dir}` are filled in. Absent: by its path. */
  call?: string[];
  /** Log lines of level WARN or ERROR that the test provokes. */
  allowLog?: RegExp[];
  /** It has a certificate, and clients log in with TLS. */
  tls?: boolean;
  /** How long its start may take; 20 s if absent. */
  startMs?: number;
}

/** What the log tells of an upgrade. */
export interface Upgraded {
  readyMs: number;
  doneMs: number;
  clients: number;
  servers: number;
  left: number;
}

const DONE =
  /binary upgrade: done after (\d+) ms, moved (\d+) clients and (\d+) servers to process (\d+), left behind (\d+)/;
const READY = /binary upgrade: process (\d+) ready after (\d+) ms/;

/** Two copies of the executable under test, made once a run: to replace one by the other takes a link and a rename. */
let copies: Promise<{ folder: string; files: string[] }> | undefined;

async function makeCopies(): Promise<{ folder: string; files: string[] }> {
  const folder = await makeTestFolder("programs");
  const files: string[] = [];
  for (const name of ["a", "b"]) {
    const file = join(folder, name);
    await Deno.copyFile(await doormanExecutable(), file);
    await Deno.chmod(file, 0o755);
    files.push(file);
  }
  return { folder, files };
}

/** Removes what `Service` shares; for the last step of a test file. */
export async function removeCopies(): Promise<void> {
  if (copies !== undefined) await removeFolder((await copies).folder);
  copies = undefined;
}

/** A user of a pool as the config file has it. */
export function userOf(settings: Config = {}): Config {
  return { username: "postgres", password: "postgres", pool_size: 5, ...settings };
}

/** A pool over a server. */
export function poolOf(postgres: Postgres, pool: Config = {}, user: Config = {}): Config {
  return {
    server_host: "127.0.0.1",
    server_port: postgres.port,
    server_database: "postgres",
    users: [userOf(user)],
    ...(everywhereTls ? { server_tls_mode: "require" } : {}),
    ...pool,
  };
}

export class Service extends Instance {
  readonly program: string;
  readonly #options: ServiceOptions;
  #launched: DetachedProcess | undefined;
  #pid = 0;
  #next = 0;
  /** The test ends it by itself. */
  endExpected = false;
  /** Signs its certificates, where its clients have TLS. */
  readonly authority: Authority | undefined;

  private constructor(dir: string, options: ServiceOptions) {
    super({ dir, port: freePort(), configName: "pg_doorman.toml" }, options.allowLog);
    this.program = join(dir, "bin", "pg_doorman");
    this.#options = options;
    if (!(options.tls ?? clients.tls)) return;
    this.authority = Authority.create(dir);
    this.renewCertificate();
  }

  /** A new certificate and key, in the same files. */
  renewCertificate(authority: Authority = this.authority!): void {
    const { certificate, key } = authority.issue({ name: "localhost" });
    Deno.writeFileSync(join(this.dir, "server.crt"), certificate);
    Deno.writeFileSync(join(this.dir, "server.key"), key, { mode: 0o600 });
  }

  /** What clients over TLS trust. */
  get tls(): WireTls | undefined {
    return this.authority && { ca: Deno.readTextFileSync(this.authority.certificatePath) };
  }

  /** The environment of programs with libpq: full verification where there is TLS. */
  get libpq(): Record<string, string> {
    if (this.authority === undefined) return {};
    return { PGSSLMODE: "verify-full", PGSSLROOTCERT: this.authority.certificatePath };
  }

  /** Makes the folder with program and configuration; nothing runs yet. */
  static async create(options: ServiceOptions): Promise<Service> {
    const service = new Service(await makeTestFolder("upgrade"), options);
    await Deno.mkdir(join(service.dir, "bin"));
    await service.replaceProgram();
    await service.writeConfig(options.config);
    return service;
  }

  static async start(options: ServiceOptions): Promise<Service> {
    const service = await Service.create(options);
    try {
      await service.start();
      return service;
    } catch (error) {
      await service.remove();
      throw error;
    }
  }

  async start(): Promise<void> {
    const { call = ["{path}"], args = [this.configPath], env = {}, startMs = 20_000 } =
      this.#options;
    const fill = (text: string) =>
      text.replaceAll("{path}", this.program).replaceAll("{dir}", this.dir);
    this.#launched = await this.launch({
      command: [...call.map(fill), ...args.map(fill)],
      env: Object.fromEntries(Object.entries(env).map(([name, value]) => [name, fill(value)])),
      timeoutMs: startMs,
      // A daemon's launcher ends when the daemon serves.
      mayEnd: (status) => status === 0,
    });
    this.#pid = this.#launched.pid;
    await this.started(1);
  }

  /** Puts another file of the program into its place, by rename. */
  async replaceProgram(path: string = this.program): Promise<void> {
    copies ??= makeCopies();
    const { files } = await copies;
    await this.replaceByFile(files[this.#next++ % 2]!, path);
  }

  /** Puts a file into the program's place, by rename. */
  async replaceByFile(file: string, path: string = this.program): Promise<void> {
    const unfinished = `${path}.new`;
    await Deno.link(file, unfinished);
    await Deno.rename(unfinished, path);
  }

  /** Puts a script into the program's place, by rename. */
  async replaceByScript(script: string): Promise<void> {
    const unfinished = `${this.program}.new`;
    await Deno.writeTextFile(unfinished, script, { mode: 0o755 });
    await Deno.rename(unfinished, this.program);
  }

  async writeConfig(config: Config): Promise<void> {
    const text = this.configText(config, {
      worker_threads: 2,
      ...this.authority !== undefined
        ? { tls_certificate: "{dir}/server.crt", tls_private_key: "{dir}/server.key" }
        : {},
    });
    await this.writeConfigText(text.replaceAll("{dir}", this.dir));
  }

  /** The status of the process that was started, once it has ended. */
  get launchedStatus(): number | undefined {
    return this.#launched?.exitStatus;
  }

  /** The process that serves now. */
  get pid(): number {
    return this.#pid;
  }

  /** The test has found out by itself which process serves. */
  set pid(pid: number) {
    this.#pid = pid;
  }

  signal(signal: Deno.Signal, pid: number = this.#pid): void {
    Deno.kill(pid, signal);
  }

  async waitForEnd(pid: number, timeoutMs: number = 5000): Promise<void> {
    await waitFor(`end of process ${pid}`, timeoutMs, () => !isRunning(pid) || undefined);
  }

  /** Replaces the program and asks for an upgrade; resolves when the new process is ready. */
  async begin(
    replace: () => Promise<void> = () => this.replaceProgram(),
  ): Promise<{ old: number; readyMs: number }> {
    const from = this.logs.length;
    const old = this.#pid;
    await replace();
    this.signal("SIGUSR2");
    const ready = await this.waitForLog(READY, 15_000, from);
    this.#pid = Number(ready[1]);
    return { old, readyMs: Number(ready[2]) };
  }

  /** A whole upgrade, until the old process is gone. */
  async upgrade(replace?: () => Promise<void>): Promise<Upgraded> {
    const from = this.logs.length;
    const { old, readyMs } = await this.begin(replace);
    const done = await this.waitForLog(DONE, 15_000, from);
    assert.equal(Number(done[4]), this.#pid);
    await this.waitForEnd(old);
    const [doneMs, clients, servers] = done.slice(1, 4).map(Number);
    return {
      readyMs,
      doneMs: doneMs!,
      clients: clients!,
      servers: servers!,
      left: Number(done[5]),
    };
  }

  /** Waits until so many processes have started, one after the other, and can be asked for an upgrade. */
  async started(count: number): Promise<void> {
    await waitFor(
      `start number ${count}`,
      10_000,
      () => this.logs.split("Accepting connections").length > count || undefined,
    );
  }

  /** The children of a process, zombies included. */
  children(pid: number = this.#pid): number[] {
    return (readIfThere(`/proc/${pid}/task/${pid}/children`) ?? "").trim().split(" ")
      .filter((word) => word !== "").map(Number);
  }

  /** Asks for an upgrade that has to fail; returns what the log says of it. */
  async failedUpgrade(timeoutMs: number = 15_000): Promise<string> {
    const from = this.logs.length;
    this.signal("SIGUSR2");
    await this.waitForLog(
      /BINARY UPGRADE (ABORTED|FAILED): this process serves on/,
      timeoutMs,
      from,
    );
    return this.logs.slice(from);
  }

  /** What the descriptors of a process are, by number. */
  descriptors(pid: number = this.#pid): Map<number, string> {
    const found = new Map<number, string>();
    for (const { name } of Deno.readDirSync(`/proc/${pid}/fd`)) {
      try {
        found.set(Number(name), Deno.readLinkSync(`/proc/${pid}/fd/${name}`));
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
    return found;
  }

  login(options: Partial<LoginOptions> = {}): Promise<WireClient> {
    return WireClient.login({
      port: this.port,
      user: "postgres",
      database: "app",
      tls: this.tls,
      ...options,
    } as LoginOptions);
  }

  console(): Promise<WireClient> {
    return this.login({ user: ADMIN.user, password: ADMIN.password, database: "pgdoorman" });
  }

  /** All processes of this instance, by their working directory or program. */
  processes(): number[] {
    const found: number[] = [];
    for (const { name } of Deno.readDirSync("/proc")) {
      if (!/^\d+$/.test(name)) continue;
      try {
        const program = Deno.readLinkSync(`/proc/${name}/exe`);
        const ours = program.startsWith(`${this.dir}/`) ||
          basename(program).startsWith("pg_doorman") &&
            Deno.readLinkSync(`/proc/${name}/cwd`) === this.dir;
        if (ours) found.push(Number(name));
      } catch (error) {
        if (
          error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied
        ) {
          continue;
        }
        if (error instanceof Error && /os error 3\b/.test(error.message)) continue;
        throw error;
      }
    }
    return found;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const faults: string[] = [];
    if (isRunning(this.#pid)) {
      this.signal("SIGCONT");
      this.signal("SIGTERM");
      await this.waitForEnd(this.#pid).catch((error) => faults.push(error.message));
    } else if (this.#launched !== undefined && !this.endExpected) {
      faults.push(`process ${this.#pid} had ended`);
    }
    const processes = this.processes();
    if (processes.length > 0) faults.push(`left over: processes ${processes.join(", ")}`);
    const log = this.logs;
    const lines = this.unexpectedFaults();
    if (lines.length > 0) faults.push(`unexpected in the log:\n${lines.join("\n")}`);
    for (const pid of processes) Deno.kill(pid, "SIGKILL");
    await this.remove();
    if (Deno.env.get("PG_DOORMAN_TEST_LOGS")) say(`--- log of pg_doorman:\n${log}`);
    if (faults.length > 0) {
      throw new Error(`${faults.join("\n")}\n--- end of its log:\n${log.slice(-6000)}`);
    }
  }
}

/** Samples the number of PostgreSQL's backends of an application's pools until it is stopped. */
export class BackendWatch {
  most = 0;
  samples = 0;
  #stopped = false;
  readonly #loop: Promise<void>;

  constructor(postgres: Postgres, periodMs: number = 50) {
    this.#loop = this.#run(postgres, periodMs);
  }

  async #run(postgres: Postgres, periodMs: number): Promise<void> {
    using client = await WireClient.login({
      port: postgres.port,
      user: "postgres",
      database: "template1",
    });
    while (!this.#stopped) {
      const count = await client.value(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = 'postgres' " +
          "AND backend_type = 'client backend'",
      );
      this.most = Math.max(this.most, Number(count));
      this.samples++;
      await new Promise((resolve) => setTimeout(resolve, periodMs));
    }
  }

  async stop(): Promise<number> {
    this.#stopped = true;
    await this.#loop;
    return this.most;
  }
}
