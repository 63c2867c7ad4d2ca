import assert from "node:assert/strict";
import { md5Hash, md5Response } from "../auth/md5.ts";
import { deriveKeys, formatVerifier, makeVerifier, saltPassword } from "../auth/scram.ts";
import { advanceScramServer, beginScramServer } from "../auth/scram_server.ts";
import type { ServerAuthMethod } from "../config/server_auth.ts";
import type { PoolSettings } from "../config/settings.ts";
import { close } from "../os/libc.ts";
import { inetAddress } from "../os/socket_address.ts";
import { concat, frontend, hex, int32, startup } from "../protocol/testing/wire.ts";
import { Reactor } from "../reactor/reactor.ts";
import { noSums } from "../stats/counters.ts";
import { poolSettings } from "../testing/settings.ts";
import type { ServerAddress } from "./dial.ts";
import { type LoggedIn, type LoginFailure, ServerLogin } from "./login.ts";
import { MOST_REPORTED } from "./parameters.ts";

type Result = LoggedIn | LoginFailure;
type Secrets = ConstructorParameters<typeof ServerLogin>[1]["secrets"];

const reactor = new Reactor();
const VERIFIER = makeVerifier("pencil", Uint8Array.of(9, 8, 7), 2);
const KEYS = deriveKeys("pencil", VERIFIER.salt, VERIFIER.iterations);
const OK = authentication(0);
const KEY = frontend("K", int32(77), [1, 2, 3, 4]);
const READY = frontend("Z", [0x49]);
const MECHANISMS = authentication(10, "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", [0]);

/** What the pool knows: no key, and derivation in place. */
const SECRETS: Secrets = {
  newestMinor: () => 0,
  clientKey: () => undefined,
  derive: (password, salt, iterations, done) => done(saltPassword(password, salt, iterations)),
  tls: { handshake: () => "not in this test" },
  counts: noSums(),
};

function authentication(code: number, ...data: (string | number[] | Uint8Array)[]): Uint8Array {
  return frontend("R", int32(code), ...data);
}

/** A socket of loopback that somebody answers. */
class Peer implements Disposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly address: ServerAddress;

  constructor() {
    const { port } = this.#listener.addr;
    this.address = { bytes: inetAddress("127.0.0.1", port)!, text: `127.0.0.1:${port}` };
  }

  async accept(): Promise<Conversation> {
    return new Conversation(await this.#listener.accept());
  }

  [Symbol.dispose](): void {
    this.#listener.close();
  }
}

/** An address that refuses: nobody listens there any more. */
function refusing(): ServerAddress {
  using peer = new Peer();
  return peer.address;
}

/** The login ended where PostgreSQL was still waiting for it. */
class HungUp extends Error {}

/** PostgreSQL's side of one connection. */
class Conversation {
  readonly #connection: Deno.TcpConn;
  #read: Uint8Array = new Uint8Array(0);
  #closed = false;

  constructor(connection: Deno.TcpConn) {
    this.#connection = connection;
    connection.setNoDelay();
  }

  async send(...pieces: Uint8Array[]): Promise<void> {
    for (const piece of pieces) await this.#connection.write(piece);
  }

  async #take(length: number): Promise<Uint8Array> {
    const buffer = new Uint8Array(4096);
    while (this.#read.length < length) {
      const n = await this.#connection.read(buffer);
      if (n === null) throw new HungUp();
      this.#read = concat(this.#read, buffer.subarray(0, n));
    }
    const taken = this.#read.slice(0, length);
    this.#read = this.#read.slice(length);
    return taken;
  }

  /** The StartupMessage. */
  async startup(): Promise<Uint8Array> {
    const head = await this.#take(4);
    return concat(head, await this.#take(new DataView(head.buffer).getUint32(0) - 4));
  }

  /** The body of the next password message. */
  async password(): Promise<Uint8Array> {
    const head = await this.#take(5);
    assert.equal(head[0], 0x70);
    return this.#take(new DataView(head.buffer).getUint32(1) - 4);
  }

  /** The login hangs up. */
  async end(): Promise<void> {
    const buffer = new Uint8Array(4096);
    while (await this.#connection.read(buffer) !== null);
  }

  close(): void {
    if (!this.#closed) this.#connection.close();
    this.#closed = true;
  }
}

interface Options {
  settings?: Partial<PoolSettings>;
  secrets?: Partial<Secrets>;
  /** Before the peer's own. */
  addresses?: ServerAddress[];
}

/** Makes a login and lets `script` answer it, which begins after the StartupMessage. */
async function logIn(
  script: (server: Conversation) => Promise<void>,
  { settings = {}, secrets = {}, addresses = [] }: Options = {},
): Promise<Result & { where: string }> {
  using peer = new Peer();
  const results: Result[] = [];
  const login = new ServerLogin(reactor, {
    settings: poolSettings(settings),
    fields: [["user", "me"], ["database", "db"]],
    addresses: [...addresses, peer.address],
    secrets: { ...SECRETS, ...secrets },
    tune: () => {},
    done: (result) => results.push(result),
  });
  login.start();
  const talk = peer.accept().then(async (server) => {
    try {
      const wanted = startup({ user: "me", database: "db" });
      wanted[7] = secrets.newestMinor?.() ?? 0;
      assert.deepEqual(await server.startup(), wanted);
      await script(server);
      await turnsUntil(() => results.length > 0);
    } catch (error) {
      if (!(error instanceof HungUp)) throw error;
    } finally {
      server.close();
    }
  });
  await turnsUntil(() => results.length > 0);
  // What failed is closed at the end of a turn.
  reactor.turn(0);
  await talk;
  const [result] = results;
  assert.equal(results.length, 1, "one result");
  if (result.kind === "ready") close(result.stream.fd);
  return { ...result, where: peer.address.text };
}

async function turnsUntil(done: () => boolean): Promise<void> {
  while (!done()) {
    reactor.turn(0);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** As `logIn`, and it must fail: its code, message and whether it may be over soon. */
async function fails(
  script: (server: Conversation) => Promise<void>,
  options: Options = {},
): Promise<string> {
  const result = await logIn(script, options);
  assert.ok(result.kind === "failed", result.kind);
  const message = result.message.replaceAll(result.where, "HERE");
  return `${result.code} ${message}${result.transient ? " (transient)" : ""}`;
}

/** As `logIn`, and it must succeed. */
async function succeeds(
  script: (server: Conversation) => Promise<void>,
  options: Options = {},
): Promise<LoggedIn> {
  const result = await logIn(script, options);
  assert.ok(result.kind === "ready", JSON.stringify(result));
  return result;
}

const password: Options = { settings: { credentials: { kind: "password", password: "pencil" } } };
const passthrough: Options = {
  settings: { credentials: { kind: "scram_passthrough", verifier: formatVerifier(VERIFIER) } },
};

/** PostgreSQL's side of SCRAM; `change` may spoil what it says. */
function scram(change: (code: number, data: Uint8Array) => Uint8Array = (_, data) => data) {
  return async (server: Conversation) => {
    await server.send(MECHANISMS);
    const first = advanceScramServer(beginScramServer(VERIFIER), await server.password());
    assert.ok(first.kind === "continue", JSON.stringify(first));
    await server.send(authentication(11, change(11, first.data)));
    const last = advanceScramServer(first.state, await server.password());
    if (last.kind !== "done") {
      await server.send(frontend("E", "SFATAL", "C28P01", "Mwrong", [0]));
      return;
    }
    await server.send(authentication(12, change(12, last.data)), OK, KEY, READY);
  };
}

Deno.test("server login: parameters, key, what may be passed over, ready", async () => {
  const result = await succeeds(async (server) => {
    await server.send(
      OK,
      frontend("v", int32(196608), int32(0)),
      frontend("N", "SNOTICE", "C01000", "Mhello", [0]),
      frontend("S", "datestyle", "ISO"),
      frontend("S", "a", ""),
      KEY,
      READY,
    );
  });
  assert.equal(result.pid, 77);
  assert.deepEqual(result.secret, Uint8Array.of(1, 2, 3, 4));
  assert.deepEqual([...result.parameters], [["DateStyle", "ISO"], ["a", ""]]);
});

Deno.test("server login: in pieces of one byte", async () => {
  const bytes = concat(OK, frontend("S", "a", "b"), frontend("K", int32(-1), [5]), READY);
  const result = await succeeds(async (server) => {
    for (const byte of bytes) await server.send(Uint8Array.of(byte));
  });
  assert.equal(result.pid, 0xffffffff);
  assert.deepEqual(result.secret, Uint8Array.of(5));
  assert.deepEqual([...result.parameters], [["a", "b"]]);
});

const NEWER: Options = { secrets: { newestMinor: () => 2 } };

Deno.test("server login: protocol 3.2, its longer keys, and the one that is spoken instead", async () => {
  const secret = new Uint8Array(256).fill(7);
  const long = await succeeds(
    (server) => server.send(OK, frontend("K", int32(1), secret), READY),
    NEWER,
  );
  assert.deepEqual([long.minor, long.secret], [2, secret]);
  const older = await succeeds(
    (server) => server.send(frontend("v", int32(196608), int32(0)), OK, KEY, READY),
    NEWER,
  );
  assert.equal(older.minor, 0);
  const no = "08P01 login at HERE: this is no PostgreSQL";
  const negotiations = [
    frontend("v", int32(196611), int32(0)),
    frontend("v", int32(131072), int32(0)),
    frontend("v", int32(2), int32(0)),
    frontend("v", int32(196608), int32(1), "_pq_.x"),
    frontend("v", int32(196608)),
  ];
  for (const said of negotiations) {
    assert.equal(await fails((server) => server.send(said), NEWER), no);
  }
  const tooLong = frontend("K", int32(1), new Uint8Array(257));
  assert.equal(await fails((server) => server.send(OK, tooLong), NEWER), no);
});

Deno.test("server login: whoever refuses 3.2, or hangs up on it, is asked for 3.0", async () => {
  const refusals = [
    frontend("E", "SFATAL", "C0A000", "Munsupported frontend protocol", [0]),
    frontend("E", "SFATAL", "C08P01", "Munsupported protocol version", [0]),
    undefined,
  ];
  for (const refusal of refusals) {
    using peer = new Peer();
    const results: Result[] = [];
    new ServerLogin(reactor, {
      settings: poolSettings({}),
      fields: [["user", "me"]],
      addresses: [peer.address],
      secrets: { ...SECRETS, newestMinor: () => 2 },
      tune: () => {},
      done: (result) => results.push(result),
    }).start();
    const versions: number[] = [];
    const talk = (async () => {
      const first = await peer.accept();
      versions.push((await first.startup())[7]!);
      // What stands behind it belongs to that connection.
      if (refusal !== undefined) await first.send(refusal, READY);
      first.close();
      const second = await peer.accept();
      versions.push((await second.startup())[7]!);
      await second.send(OK, KEY, READY);
      await turnsUntil(() => results.length > 0);
      second.close();
    })();
    await turnsUntil(() => results.length > 0);
    reactor.turn(0);
    await talk;
    assert.deepEqual(versions, [2, 0]);
    const [result] = results;
    assert.ok(result!.kind === "ready", JSON.stringify(result));
    assert.equal(result.minor, 0);
    close(result.stream.fd);
  }
  // Once it has been understood, a refusal is one.
  const late = async (server: Conversation) => {
    await server.send(OK, refusals[0]!);
  };
  assert.match(await fails(late, NEWER), /^0A000/);
});

Deno.test("server login: addresses one after the other, and the cause of the last", async () => {
  const result = await succeeds((server) => server.send(OK, READY), {
    addresses: [refusing(), refusing()],
  });
  assert.ok(result.address.text.startsWith("127.0.0.1:"));
  const results: Result[] = [];
  const attempt = (addresses: ServerAddress[]) => {
    new ServerLogin(reactor, {
      settings: poolSettings({}),
      fields: [],
      addresses,
      secrets: SECRETS,
      tune: () => {},
      done: (result) => results.push(result),
    }).start();
  };
  const last = refusing();
  attempt([refusing(), last]);
  await turnsUntil(() => results.length > 0);
  attempt([]);
  assert.deepEqual(results, [
    {
      kind: "failed",
      code: "53300",
      message: `connect to ${last.text}: connection refused (ECONNREFUSED)`,
      transient: true,
    },
    { kind: "failed", code: "53300", message: "no address to connect to", transient: true },
  ]);
});

Deno.test("server login: connect_timeout bounds all of it", async () => {
  const message = await fails((server) => server.send(OK), { settings: { connect_timeout: 50 } });
  assert.equal(
    message,
    "53300 login at HERE took longer than connect_timeout (50 ms): postgresql_login_timeout " +
      "(transient)",
  );
});

Deno.test("server login: one that is abandoned hangs up and tells nobody", async () => {
  using peer = new Peer();
  const login = new ServerLogin(reactor, {
    settings: poolSettings({}),
    fields: [],
    addresses: [peer.address],
    secrets: SECRETS,
    tune: () => {},
    done: () => assert.fail("nobody is to be told"),
  });
  login.start();
  let server: Conversation | undefined;
  peer.accept().then((accepted) => server = accepted);
  await turnsUntil(() => server !== undefined);
  login.abandon();
  reactor.turn(0);
  try {
    await server!.end();
  } finally {
    server!.close();
  }
});

Deno.test("server login: a password in clear", async () => {
  let given: Uint8Array | undefined;
  const ask = async (server: Conversation) => {
    await server.send(authentication(3));
    given = await server.password();
    await server.send(OK, READY);
  };
  await succeeds(ask, password);
  assert.deepEqual(given, new TextEncoder().encode("pencil\0"));
  const only = (server: Conversation) => server.send(authentication(3));
  for (const credentials of [{ kind: "none" }, { kind: "md5", hash: "md5" }] as const) {
    assert.equal(
      await fails(only, { settings: { credentials } }),
      '28000 login at HERE: PostgreSQL asks for a cleartext password of "me": ' +
        "set server_username and server_password",
    );
  }
  assert.equal(
    await fails(only, passthrough),
    '28000 login at HERE: PostgreSQL asks for a cleartext password of "me": ' +
      "the pooler has a SCRAM verifier only",
  );
});

Deno.test("server login: md5, of a password or its hash", async () => {
  const salt = Uint8Array.of(1, 2, 3, 4);
  const hash = md5Hash("pencil", "me");
  for (const credentials of [password.settings!.credentials!, { kind: "md5", hash } as const]) {
    await succeeds(async (server) => {
      await server.send(authentication(5, salt));
      const given = new TextDecoder().decode(await server.password());
      assert.equal(given, md5Response(hash, salt) + "\0");
      await server.send(OK, READY);
    }, { settings: { credentials } });
  }
  assert.match(
    await fails((server) => server.send(authentication(5, salt))),
    /^28000 .* asks for an md5 password of "me": set server_username/,
  );
});

Deno.test("server login: server_auth: whoever asks for something else is told nothing", async () => {
  const { credentials } = password.settings!;
  const only = (...server_auth: ServerAuthMethod[]) => ({ settings: { credentials, server_auth } });
  const hears = async (server: Conversation) => {
    await assert.rejects(server.password(), HungUp);
  };
  const requests: [ServerAuthMethod, Uint8Array][] = [
    ["none", concat(OK, READY)],
    ["password", authentication(3)],
    ["md5", authentication(5, Uint8Array.of(1, 2, 3, 4))],
    ["scram-sha-256", MECHANISMS],
  ];
  for (const [asked, request] of requests) {
    const others = requests.map(([method]) => method).filter((method) => method !== asked);
    assert.equal(
      await fails(async (server) => {
        await server.send(request);
        await hears(server);
      }, only(...others)),
      `28000 login at HERE: PostgreSQL asks for authentication "${asked}" of "me", ` +
        `and server_auth allows ${others.join(", ")}`,
    );
  }
  await succeeds((server) => server.send(OK, READY), only("none"));
  await succeeds(scram(), only("scram-sha-256"));
  // Behind the first request another one, to get more out of it.
  await fails(async (server) => {
    await server.send(MECHANISMS);
    await server.password();
    await server.send(authentication(3));
    await hears(server);
  }, only("scram-sha-256"));
});

Deno.test("server login: SCRAM, keys derived at once or later", async () => {
  await succeeds(scram(), password);
  const asked: unknown[] = [];
  await succeeds(scram(), {
    ...password,
    secrets: {
      derive: (given, salt, iterations, done) => {
        asked.push(given, salt, iterations);
        setTimeout(() => done(saltPassword(given, salt, iterations)), 5);
      },
    },
  });
  assert.deepEqual(asked, ["pencil", VERIFIER.salt, VERIFIER.iterations]);
});

Deno.test("server login: SCRAM that fails on either side", async () => {
  const wrong = { settings: { credentials: { kind: "password", password: "pen" } as const } };
  assert.equal(await fails(scram(), wrong), "28P01 wrong");
  const skipping = async (server: Conversation) => {
    await server.send(MECHANISMS);
    const first = advanceScramServer(beginScramServer(VERIFIER), await server.password());
    assert.ok(first.kind === "continue");
    await server.send(authentication(11, first.data));
    await server.password();
    await server.send(OK, KEY, READY);
  };
  assert.equal(await fails(skipping, password), "28000 the server did not prove itself by SCRAM");
  const signature = new TextEncoder().encode(`v=${new Uint8Array(32).toBase64()}`);
  const forged = scram((code, data) => code === 12 ? signature : data);
  assert.match(await fails(forged, password), /^28000 .* signature is wrong$/);
  const refused = scram((code, data) =>
    code === 12 ? new TextEncoder().encode("e=other-error") : data
  );
  assert.equal(await fails(refused, password), "28000 server refused the SCRAM exchange");
  assert.equal(
    await fails(scram((_, data) => data.subarray(1)), password),
    "08P01 malformed SCRAM challenge: attributes",
  );
  const underived: Options = {
    ...password,
    secrets: { derive: (_p, _s, _i, done) => done(undefined) },
  };
  assert.equal(await fails(scram(), underived), "XX000 key derivation failed");
});

Deno.test("server login: SCRAM with the key of a client", async () => {
  const secrets = { clientKey: () => KEYS.clientKey };
  await succeeds(scram(), { ...passthrough, secrets });
  const offer = (server: Conversation) => server.send(MECHANISMS);
  assert.equal(
    await fails(offer, passthrough),
    "28000 no client has logged in yet whose SCRAM key could be passed through",
  );
  const other = formatVerifier(makeVerifier("pencil", Uint8Array.of(1), 2));
  const message = /^28P01 the SCRAM verifier of "me" in the configuration is not the one/;
  for (const verifier of [other, "none"]) {
    const settings = { credentials: { kind: "scram_passthrough", verifier } as const };
    assert.match(await fails(scram(), { settings, secrets }), message);
  }
});

Deno.test("server login: SASL that can't be gone through", async () => {
  const cases: [Uint8Array[], Options, RegExp][] = [
    [[authentication(10, "X", [0])], password, /^28000 PostgreSQL offers no SASL mechanism/],
    [[authentication(10, [1])], password, /^08P01 malformed list of SASL mechanisms$/],
    [[MECHANISMS], {}, /^28000 .* asks for a SCRAM proof of "me": set server_username/],
    [[authentication(11, [1])], password, /^08P01 unexpected SASL message$/],
    [[authentication(12, [1])], password, /^08P01 unexpected SASL message$/],
    [[authentication(7)], password, /^28000 .* method 7, which the pooler does not speak$/],
  ];
  for (const [said, options, wanted] of cases) {
    assert.match(await fails((server) => server.send(...said), options), wanted);
  }
});

Deno.test("server login: keys that come when it is over change nothing", async () => {
  let late: (() => void) | undefined;
  const message = await fails(async (server) => {
    await server.send(MECHANISMS);
    const first = advanceScramServer(beginScramServer(VERIFIER), await server.password());
    assert.ok(first.kind === "continue");
    await server.send(authentication(11, first.data));
    await turnsUntil(() => late !== undefined);
    await server.send(frontend("E", "C57P01", "Mgone", [0]));
  }, {
    ...password,
    secrets: {
      derive: (given, salt, iterations, done) =>
        late = () => done(saltPassword(given, salt, iterations)),
    },
  });
  assert.equal(message, "57P01 gone (transient)");
  late!();
});

Deno.test("server login: PostgreSQL's errors, and which of them pass", async () => {
  const cases = [
    ["57P03", "57P03 no (transient)"],
    ["57P01", "57P01 no (transient)"],
    ["53300", "53300 no (transient)"],
    ["28P01", "28P01 no"],
    ["3D000", "3D000 no"],
  ];
  for (const [code, wanted] of cases) {
    const error = frontend("E", "SFATAL", `C${code}`, "Mno", [0]);
    assert.equal(await fails((server) => server.send(error)), wanted);
  }
});

Deno.test("server login: a server that hangs up", async () => {
  // deno-lint-ignore require-await
  const message = await fails(async (server) => server.close());
  assert.equal(message, "08006 login at HERE: it closed the connection (transient)");
});

Deno.test("server login: garbage", async () => {
  const no = "08P01 login at HERE: this is no PostgreSQL";
  const unexpected = "08P01 login at HERE: unexpected message";
  const statuses = Array.from({ length: MOST_REPORTED + 1 }, (_, i) => frontend("S", `p${i}`, ""));
  const cases: [Uint8Array[], string][] = [
    [[new TextEncoder().encode("HTTP/1.1 400 Bad Request\r\n\r\n")], no],
    [[hex("52 00000003")], no],
    [[hex("52 00007531")], no],
    [[hex("52 ffffffff")], no],
    [[OK, frontend("S", "a")], no],
    [[OK, concat(...statuses)], no],
    [[OK, frontend("T", [0, 0])], unexpected],
    [[frontend("D", [0, 0])], unexpected],
    [[READY], "08P01 ReadyForQuery before authentication"],
    // Too short for what they must hold.
    [[frontend("R", [0, 0, 0]), new Uint8Array(10)], no],
    [[concat(OK, frontend("K", [0, 0, 0]), READY)], no],
  ];
  for (const [said, wanted] of cases) {
    assert.equal(await fails((server) => server.send(...said)), wanted);
  }
});
