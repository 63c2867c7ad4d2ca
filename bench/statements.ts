/**
 * `./denow task bench:statements`: 10,000 distinct prepared statements by 1,000 clients, more than the pool's cache holds
 * and far more than a server's, at a steady rate. In turns with the warm case, in which all clients use the same hundred.
 *
 *   --clients 1000   --statements 10000   --rate 2000   --seconds 5   --rounds 3   --short
 *
 * Each client prepares what it has not got and closes its eldest statement past a hundred, as drivers do. Prints latency,
 * memory, the caches' sizes and the servers' hit rate; exit status 1 when something is over its limit: a cache larger than
 * configured, more memory over the warm case than 1 KB for each statement that a client may have, or a p99 of more than
 * twice the warm one. A server is looked at for the Parse and again for the Bind, so that half of the looks always find the
 * statement.
 */

import { parseArgs } from "node:util";
import { ADMIN, Doorman, poolOf } from "../tests/support/doorman.ts";
import { Postgres } from "../tests/support/postgres.ts";
import { WireClient } from "../tests/support/wire_client.ts";
import * as wire from "../tests/support/wire_messages.ts";
import { print, say } from "../tools/say.ts";
import { median } from "./comparison.ts";
import { percentile } from "./pgbench.ts";

const WARM_STATEMENTS = 100;
const KEPT_BY_CLIENT = 100;
const POOL_CACHE = 8192;
const SERVER_CACHE = 1000;
const SERVERS = 20;
/** Of each statement of a client: its name and its place, and what the collector has not collected. */
const MOST_BYTES_A_STATEMENT = 1024;
const MOST_P99_RATIO = 2;
/** Log-ins at a time. */
const LOGINS = 50;
/** A query is about this long. */
const QUERY_BYTES = 600;

class Client {
  readonly #connection: Deno.TcpConn;
  readonly #reader = new wire.MessageReader();
  readonly #buffer = new Uint8Array(4096);
  /** What it has prepared, the eldest first. */
  readonly #prepared = new Set<number>();
  busy = false;

  private constructor(connection: Deno.TcpConn) {
    this.#connection = connection;
  }

  static async login(port: number): Promise<Client> {
    const client = new Client(await Deno.connect({ hostname: "127.0.0.1", port }));
    await client.#ask([wire.startup({ user: "postgres", database: "app" })]);
    return client;
  }

  async #ask(parts: Uint8Array[]): Promise<wire.Message[]> {
    for (const part of parts) {
      for (let at = 0; at < part.length;) at += await this.#connection.write(part.subarray(at));
    }
    const answer: wire.Message[] = [];
    for (;;) {
      for (let next = this.#reader.next(); next !== undefined; next = this.#reader.next()) {
        answer.push(next);
        if (next.type === "E") throw new Error(wire.errorFields(next).M);
        if (next.type === "Z") return answer;
      }
      const count = await this.#connection.read(this.#buffer);
      if (count === null) throw new Error("the pooler closed a connection");
      this.#reader.push(this.#buffer.subarray(0, count));
    }
  }

  /** Runs a statement and checks its answer. */
  async run(statement: number): Promise<void> {
    const name = `s${statement}`;
    const parts: Uint8Array[] = [];
    if (!this.#prepared.has(statement)) {
      if (this.#prepared.size >= KEPT_BY_CLIENT) {
        const [eldest] = this.#prepared;
        this.#prepared.delete(eldest!);
        parts.push(wire.close("S", `s${eldest}`));
      }
      this.#prepared.add(statement);
      parts.push(wire.parse(name, textOf(statement)));
    }
    parts.push(wire.bind("", name, ["7"]), wire.execute(), wire.SYNC);
    const [[value] = []] = wire.rowsOf(await this.#ask([wire.join(parts)]));
    if (value !== String(statement + 7)) throw new Error(`${name} returned ${value}`);
  }

  close(): void {
    this.#connection.close();
  }
}

function textOf(statement: number): string {
  return `SELECT $1::int + ${statement} /* ${"x".repeat(QUERY_BYTES)} */`;
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** So many requests a second by clients in turn; the sorted latencies in microseconds. A late one counts from its time. */
async function drive(
  clients: Client[],
  plan: { rate: number; seconds: number; statements: number },
): Promise<Float64Array> {
  const latencies: number[] = [];
  const running: Promise<void>[] = [];
  const count = plan.rate * plan.seconds;
  const begun = performance.now();
  let next = 0;
  for (let i = 0; i < count;) {
    const due = Math.min(count, Math.floor((performance.now() - begun) * plan.rate / 1000));
    for (; i < due; i++) {
      const client = clients[next++ % clients.length]!;
      // It has not answered in a whole turn: the next one is asked.
      if (client.busy) continue;
      client.busy = true;
      const meant = begun + i * 1000 / plan.rate;
      running.push(
        client.run(Math.floor(Math.random() * plan.statements)).then(() => {
          client.busy = false;
          latencies.push((performance.now() - meant) * 1000);
        }),
      );
    }
    await sleep(1);
  }
  await Promise.all(running);
  return Float64Array.from(latencies).sort();
}

/** Rows of the console, by the names of their columns. */
async function show(doorman: Doorman, what: string): Promise<Record<string, string>[]> {
  using admin = await WireClient.login({
    port: doorman.port,
    user: ADMIN.user,
    password: ADMIN.password,
    database: "pgdoorman",
  });
  const messages = await admin.query(`SHOW ${what}`);
  const body = messages.find(({ type }) => type === "T")!.body;
  const names: string[] = [];
  for (let at = 2; at < body.length; at += 18) {
    const end = body.indexOf(0, at);
    names.push(new TextDecoder().decode(body.subarray(at, end)));
    at = end + 1;
  }
  return wire.rowsOf(messages).map((row) =>
    Object.fromEntries(row.map((value, i) => [names[i]!, value ?? ""]))
  );
}

function sum(rows: Record<string, string>[], column: string): number {
  return rows.reduce((total, row) => total + Number(row[column]), 0);
}

const { values } = parseArgs({
  options: {
    clients: { type: "string", default: "1000" },
    statements: { type: "string", default: "10000" },
    rate: { type: "string", default: "2000" },
    seconds: { type: "string" },
    rounds: { type: "string" },
    short: { type: "boolean", default: false },
  },
});
const [clientCount, statements, rate] = [values.clients, values.statements, values.rate].map(
  Number,
) as [number, number, number];
const seconds = Number(values.seconds ?? (values.short ? "3" : "5"));
const rounds = Number(values.rounds ?? (values.short ? "1" : "3"));

/** Measures, and returns what is over its limit. */
async function measure(): Promise<string[]> {
  await using postgres = await Postgres.start({ settings: [`max_connections = ${SERVERS + 20}`] });
  await using doorman = await Doorman.start({
    config: {
      general: {
        max_connections: clientCount + 100,
        pg_hba: { content: "host all all 127.0.0.1/32 trust" },
        prepared_statements_cache_size: POOL_CACHE,
        server_prepared_statements_cache_size: SERVER_CACHE,
      },
      pools: {
        app: poolOf(postgres, {
          users: [{ username: "postgres", password: "postgres", pool_size: SERVERS }],
        }),
      },
    },
  });
  const clients: Client[] = [];
  const over: string[] = [];
  const row = (name: string, value: string, limit = "", exceeds = false) => {
    print(`${name.padEnd(48)}${value.padStart(12)}   ${limit}`);
    if (exceeds) over.push(name);
  };
  try {
    while (clients.length < clientCount) {
      const more = Math.min(LOGINS, clientCount - clients.length);
      const logins = Array.from({ length: more }, () => Client.login(doorman.port));
      clients.push(...await Promise.all(logins));
    }
    const warm = { rate, seconds, statements: WARM_STATEMENTS };
    const many = { rate, seconds, statements };
    // Compilers and caches warm up; twice, until memory has found its level.
    for (let i = 0; i < 2; i++) await drive(clients, warm);
    const before = doorman.rssKb();
    await drive(clients, many);
    const [p99Warm, p99Many]: [number[], number[]] = [[], []];
    let [hits, misses] = [0, 0];
    for (let round = 0; round < rounds; round++) {
      p99Warm.push(percentile(await drive(clients, warm), 0.99));
      const servers = await show(doorman, "SERVERS");
      p99Many.push(percentile(await drive(clients, many), 0.99));
      const after = await show(doorman, "SERVERS");
      hits += sum(after, "prepare_cache_hit") - sum(servers, "prepare_cache_hit");
      misses += sum(after, "prepare_cache_miss") - sum(servers, "prepare_cache_miss");
    }
    const after = doorman.rssKb();
    const [memory] = await show(doorman, "POOLS_MEMORY");
    const interned = await show(doorman, "INTERNER");
    const largest = Math.max(
      ...(await show(doorman, "SERVERS")).map((server) => Number(server.prepare_cache_size)),
    );
    const [slow, quick] = [median(p99Many) / 1000, median(p99Warm) / 1000];
    row("p99, the same hundred statements", `${quick.toFixed(2)} ms`);
    const limit = `<= ${MOST_P99_RATIO} times that`;
    row(
      `p99, ${statements} statements`,
      `${slow.toFixed(2)} ms`,
      limit,
      slow > MOST_P99_RATIO * quick,
    );
    const pooled = Number(memory!.pool_prepared_count);
    row("statements of the pool", String(pooled), `<= ${POOL_CACHE}`, pooled > POOL_CACHE);
    row(
      "statements of a server, at most",
      String(largest),
      `<= ${SERVER_CACHE}`,
      largest > SERVER_CACHE,
    );
    row("statements of all clients", memory!.client_prepared_count!);
    row("texts", String(sum(interned, "entries")));
    row("bytes of them", String(sum(interned, "bytes")));
    row("looks that found it on the server", `${(100 * hits / (hits + misses)).toFixed(1)} %`);
    row("memory in the warm case", `${(before / 1024).toFixed(0)} MB`);
    const more = (after - before) / 1024;
    const most = clientCount * KEPT_BY_CLIENT * MOST_BYTES_A_STATEMENT / 1024 ** 2;
    row(
      "memory more in the end",
      `${more.toFixed(0)} MB`,
      `< ${most.toFixed(0)} MB`,
      more >= most,
    );
  } finally {
    for (const client of clients) client.close();
  }
  return over;
}

const over = await measure();
for (const name of over) say(`over its limit: ${name}`);
Deno.exit(over.length > 0 ? 1 : 0);
