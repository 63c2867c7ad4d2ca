/**
 * LISTEN and NOTIFY in transaction mode: a client that listens has no server of its own, one connection of the pool
 * listens for all, and each notification reaches each client that listens exactly once, outside of its transactions.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { ADMIN, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;
let doorman: Doorman;

const USER = { username: "postgres", password: "postgres" };

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({ settings: ["max_connections = 60"] });
  await postgres.query(
    "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
  );
  doorman = await Doorman.start({
    config: {
      general: { server_round_robin: true },
      pools: {
        app: poolOf(postgres, { users: [{ ...USER, pool_size: 2, min_pool_size: 2 }] }),
        one: poolOf(postgres, { users: [{ ...USER, pool_size: 1 }] }),
        plain: poolOf(postgres, {
          prepared_statements_cache_size: 0,
          users: [{ ...USER, pool_size: 2 }],
        }),
        session: poolOf(postgres, { pool_mode: "session", users: [{ ...USER, pool_size: 2 }] }),
        limited: poolOf(postgres, { max_db_connections: 1, users: [{ ...USER, pool_size: 1 }] }),
        tight: poolOf(postgres, {
          max_db_connections: 2,
          min_connection_lifetime: 0,
          users: [{ ...USER, pool_size: 2 }],
        }),
        latin: poolOf(postgres, { server_database: "latin", users: [{ ...USER, pool_size: 2 }] }),
      },
    },
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

async function login(database = "app"): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user: "postgres", database });
}

/** Channel and payload of the next notification; nothing else may come. */
async function notification(client: WireClient): Promise<[channel: string, payload: string]> {
  const message = await client.read();
  assert.equal(message.type, "A", `${message.type} instead of a notification`);
  return content(message);
}

function content(message: wire.Message): [channel: string, payload: string] {
  const [channel, payload] = new TextDecoder().decode(message.body.subarray(4)).split("\0");
  return [channel!, payload!];
}

async function operator(): Promise<WireClient> {
  return await WireClient.login({
    port: doorman.port,
    user: ADMIN.user,
    password: ADMIN.password,
    database: "pgdoorman",
  });
}

/** Names of the columns. */
function columnsOf(messages: readonly wire.Message[]): string[] {
  const { body } = messages.find(({ type }) => type === "T")!;
  const names: string[] = [];
  for (let at = 2; at < body.length;) {
    const zero = body.indexOf(0, at);
    names.push(new TextDecoder().decode(body.subarray(at, zero)));
    at = zero + 19;
  }
  return names;
}

/** A column of a SHOW, of the rows of one database. */
async function shown(what: string, column: string, database: string): Promise<string[]> {
  using admin = await operator();
  const messages = await admin.query(`SHOW ${what}`);
  const columns = columnsOf(messages);
  const at = columns.indexOf(column);
  const where = Math.max(columns.indexOf("database"), columns.indexOf("database_name"));
  return wire.rowsOf(messages).filter((row) => row[where] === database).map((row) => row[at]!);
}

/** Waits until the pool's clients listen to so many channels without a server of theirs. */
async function listening(database: string, total: number): Promise<void> {
  await waitFor(`${total} channels are listened to in ${database}`, 8000, async () => {
    const counts = await shown("CLIENTS", "channels", database);
    return counts.reduce((sum, count) => sum + Number(count), 0) === total || undefined;
  });
}

function listen(client: WireClient, channel: string): Promise<unknown> {
  return client.query(`LISTEN ${channel}`);
}

Deno.test("two hundred clients listen on a pool of two servers while others use it", async () => {
  using user = await login();
  const clients: WireClient[] = [];
  try {
    for (let i = 0; i < 200; i++) {
      const client = await login();
      clients.push(client);
      await listen(client, i % 2 === 0 ? "even" : "odd");
    }
    await listening("app", 200);
    const count = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' " +
      "AND datname = 'postgres' AND pid <> pg_backend_pid()";
    assert.equal(await postgres.psql(count), "3");
    assert.deepEqual(
      (await shown("SERVERS", "state", "app")).toSorted(),
      ["idle", "idle", "listening"],
    );
    assert.deepEqual(new Set(await shown("CLIENTS", "pinned", "app")), new Set([""]));
    for (let n = 0; n < 20; n++) await user.query(`NOTIFY even, '${n}'`);
    for (let n = 0; n < 20; n++) await postgres.query(`NOTIFY odd, '${n}'`);
    for (const [i, client] of clients.entries()) {
      for (let n = 0; n < 20; n++) {
        assert.deepEqual(await notification(client), [i % 2 === 0 ? "even" : "odd", `${n}`]);
      }
    }
    for (const client of clients) assert.equal(await client.value("SELECT 1"), "1");
  } finally {
    for (const client of clients) client.close();
  }
  // The connection is closed when it has not been needed for a while.
  await doorman.waitForLog(/postgres@app\] listening: pid=\d+ .*nobody listens any more/, 15_000);
});

Deno.test("NOTIFY from the client itself, from another one, from outside; long payloads, odd names", async () => {
  using client = await login();
  using other = await login();
  await client.query(`LISTEN "Odd "" name"; LISTEN Plain`);
  await listening("app", 2);
  const long = "x".repeat(7900);
  const own = await client.query(`NOTIFY plain, '${long}'`);
  const early = own.filter(({ type }) => type === "A").map(content);
  assert.deepEqual(early.length > 0 ? early[0] : await notification(client), ["plain", long]);
  await other.query(`NOTIFY "Odd "" name", 'from another'`);
  assert.deepEqual(await notification(client), [`Odd " name`, "from another"]);
  await postgres.query("NOTIFY plain");
  assert.deepEqual(await notification(client), ["plain", ""]);
  await other.query("NOTIFY \"Plain\", 'not this'; NOTIFY plain, 'this'");
  assert.deepEqual(await notification(client), ["plain", "this"]);
  assert.ok(await other.silent(50));
});

Deno.test("the process id of a notification is that of the backend that has sent it", async () => {
  using client = await login();
  await listen(client, "pids");
  await listening("app", 1);
  const pid = await postgres.psql("NOTIFY pids; SELECT pg_backend_pid()");
  const { body } = await client.read();
  assert.equal(String(new DataView(body.buffer, body.byteOffset).getInt32(0)), pid.trim());
});

Deno.test("what is notified while the listener takes over comes exactly once and in order", async () => {
  using notifier = await WireClient.login({
    port: postgres.port,
    user: "postgres",
    database: "postgres",
  });
  let sent = 0;
  let going = true;
  // Runs of the same payload: only their number tells whether one is missing or doubled.
  const notifying = (async () => {
    while (going) {
      await notifier.query(`NOTIFY flood, '${Math.floor(sent / 3)}'`);
      sent++;
    }
  })();
  const clients: { client: WireClient; from: number }[] = [];
  try {
    for (let i = 0; i < 30; i++) {
      const client = await login(i % 2 === 0 ? "app" : "plain");
      const answer = await client.query("LISTEN flood");
      assert.ok(wire.letters(answer).startsWith("C"));
      clients.push({ client, from: answer.filter(({ type }) => type === "A").length });
      if (i % 5 === 0) await client.value("SELECT 1");
    }
    await new Promise((resolve) => setTimeout(resolve, 300));
  } finally {
    going = false;
    await notifying;
  }
  await notifier.query("NOTIFY flood, 'end'");
  for (const { client } of clients) {
    const seen: string[] = [];
    for (;;) {
      const [, payload] = await notification(client);
      if (payload === "end") break;
      seen.push(payload);
    }
    assert.ok(seen.length > 3, `${seen.length} notifications`);
    const first = Number(seen[0]);
    const last = Math.floor((sent - 1) / 3);
    // All runs but the first and the last are whole.
    const wanted: string[] = [];
    for (let n = first; n <= last; n++) for (let i = 0; i < 3; i++) wanted.push(`${n}`);
    wanted.length -= 3 - ((sent - 1) % 3 + 1);
    assert.deepEqual(seen, wanted.slice(wanted.length - seen.length));
    assert.ok(wanted.length - seen.length < 3);
    client.close();
  }
});

Deno.test("LISTEN in a transaction that is rolled back; in one that is committed", async () => {
  using client = await login();
  await client.query("BEGIN");
  await listen(client, "undone");
  await client.query("ROLLBACK");
  await client.query("BEGIN");
  await listen(client, "done");
  await postgres.query("NOTIFY done, 'too early'");
  await client.query("COMMIT");
  await listening("app", 1);
  await postgres.query("NOTIFY undone; NOTIFY done, 'x'");
  assert.deepEqual(await notification(client), ["done", "x"]);
  assert.ok(await client.silent(50));
});

Deno.test("within a transaction of the client notifications wait for its end", async () => {
  using client = await login();
  await listen(client, "later");
  await listening("app", 1);
  await client.query("BEGIN");
  await postgres.query("NOTIFY later, '1'; NOTIFY later, '2'");
  assert.ok(await client.silent(100));
  assert.equal(wire.letters(await client.query("SELECT 1")), "TDCZ");
  await client.query("COMMIT");
  assert.deepEqual(await notification(client), ["later", "1"]);
  assert.deepEqual(await notification(client), ["later", "2"]);
});

for (const database of ["app", "plain"]) {
  const ways: [way: string, run: (client: WireClient, sql: string) => Promise<unknown>][] = [
    ["a query", (client, sql) => client.query(sql)],
    ["an unnamed statement", (client, sql) => client.ask(wire.extended(sql), wire.SYNC)],
    ["a named statement", async (client, sql) => {
      const rest = [wire.bind("", "u"), wire.execute(), wire.close("S", "u"), wire.SYNC];
      // Without rewriting a statement lasts for its transaction.
      if (database === "plain") return await client.ask(wire.parse("u", sql), ...rest);
      await client.ask(wire.parse("u", sql), wire.SYNC);
      return await client.ask(...rest);
    }],
    ["a query that comes in pieces", async (client, sql) => {
      const bytes = wire.query(sql);
      for (let at = 0; at < bytes.length; at += 4) {
        client.send(bytes.subarray(at, at + 4));
        await client.flushed();
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      await client.readUntil("Z");
    }],
  ];
  for (const [way, run] of ways) {
    Deno.test(`UNLISTEN by ${way}, database ${database}`, async () => {
      using client = await login(database);
      await client.query(`LISTEN a; LISTEN "B ""b"""; LISTEN c; LISTEN d`);
      await listening(database, 4);
      await run(client, `UNLISTEN a`);
      await listening(database, 3);
      await run(client, `  /* odd */ unlisten "B ""b"""`);
      await listening(database, 2);
      await client.query("BEGIN");
      await run(client, "UNLISTEN c");
      await client.query("ROLLBACK");
      await client.query("BEGIN");
      await run(client, "UNLISTEN d");
      await client.query("COMMIT");
      await listening(database, 1);
      await postgres.query(`NOTIFY a; NOTIFY "B ""b"""; NOTIFY d; NOTIFY c`);
      assert.deepEqual(await notification(client), ["c", ""]);
      assert.ok(await client.silent(50));
      await run(client, "UNLISTEN *");
      await listening(database, 0);
      await postgres.query("NOTIFY c");
      assert.ok(await client.silent(50));
    });
  }
}

for (const database of ["app", "plain"]) {
  const { parse, bind, execute, SYNC, query } = wire;
  const ways: [name: string, sent: Uint8Array[]][] = [
    ["UNLISTEN", [query("UNLISTEN quick")]],
    ["UNLISTEN *", [query("UNLISTEN *")]],
    ["DISCARD ALL", [query("DISCARD ALL")]],
    ["asyncpg's reset query", [query("SELECT 1;\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;")]],
    ["extended protocol", [parse("", "UNLISTEN quick"), bind("", ""), execute(), SYNC]],
    ["extended protocol, *", [parse("", "UNLISTEN *"), bind("", ""), execute(), SYNC]],
    ["an escaped name", [query(String.raw`UNLISTEN U&"qu!0069ck" UESCAPE '!'`)]],
    ["among 300 others", [
      query(Array.from({ length: 300 }, (_, i) => `UNLISTEN c${i}`).join(";") + ";UNLISTEN quick"),
    ]],
  ];
  for (const [name, sent] of ways) {
    Deno.test(`UNLISTEN right after LISTEN by ${name}, database ${database}, 48 times`, async () => {
      for (let i = 0; i < 48; i++) {
        using client = await login(database);
        // Behind the first answer, in one piece, or when the listener is about to take over.
        if (i % 4 === 3) client.send(query("LISTEN quick"), ...sent);
        else {
          await listen(client, "quick");
          if (i % 4 === 1) await new Promise((resolve) => setTimeout(resolve, i % 16));
          if (i % 4 === 2) await client.query("SELECT 1");
          client.send(...sent);
        }
        await client.readUntil("Z");
        if (i % 4 === 3) await client.readUntil("Z");
        await postgres.query("NOTIFY quick");
        // Answers come behind what PostgreSQL has sent before.
        const seen = await client.query("SELECT pg_sleep(0.01)");
        const later = await client.query("SELECT 1");
        assert.ok(!wire.letters([...seen, ...later]).includes("A"), `round ${i}`);
        await client.terminate();
      }
      await listening(database, 0);
    });
  }
}

Deno.test("UNLISTEN in texts of several statements, and DISCARD ALL", async () => {
  using client = await login();
  await client.query("LISTEN a; LISTEN b");
  await listening("app", 2);
  await client.query("SELECT 1; UNLISTEN a; SELECT 1/0");
  await listening("app", 2);
  await client.query("SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;");
  await listening("app", 0);
  await client.query("LISTEN a; LISTEN b");
  await listening("app", 2);
  await client.query("DISCARD ALL");
  await listening("app", 0);
  await client.query("LISTEN a");
  await client.query("UNLISTEN a");
  await client.query("LISTEN b");
  await listening("app", 1);
  // At a direct connection this is no gap either.
  await client.query("UNLISTEN *; LISTEN b; LISTEN c");
  await listening("app", 2);
  await postgres.query("NOTIFY a; NOTIFY b; NOTIFY c");
  assert.deepEqual(await notification(client), ["b", ""]);
  assert.deepEqual(await notification(client), ["c", ""]);
});

Deno.test("other clients of the servers that ran LISTEN get nothing, and a client that has left costs nothing", async () => {
  {
    using client = await login("one");
    await listen(client, "mine");
    await listening("one", 1);
    using other = await login("one");
    await other.query("SELECT 1");
    await postgres.query("NOTIFY mine");
    assert.deepEqual(await notification(client), ["mine", ""]);
    assert.ok(await other.silent(50));
    assert.equal(await other.value("SELECT count(*) FROM pg_listening_channels()"), "0");
  }
  using other = await login("one");
  await other.query("BEGIN");
  await listen(other, "half");
  other.close();
  using last = await login("one");
  await waitFor(
    "a server without channels",
    5000,
    async () =>
      await last.value("SELECT count(*) FROM pg_listening_channels()") === "0" || undefined,
  );
});

Deno.test("a client that holds a lock listens, too, and is told of nothing twice", async () => {
  using client = await login();
  await client.query("SELECT pg_advisory_lock(1); LISTEN held");
  await listening("app", 1);
  await postgres.query("NOTIFY held, '1'");
  assert.deepEqual(await notification(client), ["held", "1"]);
  assert.ok(await client.silent(50));
  await client.query("SELECT pg_advisory_unlock(1)");
  await postgres.query("NOTIFY held, '2'");
  assert.deepEqual(await notification(client), ["held", "2"]);
  assert.ok(await client.silent(50));
});

Deno.test("the listening connection is lost: its clients are told, the others go on, the next ones get a new one", async () => {
  doorman.allowLog(/57P01/, /listening connection is lost/);
  using client = await login();
  using other = await login();
  await listen(client, "lost");
  await listening("app", 1);
  const pid = (await shown("SERVERS", "server_process_id", "app"))[
    (await shown("SERVERS", "state", "app")).indexOf("listening")
  ];
  await postgres.query(`SELECT pg_terminate_backend(${pid})`);
  const [last] = await client.readToEnd();
  const { S, C, M } = wire.errorFields(last!);
  assert.deepEqual([S, C], ["FATAL", "57P01"]);
  assert.match(M, /listens for this client is lost, notifications may be missing/);
  assert.equal(await other.value("SELECT 1"), "1");
  await listen(other, "lost");
  await listening("app", 1);
  await postgres.query("NOTIFY lost, 'found'");
  assert.deepEqual(await notification(other), ["lost", "found"]);
});

Deno.test("RECONNECT replaces the listening connection, and nothing is lost or doubled", async () => {
  using client = await login();
  await listen(client, "steady");
  await listening("app", 1);
  using admin = await operator();
  let going = true;
  let sent = 0;
  const notifying = (async () => {
    using notifier = await WireClient.login({
      port: postgres.port,
      user: "postgres",
      database: "postgres",
    });
    while (going) await notifier.query(`NOTIFY steady, '${sent++}'`);
  })();
  const before = doorman.logs.length;
  for (let i = 1; i <= 5; i++) {
    await admin.query("RECONNECT");
    await waitFor(
      `replacement ${i}`,
      5000,
      () => doorman.logs.slice(before).split("another connection listens").length > i || undefined,
    );
  }
  going = false;
  await notifying;
  for (let n = 0; n < sent; n++) assert.deepEqual(await notification(client), ["steady", `${n}`]);
  assert.ok(await client.silent(50));
});

Deno.test("PAUSE: who listens goes on, who wants to waits", async () => {
  using client = await login();
  await listen(client, "paused");
  await listening("app", 1);
  using admin = await operator();
  await admin.query("PAUSE app");
  await postgres.query("NOTIFY paused");
  assert.deepEqual(await notification(client), ["paused", ""]);
  await admin.query("RESUME app");
});

Deno.test("no place for a listening connection: the client keeps its server and has its notifications", async () => {
  doorman.allowLog(/no connection that listens: no place/);
  using client = await login("limited");
  await listen(client, "kept");
  await doorman.waitForLog(/postgres@limited\] no connection that listens: no place/);
  assert.deepEqual(await shown("CLIENTS", "pinned", "limited"), ["LISTEN"]);
  await postgres.query("NOTIFY kept");
  assert.deepEqual(await notification(client), ["kept", ""]);
  assert.equal(await client.value("SELECT count(*) FROM pg_listening_channels()"), "1");
  await client.query("UNLISTEN kept");
  using other = await login("limited");
  assert.equal(await other.value("SELECT count(*) FROM pg_listening_channels()"), "0");
});

Deno.test("an idle server makes room for the listening connection", async () => {
  using client = await login("tight");
  using other = await login("tight");
  await client.query("BEGIN; SELECT 1");
  await other.query("SELECT 1");
  await client.query("COMMIT");
  await listen(client, "room");
  await listening("tight", 1);
  await postgres.query("NOTIFY room");
  assert.deepEqual(await notification(client), ["room", ""]);
  assert.deepEqual((await shown("SERVERS", "state", "tight")).toSorted(), ["idle", "listening"]);
});

Deno.test("a client with an encoding of its own keeps its server", async () => {
  using client = await login("latin");
  assert.equal(client.parameters.get("client_encoding"), "LATIN1");
  await listen(client, "kept");
  await doorman.waitForLog(/@latin #c\d+\] keeps server pid=\d+ after its transactions: LISTEN/);
  using other = await WireClient.login({
    port: doorman.port,
    user: "postgres",
    database: "latin",
    parameters: { client_encoding: "UTF8" },
  });
  await listen(other, '"ümläut"');
  await listening("latin", 1);
  await other.query(`NOTIFY "ümläut", 'ß'; NOTIFY kept`);
  assert.deepEqual(await notification(other), ["ümläut", "ß"]);
  assert.deepEqual(await notification(client), ["kept", ""]);
});

Deno.test("a client that does not read is closed when too much waits, the others get everything", async () => {
  doorman.allowLog(/bytes of notifications wait for it/);
  using slow = await login();
  using other = await login();
  await listen(slow, "much");
  await listen(other, "much");
  await listening("app", 2);
  await slow.query("BEGIN");
  const payload = "y".repeat(7900);
  for (let i = 0; i < 200; i++) await postgres.query(`NOTIFY much, '${i} ${payload}'`);
  for (let i = 0; i < 200; i++) {
    const [, got] = await notification(other);
    assert.ok(got.startsWith(`${i} `));
  }
  const last = (await slow.readToEnd()).at(-1)!;
  assert.equal(wire.errorFields(last).C, "53200");
});

Deno.test("session mode: PostgreSQL listens on the client's own connection", async () => {
  using client = await login("session");
  await listen(client, "own");
  assert.equal(await client.value("SELECT count(*) FROM pg_listening_channels()"), "1");
  await postgres.query("NOTIFY own, 'x'");
  assert.deepEqual(await notification(client), ["own", "x"]);
  assert.deepEqual(await shown("SERVERS", "state", "session"), ["active"]);
});
