import assert from "node:assert/strict";
import { Session } from "../client/session.ts";
import { Stage } from "../client/state.ts";
import { type FakeClient, type FakeServer, World } from "../testing/world.ts";
import type { PoolSettings } from "../config/settings.ts";
import { concat, frontend, messagesIn, query, SYNC } from "../protocol/testing/wire.ts";
import type { Reactor } from "../reactor/reactor.ts";
import type { ServerConnection } from "../server/connection.ts";
import { ServerStage } from "../server/state.ts";
import { Limits, nextRound } from "./timeouts.ts";

/** A world whose clients are looked after, and what was canceled in it. */
class LimitedWorld extends World {
  readonly canceled: ServerConnection[] = [];
  limits: Limits;

  constructor(change: Partial<PoolSettings>) {
    super(change);
    this.limits = this.#look();
    this.#watchCancels();
  }

  #look(): Limits {
    const limits = new Limits({
      reactor: this.reactor as unknown as Reactor,
      pools: () => [this.pool],
      sessions: () => this.clients.map(({ session }) => session),
    });
    limits.lookSoon();
    return limits;
  }

  #watchCancels(): void {
    this.pool.cancel = (server) => this.canceled.push(server);
  }

  /** Time passes, in steps that every timer can follow. */
  wait(ms: number): void {
    const until = this.reactor.now + ms;
    while (this.reactor.now < until) {
      this.reactor.now = Math.min(until, Math.max(this.reactor.now, this.reactor.timers.next()));
      this.reactor.timers.expire(this.reactor.now);
      this.reactor.endTurn();
    }
  }

  send(client: FakeClient, ...messages: Uint8Array[]): void {
    client.unsent = concat(client.unsent, ...messages);
    this.clientSends(client, Infinity);
    this.dispatch(client.stream);
  }

  answer(server: FakeServer): void {
    this.serverTakes(server, Infinity);
    this.serverSends(server, Infinity);
    this.dispatch(server.stream);
  }

  /** Sends, and has it answered. */
  run(client: FakeClient, server: FakeServer, ...messages: Uint8Array[]): void {
    this.send(client, ...messages);
    this.answer(server);
  }

  /** SQLSTATEs that the client was told since the last call, and a letter for all else. */
  told(client: FakeClient): string[] {
    return messagesIn(client.stream.fetch()).map(({ type, body }) => {
      if (type !== "E" && type !== "N") return type;
      return type + /\0C(.{5})\0/.exec(new TextDecoder("latin1").decode(body))![1];
    });
  }

  override move(nowMs?: number): void {
    super.move(nowMs);
    this.#watchCancels();
    this.limits.lookSoon();
  }
}

/** One that takes a server. */
const BEGIN = query("begin read only");
const PARSE = frontend("P", new TextEncoder().encode("\0none\0\0\0"));
const BIND = frontend("B", new Uint8Array(8));
const EXECUTE = frontend("E", new Uint8Array(5));
const FLUSH = frontend("H");

function start(change: Partial<PoolSettings>) {
  const world = new LimitedWorld(change);
  const server = world.addServer();
  const client = world.addClient(new Uint8Array(0));
  client.session.readyMs = world.reactor.now;
  return { world, server, client };
}

/** When a client is disconnected, in milliseconds from now; at most `most`. */
function endsAfter(world: LimitedWorld, client: FakeClient, most: number): number {
  const { now } = world.reactor;
  while (client.session.state.stage < Stage.Closing && world.reactor.now < now + most) {
    world.wait(1);
  }
  return world.reactor.now - now;
}

Deno.test("limits: a query over query_timeout is canceled once, and only then", () => {
  const { world, server, client } = start({ query_timeout: 1000 });
  world.send(client, query("rows 3"));
  world.wait(999);
  assert.deepEqual(world.canceled, []);
  world.wait(101);
  assert.deepEqual(world.canceled, [server.connection]);
  assert.deepEqual(world.told(client), ["N01000"]);
  world.wait(4000);
  assert.equal(world.canceled.length, 1);
  world.answer(server);
  assert.deepEqual(world.told(client), ["T", "D", "D", "D", "C", "Z"]);
  assert.equal(client.session.state.stage, Stage.Idle);
  assert.equal(world.pool.counters.total.query_timeouts, 1);
  // The next one has its own time.
  world.send(client, query("none"));
  world.wait(900);
  assert.equal(world.canceled.length, 1);
  world.wait(200);
  assert.equal(world.canceled.length, 2);
});

Deno.test("limits: a query that PostgreSQL does not cancel costs the server, and the client is told why", () => {
  const { world, server, client } = start({ query_timeout: 1000 });
  world.send(client, query("rows 3"));
  const tookMs = endsAfter(world, client, 60_000);
  assert.ok(tookMs >= 6000 && tookMs <= 6300, `${tookMs} ms`);
  assert.deepEqual(world.told(client), ["N01000", "E57014"]);
  assert.equal(server.connection.state.stage, ServerStage.Closed);
});

Deno.test("limits: the wait for a server is not part of a query's time", () => {
  const { world, server, client } = start({ query_timeout: 1000 });
  const holder = world.addClient(new Uint8Array(0));
  world.run(holder, server, BEGIN);
  world.send(client, query("none"));
  world.wait(3000);
  world.run(holder, server, query("commit"));
  assert.equal(client.session.state.stage, Stage.Linked);
  world.wait(900);
  assert.deepEqual(world.canceled, []);
  world.wait(200);
  assert.deepEqual(world.canceled, [server.connection]);
});

Deno.test("limits: each of pipelined queries has its own time", () => {
  const { world, server, client } = start({ query_timeout: 1000, pool_mode: "session" });
  world.send(client, query("none 1"), query("none 2"));
  world.wait(900);
  // The answer to the first one only.
  world.serverTakes(server, Infinity);
  world.serverSends(server, server.fromModel.length / 2);
  world.dispatch(server.stream);
  assert.deepEqual(world.told(client), ["C", "Z"]);
  world.wait(900);
  assert.deepEqual(world.canceled, []);
  world.wait(200);
  assert.deepEqual(world.canceled, [server.connection]);
});

Deno.test("limits: of the extended protocol, too, and what waits for a Sync is idle, not running", () => {
  const { world, server, client } = start({ query_timeout: 1000, idle_transaction_timeout: 5000 });
  world.run(client, server, PARSE, BIND, EXECUTE, FLUSH);
  world.wait(4000);
  assert.deepEqual(world.canceled, []);
  world.run(client, server, BIND, EXECUTE, FLUSH);
  world.send(client, BIND, EXECUTE, FLUSH);
  world.wait(900);
  assert.deepEqual(world.canceled, []);
  world.wait(200);
  assert.deepEqual(world.canceled, [server.connection]);
  world.answer(server);
  world.run(client, server, SYNC);
  assert.equal(client.session.state.stage, Stage.Idle);
  world.run(client, server, PARSE, BIND, EXECUTE, FLUSH);
  const tookMs = endsAfter(world, client, 60_000);
  assert.ok(tookMs >= 5000 && tookMs <= 10_600, `${tookMs} ms`);
  assert.equal(world.told(client).at(-1), "E25P03");
  world.settle();
  world.checkIdle(server);
});

Deno.test("limits: transaction_timeout counts from BEGIN, and its server goes back clean", () => {
  for (const pool_mode of ["transaction", "session"] as const) {
    const { world, server, client } = start({ transaction_timeout: 2000, pool_mode });
    world.run(client, server, query("none"));
    world.wait(5000);
    assert.deepEqual(world.told(client), ["C", "Z"]);
    world.run(client, server, BEGIN);
    world.wait(1500);
    world.run(client, server, query("none"));
    const tookMs = endsAfter(world, client, 60_000);
    assert.ok(tookMs >= 500 && tookMs <= 710, `${tookMs} ms`);
    assert.deepEqual(world.told(client), ["C", "Z", "C", "Z", "E25P04"]);
    assert.deepEqual(world.canceled, []);
    world.settle();
    world.checkIdle(server);
    assert.equal(world.pool.counters.total.transaction_timeouts, 1);
  }
});

Deno.test("limits: transaction_timeout cancels what runs, and ends a transaction of one query, too", () => {
  const { world, server, client } = start({ transaction_timeout: 2000 });
  world.send(client, query("rows 1"));
  world.wait(2300);
  assert.deepEqual(world.told(client), ["E25P04"]);
  assert.deepEqual(world.canceled, [server.connection]);
  world.settle();
  world.checkIdle(server);
});

Deno.test("limits: last words never go into the middle of a message", () => {
  const { world, server, client } = start({ transaction_timeout: 2000 });
  world.send(client, query("rows 40"));
  world.serverTakes(server, Infinity);
  // CommandComplete has 15 bytes here, ReadyForQuery 6: this ends in the last row.
  const expected = server.fromModel.slice(0, -24);
  world.serverSends(server, expected.length);
  world.dispatch(server.stream);
  const got = client.stream.fetch();
  assert.ok(client.session.midMessage);
  world.wait(2300);
  assert.ok(client.session.state.stage >= Stage.Closing);
  assert.deepEqual(got, expected);
  assert.deepEqual(world.told(client), []);
});

Deno.test("limits: idle_transaction_timeout counts from the last answer, in failed transactions, too", () => {
  const { world, server, client } = start({ idle_transaction_timeout: 1000 });
  world.run(client, server, BEGIN);
  world.wait(900);
  world.send(client, query("error"));
  world.wait(5000);
  assert.equal(client.session.state.stage, Stage.Linked);
  world.answer(server);
  const tookMs = endsAfter(world, client, 60_000);
  assert.ok(tookMs >= 1000 && tookMs <= 1110, `${tookMs} ms`);
  assert.deepEqual(world.told(client), ["C", "Z", "E22012", "Z", "E25P03"]);
  world.settle();
  world.checkIdle(server);
  assert.equal(world.pool.counters.total.idle_transaction_timeouts, 1);
});

Deno.test("limits: client_idle_timeout ends those who neither ask nor wait, with a server of their own or without", () => {
  for (const pool_mode of ["transaction", "session"] as const) {
    const { world, server, client } = start({ client_idle_timeout: 1000, pool_mode });
    world.run(client, server, query("none"));
    world.wait(900);
    world.run(client, server, BEGIN);
    world.wait(5000);
    world.run(client, server, query("commit"));
    world.send(client, query("none"));
    world.wait(5000);
    world.answer(server);
    world.wait(800);
    world.run(client, server, SYNC);
    world.told(client);
    const tookMs = endsAfter(world, client, 60_000);
    assert.ok(tookMs >= 1000 && tookMs <= 1110, `${tookMs} ms`);
    assert.deepEqual(world.told(client), ["E57P05"]);
    assert.equal(world.pool.counters.total.client_idle_timeouts, 1);
  }
});

Deno.test("limits: a client that sends a message piece by piece is not idle", () => {
  const { world, client } = start({ client_idle_timeout: 1000 });
  world.addServer();
  const refused = query("x".repeat(100));
  client.session.state.left = refused.length;
  client.session.state.leftDropped = true;
  client.unsent = refused;
  for (let i = 0; i < 5; i++) {
    world.clientSends(client, 10);
    world.dispatch(client.stream);
    world.wait(900);
  }
  assert.equal(client.session.state.stage, Stage.Idle);
});

Deno.test("limits: query_wait_notify tells each who waits once a wait, in its order", () => {
  const { world, server, client } = start({ query_wait_notify: 1000, query_wait_timeout: 60_000 });
  const holder = world.addClient(new Uint8Array(0));
  const late = world.addClient(new Uint8Array(0));
  world.run(holder, server, BEGIN);
  world.send(client, query("none"));
  world.wait(500);
  world.send(late, query("none"));
  world.wait(650);
  assert.deepEqual(world.told(client), ["N00000"]);
  assert.deepEqual(world.told(late), []);
  world.move();
  world.wait(20_000);
  assert.deepEqual(world.told(client), []);
  assert.deepEqual(world.told(late), ["N00000"]);
  world.run(holder, server, query("commit"));
  world.settle();
  assert.equal(client.session.state.stage, Stage.Idle);
  world.run(holder, server, BEGIN);
  world.send(client, query("none"));
  client.stream.fetch();
  world.wait(1200);
  assert.deepEqual(world.told(client), ["N00000"]);
});

Deno.test("limits: a login that waits for a server is told nothing", () => {
  const { world, server, client } = start({ query_wait_notify: 1000, query_wait_timeout: 60_000 });
  const holder = world.addClient(new Uint8Array(0));
  world.run(holder, server, BEGIN);
  client.session.prepare();
  world.wait(5000);
  assert.equal(client.session.state.stage, Stage.Preparing);
  assert.deepEqual(world.told(client), []);
});

Deno.test("limits: ages go on through freezing and thawing", () => {
  for (
    const [change, code] of [
      [{ idle_transaction_timeout: 10_000 }, "E25P03"],
      [{ transaction_timeout: 10_000 }, "E25P04"],
      [{ client_idle_timeout: 10_000 }, "E57P05"],
    ] as const
  ) {
    const { world, server, client } = start(change);
    if (!("client_idle_timeout" in change)) world.run(client, server, BEGIN);
    world.wait(6000);
    world.move(50);
    world.told(client);
    const tookMs = endsAfter(world, client, 60_000);
    assert.ok(tookMs >= 4000 && tookMs <= 5100, `${tookMs} ms`);
    assert.deepEqual(world.told(client), [code]);
  }
  const { world, client } = start({ query_timeout: 10_000 });
  world.send(client, query("none"));
  world.wait(6000);
  world.move(50);
  world.wait(3900);
  assert.deepEqual(world.canceled, []);
  world.wait(1200);
  assert.equal(world.canceled.length, 1);
  world.move(50);
  // Canceled already: what is left is PostgreSQL's time to obey.
  const tookMs = endsAfter(world, client, 60_000);
  assert.ok(tookMs >= 3800 && tookMs <= 5100, `${tookMs} ms`);
  assert.equal(world.canceled.length, 2);
});

Deno.test("limits: new settings hold at once, for what is under way, too", () => {
  const { world, server, client } = start({});
  world.run(client, server, BEGIN);
  world.wait(100_000);
  assert.equal(world.reactor.timers.next(), Infinity);
  world.pool.apply({ ...world.pool.settings, idle_transaction_timeout: 60_000 });
  world.limits.lookSoon();
  world.wait(10);
  assert.deepEqual(world.told(client), ["C", "Z", "E25P03"]);
});

Deno.test("limits: no limit, no timer; with limits, no more rounds than they need", () => {
  assert.equal(nextRound(5, Infinity, Infinity), Infinity);
  assert.equal(nextRound(5, Infinity, 1000), 1005);
  assert.equal(nextRound(5, 705, 1000), 705);
  assert.equal(nextRound(5, 6, 1000), 105);
  assert.equal(nextRound(5, 6, 10), 15);
  assert.equal(nextRound(5, 6, 3_600_000), 1005);
  assert.equal(nextRound(0, Infinity, 1e12), 3_600_000);
});

Deno.test("limits: a transaction that has no server yet can be idle, too", () => {
  for (
    const [change, code] of [
      [{ idle_transaction_timeout: 1000, client_idle_timeout: 100 }, "E25P03"],
      [{ transaction_timeout: 1000 }, "E25P04"],
      [{ idle_transaction_timeout: 1000, transaction_timeout: 9000 }, "E25P03"],
    ] as const
  ) {
    const { world, client } = start(change);
    world.send(client, query("begin"));
    assert.equal(client.session.server, undefined);
    assert.deepEqual(world.told(client), ["C", "Z"]);
    const tookMs = endsAfter(world, client, 60_000);
    assert.ok(tookMs >= 1000 && tookMs <= 1110, `${tookMs} ms`);
    assert.deepEqual(world.told(client), [code]);
  }
});

Deno.test("limits: a query behind a BEGIN that had no server has its whole time", () => {
  const { world, server, client } = start({ query_timeout: 1000, transaction_timeout: 5000 });
  world.send(client, query("begin"));
  world.wait(3000);
  world.send(client, query("none"));
  world.wait(900);
  assert.deepEqual(world.canceled, []);
  world.answer(server);
  assert.deepEqual(world.told(client), ["C", "Z", "C", "Z"]);
  world.send(client, query("none"));
  world.wait(900);
  world.answer(server);
  const tookMs = endsAfter(world, client, 60_000);
  assert.ok(tookMs >= 3200 && tookMs <= 3310, `${tookMs} ms`);
});

Deno.test("limits: statement mode ends a client that opens a transaction, and keeps its server", () => {
  for (
    const messages of [[BEGIN], [query("begin")], [
      frontend("P", "\0begin\0\0"),
      BIND,
      EXECUTE,
      SYNC,
    ]]
  ) {
    const { world, server, client } = start({ pool_mode: "statement" });
    world.run(client, server, query("none"), query("none"));
    assert.deepEqual(world.told(client), ["C", "Z", "C", "Z"]);
    assert.equal(client.session.state.stage, Stage.Idle);
    world.run(client, server, ...messages);
    const told = world.told(client);
    assert.equal(told.at(-1), "E0A000");
    assert.ok(!told.includes("Z"), told.join(" "));
    world.settle();
    world.checkIdle(server);
    assert.ok(client.session instanceof Session);
    assert.ok(client.session.state.stage >= Stage.Closing);
  }
});

Deno.test("limits: statement mode begins at the next checkout", () => {
  const { world, server, client } = start({});
  world.run(client, server, BEGIN);
  world.pool.apply({ ...world.pool.settings, pool_mode: "statement" });
  world.run(client, server, query("none"));
  world.run(client, server, query("commit"));
  assert.ok(!world.told(client).includes("E0A000"));
  world.run(client, server, BEGIN);
  assert.equal(world.told(client).at(-1), "E0A000");
});
