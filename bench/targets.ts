/**
 * The ways to the same PostgreSQL that are compared: direct, through PgBouncer, through PgDoorman, and through another
 * build of it, the base of a change. All by TCP on this machine, trusted, with the same pool size in transaction mode.
 *
 * PG_DOORMAN_BENCH_PGBOUNCER names the PgBouncer to compare with, where the installed one is not meant: Debian's is
 * older than 1.21 and has no prepared statements in transaction mode. PG_DOORMAN_BENCH_BASE names the other build.
 */

import { join } from "node:path";
import type { Certificate } from "../tests/support/certificates.ts";
import { DetachedProcess, waitFor } from "../tests/support/detached_process.ts";
import { Doorman, isListening } from "../tests/support/doorman.ts";
import { freePort } from "../tests/support/ports.ts";
import type { Postgres } from "../tests/support/postgres.ts";
import { serverUser } from "../tests/support/postgres_binaries.ts";
import { makeTestFolder, removeFolder } from "../tests/support/test_folder.ts";

/** Name of a target. */
export type TargetName = "direct" | "pgbouncer" | "base" | "doorman";

/** A running target. */
export interface Target extends AsyncDisposable {
  name: TargetName;
  port: number;
  /** The pooler's process; none for a direct connection. */
  pid: number | null;
  version: string;
}

/** Whose connections are encrypted. */
export type Encrypted = "none" | "client" | "both";

/** What the targets have in common. */
export interface TargetOptions {
  poolSize: number;
  workers: number;
  encrypted: Encrypted;
  /** Towards clients, where those have TLS. */
  certificate: Certificate | undefined;
}

const START_TIMEOUT_MS = 10_000;
const MAX_CLIENTS = 2000;
/** PgBouncer's own default from 1.24 on; before that it was 0. */
const PREPARED_STATEMENTS = 200;

async function versionOf(program: string): Promise<string | null> {
  try {
    const { stdout } = await new Deno.Command(program, { args: ["--version"] }).output();
    return new TextDecoder().decode(stdout).split("\n", 1)[0]!.trim();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

interface Program {
  path: string;
  version: string;
}

async function findPgbouncer(): Promise<Program | null> {
  const named = Deno.env.get("PG_DOORMAN_BENCH_PGBOUNCER");
  for (const path of named ? [named] : ["pgbouncer", "/usr/sbin/pgbouncer"]) {
    const version = await versionOf(path);
    if (version !== null) return { path, version };
  }
  if (named) throw new Error(`PG_DOORMAN_BENCH_PGBOUNCER: ${named}: no such program`);
  return null;
}

/** Version of the PgBouncer to compare with, or null if none is installed. */
export async function pgbouncerVersion(): Promise<string | null> {
  return (await findPgbouncer())?.version ?? null;
}

/** PgBouncer learnt to keep prepared statements in transaction mode in 1.21. */
export function keepsPrepared(version: string): boolean {
  const found = /(\d+)\.(\d+)/.exec(version);
  if (found === null) return false;
  const [major, minor] = found.slice(1).map(Number);
  return major! > 1 || minor! >= 21;
}

/** Version of the installed pgbench, or null if there is none. */
export function pgbenchVersion(): Promise<string | null> {
  return versionOf("pgbench");
}

async function startPgbouncer(postgres: Postgres, options: TargetOptions): Promise<Target> {
  const program = await findPgbouncer();
  if (program === null) throw new Error("PgBouncer is not installed");
  const folder = await makeTestFolder("pgbouncer");
  const port = freePort();
  const user = serverUser();
  const tls = options.certificate === undefined ? "" : `client_tls_sslmode = require
client_tls_cert_file = ${join(folder, "server.crt")}
client_tls_key_file = ${join(folder, "server.key")}`;
  if (options.certificate !== undefined) {
    const { certificate, key } = options.certificate;
    await Deno.writeFile(join(folder, "server.crt"), certificate);
    await Deno.writeFile(join(folder, "server.key"), key);
    if (user) await Deno.chown(join(folder, "server.key"), user.uid, user.gid);
  }
  await Deno.writeTextFile(join(folder, "users.txt"), '"postgres" "postgres"\n');
  await Deno.writeTextFile(
    join(folder, "pgbouncer.ini"),
    `[databases]
postgres = host=127.0.0.1 port=${postgres.port} dbname=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${join(folder, "users.txt")}
pool_mode = transaction
default_pool_size = ${options.poolSize}
max_client_conn = ${MAX_CLIENTS}
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
server_tls_sslmode = ${options.encrypted === "both" ? "require" : "disable"}
${tls}
${keepsPrepared(program.version) ? `max_prepared_statements = ${PREPARED_STATEMENTS}\n` : ""}`,
  );
  if (user) await Deno.chown(folder, user.uid, user.gid);
  const launched = await DetachedProcess.launch({
    command: program.path,
    args: [join(folder, "pgbouncer.ini")],
    folder,
    name: "pgbouncer",
    user,
  });
  await waitFor("PgBouncer listens", START_TIMEOUT_MS, () => {
    if (!launched.running) throw new Error(`PgBouncer did not start:\n${launched.log}`);
    return isListening(port) || undefined;
  });
  return {
    name: "pgbouncer",
    port,
    pid: launched.pid,
    version: program.version,
    async [Symbol.asyncDispose]() {
      launched.signal("SIGKILL");
      await launched.waitForExit(START_TIMEOUT_MS);
      await removeFolder(folder);
    },
  };
}

async function startDoorman(
  name: "base" | "doorman",
  postgres: Postgres,
  options: TargetOptions,
): Promise<Target> {
  const doorman = await Doorman.start({
    program: name === "base" ? baseBinary() : undefined,
    config: {
      general: {
        max_connections: MAX_CLIENTS,
        worker_threads: options.workers,
        pg_hba: "host all all 127.0.0.1/32 trust",
        server_tls_mode: options.encrypted === "both" ? "require" : "disable",
        ...(options.certificate === undefined ? {} : {
          tls_certificate: options.certificate.certificatePath,
          tls_private_key: options.certificate.keyPath,
        }),
      },
      pools: {
        postgres: {
          server_host: "127.0.0.1",
          server_port: postgres.port,
          pool_mode: "transaction",
          users: [{ username: "postgres", password: "postgres", pool_size: options.poolSize }],
        },
      },
    },
  });
  return {
    name,
    port: doorman.port,
    pid: doorman.pid,
    version: name === "base" ? `pg_doorman, ${baseBinary()}` : "pg_doorman, this source tree",
    [Symbol.asyncDispose]: () => doorman[Symbol.asyncDispose](),
  };
}

async function direct(postgres: Postgres): Promise<Target> {
  return {
    name: "direct",
    port: postgres.port,
    pid: null,
    version: `PostgreSQL ${await postgres.psql("SHOW server_version")}`,
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** The build that a change is compared with, if there is one. */
export function baseBinary(): string | undefined {
  return Deno.env.get("PG_DOORMAN_BENCH_BASE") || undefined;
}

/** Starts a target. */
export function startTarget(
  name: TargetName,
  postgres: Postgres,
  options: TargetOptions,
): Promise<Target> {
  switch (name) {
    case "direct":
      return direct(postgres);
    case "pgbouncer":
      return startPgbouncer(postgres, options);
    case "base":
      return startDoorman("base", postgres, options);
    case "doorman":
      return startDoorman("doorman", postgres, options);
  }
}
