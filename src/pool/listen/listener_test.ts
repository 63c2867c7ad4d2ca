import assert from "node:assert/strict";
import type { PoolSettings } from "../../config/settings.ts";
import { int32, messagesIn } from "../../protocol/testing/wire.ts";
import type { LoggedIn, LoginFailure } from "../../server/login.ts";
import { FakeReactor } from "../../testing/fake_reactor.ts";
import { FakeStream } from "../../testing/fake_stream.ts";
import { poolSettings } from "../../testing/settings.ts";
import type { PoolLogin } from "../connecting/pool_login.ts";
import type { PoolEnvironment } from "../environment.ts";
import type { ExtendedPool } from "../extra_connections.ts";
import { Listener } from "./listener.ts";
import { type ListeningClient, MARK_CHANNEL } from "./listening_client.ts";

/** A listener whose logins end when the test says so. */
class TestListener extends Listener {
  readonly logins: ((result: LoggedIn | LoginFailure) => void)[] = [];

  override newLogin(): PoolLogin {
    return {
      start: (_settings: PoolSettings, done: (result: LoggedIn | LoginFailure) => void) =>
        this.logins.push(done),
      giveUp() {},
    } as unknown as PoolLogin;
  }
}

class Client implements ListeningClient {
  readonly events: string[] = [];
  readonly id: number;

  constructor(id: number) {
    this.id = id;
  }

  ready(): void {
    this.events.push("ready");
  }
  markRead(): void {
    this.events.push("mark");
  }
  notify(channel: string): void {
    this.events.push(channel);
  }
  lost(code: string): void {
    this.events.push(`lost ${code}`);
  }
  unavailable(): void {
    this.events.push("unavailable");
  }
}

function message(type: string, ...parts: (number[] | string)[]): Uint8Array {
  const body = parts.flatMap((part) =>
    typeof part === "string" ? [...new TextEncoder().encode(part), 0] : part
  );
  return Uint8Array.from([type.charCodeAt(0), ...int32(body.length + 4), ...body]);
}

class Bench {
  readonly reactor = new FakeReactor();
  readonly streams: FakeStream[] = [];
  readonly queries: string[] = [];
  readonly warnings: string[] = [];
  readonly listener: TestListener;

  constructor() {
    const note = (_target: string, text: string) => this.warnings.push(text);
    const share = { take: () => true, takeAhead: () => true, count() {}, end() {} };
    const pool = {
      settings: poolSettings({}),
      name: "me@db",
      managed: new Set(),
      paused: false,
      moved: false,
      traffic: { received: 0, sent: 0 },
      reported: new Set(),
    };
    const environment = {
      reactor: this.reactor,
      log: { info() {}, debug() {}, warn: note, error: note },
      coordinator: { join: () => share },
      nextServerId: () => 1,
    };
    this.listener = new TestListener(
      pool as unknown as ExtendedPool,
      environment as unknown as PoolEnvironment,
      {} as never,
    );
  }

  /** The login under way succeeds. */
  logIn(): FakeStream {
    const stream = new FakeStream(2 * this.streams.length + 10);
    this.streams.push(stream);
    this.listener.logins.shift()!({
      kind: "ready",
      stream,
      address: { bytes: new Uint8Array(1), text: "here" },
      pid: stream.fd,
      secret: new Uint8Array(4),
      tls: undefined,
      minor: 0,
      parameters: new Map(),
    });
    this.settle();
    return stream;
  }

  /** PostgreSQL does what it is asked to; notifications are the test's matter. */
  settle(): void {
    for (let answered = true; answered;) {
      answered = false;
      this.reactor.endTurn();
      for (const stream of this.streams) {
        for (const { type, body } of messagesIn(stream.fetch())) {
          if (type !== "Q") continue;
          const sql = new TextDecoder().decode(body.subarray(0, -1));
          this.queries.push(sql);
          const tags = sql.split(";").filter((part) => part.trim() !== "").map((part) =>
            part.trim().split(" ", 1)[0]!
          );
          for (const tag of tags) stream.push(message("C", tag));
          stream.push(message("Z", [0x49]));
          answered = true;
        }
        this.read(stream);
      }
    }
  }

  read(stream: FakeStream): void {
    while (stream.unread > 0 && this.reactor.registered.has(stream.fd)) {
      this.reactor.registered.get(stream.fd)!.handler.onReady(1);
    }
    this.reactor.endTurn();
  }

  /** A notification comes by this connection. */
  hear(stream: FakeStream, channel: string, payload = ""): void {
    stream.push(message("A", int32(1), channel, payload));
    this.read(stream);
  }

  /** The mark that was sent last. */
  get mark(): string {
    return /^NOTIFY "[^"]+", '(.*)'/.exec(this.queries.at(-1)!)![1]!;
  }
}

Deno.test("listener: the first LISTEN opens a connection, and clients are ready when PostgreSQL listens", () => {
  const bench = new Bench();
  const [one, other] = [new Client(1), new Client(2)];
  bench.listener.listen(one, ["a", "b"], "m1");
  bench.listener.listen(other, ["b"], "m2");
  assert.equal(bench.listener.logins.length, 1);
  assert.deepEqual(one.events, []);
  const stream = bench.logIn();
  assert.match(bench.queries[0]!, /LISTEN "pg_doorman.listener";LISTEN "a";LISTEN "b";/);
  assert.deepEqual([one.events, other.events], [["ready"], ["ready"]]);
  bench.hear(stream, "a");
  bench.hear(stream, "b");
  bench.hear(stream, "c");
  bench.hear(stream, MARK_CHANNEL, "m2");
  assert.deepEqual(one.events, ["ready", "a", "b"]);
  assert.deepEqual(other.events, ["ready", "b", "mark"]);
});

Deno.test("listener: what nobody wants any more is unlistened, and the connection ends some time after", () => {
  const bench = new Bench();
  const [one, other] = [new Client(1), new Client(2)];
  bench.listener.listen(one, ["a"], "m1");
  bench.listener.listen(other, ["b"], "m2");
  bench.logIn();
  bench.listener.leave(one, "m1");
  bench.settle();
  assert.equal(bench.queries.at(-1), 'UNLISTEN "a";');
  bench.listener.leave(other, "m2");
  bench.settle();
  assert.equal(bench.listener.size, 1);
  bench.reactor.now += 5000;
  bench.reactor.timers.expire(bench.reactor.now);
  assert.equal(bench.listener.size, 0);
});

Deno.test("listener: when the connection is lost all that listen are told, and no other is opened for nobody", () => {
  const bench = new Bench();
  const client = new Client(1);
  bench.listener.listen(client, ["a"], "m1");
  const stream = bench.logIn();
  stream.ended = true;
  bench.reactor.registered.get(stream.fd)!.handler.onReady(1);
  assert.deepEqual(client.events, ["ready", "lost 08006"]);
  bench.listener.leave(client, undefined);
  bench.settle();
  assert.equal(bench.listener.logins.length, 0);
  assert.equal(bench.listener.size, 0);
});

Deno.test("listener: replaced, each notification comes once, whichever connection is ahead", () => {
  for (const oldIsAhead of [true, false]) {
    const bench = new Bench();
    const client = new Client(1);
    bench.listener.listen(client, ["a", "b"], "m1");
    const old = bench.logIn();
    bench.listener.replace();
    bench.settle();
    const next = bench.logIn();
    assert.equal(bench.listener.size, 2);
    const { mark } = bench;
    const order: FakeStream[] = oldIsAhead ? [old, next] : [next, old];
    for (const stream of order) {
      bench.hear(stream, "a");
      bench.hear(stream, MARK_CHANNEL, mark);
      if (bench.reactor.registered.has(stream.fd)) bench.hear(stream, "b");
    }
    assert.deepEqual(client.events, ["ready", "a", "b"], `old first: ${oldIsAhead}`);
    assert.equal(bench.listener.size, 1);
    assert.ok(!bench.reactor.registered.has(old.fd));
  }
});

Deno.test("listener: a next connection that ends before the change changes nothing", () => {
  const bench = new Bench();
  const client = new Client(1);
  bench.listener.listen(client, ["a"], "m1");
  const old = bench.logIn();
  bench.listener.replace();
  bench.settle();
  const next = bench.logIn();
  next.ended = true;
  bench.reactor.registered.get(next.fd)!.handler.onReady(1);
  bench.hear(old, "a");
  assert.deepEqual(client.events, ["ready", "a"]);
  // And it is tried again.
  bench.reactor.now += 10_000;
  bench.reactor.timers.expire(bench.reactor.now);
  assert.equal(bench.listener.logins.length, 1);
});

Deno.test("listener: clients keep their servers when no connection is to be had", () => {
  const bench = new Bench();
  const client = new Client(1);
  bench.listener.listen(client, ["a"], "m1");
  const failure = { kind: "failed", code: "08006", message: "refused", transient: true } as const;
  bench.listener.logins.shift()!(failure);
  assert.deepEqual(client.events, ["unavailable"]);
  bench.listener.abandon(client, ["a"], "m1");
  bench.settle();
  assert.equal(bench.listener.logins.length, 0);
});
