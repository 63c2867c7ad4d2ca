import assert from "node:assert/strict";
import { PORTAL_LIMIT, STATEMENT_LIMIT } from "./extended.ts";
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
  sync,
} from "./testing/wire.ts";

// The sequences of messages below are those that PostgreSQL 15 gave to the same requests.

Deno.test("extended: Parse, Bind, Describe, Execute, Sync", async () => {
  assert.deepEqual(
    await say(
      open().session,
      parse("", "SHOW VERSION"),
      bind("", ""),
      describe("P", ""),
      execute(""),
      sync,
    ),
    ["1", "2", "T version", "D PgDoorman 3.10.7", "C SHOW", "Z I"],
  );
});

Deno.test("extended: a named statement outlives Sync and Query, its unnamed sister does not", async () => {
  const { session } = open();
  await say(session, parse("a", "SHOW VERSION"), parse("", "SHOW VERSION"), sync, query(""));
  assert.deepEqual(await say(session, describe("S", "a"), bind("", "a"), execute(""), sync), [
    "t",
    "T version",
    "2",
    "D PgDoorman 3.10.7",
    "C SHOW",
    "Z I",
  ]);
  assert.deepEqual(await say(session, bind("", ""), sync), [
    "E ERROR 26000 unnamed prepared statement does not exist",
    "Z I",
  ]);
});

Deno.test("extended: a command without rows has NoData and runs once a portal", async () => {
  const { session, told } = open();
  assert.deepEqual(
    await say(
      session,
      parse("", "PAUSE app"),
      describe("S", ""),
      bind("", ""),
      describe("P", ""),
      execute(""),
      execute(""),
      sync,
    ),
    ["1", "t", "n", "2", "n", "C PAUSE", 'E ERROR 55000 portal "" cannot be run', "Z I"],
  );
  assert.deepEqual(told.commands, ["pause app"]);
});

Deno.test("extended: an empty statement", async () => {
  assert.deepEqual(
    await say(
      open().session,
      parse("", " -- "),
      describe("S", ""),
      bind("", ""),
      describe("P", ""),
      execute(""),
      sync,
    ),
    ["1", "t", "n", "2", "n", "I", "Z I"],
  );
});

Deno.test("extended: max_rows suspends the portal until its rows are out", async () => {
  const lines = await say(
    open().session,
    parse("", "SHOW LISTS"),
    bind("", ""),
    execute("", 6),
    execute("", 6),
    execute("", 6),
    execute("", 6),
    sync,
  );
  assert.deepEqual(lines.map((line) => line[0]).join(""), "12DDDDDDsDDDDDDsDDDCCZ");
});

Deno.test("extended: rows are those of the first Execute", async () => {
  let asked = 0;
  const { session } = open({
    configRows: () => {
      asked++;
      return ["a", "b", "c"].map((key) => ({ key, value: "", default: "", changeable: true }));
    },
  });
  const lines = await say(
    session,
    parse("", "SHOW CONFIG"),
    bind("", ""),
    execute("", 2),
    execute("", 0),
    sync,
  );
  assert.deepEqual(lines.slice(2), ["D a,,,yes", "D b,,,yes", "s", "D c,,,yes", "C SHOW", "Z I"]);
  assert.equal(asked, 1);
});

Deno.test("extended: portals end with the transaction", async () => {
  const { session } = open();
  await say(session, parse("a", "SHOW VERSION"), bind("p", "a"), sync);
  assert.deepEqual(await say(session, execute("p"), sync), [
    'E ERROR 34000 portal "p" does not exist',
    "Z I",
  ]);
  await say(session, query("BEGIN"), bind("p", "a"), sync);
  assert.deepEqual(await say(session, execute("p"), sync), ["D PgDoorman 3.10.7", "C SHOW", "Z T"]);
  assert.deepEqual(await say(session, bind("p", "a"), sync), [
    'E ERROR 42P03 cursor "p" already exists',
    "Z E",
  ]);
  await say(session, query("ROLLBACK"));
  assert.deepEqual(await say(session, describe("P", "p"), sync), [
    'E ERROR 34000 portal "p" does not exist',
    "Z I",
  ]);
});

Deno.test("extended: BEGIN, an error, and ROLLBACK", async () => {
  const { session } = open();
  const run = (sql: string) => [parse("", sql), bind("", ""), execute(""), sync];
  assert.deepEqual(await say(session, ...run("BEGIN")), ["1", "2", "C BEGIN", "Z T"]);
  assert.deepEqual(await say(session, ...run("FOO")), [
    "E ERROR 58000 unsupported query FOO on the admin database",
    "Z E",
  ]);
  const aborted =
    "E ERROR 25P02 current transaction is aborted, commands ignored until end of transaction block";
  assert.deepEqual(await say(session, ...run("SHOW VERSION")), [aborted, "Z E"]);
  assert.deepEqual(await say(session, ...run("ROLLBACK")), ["1", "2", "C ROLLBACK", "Z I"]);
});

Deno.test("extended: after an error all is passed over until Sync, across requests", async () => {
  const { session, told } = open();
  assert.deepEqual(await say(session, parse("", "FOO"), bind("", ""), execute("")), [
    "E ERROR 58000 unsupported query FOO on the admin database",
  ]);
  assert.deepEqual(await say(session, query("PAUSE"), parse("", "PAUSE"), frontend("H")), []);
  assert.deepEqual(await say(session, sync, query("SHOW VERSION")), [
    "Z I",
    "T version",
    "D PgDoorman 3.10.7",
    "C SHOW",
    "Z I",
  ]);
  assert.deepEqual(told.commands, []);
});

Deno.test("extended: Terminate is heard even while messages are passed over", async () => {
  const { session } = open();
  await say(session, parse("", "FOO"));
  assert.ok((await session.handle(frontend("X"))).close);
});

Deno.test("extended: replies come without waiting for Sync", async () => {
  const { session } = open();
  assert.deepEqual(await say(session, parse("a", "SHOW VERSION"), describe("S", "a")), [
    "1",
    "t",
    "T version",
  ]);
  assert.deepEqual(await say(session, frontend("H")), []);
});

Deno.test("extended: parameters are refused", async () => {
  const withParameter = frontend(
    "B",
    "",
    "",
    int16(0),
    int16(2),
    [...int32(1), 0x78, ...int32(-1)],
    int16(0),
  );
  assert.deepEqual(await say(open().session, parse("", "SHOW VERSION"), withParameter, sync), [
    "1",
    'E ERROR 08P01 bind message supplies 2 parameters, but prepared statement "" requires 0',
    "Z I",
  ]);
});

Deno.test("extended: types declared in Parse are passed over", async () => {
  const typed = frontend("P", "", "SHOW VERSION", int16(2), [...int32(25), ...int32(23)]);
  assert.deepEqual(await say(open().session, typed, sync), ["1", "Z I"]);
});

Deno.test("extended: binary results, for all columns or by column", async () => {
  const { session } = open();
  const lists = async (formats: number[]) => {
    const { bytes } = await session.handle(
      concat(
        parse("", "SHOW LISTS"),
        bind("", "", formats),
        describe("P", ""),
        execute("", 1),
        sync,
      ),
    );
    const messages = read(bytes);
    return [
      messages[2].columns.map((column) => column.format).join(),
      ...messages[3].values.map((value) => value?.toHex()),
    ];
  };
  const name = new TextEncoder().encode("databases").toHex();
  assert.deepEqual(await lists([]), ["0,0", name, "33"]);
  assert.deepEqual(await lists([0]), ["0,0", name, "33"]);
  assert.deepEqual(await lists([1]), ["1,1", name, "00000003"]);
  assert.deepEqual(await lists([0, 1]), ["0,1", name, "00000003"]);
});

Deno.test("extended: Describe of a statement announces text", async () => {
  const { bytes } = await open().session.handle(
    concat(parse("a", "SHOW POOLS"), describe("S", "a"), sync),
  );
  const [, parameters, rows] = read(bytes);
  assert.equal(parameters.body.toHex(), "0000");
  assert.ok(rows.columns.every((column) => column.format === 0));
});

Deno.test("extended: format codes that make no sense are refused", async () => {
  const { session } = open();
  assert.deepEqual(await say(session, parse("", "SHOW LISTS"), bind("", "", [0, 1, 0]), sync), [
    "1",
    "E ERROR 08P01 bind message has 3 result formats but query has 2 columns",
    "Z I",
  ]);
  assert.deepEqual(await say(session, parse("", "SHOW LISTS"), bind("", "", [7]), sync), [
    "1",
    "E ERROR 22023 unsupported format code: 7",
    "Z I",
  ]);
});

Deno.test("extended: a prepared statement is one command", async () => {
  assert.deepEqual(await say(open().session, parse("", "SHOW POOLS; SHOW STATS"), sync), [
    "E ERROR 42601 cannot insert multiple commands into a prepared statement",
    "Z I",
  ]);
});

Deno.test("extended: a name is taken until it is closed or deallocated", async () => {
  const { session } = open();
  await say(session, parse("a", "SHOW VERSION"), sync);
  assert.deepEqual(await say(session, parse("a", "SHOW VERSION"), sync), [
    'E ERROR 42P05 prepared statement "a" already exists',
    "Z I",
  ]);
  assert.deepEqual(
    await say(session, close("S", "a"), close("S", "a"), parse("a", "SHOW VERSION"), sync),
    ["3", "3", "1", "Z I"],
  );
  assert.deepEqual(await say(session, query("DEALLOCATE a"), query("DEALLOCATE a")), [
    "C DEALLOCATE",
    "Z I",
    'E ERROR 26000 prepared statement "a" does not exist',
    "Z I",
  ]);
  await say(session, parse("a", "SHOW VERSION"), sync, query("DEALLOCATE ALL"));
  assert.deepEqual(await say(session, bind("", "a"), sync), [
    'E ERROR 26000 prepared statement "a" does not exist',
    "Z I",
  ]);
});

Deno.test("extended: an unnamed Parse that fails leaves no unnamed statement", async () => {
  const { session } = open();
  await say(session, parse("", "SHOW VERSION"), parse("", "FOO"), sync);
  assert.deepEqual(await say(session, bind("", ""), sync), [
    "E ERROR 26000 unnamed prepared statement does not exist",
    "Z I",
  ]);
});

Deno.test("extended: Describe and Close of neither statement nor portal", async () => {
  const { session } = open();
  assert.deepEqual(await say(session, frontend("D", [0x58], "a"), sync), [
    "E ERROR 08P01 invalid DESCRIBE message subtype 88",
    "Z I",
  ]);
  assert.deepEqual(await say(session, frontend("C", [0x58], "a"), sync), [
    "E ERROR 08P01 invalid CLOSE message subtype 88",
    "Z I",
  ]);
});

Deno.test("extended: messages cut short or too long are refused", async () => {
  const cases = [
    frontend("P", "a"),
    frontend("P", "", "SHOW VERSION", int16(9)),
    frontend("P", "", "SHOW VERSION", int16(0), [1]),
    frontend("B", "", "", int16(0), int16(1), int32(100)),
    frontend("B", "", "", int16(0), int16(1), int32(-2)),
    frontend("E", ""),
    frontend("D", []),
  ];
  for (const message of cases) {
    const lines = await say(open().session, parse("", "SHOW VERSION"), message, sync);
    assert.match(lines[1], /^E ERROR 08P01 /, message.toHex());
    assert.equal(lines[2], "Z I");
  }
});

Deno.test("extended: the number of statements and portals is limited", async () => {
  const { session } = open();
  const statements = Array.from({ length: STATEMENT_LIMIT }, (_, n) => parse(`s${n}`, "RESUME"));
  assert.equal((await say(session, ...statements, sync)).length, STATEMENT_LIMIT + 1);
  assert.match((await say(session, parse("one more", "RESUME"), sync))[0], /^E ERROR 54000 /);
  await say(session, query("BEGIN"));
  const portals = Array.from({ length: PORTAL_LIMIT }, (_, n) => bind(`p${n}`, "s0"));
  assert.equal((await say(session, ...portals, sync)).length, PORTAL_LIMIT + 1);
  assert.match((await say(session, bind("one more", "s0"), sync))[0], /^E ERROR 54000 /);
});
