/**
 * PostgreSQL's own programs for replication, through the pooler as they are used directly: psql, pg_receivewal,
 * pg_recvlogical, pg_basebackup. They refuse a server that is newer than they are, so this is Debian's.
 */

import assert from "node:assert/strict";
import { join } from "node:path";
import { waitFor } from "../support/detached_process.ts";
import { Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { hasDebianPostgres } from "../support/postgres_binaries.ts";
import { makeTestFolder, removeFolder } from "../support/test_folder.ts";
import { available, run } from "./environment.ts";

const there = hasDebianPostgres() && await available("pg_receivewal", ["--version"]);
const PASSWORD = { PGPASSWORD: "postgres" };

let postgres: Postgres;
let doorman: Doorman;
let folder: string;

Deno.test.beforeAll(async () => {
  if (!there) return;
  postgres = await Postgres.start({
    edition: "debian",
    auth: "scram-sha-256",
    settings: ["wal_level = logical", "max_wal_senders = 20", "max_replication_slots = 20"],
  });
  doorman = await Doorman.start({
    config: { pools: { app: poolOf(postgres), replication: poolOf(postgres) } },
  });
  folder = await makeTestFolder("replication");
});

Deno.test.afterAll(async () => {
  if (!there) return;
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
  await removeFolder(folder);
});

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, ignore: !there, fn });
}

function place(port: number = doorman.port): string[] {
  return ["-h", "127.0.0.1", "-p", String(port), "-U", "postgres", "-w"];
}

/** Runs a program that ends by itself; returns what it has printed. */
async function finished(command: string, args: string[]): Promise<string> {
  return await run("env", [`PGPASSWORD=${PASSWORD.PGPASSWORD}`, command, ...args]);
}

test("psql with replication=database: IDENTIFY_SYSTEM and SQL", async () => {
  const url = doorman.url("app", "postgres") + "?replication=database";
  const said = await run("psql", ["-XAtq", url], "IDENTIFY_SYSTEM;\nSELECT 6 * 7;\n");
  assert.match(said, /^\d+\|1\|[0-9A-F]+\/[0-9A-F]+\|postgres\n42\n$/);
});

test("pg_receivewal gets the same WAL as PostgreSQL has", async () => {
  await postgres.query("SELECT pg_create_physical_replication_slot('wal', true)");
  const into = join(folder, "wal");
  await Deno.mkdir(into);
  await postgres.query(
    "SET synchronous_commit = on; CREATE TABLE load (t text); INSERT INTO load SELECT repeat(md5(i::text), 30) FROM generate_series(1, 5000) i",
  );
  const end = await postgres.psql("SELECT pg_current_wal_flush_lsn()");
  // It ends where it has got something beyond.
  await postgres.query("SET synchronous_commit = on; CREATE TABLE beyond ()");
  await finished("pg_receivewal", [
    ...place(),
    ...["--slot", "wal", "-D", into, "--endpos", end, "--no-loop"],
  ]);
  const names = Array.from(Deno.readDirSync(into), ({ name }) => name).filter((name) =>
    !name.endsWith(".partial")
  );
  assert.ok(names.length >= 2, `segments: ${names.join(" ")}`);
  for (const name of names) {
    const own = await Deno.readFile(join(postgres.folder, "data", "pg_wal", name));
    assert.deepEqual(await Deno.readFile(join(into, name)), own, name);
  }
});

test("pg_recvlogical gets what is committed, once and in order", async () => {
  const slot = ["--slot", "changes", "-d", "app"];
  await finished("pg_recvlogical", [...place(), ...slot, "--create-slot", "-P", "test_decoding"]);
  await postgres.query("CREATE TABLE changes (n int)");
  const output = join(folder, "changes");
  const receiver = new Deno.Command("pg_recvlogical", {
    args: [...place(), ...slot, "--start", "-f", output, "--no-loop", "-F", "0"],
    env: PASSWORD,
    stdout: "null",
    stderr: "piped",
  }).spawn();
  for (let n = 0; n < 20; n++) await postgres.query(`INSERT INTO changes VALUES (${n})`);
  const received = async () =>
    Array.from((await Deno.readTextFile(output)).matchAll(/n\[integer\]:(\d+)/g), ([, n]) => +n!);
  await waitFor("all rows", 10_000, async () => (await received()).length >= 20 || undefined);
  assert.deepEqual(await received(), Array.from({ length: 20 }, (_, n) => n));
  // Asked to end, it confirms what it has and ends the stream in order.
  receiver.kill("SIGINT");
  const { code, stderr } = await receiver.output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  const last = await postgres.psql(
    "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'changes'",
  );
  assert.match(last, /^[0-9A-F]+\/[0-9A-F]+$/);
  await finished("pg_recvlogical", [...place(), ...slot, "--drop-slot"]);
  assert.equal(
    await postgres.psql("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'changes'"),
    "0",
  );
});

test("pg_basebackup makes a copy that is whole", async () => {
  const into = join(folder, "backup");
  await finished("pg_basebackup", [...place(), "-D", into, "-X", "stream", "-c", "fast"]);
  const said = await run("/usr/lib/postgresql/15/bin/pg_verifybackup", [into]);
  assert.match(said, /backup successfully verified/);
});
