/**
 * `./denow task soak`: hundreds of clients on ten servers while PostgreSQL's backends are terminated, stopped and killed,
 * PostgreSQL itself restarts or freezes, and the pool is paused and reconnected. Each client checks that every answer is
 * its own and that a transaction is there if it was acknowledged and not if it can't have been committed. At the end
 * nothing may be left: no waiting or active client, no server out of its pool, no socket, no busy loop.
 *
 *     tests/soak/chaos.ts [--short] [--seconds N] [--clients N] [--seed N]
 *
 * Prints a summary as JSON; exit status 1 when something was violated.
 */

import { waitFor } from "../support/detached_process.ts";
import { ADMIN, Doorman, poolOf } from "../support/doorman.ts";
import { restingSockets } from "../support/bystander.ts";
import { Postgres } from "../support/postgres.ts";
import { Refused, WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { print, say } from "../../tools/say.ts";

const SERVERS = 10;
const QUERY_WAIT_MS = 5_000;
const CONNECT_MS = 2_000;
/** Longest that an operation may take: a wait for a server, then a query at a PostgreSQL that is frozen or restarts. */
const PATIENCE_MS = 20_000;
/** Codes that a client may be told while servers die: each says that its query has not been done, or may not have. */
const ALLOWED = new Set([
  "53300", // query_wait_timeout, or the login failed
  "08006", // the server is gone
  "08001",
  "57P01", // pg_terminate_backend, fast shutdown
  "57P02", // crash of another backend, immediate shutdown
  "57P03", // starting up
]);

function option(name: string, otherwise: number): number {
  const at = Deno.args.indexOf(`--${name}`);
  return at < 0 ? otherwise : Number(Deno.args[at + 1]);
}

const seconds = option("seconds", Deno.args.includes("--short") ? 20 : 60);
const clientCount = option("clients", 300);
const seed = option("seed", Date.now() % 1_000_000);

/** Repeatable choices (mulberry32). */
function makeRandom(start: number): (below: number) => number {
  let state = start >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

const counts: Record<string, number> = {};
const violations: string[] = [];

function count(what: string): void {
  counts[what] = (counts[what] ?? 0) + 1;
}

function violated(what: string): void {
  if (violations.length < 50) say(`VIOLATION: ${what}`);
  violations.push(what);
}

/** An answer that is not the one asked for. */
class Wrong extends Error {}

function expect(is: unknown, wanted: unknown, what: string): void {
  const [a, b] = [JSON.stringify(is), JSON.stringify(wanted)];
  if (a !== b) throw new Wrong(`${what}: ${a} instead of ${b}`);
}

/** One client that asks and checks until it is told to stop. */
class Client {
  readonly id: number;
  readonly #port: number;
  readonly #random: (below: number) => number;
  #wire: WireClient | undefined;
  #serial = 0;
  /** Transactions that PostgreSQL has acknowledged, and such as can't have been committed. */
  readonly committed: string[] = [];
  readonly impossible: string[] = [];

  constructor(id: number, port: number) {
    this.id = id;
    this.#port = port;
    this.#random = makeRandom(seed * 1000 + id);
  }

  async run(until: () => boolean): Promise<void> {
    while (!until()) {
      await this.#guarded(() => this.#operation());
      await sleep(this.#random(40));
    }
  }

  /** A last query, which must succeed: everything has calmed down. */
  async finish(): Promise<void> {
    for (let attempt = 0; attempt < 5; attempt++) {
      const before = violations.length;
      let done = false;
      await this.#guarded(async () => {
        await this.#simple(await this.#connected());
        done = true;
      });
      if (done || violations.length > before) return;
      await sleep(200);
    }
    violated(`client ${this.id}: no answer after the end of the chaos`);
  }

  close(): void {
    this.#wire?.close();
    this.#wire = undefined;
  }

  async #guarded(action: () => Promise<void>): Promise<void> {
    const started = performance.now();
    try {
      await action();
    } catch (error) {
      const { message } = error as Error;
      if (error instanceof Refused && ALLOWED.has(error.fields.C!)) {
        count(`told ${error.fields.C}`);
        // An ERROR leaves the session as it was, a FATAL ends it; so does an error inside of a transaction here.
        if (error.fields.S === "ERROR" && !this.#open) return;
      } else if (error instanceof Wrong || error instanceof Refused) {
        violated(`client ${this.id}: ${message}`);
      } else if (/nothing came within/.test(message)) {
        violated(`client ${this.id} hangs: ${message}`);
      } else if (/connection was closed|os error 104|os error 32|refused/.test(message)) {
        count("closed");
      } else violated(`client ${this.id}: ${message}`);
      this.#open = false;
      this.close();
    }
    const tookMs = performance.now() - started;
    counts.slowestMs = Math.max(counts.slowestMs ?? 0, Math.round(tookMs));
  }

  /** In a transaction or batch: an error means that the connection is in a state of its own. */
  #open = false;

  async #connected(): Promise<WireClient> {
    if (this.#wire !== undefined) return this.#wire;
    const client = await WireClient.open({ port: this.#port });
    this.#wire = client;
    client.patienceMs = PATIENCE_MS;
    await client.logIn({
      user: "postgres",
      database: "app",
      parameters: { application_name: `client ${this.id}` },
    });
    count("logins");
    return client;
  }

  async #operation(): Promise<void> {
    const client = await this.#connected();
    const operations = [
      this.#simple,
      this.#simple,
      this.#rows,
      this.#transaction,
      this.#transaction,
      this.#pipeline,
      this.#parameter,
      this.#copy,
      this.#error,
      this.#sleepALittle,
    ];
    const dice = this.#random(400);
    if (dice === 0) await this.#cancelled(client);
    else if (dice < 8) await this.#leave(client);
    else await operations[this.#random(operations.length)]!.call(this, client);
    count("operations");
  }

  #token(): string {
    return `${this.id}/${++this.#serial}`;
  }

  async #simple(client: WireClient): Promise<void> {
    const token = this.#token();
    expect(await client.rows(`SELECT '${token}', 7`), [[token, "7"]], "row");
  }

  async #rows(client: WireClient): Promise<void> {
    const token = this.#token();
    const n = 1 + this.#random(300);
    const rows = await client.rows(
      `SELECT '${token}', i, repeat('x', i) FROM generate_series(1, ${n}) i`,
    );
    expect(rows.length, n, "number of rows");
    rows.forEach((row, i) => expect(row, [token, String(i + 1), "x".repeat(i + 1)], "row"));
  }

  async #transaction(client: WireClient): Promise<void> {
    const token = this.#token();
    // Until COMMIT is sent, nothing can make it true.
    this.impossible.push(token);
    this.#open = true;
    await client.rows("BEGIN");
    await client.rows(`INSERT INTO ledger VALUES ('${token}')`);
    expect(
      await client.rows(`SELECT token FROM ledger WHERE token = '${token}'`),
      [[token]],
      "own row",
    );
    if (this.#random(3) === 0) {
      await client.rows("ROLLBACK");
    } else {
      this.impossible.pop();
      const answer = await client.query("COMMIT");
      if (wire.letters(answer) === "CZ") this.committed.push(token);
      else throw new Refused(wire.errorFields(answer[0]!));
    }
    this.#open = false;
  }

  async #pipeline(client: WireClient): Promise<void> {
    const tokens = Array.from({ length: 1 + this.#random(6) }, () => this.#token());
    this.#open = true;
    client.send(
      ...tokens.flatMap((token) => [
        wire.parse("", "SELECT $1::text"),
        wire.bind("", "", [token]),
        wire.execute(),
      ]),
      wire.SYNC,
    );
    const answer = await client.readUntil("Z");
    const error = answer.find(({ type }) => type === "E");
    if (error) throw new Refused(wire.errorFields(error));
    expect(wire.rowsOf(answer).flat(), tokens, "rows of a pipeline");
    this.#open = false;
  }

  async #parameter(client: WireClient): Promise<void> {
    expect(await client.rows("SHOW application_name"), [[`client ${this.id}`]], "parameter");
  }

  async #copy(client: WireClient): Promise<void> {
    const token = this.#token();
    const answer = await client.query(
      `COPY (SELECT '${token}' FROM generate_series(1, 20)) TO STDOUT`,
    );
    const error = answer.find(({ type }) => type === "E");
    if (error) throw new Refused(wire.errorFields(error));
    const lines = answer.filter(({ type }) => type === "d")
      .map(({ body }) => new TextDecoder().decode(body));
    expect(lines, new Array<string>(20).fill(`${token}\n`), "lines of COPY");
  }

  async #error(client: WireClient): Promise<void> {
    const [code] = wire.errorCodes(await client.query(`SELECT ${this.id} / 0`));
    if (code !== "22012") throw new Refused({ S: "FATAL", C: code ?? "none", M: "wrong error" });
  }

  async #sleepALittle(client: WireClient): Promise<void> {
    const token = this.#token();
    expect(await client.rows(`SELECT '${token}' FROM pg_sleep(0.02)`), [[token]], "row");
  }

  async #cancelled(client: WireClient): Promise<void> {
    const answer = client.query("SELECT pg_sleep(3)");
    answer.catch(() => undefined);
    await sleep(100);
    await client.cancel();
    const [code] = wire.errorCodes(await answer);
    // A server that is stopped meanwhile answers in its own time; the query may have been waiting for one.
    if (code !== undefined && code !== "57014") {
      throw new Refused({ S: "FATAL", C: code, M: "error of a cancelled query" });
    }
    count(code === undefined ? "cancelled too late" : "cancelled");
  }

  /** Gone in the middle of something. */
  async #leave(client: WireClient): Promise<void> {
    const token = this.#token();
    this.impossible.push(token);
    // With a server in hand most of the time: one that waits for it has nothing to leave behind.
    if (this.#random(4) > 0) {
      this.#open = true;
      await client.rows("BEGIN");
      if (this.#random(2) > 0) await client.rows(`INSERT INTO ledger VALUES ('${token}')`);
    }
    const ways = [
      () => {},
      () => client.send(wire.query("SELECT pg_sleep(0.05)")),
      () => client.send(wire.query(`INSERT INTO ledger VALUES ('${token}'); SELECT 1 / 0`)),
      () => client.send(wire.query("SELECT repeat('x', 1000) FROM generate_series(1, 5000)")),
      () => client.send(wire.query("COPY ledger FROM STDIN"), wire.copyData(`${token}\n`)),
      () => client.send(wire.query("SELECT 'cut off in the middle'").subarray(0, 20)),
      () =>
        client.send(
          wire.parse("", `INSERT INTO ledger VALUES ('${token}')`),
          wire.bind("", ""),
          wire.execute(),
        ),
    ];
    ways[this.#random(ways.length)]!();
    await client.flushed();
    if (this.#random(2) === 0) await sleep(20);
    this.#open = false;
    this.close();
    count("left in the middle");
  }
}

/** What goes wrong around the clients. */
class Chaos {
  readonly #postgres: Postgres;
  readonly #doorman: Doorman;
  readonly #random = makeRandom(seed);

  constructor(postgres: Postgres, doorman: Doorman) {
    this.#postgres = postgres;
    this.#doorman = doorman;
  }

  async run(until: () => boolean): Promise<void> {
    let restartAt = performance.now() + 4000;
    while (!until()) {
      if (performance.now() > restartAt) {
        await this.#restart();
        restartAt = performance.now() + 6000 + this.#random(4000);
      } else await this.#disturb();
      await sleep(50 + this.#random(300));
    }
  }

  async #backends(): Promise<number[]> {
    const rows = await this.#postgres.query<{ pid: number }>(
      "SELECT pid FROM pg_stat_activity WHERE datname = 'postgres' AND pid <> pg_backend_pid() " +
        "AND client_addr IS NOT NULL",
    );
    return rows.map(({ pid }) => pid);
  }

  async #disturb(): Promise<void> {
    const pids = await this.#backends();
    if (pids.length === 0) return;
    const pid = pids[this.#random(pids.length)]!;
    switch (this.#random(8)) {
      case 0:
      case 1:
      case 2:
        await this.#postgres.query(`SELECT pg_terminate_backend(${pid})`);
        count("backends terminated");
        break;
      case 3:
        await this.#postgres.query(
          `SELECT pg_terminate_backend(pid) FROM unnest(ARRAY[${pids.join()}]) pid`,
        );
        count("all backends terminated");
        break;
      case 4:
      case 5:
        await this.#stopFor(pid, 100 + this.#random(1500));
        count("backends stopped");
        break;
      case 6:
        await this.#console("RECONNECT app");
        count("reconnects");
        break;
      default:
        await this.#console("PAUSE app");
        await sleep(this.#random(800));
        await this.#console("RESUME app");
        count("pauses");
    }
  }

  async #stopFor(pid: number, ms: number): Promise<void> {
    try {
      Deno.kill(pid, "SIGSTOP");
      await sleep(ms);
      Deno.kill(pid, "SIGCONT");
    } catch (error) {
      // It has ended by itself.
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }

  async #console(command: string): Promise<void> {
    using admin = await loginAdmin(this.#doorman);
    const [code] = wire.errorCodes(await admin.query(command));
    if (code !== undefined) violated(`console: ${command} failed with ${code}`);
  }

  async #restart(): Promise<void> {
    switch (this.#random(4)) {
      case 0:
        await this.#postgres.restart("fast");
        break;
      case 1:
        await this.#postgres.restart("immediate");
        break;
      case 2:
        await this.#postgres.kill();
        await sleep(this.#random(1000));
        await this.#postgres.start();
        break;
      default:
        this.#postgres.suspend();
        await sleep(500 + this.#random(1500));
        this.#postgres.resume();
    }
    count("restarts and freezes of PostgreSQL");
  }
}

async function loginAdmin(doorman: Doorman): Promise<WireClient> {
  return await WireClient.login({
    port: doorman.port,
    user: ADMIN.user,
    password: ADMIN.password,
    database: "pgdoorman",
  });
}

/** Rows of a SHOW as objects. */
async function show(doorman: Doorman, what: string): Promise<Record<string, string>[]> {
  using admin = await loginAdmin(doorman);
  const answer = await admin.query(`SHOW ${what}`);
  const { body } = answer.find(({ type }) => type === "T")!;
  const names: string[] = [];
  for (let at = 2; at < body.length;) {
    const end = body.indexOf(0, at);
    names.push(new TextDecoder().decode(body.subarray(at, end)));
    at = end + 19;
  }
  return wire.rowsOf(answer).map((row) =>
    Object.fromEntries(row.map((value, i) => [names[i]!, value ?? ""]))
  );
}

async function checkRest(doorman: Doorman, connected: number): Promise<void> {
  try {
    await waitFor("the pool at rest", 10_000, async () => {
      const [pool] = (await show(doorman, "POOLS")).filter(({ database }) => database === "app");
      const busy = Number(pool!.cl_active) + Number(pool!.cl_waiting) + Number(pool!.sv_active) +
        Number(pool!.sv_login);
      return busy === 0 && Number(pool!.cl_idle) === connected &&
          Number(pool!.sv_idle) + Number(pool!.sv_used) <= SERVERS || undefined;
    });
  } catch (error) {
    const [pool] = (await show(doorman, "POOLS")).filter(({ database }) => database === "app");
    violated(`${(error as Error).message}: with ${connected} clients ${JSON.stringify(pool)}`);
  }
}

async function checkLedger(postgres: Postgres, clients: Client[]): Promise<void> {
  const rows = await postgres.query<{ token: string }>("SELECT token FROM ledger");
  const there = new Set(rows.map(({ token }) => token));
  if (there.size !== rows.length) violated(`${rows.length - there.size} rows are there twice`);
  for (const client of clients) {
    for (const token of client.committed) {
      if (!there.has(token)) violated(`${token} was committed and is not there`);
    }
    for (const token of client.impossible) {
      if (there.has(token)) violated(`${token} is there and was never committed`);
    }
    counts.committed = (counts.committed ?? 0) + client.committed.length;
  }
}

async function soak(): Promise<void> {
  await using postgres = await Postgres.start({
    // What is acknowledged must survive a kill.
    settings: ["max_connections = 60", "synchronous_commit = on"],
  });
  await postgres.query("CREATE TABLE ledger (token text)");
  await using doorman = await Doorman.start({
    config: {
      pools: {
        app: {
          ...poolOf(postgres, {
            users: [{ username: "postgres", password: "postgres", pool_size: SERVERS }],
          }),
          connect_timeout: CONNECT_MS,
          query_wait_timeout: QUERY_WAIT_MS,
        },
      },
    },
    // Servers die by the dozen: the log is searched for what must never be there instead.
    allowLog: [/./],
  });
  (await WireClient.login({ port: doorman.port, user: "postgres", database: "app" })).close();
  const sockets = await restingSockets(doorman);
  const memoryKb = doorman.rssKb();

  const clients = Array.from({ length: clientCount }, (_, i) => new Client(i, doorman.port));
  const end = performance.now() + seconds * 1000;
  const over = () => performance.now() > end;
  await Promise.all([
    new Chaos(postgres, doorman).run(over),
    ...clients.map((client) => client.run(over)),
  ]);
  say("the chaos is over; looking at what is left");
  if (!postgres.running) await postgres.start();
  await Promise.all(clients.map((client) => client.finish()));
  await checkRest(doorman, clientCount);
  await checkLedger(postgres, clients);

  for (const client of clients) client.close();
  await checkRest(doorman, 0);
  const left = await show(doorman, "CLIENTS");
  if (left.length > 1) violated(`${left.length - 1} clients are left`);
  const socketsLeft = await restingSockets(doorman);
  if (socketsLeft > sockets + SERVERS) violated(`${socketsLeft} sockets, ${sockets} before`);
  counts.grownKb = doorman.rssKb() - memoryKb;
  if (counts.grownKb > 120 * 1024) violated(`memory has grown by ${counts.grownKb} KB`);
  const cpuMs = doorman.cpuMs();
  await sleep(2000);
  counts.idleCpuMs = doorman.cpuMs() - cpuMs;
  if (counts.idleCpuMs > 100) violated(`${counts.idleCpuMs} ms of CPU in 2 s without a client`);
  for (const line of doorman.logs.split("\n")) {
    if (/defect|out of step|Uncaught|panicked|internal error/.test(line)) violated(line);
  }
}

say(`chaos for ${seconds} s: ${clientCount} clients, ${SERVERS} servers, seed ${seed}`);
let failed = false;
try {
  await soak();
} catch (error) {
  failed = true;
  say(error instanceof Error ? error.stack ?? error.message : String(error));
}
print(JSON.stringify({ seed, seconds, clients: clientCount, ...counts, violations }, null, 2));
Deno.exit(failed || violations.length > 0 ? 1 : 0);
