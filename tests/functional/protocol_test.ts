/**
 * Every part of the protocol through PgDoorman gives what PostgreSQL gives directly: the same conversations are held
 * with both, in both pool modes, and all answers compared byte by byte.
 */

import assert from "node:assert/strict";
import { type Config, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;
let doorman: Doorman;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  await postgres.query("CREATE TABLE t (id int PRIMARY KEY, word text)");
  const pool = (rest: Config) =>
    poolOf(postgres, {
      users: [{ username: "postgres", password: "postgres", pool_size: 2 }],
      ...rest,
    });
  doorman = await Doorman.start({
    config: {
      pools: {
        transaction: pool({ pool_mode: "transaction" }),
        session: pool({ pool_mode: "session" }),
      },
    },
    allowLog: [/pg_doorman::client::protocol|invalid (frontend )?message/, /disconnected/],
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

const MODES = ["transaction", "session"] as const;

async function login(database: typeof MODES[number] = "transaction"): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user: "postgres", database });
}

/** One message readable in a failed comparison, all bytes told. */
function shown({ type, body }: wire.Message): string {
  return `${type} ${new TextDecoder("latin1").decode(body).replaceAll("\0", "·")}`;
}

/** What is sent, and up to how many ReadyForQuery the answer goes. */
type Step = [Uint8Array[], number?];

async function hold(client: WireClient, steps: Step[]): Promise<string[]> {
  const all: wire.Message[] = [];
  for (const [parts, ready = 1] of steps) {
    client.send(...parts);
    for (let i = 0; i < ready; i++) all.push(...await client.readUntil("Z"));
  }
  return all.map(shown);
}

/** Holds a conversation with PostgreSQL and, through each pool mode, with PgDoorman; all answers must be equal. */
async function sameAsDirect(...steps: Step[]): Promise<string> {
  const direct = await WireClient.login({ port: postgres.port, user: "postgres" });
  let expected: string[];
  try {
    await direct.query("TRUNCATE t");
    expected = await hold(direct, steps);
  } finally {
    await direct.terminate();
  }
  for (const mode of MODES) {
    await postgres.query("TRUNCATE t");
    using client = await login(mode);
    assert.deepEqual(await hold(client, steps), expected, mode);
    assert.equal(await client.value("SELECT 'still well'"), "still well");
    await client.terminate();
  }
  return expected.map((each) => each[0]).join("").replace(/DD+/g, "D*").replace(/dd+/g, "d*");
}

const Q = wire.query;

Deno.test("simple protocol: several statements, empty ones, NULL, errors in the middle", async () => {
  const answered = await sameAsDirect(
    [[Q("SELECT 1, NULL, ''; SELECT 'a' UNION ALL SELECT 'b'; ")]],
    [[Q("")]],
    [[Q(";;")]],
    [[Q("-- only a comment")]],
    [[Q("SELECT 1; SELECT 1/0; SELECT 3")]],
    [[Q("nonsense")]],
    [[Q(
      "CREATE TEMP TABLE x (a int); INSERT INTO x VALUES (1), (2); SELECT a + 0 FROM x; DROP TABLE x",
    )]],
  );
  assert.equal(answered, "TDCTD*CZIZIZIZTDCEZEZCCTD*CCZ");
});

Deno.test("transactions: BEGIN, failure, ignored commands, COMMIT as ROLLBACK, savepoints", async () => {
  await sameAsDirect(
    [[Q("BEGIN")]],
    [[Q("INSERT INTO t VALUES (1, 'one')")]],
    [[Q("SAVEPOINT s")]],
    [[Q("INSERT INTO t VALUES (1, 'again')")]],
    [[Q("SELECT 1")]],
    [[Q("ROLLBACK TO s")]],
    [[Q("SELECT * FROM t")]],
    [[Q("COMMIT")]],
    [[Q("BEGIN; SELECT 1/0")]],
    [[Q("COMMIT")]],
    [[Q("SELECT * FROM t; COMMIT; ROLLBACK")]],
    [[Q("BEGIN; INSERT INTO t VALUES (2, 'x'); ROLLBACK; SELECT count(*) FROM t")]],
  );
});

Deno.test("extended protocol: Parse, Bind, Describe, Execute, Close, parameters, NULL, no rows, no statement", async () => {
  const answered = await sameAsDirect(
    [[wire.extended("SELECT $1::int + 1, $2::text", ["41", null]), wire.SYNC]],
    [[
      wire.parse("", "SELECT 1 WHERE false"),
      wire.describe("S", ""),
      wire.bind("", ""),
      wire.describe("P", ""),
      wire.execute(),
      wire.close("P", ""),
      wire.close("S", ""),
      wire.SYNC,
    ]],
    [[wire.extended("INSERT INTO t VALUES ($1, $2)", ["5", "five"]), wire.SYNC]],
    [[wire.extended(""), wire.SYNC]],
    [[wire.SYNC]],
    [[wire.SYNC, wire.SYNC], 2],
    [[wire.close("S", "never there"), wire.SYNC]],
  );
  assert.equal(answered, "12TDCZ1tT2TC33Z12nCZ12nIZZZZ3Z");
});

Deno.test("extended protocol: an error skips to the Sync, in and out of a transaction", async () => {
  const answered = await sameAsDirect(
    [[wire.parse("", "nonsense"), wire.bind("", ""), wire.execute(), wire.SYNC]],
    [[wire.extended("SELECT 1/0"), wire.extended("SELECT 2"), Q("SELECT 3"), wire.SYNC]],
    [[wire.bind("", "no such statement"), wire.SYNC]],
    [[wire.extended("BEGIN"), wire.SYNC, wire.extended("SELECT 1/0"), wire.SYNC], 2],
    [[wire.extended("SELECT 1"), wire.SYNC]],
    [[wire.extended("ROLLBACK"), wire.SYNC]],
    [[wire.describe("S", "none"), wire.execute("none"), wire.SYNC]],
  );
  assert.equal(answered, "EZ1EZEZ12nCZ1EZEZ12nCZEZ");
});

Deno.test("pipelines: many Syncs in one write, failures between, each statement its own transaction", async () => {
  const parts: Uint8Array[] = [];
  for (let i = 0; i < 200; i++) {
    parts.push(
      wire.extended("INSERT INTO t VALUES ($1, 'x')", [String(i % 50)]),
      wire.extended("SELECT count(*) FROM t"),
      wire.SYNC,
    );
  }
  await sameAsDirect([parts, 200], [[Q("SELECT count(*), sum(id) FROM t")]]);
});

Deno.test("simple queries sent ahead of their answers are answered one by one", async () => {
  await sameAsDirect(
    [
      Array.from({ length: 100 }, (_, i) => Q(`SELECT ${i}; INSERT INTO t VALUES (${i % 30})`)),
      100,
    ],
    [[Q("BEGIN"), Q("SELECT 1"), wire.extended("SELECT 2"), wire.SYNC, Q("COMMIT")], 4],
  );
});

Deno.test("a pipeline of 40,000 messages, sent before anything is read, is answered whole", async () => {
  for (const mode of MODES) {
    using client = await login(mode);
    const count = 10_000;
    for (let i = 0; i < count; i++) {
      client.send(wire.parse("", `SELECT ${i}`), wire.bind("", ""), wire.execute(), wire.SYNC);
    }
    client.send(wire.query("SELECT 'end'"));
    for (let i = 0; i < count; i++) {
      assert.deepEqual(wire.rowsOf(await client.readUntil("Z")), [[String(i)]]);
    }
    assert.deepEqual(wire.rowsOf(await client.readUntil("Z")), [["end"]]);
  }
});

Deno.test("a pipeline with 200 MB of answers, read late and slowly, is answered whole", async () => {
  for (const mode of MODES) {
    using client = await login(mode);
    const count = 4000;
    const before = doorman.rssKb();
    await client.query("START TRANSACTION");
    for (let i = 0; i < count; i++) {
      client.send(wire.extended(`SELECT ${i}, repeat('x', 50000)`), wire.SYNC);
    }
    assert.ok(!await client.silent(5000));
    for (let i = 0; i < count; i++) {
      const [row] = wire.rowsOf(await client.readUntil("Z"));
      assert.deepEqual([row![0], row![1]!.length], [String(i), 50_000]);
      if (i % 500 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    assert.ok(doorman.rssKb() - before < 40_000, `${doorman.rssKb()} kB, ${before} before`);
    await client.query("COMMIT");
    await client.terminate();
  }
});

Deno.test("Flush brings the answers before the Sync; the next batch may wait for them", async () => {
  for (const mode of MODES) {
    using client = await login(mode);
    client.send(wire.parse("s", "SELECT $1::int"), wire.describe("S", "s"), wire.FLUSH);
    assert.equal(wire.letters(await client.readUntil("T")), "1tT");
    client.send(wire.bind("", "s", ["7"]), wire.execute(), wire.FLUSH);
    assert.deepEqual(wire.rowsOf(await client.readUntil("C")), [["7"]]);
    client.send(wire.bind("", "s", ["x"]), wire.execute(), wire.FLUSH);
    assert.equal(wire.letters(await client.readUntil("E")), "E");
    assert.ok(await client.silent(50));
    client.send(wire.bind("", "s", ["8"]), wire.execute());
    assert.equal(wire.letters(await client.ask(wire.SYNC)), "Z");
    assert.equal(await client.value("SELECT 9"), "9");
  }
});

Deno.test("portals: max_rows suspends and goes on, two portals at a time", async () => {
  const answered = await sameAsDirect(
    [[
      wire.parse("", "SELECT * FROM generate_series(1, 5)"),
      wire.bind("a", ""),
      wire.bind("b", ""),
      wire.execute("a", 2),
      wire.execute("b", 4),
      wire.execute("a", 2),
      wire.execute("a", 2),
      wire.execute("b", 0),
      wire.SYNC,
    ]],
    [[Q("BEGIN")]],
    [[wire.parse("", "SELECT * FROM generate_series(1, 3)"), wire.bind("c", ""), wire.SYNC]],
    [[wire.execute("c", 1), wire.SYNC]],
    [[wire.execute("c", 1), wire.SYNC]],
    [[wire.execute("c", 9), wire.SYNC]],
    [[Q("COMMIT")]],
  );
  assert.equal(answered, "122D*sD*sD*sDCDCZCZ12ZDsZDsZDCZCZ");
});

Deno.test("named statements live on in session mode", async () => {
  using client = await login("session");
  await client.ask(wire.parse("kept", "SELECT $1::text"), wire.SYNC);
  for (const word of ["a", "b"]) {
    const answer = await client.ask(wire.bind("", "kept", [word]), wire.execute(), wire.SYNC);
    assert.deepEqual(wire.rowsOf(answer), [[word]]);
  }
});

Deno.test("COPY TO STDOUT and FROM STDIN, simple protocol, also two in one query", async () => {
  const answered = await sameAsDirect(
    [[
      Q("COPY t FROM STDIN"),
      wire.copyData("1\tone\n2\ttw"),
      wire.copyData("o\n"),
      wire.COPY_DONE,
    ]],
    [[Q("COPY (SELECT * FROM t ORDER BY id) TO STDOUT")]],
    [[Q("COPY t TO STDOUT; SELECT 5; COPY t TO STDOUT (FORMAT binary)")]],
    [[
      Q("COPY t FROM STDIN; COPY t FROM STDIN; SELECT count(*) FROM t"),
      wire.copyData("3\tx\n"),
      wire.COPY_DONE,
      wire.copyData("4\ty\n"),
      wire.COPY_DONE,
    ]],
  );
  assert.equal(answered, "GCZHd*cCZHd*cCTDCHd*cCZGCGCTDCZ");
});

Deno.test("COPY FROM STDIN by the extended protocol, with and without a Sync while it runs", async () => {
  await sameAsDirect(
    [[
      wire.parse("", "COPY t FROM STDIN"),
      wire.bind("", ""),
      wire.execute(),
      wire.SYNC,
      wire.copyData("1\tone\n"),
      wire.COPY_DONE,
      wire.SYNC,
    ]],
    [[
      wire.parse("", "COPY t FROM STDIN"),
      wire.bind("", ""),
      wire.execute(),
      wire.copyData("2\ttwo\n"),
      wire.COPY_DONE,
      wire.SYNC,
    ]],
    [[wire.extended("COPY t TO STDOUT"), wire.SYNC]],
    [[Q("SELECT count(*) FROM t")]],
  );
});

Deno.test("COPY FROM STDIN that fails: bad data, CopyFail, late data is ignored, both protocols", async () => {
  await sameAsDirect(
    [[
      Q("COPY t FROM STDIN"),
      wire.copyData("no number\n"),
      wire.copyData("1\tx\n"),
      wire.COPY_DONE,
    ]],
    [[Q("COPY t FROM STDIN"), wire.copyData("1\tx\n"), wire.copyFail("changed my mind")]],
    [[
      wire.parse("", "COPY t FROM STDIN"),
      wire.bind("", ""),
      wire.execute(),
      wire.copyData("bad\n"),
      wire.copyData("worse\n"),
      wire.COPY_DONE,
      wire.SYNC,
    ]],
    [[
      wire.parse("", "COPY t FROM STDIN"),
      wire.bind("", ""),
      wire.execute(),
      wire.copyFail("no"),
      wire.SYNC,
    ]],
    [[Q("BEGIN"), Q("COPY t FROM STDIN"), wire.copyFail("no"), Q("SELECT 2"), Q("ROLLBACK")], 4],
    [[Q("SELECT count(*) FROM t")]],
  );
});

Deno.test("a query in the middle of COPY FROM STDIN ends as it does at PostgreSQL", async () => {
  const told = async (client: WireClient) => {
    client.send(Q("COPY t FROM STDIN"), Q("SELECT 1"));
    const messages = await client.readToEnd();
    client.close();
    return messages.map(shown);
  };
  const direct = await told(await WireClient.login({ port: postgres.port, user: "postgres" }));
  assert.match(direct.at(-1)!, /^E .*08P01/);
  doorman.allowLog(/server connection closed/, /client lost its server/);
  for (const mode of MODES) assert.deepEqual(await told(await login(mode)), direct);
});

Deno.test("COPY of two million rows both ways", async () => {
  using client = await login();
  client.send(Q("COPY (SELECT i, md5(i::text) FROM generate_series(1, 2000000) i) TO STDOUT"));
  let rows = 0;
  for (;;) {
    const { type } = await client.read();
    if (type === "d") rows++;
    else if (type === "Z") break;
  }
  assert.equal(rows, 2_000_000);
  await client.query("DROP TABLE IF EXISTS big; CREATE UNLOGGED TABLE big (i int)");
  client.send(Q("COPY big FROM STDIN"));
  await client.readUntil("G");
  for (let block = 0; block < 200; block++) {
    const lines = Array.from({ length: 10_000 }, (_, i) => block * 10_000 + i).join("\n") + "\n";
    client.send(wire.copyData(lines));
    await client.flushed();
  }
  const answer = await client.ask(wire.COPY_DONE);
  assert.equal(wire.strings(answer[0]!)[0], "COPY 2000000");
  await client.query("DROP TABLE big");
});

Deno.test("FunctionCall: value, NULL-free call in a transaction, error", async () => {
  const oid = Number(await postgres.psql("SELECT 'pg_catalog.int4pl(int,int)'::regprocedure::oid"));
  const div = Number(
    await postgres.psql("SELECT 'pg_catalog.int4div(int,int)'::regprocedure::oid"),
  );
  const answered = await sameAsDirect(
    [[wire.functionCall(oid, ["40", "2"])]],
    [[wire.functionCall(div, ["1", "0"])]],
    [[Q("BEGIN"), wire.functionCall(oid, ["1", "2"]), Q("COMMIT")], 3],
  );
  assert.equal(answered, "VZEZCZVZCZ");
});

Deno.test("NOTICE comes in its place, of any length", async () => {
  await sameAsDirect(
    [[Q(
      "DO $$ BEGIN RAISE NOTICE 'before'; RAISE WARNING 'and %', repeat('x', 100000); END $$; SELECT 1",
    )]],
    [[wire.extended("DO $$ BEGIN RAISE NOTICE 'hm'; END $$"), wire.SYNC]],
  );
});

Deno.test("an error message of 100 kB passes whole", async () => {
  await sameAsDirect(
    [[Q(
      "DO $$ BEGIN RAISE EXCEPTION 'so %', repeat('y', 100000) USING DETAIL = 'd', HINT = 'h'; END $$",
    )]],
    [[Q("SELECT 1")]],
  );
});

Deno.test("NOTIFY reaches an idle client in session mode", async () => {
  using client = await login("session");
  await client.query("LISTEN news");
  await postgres.query("NOTIFY news, 'hello'");
  const message = await client.read();
  assert.equal(message.type, "A");
  assert.deepEqual(wire.strings(message, 4), ["news", "hello"]);
  assert.equal(await client.value("SELECT 1"), "1");
});

Deno.test("rows and parameters of 20 MB pass unchanged, simple and extended", async () => {
  for (const mode of MODES) {
    using client = await login(mode);
    const megabytes = "0123456789abcdef".repeat(65_536 * 20);
    const [row] = await client.rows(`SELECT length('${megabytes}'), md5('${megabytes}')`);
    const md5 = await postgres.psql("SELECT md5(repeat('0123456789abcdef', 65536 * 20))");
    assert.deepEqual(row, [String(megabytes.length), md5]);
    const answer = await client.ask(wire.extended("SELECT $1::text", [megabytes]), wire.SYNC);
    assert.equal(wire.rowsOf(answer)[0]![0], megabytes);
  }
});

Deno.test("300 MB in one row and 300 MB of a parameter stream through in bounded memory", async () => {
  using client = await login();
  await client.value("SELECT 1");
  const before = doorman.rssKb();
  let most = 0;
  const watch = setInterval(() => most = Math.max(most, doorman.rssKb()), 20);
  try {
    const size = 300_000_000;
    client.patienceMs = 30_000;
    const answer = await client.query(`SELECT repeat('x', ${size})`);
    assert.equal(answer[1]!.body.length, 2 + 4 + size);
    // The parameter goes in pieces: its message is announced whole and follows bit by bit.
    client.send(wire.parse("", "SELECT length($1)", [25]));
    const head = [wire.cstring(""), wire.cstring(""), wire.int16(0, 1), wire.int32(size)];
    const tail = wire.int16(0);
    const length = head.reduce((sum, part) => sum + part.length, 0) + size + tail.length;
    client.send(wire.text("B"), wire.int32(length + 4), ...head);
    const piece = new Uint8Array(1_000_000).fill(0x79);
    for (let i = 0; i < size / piece.length; i++) {
      client.send(piece);
      await client.flushed();
    }
    client.send(tail, wire.execute(), wire.SYNC);
    assert.deepEqual(wire.rowsOf(await client.readUntil("Z")), [[String(size)]]);
  } finally {
    clearInterval(watch);
  }
  assert.ok(most > 0 && most - before < 30_000, `${before} kB before, ${most} kB at most`);
});

Deno.test("a client that reads slowly stops its server and nobody else, in bounded memory", async () => {
  using slow = await login();
  using quick = await login();
  await quick.value("SELECT 1");
  const before = doorman.rssKb();
  slow.send(Q("SELECT repeat('z', 1000) FROM generate_series(1, 100000)"));
  await slow.flushed();
  for (let i = 0; i < 200; i++) assert.equal(await quick.value(`SELECT ${i}`), String(i));
  assert.ok(doorman.rssKb() - before < 30_000);
  const answer = await slow.readUntil("Z");
  assert.equal(answer.length, 100_003);
});

Deno.test("Terminate ends the session at once, in a transaction and with replies to come, too", async () => {
  for (const mode of MODES) {
    for (
      const before of [[], [Q("BEGIN")], [Q("SELECT pg_sleep(0.1)")], [wire.parse("", "SELECT 1")]]
    ) {
      using client = await login(mode);
      client.send(...before, wire.TERMINATE);
      const rest = await client.readToEnd();
      assert.equal(rest.filter(({ type }) => type === "E").length, 0);
    }
    using next = await login(mode);
    assert.equal(await next.value("SELECT 1"), "1");
  }
});

Deno.test("an unknown message type ends that session with FATAL 08P01", async () => {
  using client = await login();
  client.send(wire.message("?", wire.text("what")));
  const [error] = await client.readToEnd();
  assert.deepEqual(
    [wire.errorFields(error!).S, wire.errorFields(error!).C],
    ["FATAL", "08P01"],
  );
  using next = await login();
  assert.equal(await next.value("SELECT 1"), "1");
});

Deno.test("every message cut into single bytes is answered the same", async () => {
  using client = await login();
  const parts = [
    wire.extended("SELECT $1::text", ["bytes"]),
    wire.SYNC,
    Q("SELECT 2"),
    wire.parse("named", "SELECT 3"),
    wire.describe("S", "named"),
    wire.SYNC,
  ];
  for (const part of parts) {
    for (const byte of part) {
      client.send(Uint8Array.of(byte));
      await client.flushed();
    }
  }
  assert.equal(wire.letters(await client.readUntil("Z")), "12TDCZ");
  assert.equal(wire.letters(await client.readUntil("Z")), "TDCZ");
  assert.equal(wire.letters(await client.readUntil("Z")), "1tTZ");
});
