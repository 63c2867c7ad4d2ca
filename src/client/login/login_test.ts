import assert from "node:assert/strict";
import { FAILURE_WORDS, Failures } from "../../auth/failures.ts";
import { shapeOf } from "../../auth/mock_password.ts";
import { md5Hash } from "../../auth/md5.ts";
import { formatVerifier, makeVerifier, saltPassword } from "../../auth/scram.ts";
import type { Derive } from "../../auth/derivations.ts";
import type { PoolSettings, StoredPassword } from "../../config/settings.ts";
import type { Pool } from "../../pool/pool.ts";
import type { ReplicationRequest } from "../../pool/replication.ts";
import {
  concat,
  firstPacket,
  frontend,
  hex,
  messagesIn,
  startup,
} from "../../protocol/testing/wire.ts";
import type { ReceivedError } from "../../protocol/error_response.ts";
import { type Reason, REASONS } from "../../reasons.ts";
import type { ServerConnection } from "../../server/connection.ts";
import { parameterSet } from "../../server/parameters.ts";
import { Shared, SHARED_WORDS, Tally } from "../../stats/shared.ts";
import { FakeReactor } from "../../testing/fake_reactor.ts";
import type { ClientContext, PoolLookup, UserLookup } from "../context.ts";
import { newSessionState, Stage } from "../state.ts";
import { ClientLogin } from "./login.ts";

type Session = ConstructorParameters<typeof ClientLogin>[0];

const VERIFIER = formatVerifier(makeVerifier("pencil", Uint8Array.of(9, 8, 7), 2));
const SSL_REQUEST = hex("00000008 04d2162f");
const GSSENC_REQUEST = hex("00000008 04d21630");
const ME = startup({ user: "me", database: "db" });
const PASSWORD = frontend("p", "pencil");

/** Of a pool what a login uses. */
class FakePool {
  clients = 0;
  warmed = 0;
  clientKey: Uint8Array | undefined;
  defaults: ReturnType<typeof parameterSet> | undefined = parameterSet(
    new Map([["DateStyle", "ISO"]]),
  );
  readonly managed = new Set(["work_mem"]);
  readonly reported = new Set(["DateStyle", "application_name", "a"]);
  readonly back: ServerConnection[] = [];
  readonly share = { seats: { change: () => {}, of: () => 0 } };
  readonly settings: Pick<PoolSettings, "password" | "credentials" | "application_name_pinned">;
  replicationRequest: ReplicationRequest | undefined;
  readonly replication = {
    open: (_: object, request: ReplicationRequest) => this.replicationRequest = request,
  };

  constructor(password: StoredPassword, credentials: PoolSettings["credentials"]) {
    this.settings = { password, credentials, application_name_pinned: false };
  }

  enter(): void {
    this.clients++;
  }

  leaveQueue(): void {}

  checkIn(server: ServerConnection): void {
    this.back.push(server);
  }

  warm(): void {
    this.warmed++;
  }
}

/** A session in its login, and all that it does there. */
class World {
  readonly reactor = new FakeReactor();
  /** What was done, in its order. */
  /** Ends the cancel request that came last. */
  canceled: () => void = () => assert.fail("none came");
  readonly events: string[] = [];
  readonly state = newSessionState(7, this.reactor.now);
  readonly shared = new Int32Array(SHARED_WORDS);
  readonly pool: FakePool;
  /** By the session. */
  written: Uint8Array[] = [];
  kept: Uint8Array = new Uint8Array(0);
  found: PoolLookup;
  method: string = "trust";
  hasHba = true;
  readonly warnings: string[] = [];
  readonly mail: unknown[] = [];
  /** The password that is being checked. */
  checked: Parameters<Derive> | undefined;
  readonly context: ClientContext;
  readonly session: Session;
  readonly login: ClientLogin;

  constructor(
    { password = { kind: "empty" }, credentials = { kind: "none" } }: Partial<
      FakePool["settings"]
    > = {},
  ) {
    this.pool = new FakePool(password, credentials);
    this.found = { kind: "here", pool: this.pool as unknown as Pool };
    this.context = {
      reactor: this.reactor,
      shared: this.shared,
      tally: new Tally(this.shared),
      mockSecret: Uint8Array.of(1),
      failures: new Failures(new Int32Array(FAILURE_WORDS), Uint8Array.of(1)),
      general: {
        talos_databases: [],
        auth_failure_delay: 0,
        client_login_timeout: 60_000,
        max_connections: 2,
        log_client_connections: false,
        login_notify_message: "",
        console_users: [{
          user: "admin",
          password: { kind: "md5", hash: md5Hash("pencil", "admin") },
          role: "admin",
        }],
      },
      hba: { match: () => ({ method: this.method, source: "hba", line: 1 }) },
      log: {
        warn: (_: string, message: string) => this.warnings.push(message),
        provoked: (_: string, _target: string, _by: object, message: string) =>
          this.warnings.push(message),
      },
      counts: { total: 0, tls: 0, plain: 0, cancel: 0 },
      draining: false,
      logins: {
        waits: () => this.events.push("waits"),
        over: () => this.events.push("over"),
      },
      passwords: {
        ask: (...run: Parameters<Derive>) => {
          this.checked = run;
          return () => this.checked = undefined;
        },
      },
      findPool: () => this.found,
      handOver: (worker: number, client: number) => this.events.push(`${client} to ${worker}`),
      cancel: (pid: number, { secret }: { secret: Uint8Array }, through: () => void) => {
        this.events.push(`cancel ${pid} ${secret}`);
        this.canceled = through;
      },
      toControl: (mail: unknown) => this.mail.push(mail),
    } as unknown as ClientContext;
    this.session = this.#session();
    this.login = new ClientLogin(this.session);
    this.session.login = this.login;
    this.events.length = 0;
  }

  #session(): Session {
    const { state, events } = this;
    const session: Partial<Session> = {
      state,
      context: this.context,
      name: "[me@db #7]",
      pool: undefined,
      server: undefined,
      login: undefined,
      admin: undefined,
      write: (bytes) => this.written.push(bytes),
      keep: (bytes, at, end) => this.kept = bytes.slice(at, end),
      take: (bytes, at, end) => events.push(`take ${bytes.slice(at, end).toHex()}`),
      hold: () => events.push("hold"),
      unhold: () => events.push("unhold"),
      takeKept: () => events.push("takeKept"),
      moveTo: (stage) => state.stage = stage,
      prepare: () => events.push("prepare"),
      own: (server) => {
        events.push("own");
        state.stage = Stage.Linked;
        Object.assign(session, { server });
      },
      fail: (severity, { code, text }, first, second, aside) => {
        const message = text.replaceAll("{0}", first).replaceAll("{1}", second);
        const ownCode = typeof aside === "object" ? aside.code : aside;
        events.push(`${severity} ${ownCode ?? code} ${message}`);
        state.stage = Stage.Closing;
      },
      say: (bytes) => {
        events.push(`say ${bytes.length}`);
        state.stage = Stage.Closing;
      },
      close: (reason: Reason) => {
        events.push(`close ${reason.name}`);
        state.stage = Stage.Closed;
      },
    };
    return session as Session;
  }

  /** The client sends this, behind what was kept. */
  send(...pieces: Uint8Array[]): void {
    const bytes = concat(this.kept, ...pieces);
    this.kept = new Uint8Array(0);
    this.login.take(bytes, 0, bytes.length);
  }

  /** The password that came in clear has been salted. */
  check(): void {
    const [password, salt, iterations, done] = this.checked!;
    this.checked = undefined;
    done(saltPassword(password, salt, iterations));
  }

  /** What happened since the last call. */
  happened(): string[] {
    return this.events.splice(0);
  }

  /** Types of the messages that were written since the last call; `N` is the refusal to encrypt. */
  told(): string {
    const bytes = this.written.splice(0);
    return bytes.map((piece) =>
      piece.length === 1
        ? String.fromCharCode(piece[0]!)
        : messagesIn(piece).map(({ type, body }) => type + (type === "R" ? body[3] : "")).join("")
    ).join(" ");
  }
}

Deno.test("login: without a challenge one packet is enough", () => {
  const world = new World();
  world.send(startup({
    user: "me",
    database: "db",
    application_name: "a",
    options: "-c work_mem=1GB --DateStyle=ISO",
  }));
  assert.equal(world.told(), "R0SSKZ");
  assert.deepEqual(world.happened(), ["over", "over", "takeKept"]);
  const { state } = world;
  assert.equal(state.stage, Stage.Idle);
  assert.deepEqual([state.user, state.database, state.applicationName], ["me", "db", "a"]);
  assert.deepEqual(state.startup, []);
  assert.deepEqual(
    [...state.parameters.values],
    [["DateStyle", "ISO"], ["application_name", "a"]],
  );
  // What servers have by themselves is the client's own where it has asked for it.
  assert.equal(state.initial, state.parameters);
  assert.deepEqual(state.own, ["DateStyle", "application_name"]);
  assert.equal(world.pool.clients, 1);
  assert.equal(world.session.login, undefined);
  assert.equal(world.session.readyMs, world.reactor.now);
  assert.equal(world.context.counts.plain, 1);
  assert.equal(world.shared[Shared.LoggedIn], 1);
  assert.deepEqual(world.warnings, []);
});

/** A server that is asked. */
function askedServer(world: World): { server: ServerConnection; asked: string[] } {
  const asked: string[] = [];
  const server = {
    state: { parameters: world.pool.defaults, asked: 0, answer: undefined },
    askOwn: (sql: string) => asked.push(sql),
  };
  return { server: server as unknown as ServerConnection, asked };
}

const hexOf = (values: (string | null)[]) =>
  new TextEncoder().encode(JSON.stringify(values)).toHex();
const WISHES = startup({
  user: "me",
  options: "-c geqo=OFF --work-mem=1GB",
  DateStyle: "iso",
  application_name: "ab".repeat(40),
});

Deno.test("login: PostgreSQL is asked once what it makes of the parameters, and all have its answer", () => {
  const world = new World();
  world.send(WISHES);
  assert.deepEqual(world.happened(), ["over", "prepare"]);
  const { server, asked } = askedServer(world);
  world.login.serverReady(server);
  assert.equal(server.link, world.session);
  assert.equal(asked.length, 1);
  assert.match(asked[0]!, /set_config\(E'geqo', E'OFF', true\).*'DateStyle', E'iso'/);
  assert.doesNotMatch(asked[0]!, /nullif| = /i, "an operator of whose search_path?");
  assert.doesNotMatch(asked[0]!, /work_mem/);
  server.state.answer = hexOf(["ab".repeat(31) + "a", "off", "ISO, MDY"]);
  world.login.answered(undefined);
  assert.deepEqual(world.pool.back, [server]);
  assert.equal(world.session.server, undefined);
  assert.equal(world.told(), "R0NSSKZ");
  const wanted = [
    ["DateStyle", "ISO, MDY"],
    ["application_name", "ab".repeat(31) + "a"],
    ["geqo", "off"],
  ];
  assert.deepEqual([...world.state.parameters.values], wanted);
  // The next one of this pool is told at once.
  const next = new World();
  Object.assign(next, { found: world.found });
  next.send(WISHES);
  assert.deepEqual([...next.state.parameters.values], wanted);
  assert.equal(next.told(), "R0NSSKZ");
});

Deno.test("login: what PostgreSQL would refuse at the login is refused at the login", () => {
  const syntax = new World();
  syntax.send(startup({ user: "me", options: "-c geqo" }));
  assert.equal(syntax.happened().at(-1), "FATAL 42601 -c geqo requires a value");
  const asked = (packet: Uint8Array) => {
    const world = new World();
    world.send(packet);
    const { server } = askedServer(world);
    world.login.serverReady(server);
    return { world, server };
  };
  const value = asked(startup({ user: "me", geqo: "x" }));
  value.world.login.answered({ code: "22023", message: "no" } as ReceivedError);
  assert.equal(value.world.happened().at(-1), "FATAL 22023 no");
  assert.deepEqual(value.world.pool.back, [value.server]);
  const unkept = asked(startup({ user: "me", session_authorization: "x" }));
  unkept.server.state.answer = hexOf([null]);
  unkept.world.login.answered(undefined);
  assert.match(unkept.world.happened().at(-1)!, /^FATAL 0A000 .*"session_authorization"/);
});

Deno.test("login: who was being looked up, and is a user of the configuration by then, is that one", () => {
  const world = new World();
  let told: Parameters<UserLookup["find"]>[1] | undefined;
  const users: UserLookup = {
    ended: true,
    shapes: [],
    find: (_, done) => {
      told = done;
      return () => {};
    },
    refetch: () => assert.fail("he was not found"),
    enter: () => assert.fail("his pool is another"),
    count: (what) => assert.fail(what),
  };
  const { found } = world;
  world.found = { kind: "lookup", users };
  world.send(ME);
  world.found = found;
  told!({ kind: "failed", message: "the pool is closed" });
  assert.equal(world.state.stage, Stage.Idle);
  assert.equal(world.pool.clients, 1);
});

Deno.test("login: the database is the user's name where there is none", () => {
  const world = new World();
  world.send(startup({ user: "me" }));
  assert.equal(world.state.database, "me");
  assert.equal(world.state.applicationName, "pg_doorman");
});

Deno.test("login: a challenge, its answer, and what came behind them", () => {
  const world = new World({ password: { kind: "scram", verifier: VERIFIER } });
  world.method = "password";
  world.send(ME);
  assert.equal(world.told(), "R3");
  assert.equal(world.state.stage, Stage.Login);
  assert.deepEqual(world.happened(), ["waits"]);
  world.send(PASSWORD, hex("51 00000005 00"));
  assert.equal(world.told(), "");
  assert.deepEqual(world.happened(), ["over", "hold"]);
  assert.deepEqual(world.kept, hex("51 00000005 00"));
  world.check();
  assert.equal(world.told(), "R0SKZ");
  assert.deepEqual(world.happened(), ["unhold", "over", "over", "takeKept"]);
  const md5 = new World({ password: { kind: "md5", hash: md5Hash("pencil", "me") } });
  md5.method = "password";
  md5.send(ME);
  md5.send(PASSWORD, hex("51 00000005 00"));
  assert.equal(md5.told(), "R3 R0SKZ");
  assert.deepEqual(md5.happened(), ["waits", "over", "over", "takeKept", "take 510000000500"]);
});

Deno.test("login: in pieces of one byte, and all in one piece", () => {
  const bytes = concat(SSL_REQUEST, ME, PASSWORD);
  const world = new World({ password: { kind: "scram", verifier: VERIFIER } });
  world.method = "password";
  for (const byte of bytes) world.send(Uint8Array.of(byte));
  world.check();
  assert.equal(world.told(), "N R3 R0SKZ");
  assert.equal(world.kept.length, 0);
  const other = new World({ password: { kind: "scram", verifier: VERIFIER } });
  other.method = "password";
  other.send(ME, PASSWORD);
  other.check();
  assert.equal(other.told(), "R3 R0SKZ");
});

Deno.test("login: what comes with the StartupMessage is kept for those who go on with it", () => {
  const world = new World();
  world.send(ME, hex("51 00000005 00"));
  assert.deepEqual(world.kept, hex("51 00000005 00"));
  assert.deepEqual(world.happened(), ["over", "over", "takeKept"]);
});

Deno.test("login: a wrong password", () => {
  const world = new World({ password: { kind: "scram", verifier: VERIFIER } });
  world.method = "password";
  world.send(ME);
  world.send(frontend("p", "pen"), hex("51 00000005 00"));
  world.check();
  assert.deepEqual(world.happened(), [
    "waits",
    "over",
    "hold",
    "unhold",
    "over",
    'FATAL 28P01 password authentication failed for user "me"',
  ]);
  assert.deepEqual(world.warnings, [
    '[me@db #7] login from  as "me" to "db" failed: ' +
    'password authentication failed for user "me" (method password, hba line 1)',
  ]);
  assert.equal(world.shared[Shared.LoggedIn], 0);
});

Deno.test("login: a user who does not exist is asked, and fails, in a database that does not, too", () => {
  const user = new World();
  user.found = { kind: "no_user", known: [shapeOf({ kind: "md5", hash: "" })] };
  user.method = "auto";
  user.send(ME);
  assert.equal(user.told(), "R5");
  user.send(PASSWORD);
  assert.match(user.happened().at(-1)!, /^FATAL 28P01 /);
  const database = new World();
  database.found = { kind: "no_database", known: [shapeOf({ kind: "md5", hash: "" })] };
  database.method = "auto";
  database.send(ME);
  assert.equal(database.told(), "R5");
  database.send(PASSWORD);
  assert.equal(
    database.happened().at(-1),
    'FATAL 28P01 password authentication failed for user "me"',
  );
  assert.deepEqual(database.warnings, [
    '[me@db #7] login from  as "me" to "db" failed: ' +
    'no pool configured for database "db" and user "me" (method auto, hba line 1)',
  ]);
});

Deno.test("login: who needs no password is told of a database that does not exist; a user is not", () => {
  const database = new World();
  database.found = { kind: "no_database", known: [] };
  database.send(ME);
  assert.deepEqual(database.happened(), [
    "over",
    'FATAL 3D000 no pool configured for database "db" and user "me"',
  ]);
  const user = new World();
  user.found = { kind: "no_user", known: [] };
  user.send(ME);
  assert.match(user.happened().at(-1)!, /^FATAL 28P01 /);
});

Deno.test("login: that a database is disabled hears who has proved himself", () => {
  const world = new World();
  Object.assign(world.pool, { disabled: true });
  world.method = "password";
  world.send(ME);
  assert.equal(world.told(), "R3");
  world.send(PASSWORD);
  world.check();
  assert.match(world.happened().at(-1)!, /^FATAL 28P01 /);
});

Deno.test("login: a pool elsewhere takes the session over, which begins there", () => {
  const world = new World();
  world.found = { kind: "elsewhere", worker: 3 };
  world.send(ME, hex("51 00000005 00"));
  assert.deepEqual(world.happened(), ["over", "7 to 3"]);
  assert.deepEqual(world.kept, hex("51 00000005 00"), "travels with it");
  assert.equal(world.state.stage, Stage.Login);
  const there = new World();
  Object.assign(there.state, { ...world.state });
  assert.ok(there.login.begin());
  assert.equal(there.told(), "R0SKZ");
});

Deno.test("login: a hand-over that was for nothing leaves it waiting, with its time", () => {
  const world = new World();
  world.found = { kind: "elsewhere", worker: 3 };
  world.send(ME);
  world.reactor.timers.expire(world.reactor.now + 60_000);
  assert.deepEqual(world.happened(), ["over", "7 to 3"]);
  world.login.resume();
  assert.deepEqual(world.happened(), ["waits"]);
  world.reactor.timers.expire(world.reactor.now + 60_000);
  assert.deepEqual(world.happened(), [
    "over",
    "FATAL 08006 canceling authentication due to timeout",
  ]);
});

Deno.test("login: client_login_timeout, from the connection's beginning", () => {
  const world = new World();
  world.reactor.timers.expire(world.reactor.now + 59_999);
  assert.deepEqual(world.happened(), []);
  world.reactor.timers.expire(world.reactor.now + 60_000);
  assert.deepEqual(world.happened(), [
    "over",
    "FATAL 08006 canceling authentication due to timeout",
  ]);
  const through = new World();
  through.send(ME);
  through.happened();
  through.reactor.timers.expire(through.reactor.now + 60_000);
  assert.deepEqual(through.happened(), []);
});

Deno.test("login: a silent one gives way", () => {
  const world = new World();
  world.login.giveWay();
  assert.deepEqual(world.happened(), [
    `FATAL 53300 ${REASONS.silentLogin.text}`,
    "close client_terminated",
  ]);
});

Deno.test("login: encryption is refused, twice at most, and nothing may come with the request", () => {
  const world = new World();
  world.send(SSL_REQUEST);
  world.send(GSSENC_REQUEST);
  assert.equal(world.told(), "N N");
  assert.deepEqual(world.happened(), ["waits", "waits"]);
  world.send(ME);
  assert.equal(world.told(), "R0SKZ");
  const greedy = new World();
  for (const request of [SSL_REQUEST, GSSENC_REQUEST, SSL_REQUEST]) greedy.send(request);
  assert.match(greedy.happened().at(-1)!, /^FATAL 08P01 .* encryption request/);
  const hasty = new World();
  hasty.send(SSL_REQUEST, ME);
  assert.equal(hasty.told(), "");
  assert.match(hasty.happened().at(-1)!, /^FATAL 08P01 .* encryption request/);
});

Deno.test("login: a CancelRequest is passed on, and half-closed without a word when it is through", () => {
  const world = new World();
  world.send(firstPacket(80877102, [0, 0, 0, 9], [1, 2, 3, 4]));
  assert.deepEqual(world.happened(), ["over", "cancel 9 1,2,3,4"]);
  assert.ok(world.login.stays);
  world.send(ME);
  assert.deepEqual(world.happened(), []);
  world.canceled();
  assert.deepEqual(world.happened(), ["say 0"]);
  assert.equal(world.context.counts.cancel, 1);
  assert.equal(world.context.counts.plain, 0);
  assert.equal(world.told(), "");
});

Deno.test("login: a CancelRequest that nobody ends does not last for ever", () => {
  const world = new World();
  world.send(firstPacket(80877102, [0, 0, 0, 9], [1, 2, 3, 4]));
  world.happened();
  world.reactor.timers.expire(world.reactor.now + 60_000);
  assert.deepEqual(world.happened(), ["say 0"]);
});

Deno.test("login: Terminate or rubbish in place of a StartupMessage ends it without a word, and is logged", () => {
  for (const packet of ["58 00000004", "00000007 00", "7fffffff 00030000"]) {
    const world = new World();
    world.send(hex(packet));
    assert.deepEqual(world.happened(), ["over", "say 0"], packet);
    assert.match(world.warnings.join(), /failed: .*invalid length of startup packet/);
  }
});

Deno.test("login: another message, or one of a wrong length, in place of a password", () => {
  for (
    const [message, wanted] of [
      ["58 00000004", "FATAL 08P01 expected password response, got message type 88"],
      ["70 00000003", "FATAL 08P01 invalid length of password message"],
      ["70 7fffffff", "FATAL 08P01 invalid length of password message"],
    ]
  ) {
    const world = new World();
    world.method = "md5";
    world.send(ME);
    world.happened();
    world.send(hex(message!));
    assert.equal(world.happened().at(-1), wanted);
  }
});

Deno.test("login: first packets that are none, or make no sense", () => {
  const cases: [Uint8Array, RegExp][] = [
    [hex("0000000a 00030000 6100"), /^FATAL 08P01 invalid startup packet layout/],
    [hex("00000009 00020000 00"), /^FATAL 0A000 unsupported frontend protocol 2\.0: /],
    [startup({ database: "db" }), /^FATAL 28000 no PostgreSQL user name/],
    [startup({ user: "me", replication: "x" }), /invalid value for parameter "replication": "x"$/],
  ];
  for (const [packet, wanted] of cases) {
    const world = new World();
    world.send(packet);
    assert.match(world.happened().at(-1)!, wanted);
    assert.equal(world.told(), "");
    assert.equal(world.pool.clients, 0);
  }
});

Deno.test("login: a version that is not spoken and unknown options are answered before all else", () => {
  const cases: [minor: number, option: string, answer: string | undefined, spoken: number][] = [
    [0, "", undefined, 0],
    [1, "", undefined, 1],
    [2, "", undefined, 2],
    [3, "", "00030002 00000000", 2],
    [9999, "", "00030002 00000000", 2],
    [0, "_pq_.x", "00030000 00000001 5f70715f2e7800", 0],
    [2, "_pq_.x", "00030002 00000001 5f70715f2e7800", 2],
    [9, "_pq_.x", "00030002 00000001 5f70715f2e7800", 2],
  ];
  for (const [minor, option, answer, spoken] of cases) {
    const world = new World({ password: { kind: "md5", hash: md5Hash("pencil", "me") } });
    world.method = "password";
    const options = option === "" ? [] : [option, "1"];
    world.send(firstPacket(196608 + minor, "user", "me", ...options, [0]));
    const [first] = answer === undefined ? [undefined] : world.written;
    assert.deepEqual(first, answer === undefined ? undefined : frontend("v", hex(answer)));
    assert.equal(world.told(), answer === undefined ? "R3" : "v R3");
    world.send(PASSWORD);
    assert.equal(world.told(), "R0SKZ");
    assert.equal(world.state.minor, spoken);
    assert.equal(world.state.secret.length, spoken < 2 ? 4 : 32);
  }
});

Deno.test("login: password messages that are none", () => {
  const cases: [Uint8Array, RegExp][] = [
    [hex("51 00000005 00"), /^FATAL 08P01 /],
    [hex("70 00000003"), /^FATAL 08P01 /],
    [hex("70 00010000 00"), /^FATAL 08P01 /],
    [hex("70 00000004"), /^FATAL 08P01 invalid password packet$/],
  ];
  for (const [message, wanted] of cases) {
    const world = new World({ password: { kind: "scram", verifier: VERIFIER } });
    world.method = "password";
    world.send(ME);
    world.happened();
    world.send(message);
    assert.match(world.happened().at(-1)!, wanted);
  }
  // Not asked yet: the session comes from elsewhere and its StartupMessage is not looked at yet.
  const early = new World();
  early.state.stage = Stage.Login;
  early.send(PASSWORD);
  assert.equal(early.happened().at(-1), "FATAL 08P01 unexpected password message");
});

Deno.test("login: no place of max_connections, before the user is looked for and after the proof", () => {
  const before = new World();
  before.shared[Shared.LoggedIn] = 2;
  before.send(ME);
  assert.deepEqual(before.happened(), ["over", "FATAL 53300 sorry, too many clients already"]);
  assert.match(before.warnings[0]!, /too many clients, current=2 max=2$/);
  assert.equal(before.pool.clients, 0);
  const after = new World({ password: { kind: "scram", verifier: VERIFIER } });
  after.method = "password";
  after.send(ME);
  after.shared[Shared.LoggedIn] = 2;
  after.happened();
  after.send(PASSWORD);
  after.check();
  assert.deepEqual(after.happened().slice(-2), [
    "over",
    "FATAL 53300 sorry, too many clients already",
  ]);
  assert.equal(after.shared[Shared.LoggedIn], 2);
});

Deno.test("login: the first of a pool waits until the server's parameters are known", () => {
  const world = new World();
  world.pool.defaults = undefined;
  world.send(ME);
  assert.deepEqual(world.happened(), ["over", "prepare"]);
  assert.equal(world.state.stage, Stage.Preparing);
  assert.equal(world.told(), "");
  world.pool.defaults = parameterSet(new Map([["a", "b"]]));
  world.login.parametersKnown();
  assert.equal(world.told(), "R0SKZ");
  assert.equal(world.state.stage, Stage.Idle);
});

Deno.test("login: the key of a SCRAM proof goes to a pool that passes it through, once", () => {
  const password: StoredPassword = { kind: "scram", verifier: VERIFIER };
  const through = (verifier: string, has?: Uint8Array) => {
    const world = new World({ password, credentials: { kind: "scram_passthrough", verifier } });
    world.method = "password";
    world.pool.clientKey = has;
    world.send(ME, PASSWORD);
    world.check();
    assert.equal(world.told(), "R3 R0SKZ");
    return world.pool;
  };
  const first = through(VERIFIER);
  assert.equal(first.clientKey?.length, 32);
  assert.equal(first.warmed, 1);
  const has = Uint8Array.of(1);
  const second = through(VERIFIER, has);
  assert.equal(second.clientKey, has);
  assert.equal(second.warmed, 0);
  // A reload has brought another verifier.
  assert.equal(through("SCRAM-SHA-256$another").clientKey, undefined);
});

Deno.test("login: the console has its own user, and no replication", () => {
  for (const database of ["pgdoorman", "pgbouncer"]) {
    const world = new World();
    world.method = "password";
    world.send(startup({ user: "admin", database }));
    assert.equal(world.told(), "R3");
    world.send(PASSWORD);
    assert.equal(world.told(), "R0SSSSSSSSKZ");
    assert.equal(world.state.stage, Stage.Admin);
    assert.deepEqual(world.mail, [
      { kind: "admin_open", client: 7, user: "admin", database, address: "", role: "admin" },
    ]);
    assert.equal(world.pool.clients, 0);
    const stranger = new World();
    stranger.method = "password";
    stranger.send(startup({ user: "me", database }));
    stranger.send(PASSWORD);
    assert.equal(
      stranger.happened().at(-1),
      'FATAL 28P01 password authentication failed for user "me"',
    );
    const replica = new World();
    replica.send(startup({ user: "admin", database, replication: "true" }));
    assert.equal(
      replica.happened().at(-1),
      "FATAL 0A000 the admin console takes no replication connections",
    );
  }
});

Deno.test("login: a replication client is through with its own server", () => {
  const packet = startup({
    user: "me",
    database: "db",
    replication: "database",
    options: "-c a=b",
  });
  const world = new World();
  world.send(packet);
  const request = world.pool.replicationRequest!;
  assert.equal(request.kind, "logical");
  assert.deepEqual(request.parameters, [["options", "-c a=b"]]);
  assert.equal(world.told(), "");
  const parameters = parameterSet(new Map([["x", "y"]]));
  request.ready({ state: { parameters } } as unknown as ServerConnection);
  assert.equal(world.told(), "R0SKZ");
  assert.equal(world.state.stage, Stage.Linked);
  assert.equal(world.state.initial, parameters);
  const refused = new World();
  refused.send(packet);
  refused.happened();
  refused.pool.replicationRequest!.failed(REASONS.notSupported, "not here", "", "57P03");
  assert.deepEqual(refused.happened(), ["over", "FATAL 57P03 not here"]);
});

Deno.test("login: no replication begins in a process that shuts down", () => {
  const world = new World();
  Object.assign(world.context, { draining: true });
  world.send(startup({ user: "me", replication: "true" }));
  assert.match(world.happened().at(-1)!, /^FATAL 58006 /);
  assert.equal(world.pool.replicationRequest, undefined);
});

Deno.test("login: the operator's name of an application is not the client's to change", () => {
  const world = new World();
  Object.assign(world.pool.settings, { application_name_pinned: true });
  world.pool.defaults = parameterSet(new Map([["application_name", "pinned"]]));
  world.send(startup({ user: "me", application_name: "mine" }));
  assert.equal(world.state.parameters.values.get("application_name"), "pinned");
});

Deno.test("login: a password may be as long as PostgreSQL takes one", () => {
  const long = "p".repeat(65_530);
  const world = new World({ password: { kind: "md5", hash: md5Hash(long, "me") } });
  world.method = "password";
  world.send(ME);
  world.send(frontend("p", long));
  assert.equal(world.told(), "R3 R0SKZ");
});
