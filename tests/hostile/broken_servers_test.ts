/**
 * Servers that are no PostgreSQL, or one gone mad: at the login, in the middle of an answer, while idle. Whoever asked
 * is told or closed, the pool gets over it, and a bystander of another pool is served all along.
 */

import assert from "node:assert/strict";
import { Bystander, restingSockets, socketCount } from "../support/bystander.ts";
import { waitFor } from "../support/detached_process.ts";
import { Doorman, poolOf } from "../support/doorman.ts";
import { Postgres } from "../support/postgres.ts";
import { Refused, WireClient } from "../support/wire_client.ts";
import * as wire from "../support/wire_messages.ts";
import { type WirePeer, type WireScript, WireServer } from "../support/wire_server.ts";

const CONNECT_TIMEOUT_MS = 700;
const QUERY_WAIT_MS = 1500;
const ROOM_KB = 80 * 1024;

let postgres: Postgres;

Deno.test.beforeAll(async () => {
  postgres = await Postgres.start();
});

Deno.test.afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

/** A pooler before scripted servers, each with a pool of that name, and before a real one (`app`). */
async function start(servers: Record<string, WireServer>): Promise<Doorman> {
  const users = [{ username: "postgres", password: "postgres", pool_size: 2 }];
  const bad = Object.entries(servers).map(([name, { port }]) => [name, {
    ...poolOf(postgres, { users }),
    server_port: port,
    connect_timeout: CONNECT_TIMEOUT_MS,
    query_wait_timeout: QUERY_WAIT_MS,
  }]);
  return await Doorman.start({
    config: { pools: { app: poolOf(postgres, { users }), ...Object.fromEntries(bad) } },
    // Every one of these tests is about what the log warns of; what must not be there is looked for.
    allowLog: [/WARN|ERROR/],
  });
}

/** Does something for each case, all at a time; fails with the names of those that failed. */
async function forAll(names: string[], check: (name: string) => Promise<void>): Promise<void> {
  const faults: string[] = [];
  await Promise.all(names.map((name) =>
    check(name).catch((error: Error) => {
      faults.push(`${name}: ${error.message}`);
    })
  ));
  assert.deepEqual(faults, []);
}

/** Scripted servers by the names of their scripts. */
class Servers implements AsyncDisposable {
  readonly byName: Record<string, WireServer>;

  constructor(names: string[], scriptOf: (name: string) => WireScript) {
    this.byName = Object.fromEntries(names.map((name) => [name, new WireServer(scriptOf(name))]));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of Object.values(this.byName)) await server[Symbol.asyncDispose]();
  }
}

function checkLog(doorman: Doorman): void {
  assert.doesNotMatch(doorman.logs, /defect|Uncaught|panicked|internal error/);
}

/** What a client hears: the codes of errors until it is ready, or is closed. */
async function ask(client: WireClient, sql: string): Promise<{ codes: string[]; ready: boolean }> {
  const told: wire.Message[] = [];
  client.send(wire.query(sql));
  for (;;) {
    let message: wire.Message;
    try {
      message = await client.read();
    } catch (error) {
      // Closed, perhaps in the middle of a message that the server has never finished.
      assert.match(String(error), /connection was closed|ConnectionReset|os error 104/);
      return { codes: wire.errorCodes(told), ready: false };
    }
    told.push(message);
    if (message.type === "Z") return { codes: wire.errorCodes(told), ready: true };
  }
}

function message(type: string, text = ""): Uint8Array {
  return wire.message(type, wire.text(text));
}

function header(type: string, length: number): Uint8Array {
  const bytes = new Uint8Array(5);
  bytes[0] = type.charCodeAt(0);
  new DataView(bytes.buffer).setInt32(1, length);
  return bytes;
}

const OK = wire.message("R", wire.int32(0));
const READY = message("Z", "I");
const ROW = wire.message("D", wire.int16(1), wire.int32(2), wire.text("no"));

/** What the server says instead of a login. */
const LOGINS: Record<string, WireScript> = {
  "closes at once": async (peer) => await Promise.resolve(peer.hangUp()),
  "closes after the StartupMessage": async (peer) => {
    await peer.startup();
    peer.hangUp();
  },
  "says nothing": (peer) => peer.untilClosed(),
  "speaks HTTP": (peer) => peer.send(wire.text("HTTP/1.1 400 Bad Request\r\n\r\n")),
  "sends zeroes": (peer) => peer.send(new Uint8Array(100_000)),
  "sends a message of length 0": (peer) => peer.send(header("R", 0)),
  "sends a message of length -1": (peer) => peer.send(header("R", -1)),
  "sends a message of 2 GiB": (peer) => peer.send(header("R", 0x7fffffff), new Uint8Array(1000)),
  "asks for an unknown authentication": (peer) => peer.send(wire.message("R", wire.int32(99))),
  "asks for an empty authentication": (peer) => peer.send(wire.message("R")),
  "is ready without authentication": (peer) => peer.send(READY),
  "sends rows": (peer) => peer.send(OK, ROW),
  "sends half a message": (peer) => peer.send(OK.slice(0, 7)),
  "stops after authentication": (peer) => peer.send(OK),
  "closes in the middle of the parameters": async (peer) => {
    await peer.send(OK, message("S", "server_version\0").slice(0, 9));
    peer.hangUp();
  },
  "sends parameters without end": async (peer) => {
    await peer.send(OK);
    for (let i = 0;; i++) {
      const lot = Array.from(
        { length: 50 },
        (_, j) => message("S", `name${i}_${j}\0${"v".repeat(20_000)}\0`),
      );
      await peer.send(...lot);
    }
  },
  "sends parameters without their zeroes": (peer) =>
    peer.send(OK, message("S", "abc"), message("S")),
  "sends notices without end": async (peer) => {
    for (;;) await peer.send(message("N", "SNOTICE\0".repeat(3000)));
  },
  "sends SASL mechanisms without an end": (peer) =>
    peer.send(wire.message("R", wire.int32(10), wire.text("SCRAM-SHA-256"))),
  "sends a SASL challenge unasked": (peer) =>
    peer.send(wire.message("R", wire.int32(11), wire.text("r=x,s=y,i=1"))),
  "finishes SASL unasked": (peer) => peer.send(wire.message("R", wire.int32(12), wire.text("v=x"))),
  "refuses with an empty error": (peer) => peer.send(message("E")),
  "refuses with an error of 29 kB": (peer) =>
    peer.send(message("E", `SFATAL\0C53400\0M${"long ".repeat(5800)}\0\0`)),
};

Deno.test("whatever a server says instead of a login is an error of the checkout, and passes", async () => {
  const names = Object.keys(LOGINS);
  let broken = true;
  await using servers = new Servers(names, (name) => async (peer, nth) => {
    if (broken) return await LOGINS[name]!(peer, nth);
    await peer.welcome();
    await peer.read();
    await peer.answer("well");
  });
  await using doorman = await start(servers.byName);
  await using _bystander = await Bystander.start(doorman.port, "postgres", "app");
  const before = await restingSockets(doorman);
  const memoryKb = doorman.rssKb();
  const login = (database: string) =>
    WireClient.login({ port: doorman.port, user: "postgres", database });
  await forAll(names, async (name) => {
    const started = performance.now();
    await assert.rejects(
      login(name),
      (error) => error instanceof Refused && error.fields.C !== "57014",
    );
    const tookMs = performance.now() - started;
    assert.ok(tookMs < QUERY_WAIT_MS + 2500, `${tookMs} ms`);
  });
  broken = false;
  await forAll(names, async (name) => {
    const healed = await waitFor("the pool is well again", 8000, async () => {
      try {
        return await login(name);
      } catch (error) {
        assert.ok(error instanceof Refused);
        return undefined;
      }
    });
    assert.equal(await healed.value("SELECT 1"), "well");
    healed.close();
  });
  // One server connection for each pool may stay.
  const most = before + names.length;
  await waitFor("sockets are closed", 5000, () => socketCount(doorman) <= most || undefined);
  assert.ok(doorman.rssKb() - memoryKb < 2 * ROOM_KB, `${doorman.rssKb() - memoryKb} KB`);
  checkLog(doorman);
});

/** What the server says to a query, the codes that its client hears, and whether it hears ReadyForQuery, too. */
const ANSWERS: Record<
  string,
  { script: (peer: WirePeer) => Promise<void>; told: string[]; ready?: boolean }
> = {
  "is ready once too often": {
    script: (peer) => peer.send(message("C", "SELECT 1\0"), READY, READY),
    told: [],
    ready: true,
  },
  "is ready with an unknown status": {
    script: (peer) => peer.send(message("Z", "X")),
    told: ["08P01"],
  },
  "is ready at too great a length": {
    script: (peer) => peer.send(message("Z", "II")),
    told: ["08P01"],
  },
  "sends a row to nobody afterwards": {
    script: (peer) => peer.send(message("C", "SELECT 1\0"), READY, ROW),
    told: [],
    ready: true,
  },
  "sends an answer to something else": {
    script: (peer) => peer.send(message("1")),
    told: ["08P01"],
  },
  "sends a message of an unknown type": {
    script: (peer) => peer.send(message("!")),
    told: ["08P01"],
  },
  "sends a message of length 3": { script: (peer) => peer.send(header("T", 3)), told: ["08P01"] },
  "sends a message of length -5": { script: (peer) => peer.send(header("D", -5)), told: ["08P01"] },
  "sends a tag of 2 GiB": { script: (peer) => peer.send(header("C", 0x7fffffff)), told: ["08P01"] },
  "sends a parameter of 2 GiB": {
    script: (peer) => peer.send(header("S", 0x7fffffff)),
    told: ["08P01"],
  },
  "sends a parameter without its zeroes": {
    script: (peer) => peer.send(message("S", "abc")),
    told: ["08P01"],
  },
  "sends an empty parameter": { script: (peer) => peer.send(message("S")), told: ["08P01"] },
  "asks for authentication again": { script: (peer) => peer.send(OK), told: ["08P01"] },
  "closes in the middle of a header": {
    script: async (peer) => {
      await peer.send(ROW.slice(0, 3));
      peer.hangUp();
    },
    told: ["08006"],
  },
  "closes in the middle of a row": {
    script: async (peer) => {
      await peer.send(ROW, ROW.slice(0, 9));
      peer.hangUp();
    },
    told: [],
  },
  "closes without a word": { script: (peer) => Promise.resolve(peer.hangUp()), told: ["08006"] },
  "dies with a word": {
    script: async (peer) => {
      await peer.send(message("E", "SFATAL\0VFATAL\0C57P01\0Mgoing down\0\0"));
      peer.hangUp();
    },
    told: ["57P01"],
  },
  "sends noise": {
    script: (peer) => peer.send(Uint8Array.from({ length: 5000 }, (_, i) => (i * 7919) >> 3 & 255)),
    told: ["08P01"],
  },
};

Deno.test("whatever a server answers wrongly, it is closed and its client told", async () => {
  const names = Object.keys(ANSWERS);
  await using servers = new Servers(names, (name) => async (peer, nth) => {
    await peer.welcome();
    while ((await peer.read()).type !== "Q");
    if (nth === 0) return await ANSWERS[name]!.script(peer);
    await peer.answer("well");
  });
  await using doorman = await start(servers.byName);
  await using _bystander = await Bystander.start(doorman.port, "postgres", "app");
  await forAll(names, async (name) => {
    const { told, ready } = ANSWERS[name]!;
    const place = { port: doorman.port, user: "postgres", database: name };
    using client = await WireClient.login(place);
    assert.deepEqual(await ask(client, "SELECT 1"), { codes: told, ready: ready ?? false });
    using next = await WireClient.login(place);
    // A server that has gone mad after its answer may be found out by the next client alone.
    await waitFor("a good server", 5000, async () => {
      const { ready } = await ask(next, "SELECT 1");
      return ready || undefined;
    });
    assert.ok(servers.byName[name]!.accepted >= 2);
  });
  checkLog(doorman);
});

Deno.test("a server whose answer to the pooler's own question is none is closed, and its client told", async () => {
  const nonsense: Record<string, string> = {
    "no JSON": "well",
    "nothing": "null",
    "a list": "[]",
    "a number for parameters": '{"set": 5}',
    "a text for channels": '{"channels": "x"}',
    "numbers for values": '{"set": {"work_mem": 5}, "custom": {"a.b": 1}}',
  };
  const names = Object.keys(nonsense);
  await using servers = new Servers(names, (name) => async (peer, nth) => {
    await peer.welcome();
    for (;;) {
      const { type, body } = await peer.read();
      if (type !== "Q") continue;
      const sql = new TextDecoder().decode(body);
      if (sql.startsWith("SET ")) await peer.send(message("C", "SET\0"), READY);
      else if (nth === 0 && sql.includes("json")) await peer.answer(nonsense[name]!);
      else await peer.answer("well");
    }
  });
  await using doorman = await start(servers.byName);
  await forAll(names, async (name) => {
    const place = { port: doorman.port, user: "postgres", database: name };
    using client = await WireClient.login(place);
    client.send(wire.query("SET work_mem = 5"));
    assert.deepEqual(wire.errorCodes(await client.readToEnd()), ["08P01"]);
    using next = await WireClient.login(place);
    assert.equal(await next.value("SELECT 1"), "well");
  });
  await doorman.waitForLog(/out of step .* is no answer/);
  checkLog(doorman);
});

Deno.test("a server that takes nothing any more is not said to have closed the connection", async () => {
  const stopped = Promise.withResolvers<void>();
  await using server = new WireServer(async (peer, nth) => {
    await peer.welcome();
    if (nth === 0) return await stopped.promise;
    await peer.read();
    await peer.answer("well");
  });
  await using doorman = await Doorman.start({
    config: {
      general: { tcp_user_timeout: 1 },
      pools: { bad: { ...poolOf(postgres), server_port: server.port } },
    },
    allowLog: [/has taken nothing/],
  });
  const place = { port: doorman.port, user: "postgres", database: "bad" };
  using client = await WireClient.login(place);
  // More than the sockets between the two hold.
  client.send(wire.query(`SELECT '${"x".repeat(40_000_000)}'`));
  const error = wire.errorFields((await client.readToEnd()).at(-1)!);
  assert.equal(error.C, "08006");
  assert.match(error.M!, /^the connection to the server is lost: it has taken nothing for \d+ s, /);
  stopped.resolve();
  using next = await WireClient.login(place);
  assert.equal(await next.value("SELECT 1"), "well");
});

Deno.test("a server that goes mad while idle is closed, and the next client has another", async () => {
  for (
    const mad of [READY, ROW, message("!"), header("D", 2), message("G", "\0\0\0"), message("E")]
  ) {
    await using server = new WireServer(async (peer, nth) => {
      await peer.welcome();
      await peer.read();
      await peer.answer(`from ${nth}`);
      if (nth > 0) return;
      await new Promise((resolve) => setTimeout(resolve, 50));
      await peer.send(mad);
    });
    await using doorman = await start({ bad: server });
    const place = { port: doorman.port, user: "postgres", database: "bad" };
    using client = await WireClient.login(place);
    assert.equal(await client.value("SELECT 1"), "from 0");
    await doorman.waitForLog(/out of step/);
    assert.equal(await client.value("SELECT 1"), "from 1");
    checkLog(doorman);
  }
});

Deno.test("what a server sends without end stays out of the pooler's memory", async () => {
  const endless: Record<string, (peer: WirePeer) => Promise<void>> = {
    "a row of 2 GiB": async (peer) => {
      await peer.send(header("D", 0x7fffffff));
      for (;;) await peer.send(new Uint8Array(1 << 16));
    },
    "an error of 1 GiB": async (peer) => {
      await peer.send(header("E", 1 << 30), wire.text("SERROR\0C22000\0M"));
      for (;;) await peer.send(new Uint8Array(1 << 16).fill(65));
    },
    "notices": async (peer) => {
      for (;;) await peer.send(message("N", "SNOTICE\0".repeat(8000)));
    },
    "parameters": async (peer) => {
      for (let i = 0;; i++) {
        await peer.send(message("S", `search_path\0${i}${"v".repeat(25_000)}\0`));
      }
    },
    "names of parameters": async (peer) => {
      for (let i = 0;; i++) await peer.send(message("S", `${"n".repeat(1000)}${i}\0on\0`));
    },
  };
  for (const [name, script] of Object.entries(endless)) {
    await using server = new WireServer(async (peer) => {
      await peer.welcome();
      while ((await peer.read()).type !== "Q");
      await script(peer);
    });
    await using doorman = await start({ bad: server });
    await using bystander = await Bystander.start(doorman.port, "postgres", "app");
    const place = { port: doorman.port, user: "postgres", database: "bad" };
    // One that does not read, one that leaves.
    using stuck = await WireClient.login(place);
    using leaver = await WireClient.login(place);
    const memoryKb = doorman.rssKb();
    stuck.send(wire.query("SELECT 1"));
    leaver.send(wire.query("SELECT 1"));
    await leaver.flushed();
    leaver.close();
    const answers = bystander.answers;
    await new Promise((resolve) => setTimeout(resolve, 1500));
    assert.ok(bystander.answers > answers + 20, `${name}: ${bystander.answers - answers} answers`);
    const grownKb = doorman.rssKb() - memoryKb;
    // Values that change with each report are garbage by the hundred megabytes a second until it is collected.
    const roomKb = name === "parameters" ? 4 * ROOM_KB : ROOM_KB;
    assert.ok(grownKb < roomKb, `${name}: ${grownKb} KB`);
    checkLog(doorman);
  }
});

const CANCEL_REQUEST_BYTES = 16;

Deno.test("a server that falls silent is given up when its client leaves", async () => {
  let sessions = 0;
  await using server = new WireServer(async (peer) => {
    // What a client has left behind is canceled.
    if ((await peer.startup()).length === CANCEL_REQUEST_BYTES) return;
    await peer.welcome();
    await peer.read();
    if (++sessions > 2) await peer.answer("well");
  });
  await using doorman = await start({ bad: server });
  const place = { port: doorman.port, user: "postgres", database: "bad" };
  for (let i = 0; i < 2; i++) {
    using client = await WireClient.login(place);
    client.send(wire.query("SELECT 1"));
    // The second one waits for a while for the first one's server.
    assert.ok(await client.silent(500));
  }
  // Both places of the pool are taken by servers that do not answer: they come free after connect_timeout.
  using client = await WireClient.login(place);
  const started = performance.now();
  assert.equal(await client.value("SELECT 1"), "well");
  assert.ok(performance.now() - started < QUERY_WAIT_MS);
});
