/**
 * Replication connections: a client with `replication` in its StartupMessage has a server connection of its own, and
 * what the two say to each other passes through. By hand here, where it matters what is sent when; with PostgreSQL's own
 * programs in tests/drivers/replication_test.ts.
 */

import assert from "node:assert/strict";
import { waitFor } from "../support/detached_process.ts";
import { ADMIN, Doorman, poolOf } from "../support/doorman.ts";
import { freePort } from "../support/ports.ts";
import { Postgres } from "../support/postgres.ts";
import { type LoginOptions, Refused, WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { copyData, endOfStream, logicalStream, statusUpdate } from "../support/replication.ts";

let postgres: Postgres;
let doorman: Doorman;

const USERS = [
  { username: "postgres", password: "postgres", pool_size: 1 },
  { username: "plain", password: "plain", pool_size: 1 },
];

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start({
    auth: "scram-sha-256",
    settings: ["wal_level = logical", "max_wal_senders = 20", "max_replication_slots = 20"],
  });
  await postgres.query("CREATE ROLE plain LOGIN PASSWORD 'plain'; CREATE PUBLICATION everything");
  doorman = await Doorman.start({
    config: {
      pools: {
        app: poolOf(postgres, { users: USERS, max_replication_connections: 2 }),
        none: poolOf(postgres, { max_replication_connections: 0 }),
        limited: poolOf(postgres, {
          max_db_connections: 2,
          users: [{ username: "postgres", password: "postgres", pool_size: 2 }],
        }),
        down: { ...poolOf(postgres), server_port: freePort() },
        nameless: { ...poolOf(postgres), server_host: "no-such-host.invalid" },
        // What PostgreSQL's own programs name for physical replication.
        replication: poolOf(postgres),
        pinned: poolOf(postgres, {
          startup_parameters: { application_name: "operator", work_mem: "77MB" },
        }),
      },
    },
  });
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

function login(
  replication: string,
  options: Partial<LoginOptions> = {},
  parameters: Record<string, string> = {},
): Promise<WireClient> {
  return WireClient.login({
    port: doorman.port,
    user: "postgres",
    database: "app",
    ...options,
    parameters: { replication, ...parameters },
  } as LoginOptions);
}

async function refusal(promise: Promise<WireClient>): Promise<wire.ErrorFields> {
  try {
    (await promise).close();
  } catch (error) {
    if (error instanceof Refused) return error.fields;
    throw error;
  }
  assert.fail("the login was not refused");
}

async function pause(ms: number): Promise<true> {
  await new Promise((resolve) => setTimeout(resolve, ms));
  return true;
}

async function senders(count: number): Promise<void> {
  await waitFor(
    `${count} walsenders`,
    5000,
    async () =>
      await postgres.psql(
          "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'",
        ) === String(count) || undefined,
  );
}

Deno.test("replication: IDENTIFY_SYSTEM is answered as directly, for both kinds and every spelling", async () => {
  for (const [spelling, database] of [["true", "replication"], ["1", "app"], ["database", "app"]]) {
    using direct = await WireClient.login({
      port: postgres.port,
      user: "postgres",
      database: "postgres",
      parameters: { replication: spelling! },
    });
    using client = await login(spelling!, { database: database! });
    const answers = await Promise.all(
      [direct, client].map((one) => one.rows("IDENTIFY_SYSTEM")),
    );
    const [system, timeline, , name] = answers[1]![0]!;
    assert.deepEqual([system, timeline, name], [
      answers[0]![0]![0],
      answers[0]![0]![1],
      spelling === "database" ? "postgres" : null,
    ]);
    assert.equal(client.parameters.get("server_version"), direct.parameters.get("server_version"));
  }
  for (const no of ["false", "off", "0", "no"]) {
    using client = await login(no);
    assert.equal(await client.value("SELECT 1"), "1");
  }
});

Deno.test("replication: SQL on a logical connection, with the client's own startup parameters", async () => {
  using client = await login("database", {}, {
    application_name: "receiver",
    options: "-c geqo=off",
    work_mem: "5MB",
    DateStyle: "German",
  });
  assert.equal(client.parameters.get("application_name"), "receiver");
  assert.equal(client.parameters.get("DateStyle"), "German, DMY");
  assert.equal(await client.value("SHOW geqo"), "off");
  assert.equal(await client.value("SHOW work_mem"), "5MB");
  assert.deepEqual(
    await client.rows(
      "SELECT pid = pg_backend_pid(), application_name FROM pg_stat_activity " +
        "WHERE backend_type = 'walsender'",
    ),
    [["t", "receiver"]],
  );
  // PostgreSQL takes no extended protocol here, and goes on.
  const answer = await client.ask(
    wire.parse("", "SELECT 1"),
    wire.bind("", ""),
    wire.execute(),
    wire.SYNC,
  );
  assert.deepEqual(wire.errorCodes(answer), ["08P01"]);
  assert.equal(wire.letters(answer), "EZ");
  assert.deepEqual(wire.errorCodes(await client.query("SELECT 1/0")), ["22012"]);
  assert.equal(await client.value("SELECT 7"), "7");
});

Deno.test("replication: the operator's startup parameters win", async () => {
  using client = await login("database", { database: "pinned" }, {
    application_name: "mine",
    Work_Mem: "5MB",
  });
  assert.equal(await client.value("SHOW work_mem"), "77MB");
  assert.equal(await client.value("SHOW application_name"), "operator");
});

Deno.test("replication: has a server of its own besides pool_size, with a limit of its own", async () => {
  using ordinary = await WireClient.login({
    port: doorman.port,
    user: "postgres",
    database: "app",
  });
  await ordinary.query("START TRANSACTION");
  using first = await login("database");
  const second = await login("true");
  assert.equal(await first.value("SELECT 1"), "1");
  await second.rows("IDENTIFY_SYSTEM");
  const error = await refusal(login("database"));
  assert.equal(error.C, "53300");
  assert.match(error.M!, /max_replication_connections \(currently 2\)/);
  // The limit is each user's own.
  assert.equal((await refusal(login("database", { user: "plain" }))).C, "42501");
  assert.equal((await refusal(login("database", { database: "none" }))).C, "53300");
  await second.terminate();
  await senders(1);
  using third = await login("database");
  assert.equal(await third.value("SELECT 3"), "3");
  await ordinary.query("COMMIT");
  doorman.allowLog(/max_replication_connections/, /42501/);
});

Deno.test("replication: counts for max_db_connections, takes a free place, gives it back", async () => {
  const database = "limited";
  using ordinary = await WireClient.login({ port: doorman.port, user: "postgres", database });
  await ordinary.query("START TRANSACTION");
  const holder = await login("database", { database });
  const error = await refusal(login("database", { database }));
  assert.equal(error.C, "53300");
  assert.match(error.M!, /max_db_connections of database "limited"/);
  using waiting = await WireClient.login({ port: doorman.port, user: "postgres", database });
  const waited = waiting.value("SELECT 2");
  assert.ok(await Promise.race([waited.then(() => false), pause(300)]));
  await holder.terminate();
  assert.equal(await waited, "2");
  await ordinary.query("COMMIT");
  doorman.allowLog(/max_db_connections/);
});

Deno.test("replication: PostgreSQL's own refusal reaches the client", async () => {
  const error = await refusal(login("database", { user: "plain" }));
  assert.equal(error.S, "FATAL");
  assert.equal(error.C, "42501");
  assert.match(error.M!, /permission denied to start WAL sender/);
  const unknown = await refusal(login("database", {}, { no_such_setting: "1" }));
  assert.equal(unknown.C, "42704");
  doorman.allowLog(/replication login failed: 42501/, /42501|42704|no_such_setting|WAL sender/);
});

Deno.test("replication: wrong values, wrong password, console, unknown pool", async () => {
  doorman.allowLog(/login from/);
  const wrong = await refusal(login("perhaps"));
  assert.equal(wrong.C, "22023");
  assert.match(wrong.M!, /invalid value for parameter "replication": "perhaps"/);
  assert.equal((await refusal(login("true", { password: "wrong" }))).C, "28P01");
  const { user, password } = ADMIN;
  assert.equal(
    (await refusal(login("true", { user, password, database: "pgdoorman" }))).C,
    "0A000",
  );
  assert.equal((await refusal(login("true", { database: "nowhere" }))).C, "28P01");
});

Deno.test("replication: a server that can't be reached, and a StartupMessage that is too long for it", async () => {
  doorman.allowLog(/replication login failed|too long|login_error/);
  const down = await refusal(login("true", { database: "down" }));
  assert.equal(down.C, "53300");
  assert.match(down.M!, /connect to 127\.0\.0\.1:\d+: /);
  const nameless = await refusal(login("true", { database: "nameless" }));
  assert.match(nameless.M!, /resolve "no-such-host\.invalid"/);
  const long = { options: `-c application_name=${"x".repeat(9890)}` };
  const error = await refusal(login("true", { database: "pinned" }, long));
  assert.equal(error.C, "22023");
  assert.match(error.M!, /startup parameters are too long/);
});

Deno.test("replication: a cancel request reaches the query of its client", async () => {
  using client = await login("database");
  client.send(wire.query("SELECT pg_sleep(30)"));
  await waitFor(
    "the query",
    5000,
    async () =>
      await postgres.psql(
          "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender' AND wait_event = 'PgSleep'",
        ) === "1" || undefined,
  );
  await client.cancel();
  assert.deepEqual(wire.errorCodes(await client.readUntil("Z")), ["57014"]);
  assert.equal(await client.value("SELECT 8"), "8");
});

Deno.test("replication: a stream runs both ways, ends by CopyDone, and the connection goes on", async () => {
  using client = await login("database");
  await logicalStream(client, "both_ways");
  await postgres.query("SELECT pg_logical_emit_message(true, 'test', 'hello')");
  const [first] = await copyData(
    client,
    (body) => new TextDecoder().decode(body).includes("hello"),
  );
  assert.ok(first);
  // It is told how far we are, and answers a request for a reply.
  client.send(statusUpdate(0x7fff_ffffn));
  await copyData(client, (body) => body[0] === 0x6b);
  await waitFor(
    "the flushed position",
    5000,
    async () =>
      await postgres.psql(
          "SELECT flush_lsn FROM pg_stat_replication WHERE state = 'streaming'",
        ) === "0/7FFFFFFF" || undefined,
  );
  const letters = await endOfStream(client);
  assert.match(letters, /^[d*]*c[d*]*CC?Z$/);
  assert.equal((await client.rows("IDENTIFY_SYSTEM")).length, 1);
  assert.equal(await client.value("SELECT 5"), "5");
  await client.query("DROP_REPLICATION_SLOT both_ways");
});

Deno.test("replication: the end of either side is the other's", async () => {
  const leaving = await login("database");
  await logicalStream(leaving, "leaving");
  await senders(1);
  leaving.close();
  await senders(0);

  using ended = await login("true");
  const { pid } = await waitFor("its walsender", 5000, async () => {
    const [row] = await postgres.query<{ pid: number }>(
      "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walsender'",
    );
    return row;
  });
  await postgres.query(`SELECT pg_terminate_backend(${pid})`);
  const last = await ended.readToEnd();
  assert.deepEqual(wire.errorCodes(last), ["57P01"]);
  doorman.allowLog(/client lost its server/, /replication: pid=\d+ server connection closed/);
});

Deno.test("replication: a receiver that does not read stops PostgreSQL, and then gets everything", async () => {
  const count = 80;
  const size = 1_000_000;
  using client = await login("database");
  await logicalStream(client, "slow");
  const before = doorman.rssKb();
  await postgres.query(
    `SELECT pg_logical_emit_message(false, 'test', repeat('x', ${size})) FROM generate_series(1, ${count})`,
  );
  // It has had time to send what fits, and the pooler to keep what it would.
  await pause(1500);
  assert.ok(doorman.rssKb() - before < 30_000, `${doorman.rssKb() - before} KB more`);
  let received = 0;
  await copyData(client, (body) => {
    if (body[0] === 0x77 && body.length > size) received++;
    return received === count;
  });
  assert.match(await endOfStream(client), /^[d*]*c[d*]*CC?Z$/);
  await client.query("DROP_REPLICATION_SLOT slow");
});

Deno.test("replication: SHOW CLIENTS and SHOW SERVERS name it; KILL ends it, PAUSE takes no new one", async () => {
  using admin = await WireClient.login({
    port: doorman.port,
    ...ADMIN,
    database: "pgdoorman",
  });
  using client = await login("true", { database: "replication" }, { application_name: "shown" });
  using logical = await login("database", { database: "replication" });
  for (const [show, name] of [["CLIENTS", 3], ["SERVERS", 4]] as const) {
    const rows = (await admin.rows(`SHOW ${show}`)).filter((row) => row.includes("replication"));
    const ofKind = (kind: string) => rows.filter((row) => row.includes(kind));
    assert.equal(ofKind("logical").length, 1, show);
    assert.equal(ofKind("physical").length, 1, show);
    assert.equal(ofKind("physical")[0]![name], "shown");
  }
  const pool = (await admin.rows("SHOW POOLS")).find(([database]) => database === "replication");
  assert.deepEqual([pool![7], pool![8]], ["0", "0"], "no server of the pool's is in use or idle");
  await admin.query("PAUSE replication");
  assert.equal(await logical.value("SELECT 1"), "1");
  assert.equal((await refusal(login("true", { database: "replication" }))).C, "57P03");
  await admin.query("RESUME replication");
  await admin.query("KILL replication");
  for (const one of [client, logical]) {
    assert.deepEqual(wire.errorCodes(await one.readToEnd()), ["57P01"]);
  }
  await senders(0);
  await admin.query("RESUME replication");
  using again = await login("true", { database: "replication" });
  await again.rows("IDENTIFY_SYSTEM");
  doorman.allowLog(/is paused/);
});

Deno.test("replication: a subscription copies its tables and follows, by the walsenders of the pooler", async () => {
  await using subscriber = await Postgres.start({ settings: ["max_replication_slots = 10"] });
  const table = "CREATE TABLE followed (n int PRIMARY KEY, t text)";
  await postgres.query(table);
  await postgres.query(
    "INSERT INTO followed SELECT i, repeat('x', 100) FROM generate_series(1, 5000) i",
  );
  await postgres.query("CREATE PUBLICATION followed FOR TABLE followed");
  await subscriber.query(table);
  await subscriber.query(
    `CREATE SUBSCRIPTION follower CONNECTION 'host=127.0.0.1 port=${doorman.port} user=postgres ` +
      "password=postgres dbname=pinned' PUBLICATION followed",
  );
  const rows = (count: number) =>
    waitFor(
      `${count} rows`,
      15_000,
      async () =>
        await subscriber.psql("SELECT count(*) FROM followed") === String(count) || undefined,
    );
  await rows(5000);
  await postgres.query("INSERT INTO followed SELECT i, 'y' FROM generate_series(5001, 6000) i");
  await postgres.query("DELETE FROM followed WHERE n <= 500");
  await rows(5500);
  assert.equal(
    await subscriber.psql("SELECT sum(n), count(DISTINCT t) FROM followed"),
    await postgres.psql("SELECT sum(n), count(DISTINCT t) FROM followed"),
  );
  await subscriber.query("DROP SUBSCRIPTION follower");
  assert.equal(
    await postgres.psql("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'follower'"),
    "0",
  );
});

Deno.test("replication: physical needs pg_hba's keyword, logical its database", async () => {
  await using strict = await Doorman.start({
    config: {
      general: {
        pg_hba: {
          content: "host replication postgres 127.0.0.1/32 scram-sha-256\n" +
            "host other all 127.0.0.1/32 scram-sha-256\n",
        },
      },
      pools: { app: poolOf(postgres), other: poolOf(postgres) },
    },
    allowLog: [/no pg_hba.conf entry/],
  });
  const { port } = strict;
  using physical = await login("true", { port, database: "app" });
  await physical.rows("IDENTIFY_SYSTEM");
  assert.equal((await refusal(login("database", { port, database: "app" }))).C, "28000");
  using logical = await login("database", { port, database: "other" });
  await logical.rows("IDENTIFY_SYSTEM");
});

Deno.test("replication: a shutdown ends streams at once and lets a transaction end", async () => {
  await using other = await Doorman.start({
    config: { general: { shutdown_timeout: "20s" }, pools: { app: poolOf(postgres) } },
    allowLog: [/client lost its server/],
  });
  const { port } = other;
  using streaming = await login("database", { port });
  await logicalStream(streaming, "ending");
  using busy = await login("database", { port });
  await busy.query("START TRANSACTION");
  using admin = await WireClient.login({ port, ...ADMIN, database: "pgdoorman" });
  await admin.query("SHUTDOWN");
  assert.deepEqual(wire.errorCodes(await streaming.readToEnd()), ["58006"]);
  assert.equal(await busy.value("SELECT 1"), "1");
  await busy.query("COMMIT");
  assert.deepEqual(wire.errorCodes(await busy.readToEnd()), ["58006"]);
  assert.equal(await other.waitForExit(), 0);
});
