import assert from "node:assert/strict";
import { Departure } from "./departure.ts";
import type { Directory } from "../directory.ts";
import { Stage } from "../../client/state.ts";
import { type FakeClient, World } from "../../testing/world.ts";
import { TlsStream } from "../../tls/stream.ts";
import type { FrozenItem } from "../../mail.ts";
import type { PoolSnapshot } from "../../pool/snapshot.ts";
import { simpleQuery } from "../../protocol/testing/pipelines.ts";
import { bytesOf } from "../../protocol/testing/model_server.ts";
import { concat } from "../../protocol/testing/wire.ts";
import type { Reactor } from "../../reactor/reactor.ts";
import { REASONS } from "../../reasons.ts";

/** A world that moves out. */
class Leaving {
  readonly world: World;
  readonly departure: Departure;
  readonly batches: { batch: number; large: boolean; items: FrozenItem[] }[] = [];

  constructor(world: World, { tls = true, whole = true } = {}) {
    this.world = world;
    this.departure = new Departure({
      reactor: world.reactor as unknown as Reactor,
      index: 0,
      sessions: new Map(world.clients.map(({ session }) => [session.state.id, session])),
      directory: {
        going: (pools: unknown[]) => pools.map(() => world.pool),
        originOf: () => {},
      } as unknown as Directory,
      apart: false,
      tls,
      whole,
      post: (mail) => {
        if (mail.kind === "frozen") this.batches.push(mail);
      },
    });
    world.stranded = (pool) => this.departure.strand(pool);
    world.lateServer = (pool, server) => this.departure.late(pool, server);
  }

  start(): void {
    this.departure.start([{ database: "db", user: "me" }], []);
    this.world.reactor.endTurn();
  }

  /** Descriptors that were sent, each as often as it was. */
  sent(): number[] {
    return this.batches.flatMap(({ items }) => items.flatMap(({ fds }) => fds)).sort();
  }

  wait(ms: number): void {
    const { reactor } = this.world;
    reactor.now += ms;
    reactor.timers.expire(reactor.now);
    reactor.endTurn();
  }
}

/** The client has TLS, as far as its departure goes. */
function encrypt({ session }: FakeClient): string[] {
  const ends: string[] = [];
  const stream = Object.create(TlsStream.prototype, { fd: { value: session.stream.fd } });
  Object.assign(session, { stream, fail: (severity: string) => ends.push(severity) });
  return ends;
}

function query(...sql: string[]): Uint8Array {
  return concat(...sql.map((each) => bytesOf(simpleQuery(each))));
}

/** Two clients in transactions, one that waits for a server, an idle one. */
function busyWorld(): World {
  const world = new World({ pool_size: 2 });
  world.addServer();
  world.addServer();
  for (const sql of ["begin 1", "begin 1", "rows"]) world.addClient(query(sql));
  world.addClient(new Uint8Array(0));
  world.settle();
  const stages = world.clients.map(({ session }) => session.state.stage);
  assert.deepEqual(stages, [Stage.Linked, Stage.Linked, Stage.Waiting, Stage.Idle]);
  return world;
}

Deno.test("departure: pools without servers and clients don't take a batch each", () => {
  const world = new World({ pool_size: 2 });
  const leaving = new Leaving(world);
  leaving.departure.start(
    Array.from({ length: 50 }, (_, i) => ({ database: `db${i}`, user: "me" })),
    [],
  );
  assert.equal(leaving.batches.length, 1);
  assert.equal(leaving.batches[0]!.items.filter(({ type }) => type === "pool").length, 50);
});

Deno.test("departure: all is sent once, servers with their clients", () => {
  const world = busyWorld();
  const leaving = new Leaving(world);
  leaving.start();
  const fds = [...world.clients, ...world.servers].map(({ stream }) => stream.fd as number);
  assert.deepEqual(leaving.sent(), fds.sort());
  const [first] = leaving.batches;
  assert.deepEqual(
    first!.items.map(({ type, fds }) => [type, fds.length]),
    [["pool", 0], ["session", 2], ["session", 2], ["session", 1]],
  );
  assert.equal(leaving.departure.row().late, leaving.batches.length);
  for (const { batch } of [...leaving.batches]) leaving.departure.taken(batch, []);
  const { movedClients, movedServers, late, underWay } = leaving.departure.row();
  assert.deepEqual([movedClients, movedServers, late, underWay], [4, 2, 0, 0]);
  assert.equal(world.pool.clients, 0);
});

Deno.test("departure: nothing that happens here reaches a client that is frozen", () => {
  const world = busyWorld();
  const leaving = new Leaving(world);
  leaving.start();
  for (const { session, stream } of world.clients) {
    session.fail("FATAL", REASONS.adminShutdown, "", "");
    session.close(REASONS.clientGone, "");
    assert.equal(stream.fetch().length, 0);
    assert.ok(session.state.stage < Stage.Closing);
  }
  leaving.wait(100_000);
  for (const { stream } of world.clients) assert.equal(stream.fetch().length, 0);
});

Deno.test("departure: when the new process is gone everybody goes on, with no server more", () => {
  const world = busyWorld();
  const leaving = new Leaving(world);
  leaving.start();
  leaving.departure.failed();
  assert.equal(world.pool.size, 2);
  for (const client of world.clients) client.unsent = query("commit", "rows");
  // A pool without room for another server would fail the test by connecting to one.
  world.settle();
  for (const server of world.servers) world.checkIdle(server);
  for (const { session } of world.clients) assert.equal(session.state.stage, Stage.Idle);
  assert.equal(world.pool.waiting, 0);
  // And it may be tried again.
  const again = new Leaving(world);
  again.start();
  assert.equal(again.sent().length, 6);
});

Deno.test("departure: a server that is about to be canceled follows once, with its client", () => {
  const world = busyWorld();
  const [{ connection }] = world.servers;
  connection.cancelsUnderWay = 1;
  const leaving = new Leaving(world);
  leaving.start();
  assert.ok(!leaving.sent().includes(connection.stream.fd));
  assert.ok(leaving.departure.row().late > 0);
  connection.cancelsUnderWay = 0;
  // Found by the round as well as by the end of the cancel request.
  leaving.departure.late(world.pool, connection);
  leaving.departure.late(world.pool, connection);
  leaving.wait(20);
  leaving.wait(20);
  assert.equal(leaving.sent().filter((fd) => fd === connection.stream.fd).length, 1);
});

Deno.test("departure: a server that closes before it can follow is reported as lost", () => {
  const world = busyWorld();
  const [{ connection }] = world.servers;
  connection.cancelsUnderWay = 1;
  const leaving = new Leaving(world);
  leaving.start();
  leaving.departure.late(world.pool, connection);
  connection.close(REASONS.serverLost, "");
  world.reactor.endTurn();
  assert.ok(!leaving.sent().includes(connection.stream.fd));
  assert.equal(leaving.batches.flatMap(({ items }) => items).at(-1)!.type, "lost");
});

Deno.test("departure: a client that asks when its pool has moved follows when the turn ends", () => {
  const world = busyWorld();
  const idle = world.clients[3];
  // Idle sessions wait for their turn while batches are under way.
  for (let i = 0; i < 300; i++) world.addClient(new Uint8Array(0));
  const leaving = new Leaving(world);
  leaving.start();
  assert.ok(!leaving.sent().includes(idle.stream.fd));
  idle.unsent = query("rows");
  world.clientSends(idle, Infinity);
  world.dispatch(idle.stream);
  assert.ok(leaving.sent().includes(idle.stream.fd));
});

Deno.test("departure: a batch for which there was no room is sent again as it is", () => {
  const world = busyWorld();
  const leaving = new Leaving(world);
  leaving.start();
  const [first] = leaving.batches;
  leaving.departure.notTaken(first!.batch);
  leaving.wait(50);
  const sent = leaving.batches.filter(({ batch }) => batch === first!.batch);
  assert.deepEqual(sent, [first, first]);
  leaving.departure.taken(first!.batch, []);
  const count = leaving.batches.length;
  leaving.departure.notTaken(first!.batch);
  leaving.wait(50);
  assert.ok(!leaving.batches.slice(count).some(({ batch }) => batch === first!.batch));
});

/** Clients whose snapshots have so many bytes each. */
function heavyWorld(count: number, bytes: number, unsent: Uint8Array = new Uint8Array(0)): World {
  const world = new World({ pool_size: 1 });
  world.addServer();
  for (let i = 0; i < count; i++) {
    const { session } = world.addClient(unsent);
    session.state.applicationName = "n".repeat(bytes);
  }
  world.settle();
  return world;
}

Deno.test("departure: batches end with their bytes, and few are under way", () => {
  const world = heavyWorld(20, 1_000_000);
  const leaving = new Leaving(world);
  leaving.start();
  const sessions = () => leaving.batches.map(({ items }) => items.length);
  // One has the pool and its server.
  assert.deepEqual(sessions().slice(0, 2), [2, 4]);
  while (leaving.departure.row().late > 0) {
    for (const { batch } of [...leaving.batches]) leaving.departure.taken(batch, []);
    leaving.wait(20);
  }
  assert.ok(sessions().every((count) => count <= 5), String(sessions()));
  assert.equal(leaving.departure.row().movedClients, 20);
});

Deno.test("departure: who waits for a server goes in turn when all of them are too many bytes", () => {
  const world = heavyWorld(30, 1_000_000, query("begin 1"));
  const leaving = new Leaving(world);
  leaving.start();
  const moved = () => leaving.batches.flatMap(({ items }) => items).length;
  assert.ok(moved() < 25, `${moved()} at once`);
  assert.equal(leaving.departure.row().frozen, 30);
  for (let i = 0; i < leaving.batches.length; i++) {
    leaving.departure.taken(leaving.batches[i]!.batch, []);
  }
  assert.equal(leaving.departure.row().movedClients, 30);
  assert.equal(leaving.departure.row().frozen, 0);
});

Deno.test("departure: what is too large for a frame stays and goes on", () => {
  const world = heavyWorld(2, 1000);
  const [large] = world.clients;
  large!.session.state.applicationName = "n".repeat(130 * 1024 * 1024);
  const leaving = new Leaving(world);
  leaving.start();
  for (const { batch } of [...leaving.batches]) leaving.departure.taken(batch, []);
  leaving.wait(100);
  const { refused, movedClients, frozen } = leaving.departure.row();
  assert.deepEqual([refused, movedClients, frozen], [1, 1, 0]);
  assert.ok(!large!.session.frozen);
});

Deno.test("departure: what can't be thawed comes back, the rest is forgotten only then", () => {
  const world = busyWorld();
  const leaving = new Leaving(world);
  leaving.start();
  const [first] = leaving.batches;
  assert.deepEqual(first!.items.map(({ type }) => type), ["pool", "session", "session", "session"]);
  leaving.departure.acknowledged(first!.batch, [3]);
  const row = () => {
    const { movedClients, movedServers, frozen, refused } = leaving.departure.row();
    return [movedClients, movedServers, frozen, refused];
  };
  for (const { batch } of leaving.batches.slice(1)) leaving.departure.taken(batch, []);
  assert.deepEqual(row(), [3, 2, 1, 0]);
  leaving.departure.taken(first!.batch, [1]);
  assert.deepEqual(row(), [2, 1, 0, 2]);
  const [returned, , waits] = world.clients;
  for (const { session } of [returned!, waits!]) assert.ok(!session.frozen);
  returned!.unsent = query("commit");
  world.settle();
  assert.equal(returned!.session.state.stage, Stage.Idle);
});

Deno.test("departure: when the new process dies, only what it had begun to thaw is lost", () => {
  const world = busyWorld();
  const leaving = new Leaving(world);
  leaving.start();
  leaving.departure.acknowledged(leaving.batches[0]!.batch, [2]);
  assert.equal(leaving.departure.row().movedClients, 2);
  leaving.departure.failed();
  const stages = world.clients.map(({ session }) => session.state.stage);
  assert.deepEqual(stages, [Stage.Closed, Stage.Linked, Stage.Closed, Stage.Idle]);
  assert.equal(world.pool.size, 1);
});

Deno.test("departure: a server that was refused is closed and not waited for", () => {
  const world = new World({ pool_size: 1 });
  const server = world.addServer();
  const leaving = new Leaving(world);
  leaving.start();
  leaving.departure.taken(leaving.batches[0]!.batch, [1]);
  assert.ok(server.connection.stream.fd >= 0 && !world.pool.moving.has(server.connection));
  for (const { batch } of [...leaving.batches]) leaving.departure.taken(batch, []);
  assert.equal(leaving.departure.row().late, 0);
});

Deno.test("departure: to a program without TLS plain clients go one by one, and the pool stays for the others", () => {
  const world = busyWorld();
  const [, encrypted] = world.clients;
  const ends = encrypt(encrypted!);
  const leaving = new Leaving(world, { tls: false, whole: false });
  leaving.start();
  const { items } = leaving.batches[0]!;
  assert.deepEqual(
    items.map(({ type, fds }) => [type, fds.length]),
    [["pool", 0], ["session", 2], ["session", 1]],
  );
  assert.equal((items[0] as { pool: PoolSnapshot }).pool.servers, 0);
  for (const { batch } of [...leaving.batches]) leaving.departure.taken(batch, []);
  leaving.wait(100);
  for (const { batch } of leaving.batches.slice(1)) leaving.departure.taken(batch, []);
  const row = leaving.departure.row();
  assert.deepEqual([row.movedClients, row.movedServers], [3, 1]);
  assert.deepEqual([row.unknownFormat, row.underWay, row.unknownPool, row.late], [1, 0, 0, 0]);
  assert.ok(!world.pool.moved && ends.length === 0);
  assert.deepEqual([world.pool.size, world.pool.clients], [1, 1]);
});

Deno.test("departure: who got TLS when everything else was gone to a program without is ended, and never sent", () => {
  const world = busyWorld();
  const leaving = new Leaving(world, { tls: false });
  const [, linked, waiting, idle] = world.clients;
  const ends = [linked!, waiting!, idle!].map((client) => encrypt(client));
  leaving.start();
  leaving.wait(100);
  const sent = leaving.sent();
  for (const { session } of [linked!, waiting!, idle!]) {
    assert.ok(!sent.includes(session.stream.fd));
  }
  for (const one of ends) assert.equal(one[0], "FATAL");
});

Deno.test("departure: nobody waits for another's megabytes", () => {
  const world = heavyWorld(12, 1000);
  const heavy = world.clients.slice(8);
  // They would be the first to go.
  for (const { session } of heavy) {
    session.state.applicationName = "n".repeat(20_000_000);
    session.state.statementBytes = 20_000_000;
  }
  const leaving = new Leaving(world);
  leaving.start();
  const heavyBatches = () => leaving.batches.filter(({ large }) => large);
  for (let i = 0; i < 5; i++) {
    for (const { batch, large } of [...leaving.batches]) {
      if (!large) leaving.departure.taken(batch, []);
    }
    leaving.wait(20);
  }
  assert.equal(leaving.departure.row().movedClients, 8);
  assert.equal(leaving.departure.row().frozen, heavyBatches().length);
  assert.ok(heavyBatches().every(({ items }) => items.length === 1));
  assert.ok(heavyBatches().length <= 2, "few are under way");
  for (let i = 0; i < 5; i++) {
    for (const { batch } of heavyBatches()) leaving.departure.taken(batch, []);
    leaving.wait(20);
  }
  assert.equal(leaving.departure.row().movedClients, 12);
});

Deno.test("departure: who asks for a server passes what is large", () => {
  const world = heavyWorld(4, 1000);
  for (const { session } of world.clients.slice(1)) {
    session.state.applicationName = "n".repeat(20_000_000);
    session.state.statementBytes = 20_000_000;
  }
  const [late] = world.clients;
  const leaving = new Leaving(world);
  // It is about to log in, say.
  late!.session.login = { stays: true, cancel: () => {}, resume: () => {} } as never;
  leaving.start();
  leaving.departure.taken(leaving.batches[0]!.batch, []);
  leaving.wait(20);
  const under = leaving.batches.slice(1);
  assert.deepEqual(under.map(({ large }) => large), [true, true]);
  late!.session.login = undefined;
  late!.unsent = query("rows");
  world.clientSends(late!, Infinity);
  world.dispatch(late!.stream);
  assert.deepEqual(leaving.batches.at(-1)!.items.map(({ fds }) => fds), [[late!.stream.fd]]);
});
