/**
 * Clients that prepare statements without end: a client's own are bounded by `max_client_prepared_memory`, what a pool
 * shares and what is on its way by bounds of its own. They are told so and harm themselves alone.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { Bystander } from "../support/bystander.ts";
import { ADMIN, type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

const MB = 1024;
/** What a test may add to the resident memory beside what it measures: garbage that a collection has yet to find. */
const ROOM_KB = 80 * MB;

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

function configOf(general: Config): Config {
  const users = [{ username: "postgres", password: "postgres", pool_size: 4 }];
  return {
    general: { worker_threads: 1, ...general },
    pools: { app: poolOf(postgres, { users }) },
  };
}

async function start(general: Config = {}): Promise<Doorman> {
  const doorman = await Doorman.start({
    config: configOf(general),
    allowLog: [/max_client_prepared_memory/, /client disconnected from/],
  });
  using client = await login(doorman);
  await client.query("SELECT 1");
  return doorman;
}

async function login(doorman: Doorman): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user: "postgres", database: "app" });
}

/** A statement that returns its number, as long as is asked for. */
function sql(number: number, bytes: number): string {
  return `SELECT ${number} /* ${"x".repeat(Math.max(0, bytes - 20))} */`;
}

function run(name: string): Uint8Array[] {
  return [wire.bind("", name), wire.execute(), wire.SYNC];
}

/** The value of one row, or the SQLSTATE. */
function result(messages: wire.Message[]): string {
  return wire.errorCodes(messages)[0] ?? wire.rowsOf(messages)[0]?.[0] ?? "";
}

for (
  const [what, statements, bytes] of [["long", 2000, 100_000], ["tiny", 60_000, 20]] as const
) {
  Deno.test(`${what} statements without end: an ERROR that says what to do, and the session goes on`, async () => {
    await using doorman = await start({ max_client_prepared_memory: "16MB" });
    await using _bystander = await Bystander.start(doorman.port, "postgres", "app");
    const memoryKb = doorman.rssKb();
    using client = await login(doorman);
    let prepared = 0;
    let refused: wire.ErrorFields | undefined;
    for (let i = 0; i < statements && refused === undefined; i += 100) {
      for (let j = i; j < i + 100; j++) {
        client.send(wire.parse(`s${j}`, sql(j, bytes)), wire.SYNC);
      }
      for (let j = i; j < i + 100; j++) {
        const messages = await client.readUntil("Z");
        const error = messages.find(({ type }) => type === "E");
        if (error !== undefined) refused ??= wire.errorFields(error);
        else if (refused === undefined) prepared++;
        assert.equal(wire.letters(messages), error === undefined ? "1Z" : "EZ");
      }
    }
    const grownKb = doorman.rssKb() - memoryKb;
    assert.ok(refused !== undefined, `${prepared} are prepared, ${grownKb} KB`);
    assert.deepEqual([refused.S, refused.C], ["ERROR", "53400"]);
    assert.match(refused.M!, /prepared statements .*max_client_prepared_memory/);
    assert.match(refused.H!, /DEALLOCATE/);
    assert.ok(grownKb < 16 * MB + ROOM_KB, `${grownKb} KB`);
    assert.ok(prepared > 100, `${prepared}`);
    // Those that are prepared are whole, and there is room again when one goes.
    for (const i of [0, prepared - 1]) {
      assert.equal(result(await client.ask(...run(`s${i}`))), String(i));
    }
    await client.ask(wire.close("S", "s0"), wire.close("S", "s1"), wire.SYNC);
    assert.equal(wire.letters(await client.ask(wire.parse("t", sql(7, bytes)), wire.SYNC)), "1Z");
    assert.equal(result(await client.ask(...run("t"))), "7");
    // Another client has a bound of its own.
    using other = await login(doorman);
    assert.equal(wire.letters(await other.ask(wire.parse("s0", sql(8, bytes)), wire.SYNC)), "1Z");
    // Everything goes at once by DEALLOCATE ALL.
    await client.query("DEALLOCATE ALL");
    assert.equal(wire.letters(await client.ask(wire.parse("u", sql(9, bytes)), wire.SYNC)), "1Z");
    const lines = doorman.logs.split("\n").filter((line) => line.includes("max_client_prepared"));
    assert.equal(lines.length, 1, lines.join("\n"));
  });
}

Deno.test("a statement that is refused fails its batch, in and out of a transaction, as any error does", async () => {
  await using doorman = await start({ max_client_prepared_memory: "100kB" });
  using client = await login(doorman);
  const long = wire.parse("long", sql(2, 200_000));
  await client.ask(wire.parse("a", "SELECT 'a'"), wire.SYNC);
  const [bind, execute] = [wire.bind("", "a"), wire.execute()];
  // What comes before it is answered, what comes behind is skipped to the Sync.
  let messages = await client.ask(
    ...[bind, execute, wire.parse("b", "SELECT 'b'"), long, bind, execute, wire.SYNC],
  );
  assert.equal(wire.letters(messages), "2DC1EZ");
  assert.deepEqual(wire.errorCodes(messages), ["53400"]);
  assert.equal(result(await client.ask(...run("b"))), "b");
  assert.equal(result(await client.ask(...run("long"))), "26000");
  // What has the name keeps it.
  await client.ask(wire.parse("long", "SELECT 'short'"), wire.SYNC);
  assert.equal(result(await client.ask(long, wire.SYNC)), "42P05");
  assert.equal(result(await client.ask(...run("long"))), "short");
  await client.ask(wire.close("S", "long"), wire.SYNC);
  // With Flush in the place of Sync it is told at once.
  client.send(long, wire.FLUSH);
  assert.deepEqual(wire.errorCodes(await client.readUntil("E")), ["53400"]);
  assert.equal(wire.letters(await client.ask(wire.SYNC)), "Z");
  // A transaction has failed by it.
  await client.query("BEGIN; CREATE TABLE refused_statement (n int)");
  messages = await client.ask(long, wire.SYNC);
  assert.equal(wire.letters(messages), "EZ");
  assert.equal(String.fromCharCode(messages.at(-1)!.body[0]!), "E");
  assert.equal(result(await client.query("SELECT 1")), "25P02");
  await client.query("ROLLBACK");
  assert.equal(await client.value("SELECT to_regclass('refused_statement') IS NULL"), "t");
  // The first message after BEGIN, which is kept back until then.
  await client.query("BEGIN");
  assert.equal(result(await client.ask(long, wire.SYNC)), "53400");
  assert.equal(result(await client.query("SELECT 1")), "25P02");
  await client.query("ROLLBACK");
  assert.equal(await client.value("SELECT 1"), "1");
});

Deno.test("a reload of max_client_prepared_memory holds for clients that are connected, 0 means no bound", async () => {
  await using doorman = await start({ max_client_prepared_memory: "100kB" });
  using client = await login(doorman);
  const long = (name: string) => [wire.parse(name, sql(2, 200_000)), wire.SYNC];
  assert.equal(result(await client.ask(...long("first"))), "53400");
  for (const [size, outcome] of [["1MB", ""], ["100kB", "53400"], ["0", ""]] as const) {
    await doorman.writeConfig(configOf({ max_client_prepared_memory: size }));
    using admin = await WireClient.login({
      ...ADMIN,
      port: doorman.port,
      database: "pgdoorman",
    });
    await admin.query("RELOAD");
    assert.equal(result(await client.ask(...long(`at ${size}`))), outcome, size);
    // What a client has it keeps.
    assert.equal(result(await client.ask(...run("at 1MB"))), "2");
  }
});

Deno.test("statements that are replaced again and again leave nothing", async () => {
  await using doorman = await start();
  await using _bystander = await Bystander.start(doorman.port, "postgres", "app");
  const memoryKb = doorman.rssKb();
  using client = await login(doorman);
  for (let i = 0; i < 700; i++) {
    const anew = [wire.close("S", "s"), wire.parse("s", sql(i, 900_000)), wire.SYNC];
    assert.equal(result(await client.ask(...anew)), "");
  }
  assert.equal(result(await client.ask(...run("s"))), "699");
  const grownKb = doorman.rssKb() - memoryKb;
  // Of 630 MB: what a pool shares, texts that nobody uses any more, and buffers of long messages.
  assert.ok(grownKb < 300 * MB, `${grownKb} KB`);
});

Deno.test("statements that replace each other in one batch without end are bounded, too", async () => {
  await using doorman = await start({ max_client_prepared_memory: "16MB" });
  await using _bystander = await Bystander.start(doorman.port, "postgres", "app");
  const memoryKb = doorman.rssKb();
  using client = await login(doorman);
  for (let i = 0; i < 500; i++) {
    client.send(wire.close("S", "s"), wire.parse("s", sql(i, 900_000)));
    await client.flushed();
  }
  const grownKb = doorman.rssKb() - memoryKb;
  assert.ok(grownKb < 96 * MB + ROOM_KB, `${grownKb} KB`);
  assert.match(wire.letters(await client.ask(wire.SYNC)), /^[13]+EZ$/);
  // One after the other they are no more than one.
  for (let i = 0; i < 50; i++) {
    const anew = [wire.close("S", "s"), wire.parse("s", sql(i, 900_000)), wire.SYNC];
    assert.equal(result(await client.ask(...anew)), "");
  }
});

Deno.test("the statements of all clients have one bound: who asks for more is refused, nobody else, and it comes back", async () => {
  const users = [{ username: "postgres", password: "postgres", pool_size: 4 }];
  await using doorman = await Doorman.start({
    config: {
      general: { worker_threads: 2, max_prepared_memory: "24MB" },
      pools: { app: poolOf(postgres, { users }), other: poolOf(postgres, { users }) },
    },
    allowLog: [/max_prepared_memory/],
  });
  const open = (database: string) =>
    WireClient.login({ port: doorman.port, user: "postgres", database });
  using modest = await open("app");
  await modest.ask(wire.parse("mine", "SELECT 'mine'"), wire.SYNC);
  let number = 0;
  for (let round = 0; round < 2; round++) {
    const clients: WireClient[] = [];
    let refused: wire.ErrorFields | undefined;
    try {
      // Each for itself is far from the bound of one client.
      for (let i = 0; i < 12; i++) {
        const client = await open(i % 2 === 0 ? "app" : "other");
        clients.push(client);
        for (let j = 0; j < 40; j++) {
          const answer = await client.ask(
            wire.parse(`s${j}`, sql(++number, 100_000)),
            wire.SYNC,
          );
          const error = answer.find(({ type }) => type === "E");
          if (error !== undefined) refused ??= wire.errorFields(error);
        }
      }
      assert.equal(refused?.C, "53400");
      assert.match(refused!.M!, /prepared statements of all clients .*\(max_prepared_memory\)/);
      assert.ok(number > 200);
      // What they have goes on, and so does everybody who asks for nothing.
      assert.match(result(await clients[0]!.ask(...run("s0"))), /^\d+$/);
      assert.equal(result(await modest.ask(...run("mine"))), "mine");
      assert.equal(await clients.at(-1)!.value("SELECT 1"), "1");
      using next = await open("app");
      assert.equal(await next.value("SELECT 2"), "2");
    } finally {
      for (const client of clients) client.close();
    }
    using after = await open("other");
    let answer = "";
    for (let i = 0; i < 50 && answer !== "1"; i++) {
      await after.ask(wire.parse("big", sql(1, 1_000_000)), wire.SYNC);
      answer = result(await after.ask(...run("big")));
    }
    assert.equal(answer, "1");
  }
});

for (
  const [what, statements, bytes] of [["a few", 1, 60_000_000], ["some", 60, 1_000_000], [
    "many",
    4000,
    15_000,
  ]] as const
) {
  Deno.test(`memory comes back when clients with ${what} long statements each have left`, async () => {
    await using doorman = await start({ max_client_prepared_memory: "128MB" });
    const before = doorman.rssKb();
    const clients: WireClient[] = [];
    for (let i = 0; i < 5; i++) {
      const client = await login(doorman);
      clients.push(client);
      client.patienceMs = 60_000;
      const together = Math.max(1, Math.floor(2_000_000 / bytes));
      for (let n = 0; n < statements; n += together) {
        const messages = Array.from(
          { length: Math.min(together, statements - n) },
          (_, k) => wire.parse(`s${n + k}`, sql(i * statements + n + k, bytes)),
        );
        assert.deepEqual(wire.errorCodes(await client.ask(...messages, wire.SYNC)), []);
      }
    }
    const most = doorman.rssKb() - before;
    assert.ok(most > 250 * MB, `${most} KB`);
    for (const client of clients) client.close();
    await waitFor(
      "half of the memory",
      60_000,
      () => doorman.rssKb() - before < most / 2 || undefined,
    );
  });
}
