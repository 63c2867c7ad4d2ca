/**
 * Every way crossed with every form, in three lanes, each with a database of its own so that locks and channels don't
 * meet:
 *
 * - `direct`: a client at PostgreSQL, which tells what A has to see of its own
 * - `leaves`: one server; A leaves, then B looks
 * - `stays`: two servers; B looks at the one that A has used, if it gets it, then A looks, leaves, and B looks again
 *
 * B has to see what it sees of a fresh connection, and A what a direct connection does.
 */

import assert from "node:assert/strict";
import { type Config, Doorman, poolOf } from "../../support/doorman.ts";
import { Postgres } from "../../support/postgres.ts";
import { WireClient } from "../../support/wire_client.ts";
import * as wire from "../../support/wire_messages.ts";
import { fixture } from "./fixture.ts";
import { BODIES, FORMS, LEAVING } from "./forms.ts";
import { ALL_SETTINGS, changed, differences, QUESTION, readAnswer } from "./probe.ts";
import type { Way, Ways } from "./way.ts";

/** How a pool is set up, and what is known of it. */
export interface Mode {
  /** More settings of the pool. */
  settings: Config;
  /** Whether the first form of each way is tried, besides one of the others. */
  triesFirst: boolean;
  /** Whether what a function hides in its body is promised to reach nobody. */
  seesBodies: boolean;
  /** What reaches others, and must not: struck from here when it does no more. */
  knownLeaks: Known;
  /** Where a client sees other things than it would at a direct connection. */
  knownDifferences: Known;
}

/** Forms, separated by blanks, by way; by reason. */
export type Known = Record<string, Record<string, string>>;

/** What came of a case. */
export interface Outcome {
  /** What others saw, by kind. */
  leak: string[];
  /** What the client saw itself and a direct connection does not, or the reverse. */
  different: string[];
  /** Both with their values, for people. */
  details: unknown[];
}

interface Case {
  name: string;
  way: Way;
  form: string;
  steps: (lane: string) => Uint8Array[];
}

/** What is left behind a case: what the question tells, and what the way's own does. */
interface Look {
  pid: number;
  state: Record<string, unknown>;
  own?: string;
}

const HERS = "SELECT 'of B' AS x";
const PREPARE = [wire.parse("question", QUESTION), wire.parse("hers", HERS)];
const LOOK = [
  wire.bind("", "question"),
  wire.execute(),
  wire.bind("", "hers"),
  wire.execute(),
  wire.SYNC,
];
/** What a fresh connection has. */
interface Usual {
  parameters: Map<string, string>;
  settings: Map<string, string>;
  state: Record<string, unknown>;
}

const BEGIN = [wire.extended("BEGIN")];
const LANES = ["direct", "leaves", "stays"];

/** All forms of each way are tried. */
export const WHOLE: boolean = Deno.env.get("PG_DOORMAN_TEST_FORMS") === "all";

/** The cases of a way that are run: the first, if it is wanted, and one of the others, which changes from way to way. */
function someOf(cases: Case[], number: number, withFirst: boolean): Case[] {
  const [first, ...others] = cases;
  if (WHOLE || first === undefined) return cases;
  const other = others.length > 0 ? [others[number % others.length]!] : [];
  return withFirst || other.length === 0 ? [first, ...other] : other;
}

/** All cases of a way. */
function casesOf(name: string, way: Way, number: number): Case[] {
  const { bytes, sql = [], values = [], only } = way;
  if (bytes !== undefined) return [{ name, way, form: "raw", steps: bytes }];
  const cases: Case[] = [];
  for (const [form, make] of Object.entries(FORMS)) {
    if (only !== undefined && !only.includes(form)) continue;
    const steps = (lane: string) =>
      make({ sql: sql.map((each) => each.replaceAll("{lane}", lane)), values, number });
    if (steps("") === undefined) continue;
    cases.push({ name, way, form, steps: (lane) => steps(lane)! });
  }
  return cases;
}

/** How often ReadyForQuery answers. */
function readies(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  let count = 0;
  for (let at = 0; at < bytes.length; at += 1 + view.getInt32(at + 1)) {
    if ("QSF".includes(String.fromCharCode(bytes[at]!))) count++;
  }
  return count;
}

async function send(client: WireClient, steps: Uint8Array[], last: "answered" | "unanswered") {
  for (const [i, step] of steps.entries()) {
    client.send(step);
    if (i === steps.length - 1 && last === "unanswered") return await client.flushed();
    for (let n = readies(step); n > 0; n--) await client.readUntil("Z");
  }
}

/** The first value of a query, or its SQLSTATE. */
async function firstValue(client: WireClient, sql: string): Promise<string> {
  const messages = await client.query(sql);
  return wire.errorCodes(messages)[0] ?? String(wire.rowsOf(messages)[0]?.[0]);
}

/** Names of all cases, also of those that are not run. */
export function namesOf(ways: Ways): string[] {
  return Object.entries(ways).flatMap(([name, way]) =>
    casesOf(name, way, 0).map(({ form }) => `${name} | ${form}`)
  );
}

export class Crossing {
  readonly mode: Mode;
  readonly postgres: Postgres;
  readonly doorman: Doorman;
  readonly #numbers = new Map<Way, number>();
  /** Texts that clients prepare by the protocol; PgDoorman has an empty one of its own. */
  readonly #texts = new Set<string>([QUESTION, HERS, ""]);
  /** Clients that have prepared theirs. */
  readonly #prepared = new WeakSet<WireClient>();
  #direct!: WireClient;
  #leaves!: WireClient;
  #stays!: WireClient;
  #third!: WireClient;
  /** What is usual for the first client of a lane, and for the others. */
  readonly #usual = new Map<string, Usual>();
  readonly #lanes = new WeakMap<WireClient, Usual>();

  /** Ways that leave nothing at a direct connection and should, or the reverse. */
  readonly vacuous: string[] = [];

  private constructor(mode: Mode, postgres: Postgres, doorman: Doorman) {
    this.mode = mode;
    this.postgres = postgres;
    this.doorman = doorman;
  }

  /** Starts PostgreSQL and PgDoorman, with databases for these ways. */
  static async start(mode: Mode, ways: Ways): Promise<Crossing> {
    const postgres = await Postgres.start({
      settings: ["max_connections = 20", "wal_level = replica", "max_prepared_transactions = 5"],
    });
    await postgres.query("CREATE ROLE weak");
    await postgres.query("CREATE DATABASE direct");
    await postgres.query(fixture(ways), "direct");
    for (const lane of LANES) {
      if (lane !== "direct") await postgres.query(`CREATE DATABASE ${lane} TEMPLATE direct`);
      await postgres.query(`SELECT pg_replication_origin_create('${lane}')`);
    }
    const pool = (lane: string, pool_size: number) =>
      poolOf(postgres, {
        server_database: lane,
        users: [{ username: "postgres", password: "postgres", pool_size }],
        ...mode.settings,
      });
    const doorman = await Doorman.start({
      // A value of 100 kB.
      allowLog: [/can't be told what it has left on server pid=\d+: too much/],
      config: {
        general: { pg_hba: { content: "host all all 127.0.0.1/32 trust" } },
        pools: { leaves: pool("leaves", 1), stays: pool("stays", 2) },
      },
    });
    const crossing = new Crossing(mode, postgres, doorman);
    Object.values(ways).forEach((way, number) => crossing.#numbers.set(way, number));
    crossing.#direct = await crossing.#login("direct");
    await crossing.#openOthers();
    return crossing;
  }

  /** Stops both. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of [this.#direct, this.#leaves, this.#stays, this.#third]) client?.close();
    await this.doorman[Symbol.asyncDispose]();
    await this.postgres[Symbol.asyncDispose]();
  }

  async #login(lane: string, parameters: Record<string, string> = {}): Promise<WireClient> {
    const { port } = lane === "direct" ? this.postgres : this.doorman;
    const client = await WireClient.login({ port, user: "postgres", database: lane, parameters });
    const usual = this.#usual.get(lane) ?? await this.#firstOf(client);
    this.#usual.set(lane, usual);
    this.#lanes.set(client, usual);
    return client;
  }

  async #firstOf(client: WireClient): Promise<Usual> {
    const parameters = new Map(client.parameters);
    const settings = new Map(await client.rows(ALL_SETTINGS) as [string, string][]);
    this.#lanes.set(client, { parameters, settings, state: {} });
    const { state, own } = await this.#look(client);
    assert.equal(own, undefined);
    return { parameters, settings, state };
  }

  /** What a client sees now. Its statements are prepared once, so that it costs PostgreSQL little. */
  async #look(client: WireClient, way: Way = {}, before: Uint8Array[] = []): Promise<Look> {
    const prepares = this.#prepared.has(client) ? [] : PREPARE;
    this.#prepared.add(client);
    const messages = await client.ask(...prepares, ...before, ...LOOK);
    const own = way.look === undefined ? undefined : await firstValue(client, way.look);
    const [[answer] = [], [hers] = []] = wire.rowsOf(messages);
    if (!answer?.startsWith("{")) {
      const error = wire.errorCodes(messages)[0] ?? answer;
      return { pid: 0, state: { ...this.#lanes.get(client)!.state, error }, own };
    }
    const { pid, state } = readAnswer(answer, (text) => this.#texts.has(text));
    const set = changed(
      this.#lanes.get(client)!.settings,
      Object.entries(state.set as Record<string, string> ?? {}),
    );
    delete state.set;
    if (set !== undefined) state.set = set;
    const parameters = changed(this.#lanes.get(client)!.parameters, client.parameters);
    if (parameters !== undefined) state.parameters = parameters;
    if (hers !== "of B") state.statement = hers ?? wire.errorCodes(messages)[0];
    return { pid, state, own };
  }

  /** What B sees that it would not on a fresh server. */
  #note(client: WireClient, found: Look, direct: Look, outcome: Outcome): void {
    const fresh = this.#lanes.get(client)!;
    const leaked = differences(fresh.state, found.state);
    if (found.own !== undefined && found.own === direct.own) {
      leaked.memory = { expected: undefined, found: found.own };
    }
    if (Object.keys(leaked).length === 0) return;
    outcome.leak = [...new Set([...outcome.leak, ...Object.keys(leaked)])];
    outcome.details.push({ pid: found.pid, leaked });
  }

  /** Whatever was left is not to be there at the next case. */
  async #clean(client: WireClient, way: Way, leaked: string[]): Promise<void> {
    if (way.stays !== undefined) await client.query(way.stays);
    if (leaked.length > 0) {
      await client.query("DISCARD ALL");
      this.#prepared.delete(client);
      client.parameters.clear();
      for (const [name, value] of this.#lanes.get(client)!.parameters) {
        client.parameters.set(name, value);
      }
    }
    if (way.after !== undefined) await client.query(way.after);
  }

  /** What a client sees of its own at a direct connection; `undefined` where it has left. */
  async #atPostgres({ way, form, steps }: Case): Promise<Look> {
    const direct = this.#direct;
    if (LEAVING.includes(form)) return { pid: 0, state: this.#usual.get("direct")!.state };
    const client = way.login ? await this.#login("direct", way.login) : direct;
    try {
      await send(client, steps("direct"), "answered");
      const look = await this.#look(client, way);
      if (way.stays !== undefined) await client.query(way.stays);
      return look;
    } finally {
      if (client !== direct) client.close();
      await direct.query("ROLLBACK");
      await direct.query("DISCARD ALL");
      this.#prepared.delete(direct);
      if (way.after !== undefined) await direct.query(way.after);
    }
  }

  async #whenItLeaves({ way, form, steps }: Case, direct: Promise<Look>): Promise<Outcome> {
    const outcome: Outcome = { leak: [], different: [], details: [] };
    const a = await this.#login("leaves", way.login);
    try {
      await send(a, steps("leaves"), LEAVING.includes(form) ? "unanswered" : "answered");
      await a.terminate();
    } finally {
      a.close();
    }
    const b = this.#leaves;
    this.#note(b, await this.#look(b, way), await direct, outcome);
    await this.#clean(b, way, outcome.leak);
    return outcome;
  }

  async #whenItStays({ way, form, steps }: Case, direct: Promise<Look>): Promise<Outcome> {
    const outcome: Outcome = { leak: [], different: [], details: [] };
    if (LEAVING.includes(form)) return outcome;
    const b = this.#stays;
    const expected = await direct;
    using a = await this.#login("stays", way.login);
    await send(a, steps("stays"), "answered");
    this.#note(b, await this.#look(b, way), expected, outcome);
    const own = await this.#look(a, way);
    await a.terminate();
    // Both servers are there for others now, and each of two clients that are in a transaction has one.
    const c = this.#third;
    this.#note(b, await this.#look(b, way, BEGIN), expected, outcome);
    this.#note(c, await this.#look(c, way, BEGIN), expected, outcome);
    await b.query("ROLLBACK");
    await this.#clean(b, way, outcome.leak);
    if (outcome.leak.length > 0) await b.query("BEGIN");
    await c.query("ROLLBACK");
    if (outcome.leak.length > 0) {
      await this.#clean(c, way, outcome.leak);
      await b.query("ROLLBACK");
    }
    const reported = own.state.parameters as Record<string, string> | undefined;
    for (const name of Object.keys(reported ?? {})) {
      // PgDoorman reports what a StartupMessage asks for, PostgreSQL some parameters alone.
      if (!this.#usual.get("direct")!.parameters.has(name)) delete reported![name];
    }
    if (Object.keys(reported ?? {}).length === 0) delete own.state.parameters;
    // What a client listens to is heard at another connection: docs/listen-notify.md.
    const { channels: _theirs, ...atPostgres } = expected.state;
    delete own.state.channels;
    const different = differences(
      differences(this.#usual.get("direct")!.state, atPostgres),
      differences(this.#usual.get("stays")!.state, own.state),
    );
    outcome.different = Object.keys(different);
    if (outcome.different.length > 0) outcome.details.push({ pid: own.pid, different });
    return outcome;
  }

  /** All cases of some ways; the outcomes by `way | form`. */
  async run(ways: Ways): Promise<Map<string, Outcome>> {
    const cases = Object.entries(ways).flatMap(([name, way]) => {
      const number = this.#numbers.get(way)!;
      return someOf(casesOf(name, way, number), number, this.mode.triesFirst);
    });
    for (const { steps } of cases) {
      for (const lane of LANES) for (const step of steps(lane)) this.#noteTexts(step);
    }
    let last: Promise<unknown> = Promise.resolve();
    const direct = cases.map((each) => {
      const look = last.then(() => this.#atPostgres(each));
      last = look.catch(() => undefined);
      return look;
    });
    const outcomes = new Map<string, Outcome>();
    const lane = async (outcome: (each: Case, direct: Promise<Look>) => Promise<Outcome>) => {
      const found: Outcome[] = [];
      for (const [i, each] of cases.entries()) {
        found.push(await outcome(each, direct[i]!).catch((error) => this.#failed(error)));
      }
      return found;
    };
    const [leaving, staying] = await Promise.all([
      lane((each, look) => this.#whenItLeaves(each, look)),
      lane((each, look) => this.#whenItStays(each, look)),
    ]);
    for (const [i, { name, form, way }] of cases.entries()) {
      const [left, stayed] = [leaving[i]!, staying[i]!];
      outcomes.set(`${name} | ${form}`, {
        leak: [...new Set([...left.leak, ...stayed.leak])].sort(),
        different: stayed.different,
        details: [...left.details, ...stayed.details],
      });
      // It would be no test if a direct connection had nothing either.
      if (form !== "simple" && form !== "raw" || way.look !== undefined) continue;
      const seen = differences(this.#usual.get("direct")!.state, (await direct[i]!).state);
      if ((Object.keys(seen).length === 0) !== (way.nothing === true)) this.vacuous.push(name);
    }
    return outcomes;
  }

  /** A case that came to no end: those who wait for an answer may have something else before them. */
  async #failed(error: Error): Promise<Outcome> {
    for (const client of [this.#leaves, this.#stays, this.#third]) client.close();
    await this.#openOthers();
    return { leak: ["failure"], different: [], details: [error.message] };
  }

  async #openOthers(): Promise<void> {
    this.#leaves = await this.#login("leaves");
    this.#stays = await this.#login("stays");
    this.#third = await this.#login("stays");
    for (const client of [this.#leaves, this.#stays, this.#third]) {
      await client.query("DISCARD ALL");
      this.#prepared.delete(client);
    }
  }

  /** Takes note of the texts that are parsed. */
  #noteTexts(step: Uint8Array): void {
    const reader = new wire.MessageReader();
    reader.push(step);
    for (let message = reader.next(); message !== undefined; message = reader.next()) {
      if (message.type === "P") this.#texts.add(wire.strings(message)[1]!);
    }
  }

  /** Whether a form is one that this mode promises nothing of. */
  isHidden(form: string): boolean {
    return !this.mode.seesBodies && BODIES.includes(form);
  }
}
