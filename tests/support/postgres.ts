/**
 * A real PostgreSQL server for tests, in a folder of its own, on a free TCP port and a Unix socket.
 *
 *     await using postgres = await Postgres.start({ settings: ["max_connections = 20"] });
 *     await postgres.query("SELECT 1 AS one");
 *
 * Leaving the scope stops the server and removes its folder, whether the test has passed or failed. Superuser is
 * `postgres` with password `postgres`. Over the Unix socket it is trusted, whatever the other rules say.
 *
 * `PG_DOORMAN_TEST_SERVER_TLS=1` gives TLS to servers of tests that say nothing of it, and their pools ask for it.
 */

import { join } from "node:path";
import pg from "pg";
import { Authority, type Certificate } from "./certificates.ts";
import {
  childrenOf,
  DetachedProcess,
  isRunning,
  readIfThere,
  waitFor,
} from "./detached_process.ts";
import { freePort } from "./ports.ts";
import { type Binaries, type Edition, findBinaries } from "./postgres_binaries.ts";
import { killProcessesIn, makeTestFolder, removeFolder } from "./test_folder.ts";

/** How PostgreSQL is told to stop: wait for clients, roll back and disconnect, or drop everything. */
export type StopMode = "smart" | "fast" | "immediate";

/** Options of a server under test. */
export interface PostgresOptions {
  /** PostgreSQL 18 from npm or Debian's 15. Default: 18, or what PG_DOORMAN_TEST_POSTGRES names. */
  edition?: Edition;
  /** Lines for postgresql.conf, after ours. */
  settings?: string[];
  /** Method for TCP connections from this machine. Default: trust. */
  auth?: "trust" | "password" | "md5" | "scram-sha-256";
  /** Lines for pg_hba.conf, before ours. */
  hba?: string[];
  /** TLS with this certificate and its key; `ca`: whose certificates clients may show; `only`: not without TLS by TCP. */
  tls?: { certificate: Certificate; ca?: Certificate; only?: boolean };
  /** TCP port; a free one if absent. */
  port?: number;
}

/** Whether pools ask servers for TLS in tests that are about something else. */
export const everywhereTls: boolean = Deno.env.get("PG_DOORMAN_TEST_SERVER_TLS") !== undefined;

/** A row as the driver returns it: column name to value. */
export type Row = Record<string, unknown>;

const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 30_000;
const STOP_SIGNALS: Record<StopMode, Deno.Signal> = {
  smart: "SIGTERM",
  fast: "SIGINT",
  immediate: "SIGQUIT",
};

export class Postgres {
  readonly port: number;
  /** Folder of the Unix socket `.s.PGSQL.<port>`. */
  readonly socketDir: string;
  /** The server's own folder: data, log, socket. */
  readonly folder: string;
  readonly #binaries: Binaries;
  readonly #options: PostgresOptions;
  #process: DetachedProcess | null = null;

  private constructor(
    place: { port: number; folder: string },
    binaries: Binaries,
    options: PostgresOptions,
  ) {
    this.port = place.port;
    this.folder = place.folder;
    this.socketDir = place.folder;
    this.#binaries = binaries;
    this.#options = options;
  }

  /** Starts a new server and waits until it takes connections. */
  static async start(options: PostgresOptions = {}): Promise<Postgres> {
    const server = await Postgres.create(options);
    try {
      await server.start();
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Makes a new server without starting it: nobody listens on its port yet. */
  static async create(options: PostgresOptions = {}): Promise<Postgres> {
    const binaries = await findBinaries(options.edition);
    const folder = await makeTestFolder("postgres");
    const place = { port: options.port ?? freePort(), folder };
    const server = new Postgres(place, binaries, options);
    try {
      if (binaries.user) await Deno.chown(folder, binaries.user.uid, binaries.user.gid);
      await server.#makeCluster();
      return server;
    } catch (error) {
      await removeFolder(folder);
      throw error;
    }
  }

  /** Connection URL for TCP, as superuser. */
  get url(): string {
    return this.urlFor("postgres");
  }

  /** Connection URL for TCP, as superuser, of a database. */
  urlFor(database: string): string {
    return `postgres://postgres:postgres@127.0.0.1:${this.port}/${database}`;
  }

  /** Major version of the server: 18. */
  get major(): number {
    return this.#binaries.major;
  }

  /** Process id of the postmaster. */
  get pid(): number {
    if (!this.#process) throw new Error("PostgreSQL is not running");
    return this.#process.pid;
  }

  get running(): boolean {
    return this.#process !== null && this.#process.running;
  }

  /** The server's log so far. */
  get log(): string {
    return readIfThere(join(this.folder, "postgres.log")) ?? "";
  }

  get #dataFolder(): string {
    return join(this.folder, "data");
  }

  async #makeCluster(): Promise<void> {
    const { user, template } = this.#binaries;
    const { success, stderr } = await new Deno.Command("cp", {
      args: ["-R", "--reflink=auto", template, this.#dataFolder],
      uid: user?.uid,
      gid: user?.gid,
      cwd: this.folder,
    }).output();
    if (!success) throw new Error(`cp: ${new TextDecoder().decode(stderr)}`);
    const auth = this.#options.auth ?? "trust";
    const settings = [
      "listen_addresses = '127.0.0.1'",
      `port = ${this.port}`,
      `unix_socket_directories = '${this.socketDir}'`,
      "unix_socket_permissions = 0777",
      "shared_buffers = 32MB",
      "max_wal_size = 256MB",
      // Data need not survive the test.
      "fsync = off",
      "synchronous_commit = off",
      "full_page_writes = off",
      "log_line_prefix = '%m [%p] %u@%d '",
      "log_timezone = 'UTC'",
      "timezone = 'UTC'",
      `password_encryption = '${auth === "md5" ? "md5" : "scram-sha-256"}'`,
      ...await this.#tlsSettings(),
      ...this.#options.settings ?? [],
    ];
    const host = this.#options.tls?.only ? "hostssl" : "host";
    const rules = [
      "local all postgres trust",
      ...this.#options.hba ?? [],
      "local all all trust",
      `${host} all all 127.0.0.1/32 ${auth}`,
      `${host} replication all 127.0.0.1/32 ${auth}`,
    ];
    await this.writeFile("postgresql.conf", settings.join("\n") + "\n");
    await this.writeFile("pg_hba.conf", rules.join("\n") + "\n");
  }

  async #tlsSettings(): Promise<string[]> {
    const { tls = everywhereTls ? { certificate: this.#newCertificate() } : undefined } =
      this.#options;
    if (tls === undefined) return [];
    await this.useCertificate(tls.certificate);
    const settings = ["ssl = on"];
    if (tls.ca !== undefined) {
      await this.writeFile("root.crt", new TextDecoder().decode(tls.ca.certificate));
      settings.push("ssl_ca_file = 'root.crt'");
    }
    return settings;
  }

  #newCertificate(): Certificate {
    const folder = join(this.folder, "certificates");
    Deno.mkdirSync(folder);
    return Authority.create(folder).issue({ name: "localhost" });
  }

  /** Writes the certificate that it shows, with its key; one that runs has to `reload`. */
  async useCertificate({ certificate, key }: Certificate): Promise<void> {
    await this.writeFile("server.crt", new TextDecoder().decode(certificate));
    await this.writeFile("server.key", new TextDecoder().decode(key));
  }

  /** Writes a file into the data folder, readable by the server alone (as it demands of key files). */
  async writeFile(name: string, text: string): Promise<string> {
    const path = join(this.#dataFolder, name);
    await Deno.writeTextFile(path, text);
    await Deno.chmod(path, 0o600);
    const { user } = this.#binaries;
    if (user) await Deno.chown(path, user.uid, user.gid);
    return path;
  }

  /** Starts the server (again) and waits until it takes connections. */
  async start(): Promise<void> {
    if (this.running) throw new Error("PostgreSQL runs already");
    const firstStart = this.#process === null;
    const launched = await DetachedProcess.launch({
      command: join(this.#binaries.bin, "postgres"),
      args: ["-D", this.#dataFolder],
      folder: this.folder,
      name: "postgres",
      env: { LC_ALL: "C", TZ: "UTC" },
      user: this.#binaries.user,
    });
    this.#process = launched;
    await waitFor("PostgreSQL takes connections", START_TIMEOUT_MS, () => {
      if (!launched.running) throw new Error(`PostgreSQL did not start:\n${this.log}`);
      // Line 1 is the process, since the file of a killed server stays; line 8 says what it is doing.
      const lines = (readIfThere(join(this.#dataFolder, "postmaster.pid")) ?? "").split("\n");
      return Number(lines[0]) === launched.pid && lines[7]?.trim() === "ready" || undefined;
    });
    if (firstStart && this.#options.auth === "md5") {
      // The template was made with a SCRAM verifier.
      await this.query("ALTER ROLE postgres PASSWORD 'postgres'");
    }
  }

  /** Stops the server and waits for its end. */
  async stop(mode: StopMode = "fast"): Promise<void> {
    if (!this.#process?.running) return;
    this.#process.signal(STOP_SIGNALS[mode]);
    await this.#process.waitForExit(STOP_TIMEOUT_MS);
  }

  /** Stops and starts the server on the same port. */
  async restart(mode: StopMode = "fast"): Promise<void> {
    await this.stop(mode);
    await this.start();
  }

  /** Kills all of the server's processes at once, as a power failure would. */
  async kill(): Promise<void> {
    if (!this.#process?.running) return;
    const pids = [this.pid, ...childrenOf(this.pid)];
    this.#signalAll(pids, "SIGKILL");
    await this.#process.waitForExit(STOP_TIMEOUT_MS);
    await waitFor(
      "end of all PostgreSQL processes",
      STOP_TIMEOUT_MS,
      () => !pids.some(isRunning) || undefined,
    );
  }

  /** Stops all of the server's processes with SIGSTOP: connections stay open and nobody answers. */
  suspend(): void {
    this.#signalAll([this.pid, ...childrenOf(this.pid)], "SIGSTOP");
  }

  /** Lets suspended processes go on. */
  resume(): void {
    this.#signalAll([this.pid, ...childrenOf(this.pid)], "SIGCONT");
  }

  #signalAll(pids: number[], signal: Deno.Signal): void {
    for (const pid of pids) {
      try {
        Deno.kill(pid, signal);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
    }
  }

  /** Makes the server read its configuration again. */
  reload(): void {
    this.#process?.signal("SIGHUP");
  }

  /** Runs SQL as superuser, past any pooler, and returns the rows of the last statement that has some. */
  async query<R extends Row = Row>(sql: string, database: string = "postgres"): Promise<R[]> {
    return await this.#run<R>(database, { text: sql });
  }

  /** Runs SQL as superuser and returns the rows as `psql -At` prints them: a line a row, `|` between columns. */
  async psql(sql: string, database: string = "postgres"): Promise<string> {
    const rows = await this.#run<unknown[]>(database, { text: sql, rowMode: "array" });
    return rows.map((row) => row.map(psqlValue).join("|")).join("\n");
  }

  async #run<R>(database: string, query: { text: string; rowMode?: "array" }): Promise<R[]> {
    const client = new pg.Client({
      host: this.socketDir,
      port: this.port,
      user: "postgres",
      database,
      application_name: "test support",
    });
    await client.connect();
    try {
      const result = await client.query(query) as { rows: R[] } | { rows: R[] }[];
      if (!Array.isArray(result)) return result.rows;
      return result.findLast((part) => part.rows.length > 0)?.rows ?? [];
    } finally {
      await client.end();
    }
  }

  /** Stops the server and removes its folder. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process?.running) {
      // A suspended process would not notice.
      this.resume();
      this.#process.signal("SIGQUIT");
      await this.#process.waitForExit(5_000).catch(() => this.kill());
    }
    killProcessesIn(this.folder);
    await removeFolder(this.folder);
  }
}

function psqlValue(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "boolean") return value ? "t" : "f";
  if (value instanceof Date) return value.toISOString();
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
