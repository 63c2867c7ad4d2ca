/**
 * Random clients in transaction mode, interleaved on fewer servers than there are clients, against the same clients on
 * connections of their own: the same answers, errors and parameters, byte by byte.
 *
 * Each client has its own table, so that what it is told depends on nobody's speed. A client that finds all servers in
 * others' transactions waits in the pool's line while the others go on. The cases are the same at every run;
 * PG_DOORMAN_TEST_SEED names others, PG_DOORMAN_TEST_CASES how many; a case that fails is told in its shortest form, with
 * the path that PG_DOORMAN_TEST_PATH takes to play it alone.
 */

import assert from "node:assert/strict";
import fc from "fast-check";
import { Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import {
  bytesOf,
  PARAMETERS,
  parsesUnnamed,
  pinningUnits,
  readiesOf,
  type Unit,
  units,
  withoutAgain,
  withoutReset,
} from "./units.ts";

const CLIENTS = 4;
const SERVERS = 2;
const CASES = Number(Deno.env.get("PG_DOORMAN_TEST_CASES") ?? 30);
/** What every client is asked at the end of a case. */
const ASKED = [...PARAMETERS, "standard_conforming_strings"];
/**
 * These clients ask for parameters in their StartupMessage, and never for a RESET: up to the end of its transaction that
 * leads to the server's own values, where a direct connection has those of the StartupMessage at once.
 */
const asksAtStart = (client: number) => client % 2 === 1;

let postgres: Postgres;
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({ settings: ["max_connections = 40"] });
  await postgres.query(
    "CREATE SCHEMA one; CREATE SCHEMA two; " +
      ["public", "one", "two"].map((schema) =>
        `CREATE TABLE ${schema}.whose (n text); INSERT INTO ${schema}.whose VALUES ('${schema}');`
      ).join(""),
    "template1",
  );
  await postgres.query("CREATE DATABASE direct");
  await postgres.query("CREATE DATABASE pooled");
  // What the server connections of PgDoorman have.
  await postgres.query("ALTER DATABASE direct SET application_name = 'pg_doorman'");
  const pool = (pool_size: number) =>
    poolOf(postgres, {
      server_database: "pooled",
      users: [{ username: "postgres", password: "postgres", pool_size }],
    });
  doorman = await Doorman.start({
    config: {
      general: { query_wait_timeout: 60_000 },
      pools: { scarce: pool(SERVERS), enough: pool(CLIENTS) },
    },
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

/** What a client is told, without what no two connections have in common: the numbers of tables. */
function told(message: wire.Message): string {
  const body = message.body.slice();
  if (message.type === "T") {
    const view = new DataView(body.buffer);
    for (let at = 2; at < body.length; at += 18) {
      at = body.indexOf(0, at) + 1;
      view.setInt32(at, 0);
    }
  }
  const text = new TextDecoder("latin1").decode(body).replaceAll("\0", " ");
  return `${message.type} ${
    text
      // PostgreSQL knows the statement by the pool's name for it, and says so.
      .replace(/but prepared statement "\w+"/, "but prepared statement")
      // "cached plan must not change result type" where PgDoorman had it raised: not at a place in PostgreSQL's source.
      .replace(/ Fplancache\.c L\d+/, "")
  }`;
}

/**
 * In a failed transaction one error is as good as another: when PgDoorman must parse a statement again, PostgreSQL says so
 * of the Parse where it would have found another fault in the Bind.
 */
function comparable(answers: string[], failed: boolean): string[] {
  // PgDoorman finds out that a statement returns something else before PostgreSQL describes its parameters.
  const told = answers.filter((answer, i) =>
    !answer.startsWith("t") || !answers[i + 1]!.includes("C0A000 Mcached plan")
  );
  return told.map((answer) => {
    if (answer.startsWith("Z")) failed = answer === "Z E";
    return failed && answer.startsWith("E") ? "E in a failed transaction" : answer;
  });
}

/** A client, once with a connection of its own and once through PgDoorman. */
class Pair {
  readonly number: number;
  readonly direct: WireClient;
  readonly pooled: WireClient;
  /** What the last ReadyForQuery said. */
  inTransaction = false;
  /** Units that have not been answered. */
  waiting = 0;
  /**
   * An error may have skipped the Parse of its statement without a name. PostgreSQL then has the one from before, which
   * PgDoorman does not keep: to use it is an error there.
   */
  #unsure = false;
  #failed = false;
  #lane: Promise<void> = Promise.resolve();
  #fault: Error | undefined;

  private constructor(number: number, direct: WireClient, pooled: WireClient) {
    this.number = number;
    this.direct = direct;
    this.pooled = pooled;
  }

  static async login(
    number: number,
    pool: string,
    parameters: Record<string, string>,
  ): Promise<Pair> {
    const login = (port: number, database: string) =>
      WireClient.login({ port, user: "postgres", database, parameters });
    const direct = await login(postgres.port, "direct");
    return new Pair(number, direct, await login(doorman.port, pool));
  }

  /** Sends a unit to both when the one before is answered; resolves when this one is. */
  ask(unit: Unit): Promise<void> {
    this.waiting++;
    this.#lane = this.#lane.then(async () => {
      if (this.#fault !== undefined) return;
      if (asksAtStart(this.number)) unit = withoutReset(unit);
      const sent = this.#unsure ? withoutAgain(unit) : unit;
      const bytes = bytesOf(sent, this.number);
      const readies = readiesOf(sent);
      try {
        const wanted = await answersOf(this.direct, bytes, readies);
        if (parsesUnnamed(unit)) this.#unsure = wanted.some((answer) => answer.startsWith("E"));
        const got = await answersOf(this.pooled, bytes, readies);
        assert.deepEqual(comparable(got, this.#failed), comparable(wanted, this.#failed));
        this.inTransaction = !wanted.at(-1)!.endsWith("I");
        this.#failed = wanted.at(-1)!.endsWith("E");
      } catch (error) {
        const { message } = error as Error;
        this.#fault = new Error(`client ${this.number}, ${JSON.stringify(sent)}: ${message}`);
      }
      this.waiting--;
    });
    return this.#lane;
  }

  async settled(): Promise<void> {
    await this.#lane;
    if (this.#fault !== undefined) throw this.#fault;
  }

  close(): void {
    this.direct.close();
    this.pooled.close();
  }
}

/** Whether a ParameterStatus says what the client does not know: after a RESET it may be told its own value again. */
function isNews(message: wire.Message, known: Map<string, string>): boolean {
  const [name, value] = wire.strings(message);
  if (known.get(name!) === value) return false;
  known.set(name!, value!);
  return true;
}

async function answersOf(
  client: WireClient,
  bytes: Uint8Array,
  readies: number,
): Promise<string[]> {
  const known = new Map(client.parameters);
  client.send(bytes);
  const answers: wire.Message[] = [];
  for (let i = 0; i < readies; i++) answers.push(...await client.readUntil("Z"));
  const news = answers.filter((answer) => answer.type !== "S" || isNews(answer, known)).map(told);
  // ParameterStatus comes behind the rest and in no order that means something.
  for (let at = 0; at < news.length; at++) {
    const end = news.findIndex((answer, i) => i >= at && !answer.startsWith("S"));
    news.splice(at, end - at, ...news.slice(at, end).sort());
    at = end;
  }
  return news;
}

/** A client's StartupMessage, and what it does. */
interface Case {
  parameters: Record<string, string>[];
  steps: { client: number; unit: Unit }[];
}

async function play(pool: string, servers: number, { parameters, steps }: Case): Promise<void> {
  const tables = Array.from(
    { length: CLIENTS },
    (_, i) => `DROP TABLE IF EXISTS t_${i}; CREATE TABLE t_${i} (x int)`,
  ).join("; ");
  await postgres.query(tables, "direct");
  await postgres.query(tables, "pooled");
  const pairs: Pair[] = [];
  try {
    for (let i = 0; i < CLIENTS; i++) {
      pairs.push(await Pair.login(i, pool, asksAtStart(i) ? parameters[i]! : {}));
    }
    for (const { client, unit } of steps) {
      const pair = pairs[client]!;
      const holders = pairs.filter((one) => one !== pair && (one.inTransaction || one.waiting > 0));
      const free = pair.inTransaction && pair.waiting === 0 || holders.length < servers;
      const answered = pair.ask(unit);
      if (free) {
        await answered;
        await pair.settled();
      }
    }
    for (const pair of pairs) void pair.ask({ query: "ROLLBACK" });
    for (const pair of pairs) await pair.settled();
    for (const pair of pairs) {
      const sql = ASKED.map((name) => `SELECT '${name}', current_setting('${name}')`);
      await pair.ask({ query: sql.join(" UNION ALL ") });
      await pair.settled();
      assert.deepEqual(
        [...pair.pooled.parameters].sort(),
        [...pair.direct.parameters].sort(),
        `parameters of client ${pair.number}`,
      );
    }
  } finally {
    for (const pair of pairs) pair.close();
  }
}

const parameters = fc.record({
  application_name: fc.constantFrom("first", "second"),
  TimeZone: fc.constantFrom("Asia/Tokyo", "UTC"),
  search_path: fc.constantFrom("one, public", "two"),
  DateStyle: fc.constantFrom("SQL, DMY", "German, MDY"),
}, { requiredKeys: [] });

async function check(pool: string, servers: number, unit: fc.Arbitrary<Unit>): Promise<void> {
  const cases = fc.record({
    parameters: fc.array(parameters, { minLength: CLIENTS, maxLength: CLIENTS }),
    steps: fc.array(fc.record({ client: fc.nat({ max: CLIENTS - 1 }), unit }), {
      minLength: 1,
      maxLength: 60,
      size: "max",
    }),
  });
  await fc.assert(fc.asyncProperty(cases, (one) => play(pool, servers, one)), {
    numRuns: CASES,
    seed: Number(Deno.env.get("PG_DOORMAN_TEST_SEED") ?? 1),
    path: Deno.env.get("PG_DOORMAN_TEST_PATH") ?? "",
    interruptAfterTimeLimit: 120_000,
    markInterruptAsFailure: true,
  }).catch((error) => {
    // What the log says of it would hide the case.
    doorman.allowLog(/./);
    throw error;
  });
}

Deno.test(`interleaved: ${CLIENTS} clients on ${SERVERS} servers are told what they would be told alone`, () =>
  check("scarce", SERVERS, units));

Deno.test(`interleaved: so are clients that hold on to their servers`, () =>
  check("enough", CLIENTS, pinningUnits));
