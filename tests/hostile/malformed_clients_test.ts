/**
 * Clients that send what no client sends, at every stage of a session: each is told of a protocol error or just closed,
 * and nothing is left of it; a bystander is served all along.
 */

import assert from "node:assert/strict";
import { Bystander, restingSockets, socketCount } from "../support/bystander.ts";
import { waitFor } from "../support/detached_process.ts";
import { ADMIN, Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";

let postgres: Postgres;
let doorman: Doorman;

const EXPECTED_LOG = [
  /checkout timeout/,
  /login from .* failed: (invalid|unexpected|unsupported|malformed|startup|cancel)/,
  /failed: .*(startup packet|frontend protocol|client final|client first|SCRAM|password)/i,
  /invalid (frontend )?message/,
  /client disconnected from/,
  /left in a state that can't be reused/,
  /client lost its server/,
  // PostgreSQL's own answer to a message that it can't make sense of in the middle of a COPY.
  /FATAL 08P01: terminating connection because protocol synchronization was lost/,
];

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
  await postgres.query("CREATE TABLE t (id int)");
  const users = [{ username: "postgres", password: "postgres", pool_size: 4 }];
  doorman = await Doorman.start({
    config: {
      general: { client_login_timeout: "5s" },
      pools: {
        app: poolOf(postgres, { users, query_wait_timeout: 3000 }),
        session: poolOf(postgres, { users, pool_mode: "session" }),
        // Who only says no more waits on.
        narrow: poolOf(postgres, {
          users: [{ ...users[0], pool_size: 1 }],
          query_wait_timeout: 300,
        }),
      },
    },
    allowLog: EXPECTED_LOG,
  });
  for (const database of ["app", "session", "narrow"]) {
    using client = await login(database);
    await client.query("SELECT 1");
  }
});

Deno.test.afterAll(async () => {
  await doorman[Symbol.asyncDispose]();
  await postgres[Symbol.asyncDispose]();
});

async function login(database: string = "app"): Promise<WireClient> {
  return await WireClient.login({ port: doorman.port, user: "postgres", database });
}

async function at(database: string, ...parts: Uint8Array[]): Promise<WireClient> {
  const client = await login(database);
  client.send(...parts);
  return client;
}

/** Ways to the stages of a session. */
const STAGES: Record<string, () => Promise<WireClient>> = {
  "before the first packet": () => WireClient.open({ port: doorman.port }),
  "after SSLRequest": async () => {
    const client = await WireClient.open({ port: doorman.port });
    client.send(wire.SSL_REQUEST);
    assert.equal(await client.readByte(), "N");
    return client;
  },
  "asked for a password": async () => {
    const client = await WireClient.open({ port: doorman.port });
    client.send(wire.startup({ user: "postgres", database: "app" }));
    assert.equal((await client.read()).type, "R");
    return client;
  },
  "idle": () => login(),
  "in a transaction": async () => {
    const client = await login();
    await client.query("START TRANSACTION");
    return client;
  },
  "in a session": async () => {
    const client = await login("session");
    await client.query("SET work_mem = '5MB'");
    return client;
  },
  "in an open batch": () => at("app", wire.parse("", "SELECT 1"), wire.bind("", "")),
  "skipping to Sync": async () => {
    const client = await at("app", wire.parse("", "SELEC 1"), wire.FLUSH);
    await client.readUntil("E");
    return client;
  },
  "in COPY FROM STDIN": async () => {
    const client = await at("app", wire.query("COPY t FROM STDIN"));
    await client.readUntil("G");
    return client;
  },
  "with a query running": () => at("app", wire.query("SELECT pg_sleep(0.1)")),
  "waiting for a server": () => at("narrow", wire.query("SELECT 1")),
  "at the console": () =>
    WireClient.login({
      port: doorman.port,
      user: ADMIN.user,
      password: ADMIN.password,
      database: "pgdoorman",
    }),
};

function raw(...values: number[]): Uint8Array {
  return Uint8Array.from(values);
}

/** The same bytes at each run. */
function noise(seed: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = seed * 2654435761 >>> 0 || 1;
  for (let i = 0; i < length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[i] = state & 255;
  }
  return bytes;
}

const Q = 0x51;
const S = 0x53;
const PAYLOADS: Record<string, Uint8Array> = {
  "nothing": raw(),
  "one byte": raw(Q),
  "half a header": raw(Q, 0, 0),
  "length 0": raw(Q, 0, 0, 0, 0, 1, 2, 3),
  "length 3": raw(Q, 0, 0, 0, 3),
  "negative length": raw(Q, 255, 255, 255, 255, 0),
  "the most negative length": raw(Q, 128, 0, 0, 0, 0),
  "2 GiB": raw(Q, 127, 255, 255, 255, 0),
  "just over the limit": raw(Q, 63, 255, 255, 255, 0),
  "a long Sync": raw(S, 0, 0, 78, 32),
  "a message cut off": wire.query("SELECT 'never finished'").slice(0, -9),
  "two bytes missing": wire.query("SELECT 'never finished'").slice(0, -2),
  "a Bind cut off": wire.bind("", "", ["a", "b"]).slice(0, 12),
  "a Query without its end": wire.message("Q", wire.text("SELECT 1")),
  "an empty Parse": wire.message("P"),
  "an empty Bind": wire.message("B"),
  "a Bind that lies": wire.message("B", wire.cstring(""), wire.cstring(""), wire.int16(0, 30000)),
  "an unknown Describe": wire.message("D", wire.text("X"), wire.cstring("")),
  "an unknown type": wire.message("!", wire.cstring("x")),
  "type 0": raw(0, 0, 0, 0, 8, 1, 2, 3, 4),
  "a backend message": wire.message("Z", wire.text("I")),
  "a password": wire.message("p", wire.cstring("postgres")),
  "a startup message": wire.startup({ user: "postgres", database: "app" }),
  "an old protocol": wire.packet(131072, wire.cstring("x")),
  "a short cancel request": wire.packet(80877102, wire.int32(1)),
  "a cancel request": wire.cancelRequest(1, raw(1, 2, 3, 4)),
  "a TLS ClientHello": raw(0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, ...noise(7, 200)),
  "an HTTP request": wire.text("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
  "CopyData and CopyDone": wire.message("d", wire.text("1\n")),
  "zeroes": new Uint8Array(100_000),
  ...Object.fromEntries(
    [1, 2, 3, 4, 5, 6].map((seed) => [`noise ${seed}`, noise(seed, seed * seed * 400)]),
  ),
};

/** What an offender may be told. 57014 and 53300: it was waiting or running; the rest is PostgreSQL's word on bad bytes. */
const TOLD = new Set([
  "08P01",
  "0A000",
  "28P01",
  "28000",
  "42601",
  "22021",
  "26000",
  "34000",
  "53300",
  "57014",
]);

async function attack(open: () => Promise<WireClient>, payload: Uint8Array): Promise<void> {
  using client = await open();
  try {
    client.send(payload);
    await client.closeWrite();
  } catch (error) {
    // It may have been thrown out before all was sent.
    if (
      !(error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.ConnectionReset)
    ) {
      throw error;
    }
  }
  const told = await client.readToEnd().catch((error) => {
    // Not a message any more: the end of one that the server was cut off in.
    if (/length/.test(String(error))) return [];
    throw error;
  });
  for (const code of wire.errorCodes(told)) assert.ok(TOLD.has(code), `told ${code}`);
}

async function poolsAtRest(): Promise<void> {
  using admin = await WireClient.login({
    port: doorman.port,
    user: ADMIN.user,
    password: ADMIN.password,
    database: "pgdoorman",
  });
  await waitFor("all servers are back in their pools", 6_000, async () => {
    const messages = await admin.query("SHOW POOLS");
    const names = columns(messages);
    const busy = wire.rowsOf(messages).filter((row) => {
      const value = (name: string) => row[names.indexOf(name)];
      const own = value("database") === "app" ? "1" : "0";
      return value("cl_waiting") !== "0" || Number(value("cl_active")) > Number(own) ||
        Number(value("sv_active")) > Number(own);
    });
    return busy.length === 0 || undefined;
  });
}

function columns(messages: wire.Message[]): string[] {
  const { body } = messages.find(({ type }) => type === "T")!;
  const names: string[] = [];
  for (let i = 2; i < body.length;) {
    const end = body.indexOf(0, i);
    names.push(new TextDecoder().decode(body.subarray(i, end)));
    i = end + 19;
  }
  return names;
}

Deno.test("a text of one byte more than PostgreSQL takes ends its client, and no server", async () => {
  for (const database of ["app", "session"]) {
    for (const type of ["Q", "P", "B", "F", "d"]) {
      using client = await login(database);
      await client.query("START TRANSACTION");
      const pid = await client.value("SELECT pg_backend_pid()");
      client.send(raw(type.charCodeAt(0), 63, 255, 255, 255, 0));
      const error = wire.errorFields((await client.readToEnd()).at(-1)!);
      assert.deepEqual([error.S, error.C, error.M], [
        "FATAL",
        "08P01",
        "invalid message length 1073741823",
      ]);
      const alive = `SELECT count(*) FROM pg_stat_activity WHERE pid = ${pid}`;
      assert.equal(await postgres.psql(alive), "1", `${database} ${type}`);
    }
  }
  assert.doesNotMatch(doorman.logs, /closed the connection unexpectedly/);
});

for (const [stage, open] of Object.entries(STAGES)) {
  Deno.test(`malformed input of a client ${stage} harms nobody else`, async () => {
    await using _bystander = await Bystander.start(doorman.port, "postgres", "app");
    using holder = stage === "waiting for a server" ? await login("narrow") : undefined;
    await holder?.query("START TRANSACTION");
    const before = await restingSockets(doorman);
    for (const [name, payload] of Object.entries(PAYLOADS)) {
      await attack(open, payload).catch((error) => {
        throw new Error(`${name}: ${error.message}`, { cause: error });
      });
    }
    await holder?.terminate();
    await poolsAtRest();
    await waitFor("sockets are closed", 5_000, () => {
      // Server connections come and go: their number is the pools' matter.
      return socketCount(doorman) <= before + 10 || undefined;
    });
  });
}

Deno.test("a client is told what was wrong with its message, and then closed", async () => {
  for (
    const [name, said] of [
      ["negative length", /invalid message length -1/],
      ["just over the limit", /invalid message length 1073741823/],
      ["a long Sync", /invalid message length 20000/],
      ["an unknown type", /invalid frontend message type 33/],
    ] as const
  ) {
    for (const before of ["SELECT 1", "BEGIN"]) {
      using client = await login();
      await client.query(before);
      client.send(PAYLOADS[name]!);
      const told = await client.readToEnd();
      assert.equal(wire.letters(told), "E", name);
      const fields = wire.errorFields(told[0]!);
      assert.equal(fields.S, "FATAL");
      assert.equal(fields.C, "08P01");
      assert.match(fields.M!, said);
    }
  }
});

Deno.test("a transaction whose client breaks the protocol is rolled back", async () => {
  using client = await login();
  await client.query("BEGIN; INSERT INTO t VALUES (4711)");
  client.send(PAYLOADS["an unknown type"]!);
  await client.readToEnd();
  using other = await login();
  assert.equal(await other.value("SELECT count(*) FROM t WHERE id = 4711"), "0");
});
