/**
 * `./denow task bench:idle`: what clients cost that do nothing. 1,000 of them must take less than 0.5 % of a core,
 * 10,000 less than 4 KB each over the empty process, and no CPU. Each has logged in, asked once, and sits there.
 *
 *   --few 1000   --many 10000   --seconds 30   --workers 2   --binary PATH   --short
 *   --tls   all of them by TLS 1.3: less than 10 KB each, 6 KB more than without
 *
 * Prints the figures, exit status 1 when one is over its limit.
 */

import { parseArgs } from "node:util";
import { Authority, type Certificate } from "../tests/support/certificates.ts";
import { Doorman, poolOf } from "../tests/support/doorman.ts";
import { Postgres } from "../tests/support/postgres.ts";
import { makeTestFolder, removeFolder } from "../tests/support/test_folder.ts";
import * as wire from "../tests/support/wire_messages.ts";
import { print, say } from "../tools/say.ts";
import { cpuBetween, readCpu } from "./process_cost.ts";

const MOST_CPU_PERCENT = 0.5;
const MOST_BYTES_A_CLIENT = 4096;
const MOST_BYTES_OF_TLS = 6144;
/** Log-ins at a time. */
const LOGINS = 50;
const QUERY = wire.query("SELECT 1");

/** Reads until ReadyForQuery has come. */
async function untilReady(connection: Deno.Conn, buffer: Uint8Array): Promise<void> {
  const reader = new wire.MessageReader();
  for (;;) {
    const count = await connection.read(buffer);
    if (count === null) throw new Error("the pooler closed a connection");
    reader.push(buffer.subarray(0, count));
    for (let next = reader.next(); next !== undefined; next = reader.next()) {
      if (next.type === "Z") return;
      if (next.type === "E") throw new Error(wire.errorFields(next).M);
    }
  }
}

class Crowd {
  readonly #port: number;
  readonly #authority: Certificate | undefined;
  readonly #connections: Deno.Conn[] = [];

  constructor(port: number, authority: Certificate | undefined) {
    this.#port = port;
    this.#authority = authority;
  }

  async #connect(): Promise<Deno.Conn> {
    const connection = await Deno.connect({ hostname: "127.0.0.1", port: this.#port });
    if (this.#authority === undefined) return connection;
    await connection.write(wire.SSL_REQUEST);
    const answer = new Uint8Array(1);
    if (await connection.read(answer) !== 1 || answer[0] !== 0x53) {
      throw new Error("the pooler has no TLS");
    }
    const caCerts = [new TextDecoder().decode(this.#authority.certificate)];
    return await Deno.startTls(connection, { hostname: "localhost", caCerts });
  }

  /** Adds clients until there are so many. */
  async growTo(count: number): Promise<void> {
    let begun = this.#connections.length;
    const logIn = async () => {
      const buffer = new Uint8Array(1 << 14);
      while (begun < count) {
        begun++;
        const connection = await this.#connect();
        this.#connections.push(connection);
        await connection.write(wire.startup({ user: "postgres", database: "app" }));
        await untilReady(connection, buffer);
        await connection.write(QUERY);
        await untilReady(connection, buffer);
      }
    };
    await Promise.all(Array.from({ length: LOGINS }, logIn));
  }

  close(): void {
    for (const connection of this.#connections.splice(0)) connection.close();
  }
}

function sleep(seconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

async function cpuPercent(pid: number, seconds: number): Promise<number> {
  const before = readCpu(pid);
  const started = performance.now();
  await sleep(seconds);
  const { userUs, systemUs } = cpuBetween(before, readCpu(pid));
  return (userUs + systemUs) / (performance.now() - started) / 10;
}

const { values } = parseArgs({
  options: {
    few: { type: "string", default: "1000" },
    many: { type: "string", default: "10000" },
    seconds: { type: "string", default: "30" },
    workers: { type: "string", default: "2" },
    binary: { type: "string" },
    short: { type: "boolean", default: false },
    tls: { type: "boolean", default: false },
  },
});
const [few, many] = [Number(values.few), Number(values.many)];
const seconds = values.short ? 3 : Number(values.seconds);
if (values.binary !== undefined) Deno.env.set("PG_DOORMAN_BINARY", values.binary);

/** Measures, and returns what is over its limit. */
async function measure(): Promise<string[]> {
  const folder = await makeTestFolder("idle");
  await using clean = new AsyncDisposableStack();
  clean.defer(() => removeFolder(folder));
  const authority = values.tls ? Authority.create(folder) : undefined;
  const certificate = authority?.issue({ name: "localhost" });
  await using postgres = await Postgres.start();
  await using doorman = await Doorman.start({
    config: {
      general: {
        max_connections: many + 100,
        worker_threads: Number(values.workers),
        pg_hba: { content: "host all all 127.0.0.1/32 trust" },
        ...(certificate === undefined ? {} : {
          tls_certificate: certificate.certificatePath,
          tls_private_key: certificate.keyPath,
        }),
      },
      pools: {
        app: poolOf(postgres, {
          users: [{ username: "postgres", password: "postgres", pool_size: 20 }],
        }),
      },
    },
  });
  const crowd = new Crowd(doorman.port, authority);
  await crowd.growTo(10);
  await sleep(2);
  const empty = doorman.rssKb();
  const mostBytes = MOST_BYTES_A_CLIENT + (values.tls ? MOST_BYTES_OF_TLS : 0);
  const over: string[] = [];
  const row = (name: string, value: string, limit = "", exceeds = false) => {
    print(`${name.padEnd(44)}${value.padStart(12)}   ${limit}`);
    if (exceeds) over.push(name);
  };
  row("memory without clients", `${empty} KB`);
  for (const count of [few, many]) {
    await crowd.growTo(count);
    await sleep(2);
    const memory = doorman.rssKb();
    const cpu = await cpuPercent(doorman.pid, seconds);
    const each = (memory - empty) * 1024 / count;
    const isMany = count === many;
    row(
      `CPU with ${count} idle clients`,
      `${cpu.toFixed(3)} %`,
      `< ${MOST_CPU_PERCENT} %`,
      cpu >= MOST_CPU_PERCENT,
    );
    row(`memory with ${count} idle clients`, `${memory} KB`);
    row(
      `memory each of ${count} idle clients`,
      `${Math.round(each)} B`,
      isMany ? `< ${mostBytes} B` : "",
      isMany && each >= mostBytes,
    );
  }
  crowd.close();
  await sleep(3);
  row("memory when they have left", `${doorman.rssKb()} KB`);
  return over;
}

const over = await measure();
for (const name of over) say(`over its limit: ${name}`);
Deno.exit(over.length > 0 ? 1 : 0);
