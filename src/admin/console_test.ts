import assert from "node:assert/strict";
import fc from "fast-check";
import { MESSAGE_LIMIT_BYTES, WAITING_LIMIT_BYTES } from "./console.ts";
import type { AdminEnvironment } from "./environment.ts";
import { poolRow } from "./testing/fake_environment.ts";
import { open, say } from "./testing/session.ts";
import {
  bind,
  close,
  concat,
  describe,
  execute,
  frontend,
  int16,
  int32,
  parse,
  query,
  read,
  summary,
  sync,
} from "./testing/wire.ts";

async function ask(sql: string, changes: Partial<AdminEnvironment> = {}): Promise<string[]> {
  return await say(open(changes).session, query(sql));
}

Deno.test("console: an empty query is answered as such", async () => {
  for (const sql of ["", ";", "  \n", "-- ping", "/* */;;"]) {
    assert.deepEqual(await ask(sql), ["I", "Z I"], JSON.stringify(sql));
  }
});

Deno.test("console: several statements in one query have one ReadyForQuery", async () => {
  assert.deepEqual(await ask("SHOW VERSION; PAUSE app;\n SHOW VERSION;"), [
    "T version",
    "D PgDoorman 3.10.7",
    "C SHOW",
    "C PAUSE",
    "T version",
    "D PgDoorman 3.10.7",
    "C SHOW",
    "Z I",
  ]);
});

Deno.test("console: an error ends a query of several statements", async () => {
  const { session, told } = open();
  assert.deepEqual(await say(session, query("PAUSE app; PAUSE nope; RESUME app")), [
    "C PAUSE",
    'E ERROR 3D000 No pool for database "nope"',
    "Z I",
  ]);
  assert.deepEqual(told.commands, ["pause app"]);
});

Deno.test("console: PAUSE, RESUME and RECONNECT reach the pools and the log", async () => {
  const { session, told } = open();
  assert.deepEqual(
    await say(session, query("PAUSE"), query('RESUME "My DB"'), query("reconnect LOWER;")),
    ["C PAUSE", "Z I", "C RESUME", "Z I", "C RECONNECT", "Z I"],
  );
  assert.deepEqual(told.commands, ["pause", "resume My DB", "reconnect lower"]);
  assert.deepEqual(told.log, [
    "info [admin@pgdoorman #c9] PAUSE of all databases: 1 pool",
    'info [admin@pgdoorman #c9] RESUME of database "My DB": 1 pool',
    'info [admin@pgdoorman #c9] RECONNECT of database "lower": 1 pool',
  ]);
});

Deno.test("console: a name without quotes means itself before its lower case", async () => {
  const { session, told } = open();
  await say(session, query("PAUSE MyDb"), query("PAUSE MYDB"), query('PAUSE "mydb"'));
  assert.deepEqual(told.commands, ["pause MyDb", "pause mydb", "pause mydb"]);
  assert.deepEqual(await say(session, query('PAUSE "MYDB"')), [
    'E ERROR 3D000 No pool for database "MYDB"',
    "Z I",
  ]);
});

Deno.test("console: a database whose pools are gone has no pool; without a name none is needed", async () => {
  const changes = { command: () => Promise.resolve(0) };
  assert.deepEqual(await ask("PAUSE app", changes), [
    'E ERROR 3D000 No pool for database "app"',
    "Z I",
  ]);
  assert.deepEqual(await ask("PAUSE", changes), ["C PAUSE", "Z I"]);
});

Deno.test("console: what the build lacks is refused", async () => {
  for (const sql of ["RELOAD", "SHUTDOWN", "UPGRADE", "KILL app", "SET log_level = 'info'"]) {
    const [error, ready] = await ask(sql);
    assert.match(error, /^E ERROR 0A000 .* is not available in this build$/, sql);
    assert.equal(ready, "Z I");
  }
});

Deno.test("console: KILL", async () => {
  const killed: (string | undefined)[] = [];
  const changes = {
    kill: (database: string | undefined) => {
      killed.push(database);
      return Promise.resolve(2);
    },
  };
  assert.deepEqual(await ask("KILL app", changes), ["C KILL", "Z I"]);
  assert.deepEqual(await ask("KILL nope", changes), [
    'E ERROR 3D000 No pool for database "nope"',
    "Z I",
  ]);
  assert.deepEqual(killed, ["app"]);
});

Deno.test("console: RELOAD tells what changed, or why nothing did", async () => {
  const good = { ok: true, summary: "pool app: pool_size 10 -> 20", faults: [] };
  assert.deepEqual(await ask("RELOAD", { reload: () => Promise.resolve(good) }), [
    "N NOTICE 00000 pool app: pool_size 10 -> 20",
    "C RELOAD",
    "Z I",
  ]);
  const quiet = { ok: true, summary: "", faults: [] };
  assert.deepEqual(await ask("RELOAD", { reload: () => Promise.resolve(quiet) }), [
    "C RELOAD",
    "Z I",
  ]);
  const bad = { ok: false, summary: "", faults: ["general.port: a number is needed", "second"] };
  const { session } = open({ reload: () => Promise.resolve(bad) });
  const { bytes, close } = await session.handle(query("RELOAD"));
  const [error, ready] = read(bytes);
  assert.equal(error.fields.S, "ERROR");
  assert.equal(error.fields.C, "F0000");
  assert.equal(error.fields.M, "configuration rejected, nothing has changed: 2 faults");
  assert.equal(error.fields.D, "general.port: a number is needed\nsecond");
  assert.equal(ready.text, "I");
  assert.ok(!close);
});

Deno.test("console: SHUTDOWN and UPGRADE answer with a row", async () => {
  let shutdowns = 0;
  assert.deepEqual(await ask("SHUTDOWN", { shutdown: () => void shutdowns++ }), [
    "T success",
    "D t",
    "C SHUTDOWN",
    "Z I",
  ]);
  assert.equal(shutdowns, 1);
  assert.deepEqual(await ask("UPGRADE", { upgrade: () => undefined }), [
    "T success",
    "D t",
    "C UPGRADE",
    "Z I",
  ]);
  assert.deepEqual(await ask("UPGRADE", { upgrade: () => "an upgrade is under way" }), [
    "N WARNING 55000 an upgrade is under way",
    "T success",
    "D f",
    "C UPGRADE",
    "Z I",
  ]);
});

Deno.test("console: SET log_level passes the filter on, or its fault back", async () => {
  const filters: string[] = [];
  const changes = {
    setLogLevel: (filter: string) => {
      filters.push(filter);
      return filter === "loud" ? 'invalid log level "loud"' : undefined;
    },
  };
  assert.deepEqual(await ask("SET log_level='debug'", changes), ["C SET", "Z I"]);
  assert.deepEqual(await ask("SET log_level = loud", changes), [
    'E ERROR 42601 invalid log level "loud"',
    "Z I",
  ]);
  assert.deepEqual(filters, ["debug", "loud"]);
});

Deno.test("console: an unknown command is an ERROR, a warning in the log, and no more", async () => {
  const { session, told } = open();
  assert.deepEqual(await say(session, query("ALTER USER a PASSWORD 'secret'")), [
    "E ERROR 58000 unsupported query ALTER on the admin database",
    "Z I",
  ]);
  assert.deepEqual(told.log, [
    "warn [admin@pgdoorman #c9] unsupported query ALTER on the admin database",
  ]);
  assert.deepEqual((await say(session, query("SHOW VERSION"))).at(-1), "Z I");
});

Deno.test("console: a control plane that fails is an error of ours, and the session goes on", async () => {
  const { session, told } = open({
    pools: () => Promise.reject(new Error("worker 1 did not answer")),
  });
  assert.deepEqual(await say(session, query("SHOW POOLS"), query("SHOW VERSION")), [
    "E ERROR XX000 internal error",
    "Z I",
    "T version",
    "D PgDoorman 3.10.7",
    "C SHOW",
    "Z I",
  ]);
  assert.deepEqual(told.log, [
    "error [admin@pgdoorman #c9] admin command failed: worker 1 did not answer",
  ]);
});

Deno.test("console: transaction blocks as a driver without autocommit opens them", async () => {
  const { session } = open();
  assert.deepEqual(
    await say(session, query("BEGIN"), query("SHOW VERSION"), query("COMMIT")),
    ["C BEGIN", "Z T", "T version", "D PgDoorman 3.10.7", "C SHOW", "Z T", "C COMMIT", "Z I"],
  );
  assert.deepEqual(
    await say(session, query("BEGIN"), query("BEGIN"), query("FOO"), query("SHOW VERSION")),
    [
      "C BEGIN",
      "Z T",
      "N WARNING 25001 there is already a transaction in progress",
      "C BEGIN",
      "Z T",
      "E ERROR 58000 unsupported query FOO on the admin database",
      "Z E",
      "E ERROR 25P02 current transaction is aborted, commands ignored until end of transaction block",
      "Z E",
    ],
  );
  assert.deepEqual(await say(session, query("COMMIT"), query("COMMIT")), [
    "C ROLLBACK",
    "Z I",
    "N WARNING 25P01 there is no transaction in progress",
    "C COMMIT",
    "Z I",
  ]);
});

Deno.test("console: ROLLBACK says that a command has already taken effect", async () => {
  const warning =
    "N WARNING 01000 commands of the admin console take effect at once and are not rolled back";
  const { session } = open();
  assert.deepEqual(await say(session, query("BEGIN; PAUSE app; ROLLBACK")), [
    "C BEGIN",
    "C PAUSE",
    warning,
    "C ROLLBACK",
    "Z I",
  ]);
  assert.deepEqual(await say(session, query("BEGIN; SHOW VERSION; ROLLBACK")), [
    "C BEGIN",
    "T version",
    "D PgDoorman 3.10.7",
    "C SHOW",
    "C ROLLBACK",
    "Z I",
  ]);
  await say(session, query("BEGIN"), query("PAUSE nope"));
  assert.deepEqual(await say(session, query("ROLLBACK")), ["C ROLLBACK", "Z I"]);
});

Deno.test("console: parameters of drivers are kept for the session", async () => {
  const { session } = open();
  const shown = async (name: string) =>
    (await say(session, query(`SHOW ${name}`))).find((line) => line.startsWith("D "));
  assert.equal(await shown("server_version"), "D 3.10.7");
  assert.equal(await shown("transaction isolation level"), "D read committed");
  assert.deepEqual(await say(session, query("SET application_name = 'my app'")), ["C SET", "Z I"]);
  assert.equal(await shown("application_name"), "D my app");
  assert.deepEqual(await say(session, query("RESET application_name")), ["C RESET", "Z I"]);
  assert.equal(await shown("application_name"), "D pg_doorman");
  await say(session, query("SET TIME ZONE 'Europe/Berlin'; SET lock_timeout = 5"));
  assert.equal(await shown("TimeZone"), "D Europe/Berlin");
  assert.equal(await shown("time zone"), "D Europe/Berlin");
  await say(session, query("SET timezone TO DEFAULT"));
  assert.equal(await shown("TimeZone"), "D Etc/UTC");
  assert.deepEqual(await say(session, query("DISCARD ALL")), ["C DISCARD ALL", "Z I"]);
  assert.equal(await shown("lock_timeout"), "D 0");
});

Deno.test("console: a parameter that can't change says so", async () => {
  const { session } = open();
  for (const value of ["'UTF8'", "utf-8", "'UNICODE'", "SQL_ASCII", "DEFAULT"]) {
    assert.deepEqual(await say(session, query(`SET client_encoding TO ${value}`)), [
      "C SET",
      "Z I",
    ], value);
  }
  assert.deepEqual(await say(session, query("SET client_encoding TO LATIN1")), [
    'N WARNING 01000 parameter "client_encoding" is always "UTF8" on the admin database',
    "C SET",
    "Z I",
  ]);
  assert.deepEqual(await say(session, query("SET standard_conforming_strings = true")), [
    "C SET",
    "Z I",
  ]);
});

Deno.test("console: SELECTs that ask whether somebody is there", async () => {
  assert.deepEqual(await ask("SELECT 1, 'it''s' AS x, version(), current_user"), [
    "T ?column?,x,version,current_user",
    "D 1,it's,PgDoorman 3.10.7,admin",
    "C SELECT 1",
    "Z I",
  ]);
  assert.deepEqual(await ask("SELECT pg_catalog.pg_is_in_recovery()"), [
    "T pg_is_in_recovery",
    "D f",
    "C SELECT 1",
    "Z I",
  ]);
});

Deno.test("console: psql's Tab key", async () => {
  const sql = "SELECT pg_catalog.lower(name) FROM pg_catalog.pg_settings WHERE " +
    "pg_catalog.lower(name) LIKE pg_catalog.lower('po%')";
  assert.deepEqual(await ask(sql), [
    "T name",
    "D pools",
    "D pools_extended",
    "D pools_memory",
    "D pool_coordinator",
    "D pool_scaling",
    "C SELECT 5",
    "Z I",
  ]);
});

Deno.test("console: a driver that looks for types finds none", async () => {
  const sql = "select b.oid, b.typarray from pg_catalog.pg_type a where a.typcategory = 'A'";
  assert.deepEqual(await ask(sql), ["T oid,typarray", "C SELECT 0", "Z I"]);
});

Deno.test("console: requests are answered in order, though a command takes its time", async () => {
  const release = Promise.withResolvers<number>();
  const { session, told } = open({ command: () => release.promise });
  const replies: string[] = [];
  const first = session.handle(query("PAUSE")).then(() => replies.push("first"));
  const second = session.handle(query("SHOW VERSION")).then(() => replies.push("second"));
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.deepEqual(replies, []);
  assert.deepEqual(told.log, []);
  release.resolve(1);
  await Promise.all([first, second]);
  assert.deepEqual(replies, ["first", "second"]);
});

Deno.test("console: requests that pile up end the session", async () => {
  const release = Promise.withResolvers<number>();
  const { session } = open({ command: () => release.promise });
  const first = session.handle(query("PAUSE"));
  const chunk = query(`SHOW VERSION -- ${"x".repeat(MESSAGE_LIMIT_BYTES - 100)}`);
  const count = Math.ceil(WAITING_LIMIT_BYTES / chunk.length);
  const others = Array.from({ length: count }, () => session.handle(chunk));
  release.resolve(1);
  assert.ok(!(await first).close);
  const replies = await Promise.all(others);
  assert.ok(!replies.at(-2)!.close);
  const last = replies[replies.length - 1];
  assert.ok(last.close);
  assert.deepEqual(summary(last.bytes), ["E FATAL 54000 too many requests are waiting"]);
});

Deno.test("console: a statement that is too long is refused, and the session goes on", async () => {
  const { session } = open();
  const long = query(`SHOW VERSION -- ${"x".repeat(MESSAGE_LIMIT_BYTES)}`);
  assert.deepEqual(await say(session, long), [
    "E ERROR 54000 a message to the admin database may have 65536 bytes",
    "Z I",
  ]);
  assert.equal((await say(session, query("SHOW VERSION"))).length, 4);
});

Deno.test("console: Terminate closes without a word; nothing after it is read", async () => {
  const { session, told } = open();
  const reply = await session.handle(concat(query("SHOW VERSION"), frontend("X"), query("PAUSE")));
  assert.ok(reply.close);
  assert.equal(summary(reply.bytes).length, 4);
  const after = await session.handle(query("PAUSE"));
  assert.deepEqual([after.close, after.bytes.length], [true, 0]);
  assert.deepEqual(told.commands, []);
});

Deno.test("console: FunctionCall is refused; stray copy messages are passed over", async () => {
  const { session } = open();
  const call = frontend("F", int32(1), int16(0), int16(0), int16(0));
  assert.deepEqual(await say(session, call), [
    "E ERROR 0A000 function calls are not supported on the admin database",
    "Z I",
  ]);
  assert.deepEqual(
    await say(session, frontend("d", [1, 2]), frontend("c"), frontend("f", "no"), query(";")),
    ["I", "Z I"],
  );
  assert.deepEqual(await say(session, query("COPY t FROM STDIN")), [
    "E ERROR 0A000 COPY is not supported on the admin database",
    "Z I",
  ]);
});

Deno.test("console: what is no frontend message ends the session", async () => {
  for (const bytes of [frontend("y", [1]), frontend("p", "password"), Uint8Array.of(0, 0, 0)]) {
    const { session } = open();
    const reply = await session.handle(bytes);
    assert.ok(reply.close);
    assert.match(summary(reply.bytes)[0], /^E FATAL 08P01 /);
  }
});

Deno.test("console: lengths that lie end the session", async () => {
  for (const length of [0, 3, -1, 6, 0x7fffffff]) {
    const { session } = open();
    const reply = await session.handle(Uint8Array.from([0x51, ...int32(length), 0]));
    assert.ok(reply.close, String(length));
    assert.deepEqual(summary(reply.bytes), ["E FATAL 08P01 invalid message length"]);
  }
});

Deno.test("console: a query that is not as the protocol says is refused", async () => {
  const { session } = open();
  const cases: [Uint8Array, string][] = [
    [frontend("Q", Uint8Array.of(0x41)), "E ERROR 08P01 invalid string in message"],
    [frontend("Q", "SHOW VERSION", [0]), "E ERROR 08P01 invalid message format"],
    [
      frontend("Q", Uint8Array.of(0xff, 0xfe, 0)),
      'E ERROR 22021 invalid byte sequence for encoding "UTF8"',
    ],
  ];
  for (const [bytes, error] of cases) assert.deepEqual(await say(session, bytes), [error, "Z I"]);
});

Deno.test("console: messages give the same bytes together and one by one", async () => {
  const one = fc.constantFrom(
    query("SHOW VERSION"),
    query("BEGIN"),
    query("ROLLBACK"),
    query("FOO"),
    query(""),
    query("PAUSE app; RESUME nope"),
    parse("", "SHOW LISTS"),
    parse("a", "SHOW USERS"),
    parse("", "BEGIN"),
    bind("", ""),
    bind("p", "a", [1]),
    describe("P", ""),
    describe("S", "a"),
    execute("", 5),
    execute("p"),
    close("S", "a"),
    frontend("H"),
    sync,
  );
  await fc.assert(
    fc.asyncProperty(fc.array(one, { maxLength: 25 }), async (messages) => {
      const together = await open().session.handle(concat(...messages));
      const { session } = open();
      const apart = await Promise.all(messages.map((message) => session.handle(message)));
      assert.deepEqual(together.bytes, concat(...apart.map((reply) => reply.bytes)));
      assert.ok(!together.close);
      read(together.bytes);
    }),
    { numRuns: 300 },
  );
});

Deno.test("console: random bytes never leave a request unanswered", async () => {
  const types = [..."QPBDECSHFXdcfpz"];
  const hostile = fc.oneof(
    fc.uint8Array({ maxLength: 64 }),
    fc.tuple(fc.constantFrom(...types), fc.uint8Array({ maxLength: 40 })).map(([type, body]) =>
      frontend(type, body)
    ),
    fc.string({ unit: "binary", maxLength: 60 }).map((sql) => query(sql)),
    fc.array(fc.constantFrom("SHOW", "SET", '"', "'", "log_level", "=", "SELECT", ",", "(", "/*"))
      .map((words) => query(words.join(" "))),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(hostile, { maxLength: 12 }), async (requests) => {
      const { session, told } = open();
      for (const request of requests) {
        const reply = await session.handle(request);
        read(reply.bytes);
        if (reply.close) return;
      }
      assert.ok(!told.log.some((line) => line.startsWith("error")), told.log.join("\n"));
      const last = summary((await session.handle(sync)).bytes);
      assert.match(last.at(-1) ?? "", /^Z [ITE]$/);
    }),
    { numRuns: 1000 },
  );
});

Deno.test("console: WAIT_CLOSE waits until no server connection is to be replaced", async () => {
  let left = 3;
  const { session } = open({
    pools: () => {
      const rows = [poolRow({ sv_close_needed: --left }), poolRow({ database: "mydb" })];
      return Promise.resolve(rows);
    },
  });
  assert.deepEqual(await say(session, query("WAIT_CLOSE mydb")), ["C WAIT_CLOSE", "Z I"]);
  assert.equal(left, 2);
  assert.deepEqual(await say(session, query("WAIT_CLOSE")), ["C WAIT_CLOSE", "Z I"]);
  assert.equal(left, 0);
  assert.deepEqual(await say(session, query("WAIT_CLOSE nope")), [
    'E ERROR 3D000 No pool for database "nope"',
    "Z I",
  ]);
});

Deno.test("console: nobody waits for a console that is gone", async () => {
  const { session } = open({ pools: () => Promise.resolve([poolRow({ sv_close_needed: 1 })]) });
  const waiting = say(session, query("WAIT_CLOSE"));
  session.end();
  assert.deepEqual(await waiting, ["C WAIT_CLOSE", "Z I"]);
});

Deno.test("console: KILL_CLIENT, ENABLE, DISABLE and SHUTDOWN with what it waits for", async () => {
  const killed: number[] = [];
  const waits: string[] = [];
  const { session, told } = open({
    killClient: (client) => Promise.resolve(killed.push(client) === 1),
    shutdown: (waitFor) => void waits.push(waitFor),
  });
  assert.deepEqual(await say(session, query("KILL_CLIENT #c7"), query("KILL_CLIENT 8")), [
    "C KILL_CLIENT",
    "Z I",
    "E ERROR 42704 there is no client #c8",
    "Z I",
  ]);
  assert.deepEqual(killed, [7, 8]);
  await say(session, query("DISABLE app"), query("ENABLE app"));
  assert.deepEqual(told.commands, ["disable app", "enable app"]);
  await say(session, query("SHUTDOWN WAIT_FOR_CLIENTS; SHUTDOWN"));
  assert.deepEqual(waits, ["clients", "transactions"]);
  assert.deepEqual(await ask("KILL_CLIENT 7"), [
    "E ERROR 0A000 KILL_CLIENT is not available in this build",
    "Z I",
  ]);
});
