/**
 * Random conversations, held with PostgreSQL directly and through PgDoorman in both pool modes: every answer must be the
 * same to the last byte. What is sent is made of whole units that a driver could send, right and wrong ones, with
 * transactions, COPY, pipelines and errors in between; all of it is sent before anything is read. The conversations are
 * the same at every run; PG_DOORMAN_TEST_SEED names others.
 */

import assert from "node:assert/strict";
import { Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

const CONVERSATIONS = 100;
const MODES = ["transaction", "session"] as const;

/** Mulberry32: the same numbers for the same seed. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const QUERIES = [
  "SELECT 1, NULL, 'x'",
  "SELECT 1; SELECT 2; SELECT 3",
  "SELECT 1/0",
  "SELECT 1; SELECT 1/0; SELECT 3",
  "",
  "BEGIN",
  "BEGIN; INSERT INTO t VALUES (1)",
  "COMMIT",
  "ROLLBACK",
  "COMMIT AND CHAIN",
  "SAVEPOINT s",
  "ROLLBACK TO s",
  "INSERT INTO t SELECT generate_series(1, 5)",
  "SELECT count(*) FROM t",
  "SELECT repeat('r', 20000) FROM generate_series(1, 20)",
  "DO $$ BEGIN RAISE NOTICE 'n'; END $$",
  "nonsense",
  "COPY t TO STDOUT",
  "SELECT 5; COPY t TO STDOUT; SELECT 6",
];
const STATEMENTS = [
  "SELECT $1::int + 1",
  "SELECT generate_series(1, 7)",
  "SELECT 1/0",
  "INSERT INTO t VALUES (9) RETURNING x",
  "nonsense",
  "",
  "BEGIN",
  "COMMIT",
  "ROLLBACK",
  "COPY t TO STDOUT",
  "SELECT count(*) FROM t",
];

function extendedMessage(random: (below: number) => number): Uint8Array {
  switch (random(9)) {
    case 0:
    case 1:
      return wire.parse("", STATEMENTS[random(STATEMENTS.length)]!);
    case 2:
    case 3:
      return wire.bind("", "", random(3) === 0 ? ["41"] : []);
    case 4:
      return wire.describe(random(2) === 0 ? "S" : "P", "");
    case 5:
    case 6:
      return wire.execute("", random(3) === 0 ? 2 : 0);
    case 7:
      return wire.close(random(2) === 0 ? "S" : "P", random(4) === 0 ? "none" : "");
    default:
      return wire.FLUSH;
  }
}

function copyIn(random: (below: number) => number): Uint8Array[] {
  const data = Array.from(
    { length: random(5) },
    () => wire.copyData(random(6) === 0 ? "bad\n" : `${random(100)}\n`),
  );
  return [...data, random(4) === 0 ? wire.copyFail("no more") : wire.COPY_DONE];
}

/** One unit: messages that leave neither side waiting for the other. */
function unit(random: (below: number) => number): Uint8Array[] {
  const statement = STATEMENTS[random(STATEMENTS.length)]!;
  switch (random(8)) {
    case 0:
    case 1:
    case 2:
      return [wire.query(QUERIES[random(QUERIES.length)]!)];
    case 3:
      return [wire.extended(statement, statement.includes("$1") ? ["41"] : []), wire.SYNC];
    case 4:
      return [wire.query("COPY t FROM STDIN"), ...copyIn(random)];
    case 5:
      return [
        wire.parse("", "COPY t FROM STDIN"),
        wire.bind("", ""),
        wire.execute(),
        // PostgreSQL passes over it while the COPY runs; libpq sends it.
        ...random(2) === 0 ? [wire.SYNC] : [],
        ...copyIn(random),
        wire.SYNC,
        // A later Execute without Parse must not start another one: its data would not follow.
        wire.parse("", "SELECT 'no copy'"),
        wire.SYNC,
      ];
    case 6:
      // Data of no COPY at all: PostgreSQL ignores it.
      return [wire.copyData("1\n"), wire.COPY_DONE];
    default: {
      // Bound anew each time: PostgreSQL 18 crashes on the Execute of a portal that an aborted transaction has left.
      const messages: Uint8Array[] = [wire.parse("", statement), wire.bind("", "")];
      for (let more = random(7); more > 0; more--) messages.push(extendedMessage(random));
      // Sometimes a simple query ends it instead of a Sync.
      return [...messages, random(5) === 0 ? wire.query("SELECT 'between'") : wire.SYNC];
    }
  }
}

async function hold(client: WireClient, units: Uint8Array[][]): Promise<string[]> {
  for (const parts of units) client.send(...parts);
  client.send(wire.SYNC, wire.query("ROLLBACK"), wire.query("SELECT 'the end'"));
  const told: string[] = [];
  for (;;) {
    const message = await client.read().catch((error) => {
      throw new Error(`${(error as Error).message} after ${told.slice(-3).join("\n")}`);
    });
    told.push(`${message.type} ${new TextDecoder("latin1").decode(message.body.subarray(0, 300))}`);
    if (message.type === "D" && told.at(-1)!.endsWith("the end")) {
      await client.readUntil("Z");
      return told;
    }
  }
}

Deno.test(`${CONVERSATIONS} random conversations are the same with and without PgDoorman`, async () => {
  await using postgres = await Postgres.start();
  await postgres.query("CREATE TABLE t (x int)");
  await using doorman = await Doorman.start({
    config: {
      pools: Object.fromEntries(MODES.map((mode) => [mode, poolOf(postgres, { pool_mode: mode })])),
    },
  });
  const first = Number(Deno.env.get("PG_DOORMAN_TEST_SEED") ?? 1);
  using direct = await WireClient.login({ port: postgres.port, user: "postgres" });
  using transaction = await WireClient.login({
    port: doorman.port,
    user: "postgres",
    database: "transaction",
  });
  using session = await WireClient.login({
    port: doorman.port,
    user: "postgres",
    database: "session",
  });
  for (let i = 0; i < CONVERSATIONS; i++) {
    const random = numbers(first + i);
    const units = Array.from({ length: 1 + random(25) }, () => unit(random));
    const script = units.flat().map((part) => new TextDecoder("latin1").decode(part)).join("\n");
    const seed = `PG_DOORMAN_TEST_SEED=${first + i}\n${script}`;
    try {
      await direct.query("TRUNCATE t");
      const expected = await hold(direct, units);
      for (const client of [transaction, session]) {
        await postgres.query("TRUNCATE t");
        assert.deepEqual(await hold(client, units), expected);
      }
    } catch (error) {
      // What the log says of it would hide the seed.
      doorman.allowLog(/./);
      throw new Error(`${seed}\n${(error as Error).message}`, { cause: error });
    }
  }
});
