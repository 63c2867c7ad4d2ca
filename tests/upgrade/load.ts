/**
 * What clients under load see of upgrades: pgbench, a loop of new connections, thousands of idle clients, long copies. In
 * a short form for each test run (load_test.ts) and in the form of the promise (tests/soak/upgrade.ts).
 */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { join } from "node:path";
import type { Postgres } from "../support/postgres.ts";
import type { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { BackendWatch, type Service, type Upgraded } from "./support.ts";

const SCRIPT = `\\set id random(1, 1000)
BEGIN;
UPDATE upgrade_accounts SET balance = balance + 1 WHERE id = :id;
SELECT balance FROM upgrade_accounts WHERE id = :id;
INSERT INTO upgrade_history VALUES (:id);
END;
SELECT count(*) FROM upgrade_accounts WHERE id = :id;
`;

/** Makes the tables of `SCRIPT` anew. */
async function prepareTables(postgres: Postgres): Promise<void> {
  await postgres.query(
    "DROP TABLE IF EXISTS upgrade_accounts, upgrade_history; " +
      "CREATE TABLE upgrade_accounts (id int PRIMARY KEY, balance int NOT NULL); " +
      "CREATE TABLE upgrade_history (id int); " +
      "INSERT INTO upgrade_accounts SELECT n, 0 FROM generate_series(1, 1000) n",
  );
}

/** What pgbench under upgrades has come to. */
export interface Benched {
  transactions: number;
  upgrades: Upgraded[];
  mostBackends: number;
  /** Longest that a transaction took, in milliseconds. */
  longestMs: number;
}

/** pgbench with `clients` connections through so many upgrades; fails unless every transaction went through. */
export async function bench(
  service: Service,
  postgres: Postgres,
  options: {
    database: string;
    protocol: string;
    clients: number;
    seconds: number;
    upgrades: number;
    poolSize: number;
    /** Done before each upgrade. */
    prepare?: () => unknown;
  },
): Promise<Benched> {
  const { database, protocol, clients, seconds, upgrades, poolSize } = options;
  await prepareTables(postgres);
  const script = join(service.dir, "script.sql");
  await Deno.writeTextFile(script, SCRIPT);
  const watch = new BackendWatch(postgres, 20);
  // pgbench waits for the answer to a Parse: a thread with several clients would wait for a server that one of them has.
  const threads = protocol === "prepared" ? clients : 2;
  const child = new Deno.Command("pgbench", {
    args: [
      ...["-n", "-h", "127.0.0.1", "-p", String(service.port), "-U", "postgres"],
      ...["-c", String(clients), "-j", String(threads), "-T", String(seconds), "-M", protocol],
      ...["-f", script, "-l", "--log-prefix", join(service.dir, `bench-${database}-${protocol}`)],
      database,
    ],
    env: { PGPASSWORD: "postgres", ...service.libpq },
    cwd: service.dir,
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = child.output();
  const results: Upgraded[] = [];
  const begun = performance.now();
  for (let i = 0; i < upgrades; i++) {
    // Evenly over the time, the first after all have connected.
    const at = begun + (i + 0.7) * seconds * 1000 / (upgrades + 0.7);
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, at - performance.now())));
    await options.prepare?.();
    results.push(await service.upgrade());
  }
  const { code, stdout, stderr } = await output;
  const said = new TextDecoder().decode(stdout);
  const complained = new TextDecoder().decode(stderr);
  const mostBackends = await watch.stop();
  assert.equal(code, 0, `pgbench: ${complained}\n${said}`);
  assert.doesNotMatch(complained, /error|abort|lost/i);
  assert.match(said, /number of failed transactions: 0 \(/);
  const transactions = Number(/transactions actually processed: (\d+)/.exec(said)![1]);
  const [row] = await postgres.query(
    "SELECT (SELECT sum(balance) FROM upgrade_accounts) AS balance, " +
      "(SELECT count(*) FROM upgrade_history) AS history",
  );
  assert.equal(Number(row!.balance), transactions);
  assert.equal(Number(row!.history), transactions);
  assert.ok(mostBackends <= poolSize, `${mostBackends} server connections, ${poolSize} allowed`);
  for (const { left } of results) assert.equal(left, 0);
  return { transactions, upgrades: results, mostBackends, longestMs: longest(service.dir) };
}

/** Longest transaction in pgbench's logs, which are removed. */
function longest(dir: string): number {
  let most = 0;
  for (const { name } of Deno.readDirSync(dir)) {
    if (!name.startsWith("bench-")) continue;
    for (const line of Deno.readTextFileSync(join(dir, name)).split("\n")) {
      most = Math.max(most, Number(line.split(" ")[2] ?? 0));
    }
    Deno.removeSync(join(dir, name));
  }
  return Math.round(most / 1000);
}

/** Connects, asks and leaves, over and over, through so many upgrades; resolves to the number of connections. */
export async function connectLoop(service: Service, upgrades: number): Promise<number> {
  let stopped = false;
  let connections = 0;
  const loop = async () => {
    while (!stopped) {
      const client = await service.login();
      try {
        assert.equal(await client.value("SELECT 1"), "1");
        await client.terminate();
      } finally {
        client.close();
      }
      connections++;
    }
  };
  const loops = Promise.all([loop(), loop(), loop()]);
  // Its failure is seen at the end, and must not end the test before.
  loops.catch(() => {
    stopped = true;
  });
  for (let i = 0; i < upgrades && !stopped; i++) await service.upgrade();
  stopped = true;
  await loops;
  return connections;
}

/** What many clients saw of one upgrade. */
export interface Crowded {
  /** Longest that one of the busy clients waited for an answer, in milliseconds; before, and while it was moved. */
  longestBeforeMs: number;
  longestMs: number;
  doneMs: number;
  clients: number;
  servers: number;
  /** From `ready` to the end of the old process. */
  goneMs: number;
  descriptorsBefore: number;
  descriptorsAfter: number;
  descriptorsMost: number;
}

/** Clients that have a statement of so many bytes each. */
export interface Large {
  clients: number;
  bytes: number;
}

/**
 * So many idle clients and busy ones through an upgrade, and large ones beside them; all but the busy ones are asked
 * afterwards. The busy ones are pgbench's, 20 transactions a second each: a process of its own measures more exactly than
 * this one could.
 */
export async function crowd(
  service: Service,
  idle: number,
  busy: number,
  { clients: large, bytes }: Large = { clients: 0, bytes: 0 },
): Promise<Crowded> {
  const sleepers: WireClient[] = [];
  const loaded: WireClient[] = [];
  try {
    for (let n = 0; n < large; n++) {
      const client = await service.login();
      loaded.push(client);
      client.patienceMs = 60_000;
      const text = `SELECT '${n}' --${"x".repeat(bytes)}`;
      const prepared = await client.ask(wire.parse("mine", text), wire.SYNC);
      assert.deepEqual(wire.errorCodes(prepared), []);
    }
    while (sleepers.length < idle) {
      sleepers.push(
        ...await Promise.all(
          Array.from({ length: Math.min(50, idle - sleepers.length) }, () => service.login()),
        ),
      );
    }
    const longestBeforeMs = await ask(service, busy, 2, () => Promise.resolve());
    let descriptorsBefore = 0;
    let descriptorsMost = 0;
    let goneMs = 0;
    let done: RegExpMatchArray | undefined;
    const longestMs = await ask(service, busy, large === 0 ? 5 : 45, async () => {
      await new Promise((resolve) => setTimeout(resolve, large === 0 ? 1500 : 8000));
      descriptorsBefore = count(service.pid);
      const from = service.logs.length;
      const { old } = await service.begin();
      const readyAt = performance.now();
      while (isThere(old)) {
        descriptorsMost = Math.max(descriptorsMost, count(old), count(service.pid));
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      goneMs = performance.now() - readyAt;
      done = await service.waitForLog(
        /done after (\d+) ms, moved (\d+) clients and (\d+)/,
        5000,
        from,
      );
    });
    for (let at = 0; at < sleepers.length; at += 50) {
      const values = sleepers.slice(at, at + 50).map((client) => client.value("SELECT 2"));
      for (const value of await Promise.all(values)) assert.equal(value, "2");
    }
    for (const [n, client] of loaded.entries()) {
      const messages = await client.ask(wire.bind("", "mine"), wire.execute(), wire.SYNC);
      assert.deepEqual(wire.rowsOf(messages), [[String(n)]]);
    }
    const [doneMs, clients, servers] = done!.slice(1, 4).map(Number);
    return {
      longestBeforeMs,
      longestMs,
      doneMs: doneMs!,
      clients: clients!,
      servers: servers!,
      goneMs: Math.round(goneMs),
      descriptorsBefore,
      // pgbench's clients have left.
      descriptorsAfter: count(service.pid) + busy,
      descriptorsMost,
    };
  } finally {
    for (const client of [...sleepers, ...loaded]) client.close();
  }
}

/** Busy clients for some seconds, while `meanwhile` happens; resolves to the longest that one waited. */
async function ask(
  service: Service,
  clients: number,
  seconds: number,
  meanwhile: () => Promise<void>,
): Promise<number> {
  const script = join(service.dir, "ask.sql");
  await Deno.writeTextFile(script, "SELECT 1;\n");
  const output = new Deno.Command("pgbench", {
    args: [
      ...["-n", "-h", "127.0.0.1", "-p", String(service.port), "-U", "postgres"],
      ...["-c", String(clients), "-T", String(seconds), "-R", String(20 * clients)],
      ...["-f", script, "-l", "--log-prefix", join(service.dir, "bench-ask"), "app"],
    ],
    env: { PGPASSWORD: "postgres" },
    cwd: service.dir,
    stdout: "piped",
    stderr: "piped",
  }).output();
  await meanwhile();
  const { code, stderr } = await output;
  const complained = new TextDecoder().decode(stderr);
  assert.equal(code, 0, complained);
  assert.doesNotMatch(complained, /error|abort|lost/i);
  return longest(service.dir);
}

function isThere(pid: number): boolean {
  try {
    Deno.statSync(`/proc/${pid}/fd`);
    return true;
  } catch {
    return false;
  }
}

function count(pid: number): number {
  try {
    return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
  } catch {
    return 0;
  }
}

/** A COPY in, a COPY out and a result, each of so many megabytes, under way while `upgrades` happen. */
export async function longTransfers(
  service: Service,
  postgres: Postgres,
  megabytes: number,
  upgrades: number,
  prepare?: () => unknown,
): Promise<void> {
  await postgres.query(
    "DROP TABLE IF EXISTS upgrade_copied; CREATE UNLOGGED TABLE upgrade_copied (n int, t text)",
  );
  const transfers = Promise.all([
    copyIn(service, postgres, megabytes),
    drain(
      service,
      "d",
      megabytes,
      (n) => `${n}\t${pad(n)}\n`,
      `COPY (SELECT n, lpad(n::text, 1000, 'ab') FROM generate_series(1, ${megabytes} * 1000) n) TO STDOUT`,
    ),
    drain(
      service,
      "D",
      megabytes,
      pad,
      `SELECT lpad(n::text, 1000, 'ab') FROM generate_series(1, ${megabytes} * 1000) n`,
    ),
  ]);
  let ended = false;
  transfers.finally(() => ended = true).catch(() => {});
  let done = 0;
  for (; done < upgrades && !ended; done++) {
    await prepare?.();
    await service.upgrade();
  }
  await transfers;
  assert.ok(done > 0 && !(ended && done === 0), "no upgrade fell into a transfer");
}

const FILL = "ab".repeat(500);

/** PostgreSQL's `lpad(n::text, 1000, 'ab')`. */
function pad(n: number): string {
  const digits = String(n);
  return FILL.slice(0, 1000 - digits.length) + digits;
}

async function copyIn(service: Service, postgres: Postgres, megabytes: number): Promise<void> {
  using client = await service.login();
  client.patienceMs = 60_000;
  client.send(wire.query("COPY upgrade_copied FROM STDIN"));
  await client.readUntil("G");
  for (let n = 1; n <= megabytes * 1000;) {
    let lines = "";
    for (let i = 0; i < 50; i++, n++) lines += `${n}\t${pad(n)}\n`;
    client.send(wire.copyData(lines));
    await client.flushed();
  }
  client.send(wire.COPY_DONE);
  assert.deepEqual(wire.errorCodes(await client.readUntil("Z")), []);
  const wrong = await postgres.psql(
    "SELECT count(*), count(DISTINCT n), count(*) FILTER (WHERE t <> lpad(n::text, 1000, 'ab')) " +
      "FROM upgrade_copied",
  );
  assert.equal(wrong, `${megabytes * 1000}|${megabytes * 1000}|0`);
}

/** Reads the messages of one type and compares the digest of their contents with what they must be. */
async function drain(
  service: Service,
  type: string,
  megabytes: number,
  expected: (n: number) => string,
  sql: string,
): Promise<void> {
  using client = await service.login();
  client.patienceMs = 60_000;
  const received = createHash("sha256");
  const meant = createHash("sha256");
  client.send(wire.query(sql));
  let messages = 0;
  for (;;) {
    const message = await client.read();
    if (message.type === "Z") break;
    assert.notEqual(message.type, "E");
    if (message.type !== type) continue;
    // A row of one column: count and length come before it.
    received.update(type === "D" ? message.body.subarray(6) : message.body);
    meant.update(expected(++messages));
  }
  assert.equal(messages, megabytes * 1000);
  assert.equal(received.digest("hex"), meant.digest("hex"));
}
