import assert from "node:assert/strict";
import { AdminSession } from "./admin_session.ts";
import { MOST_OWED } from "./socket_parts.ts";
import { Stage } from "./state.ts";
import { World } from "../testing/world.ts";
import { concat, messagesIn, query, startup, SYNC } from "../protocol/testing/wire.ts";
import { REASONS } from "../reasons.ts";
import { Dirty, ServerStage } from "../server/state.ts";

/** What an answer of the console does not do: end the session. */
const STAYS_OPEN = false;

function repeat(bytes: Uint8Array, times: number): Uint8Array {
  const all = new Uint8Array(bytes.length * times);
  for (let i = 0; i < times; i++) all.set(bytes, i * bytes.length);
  return all;
}

/** Types of the messages in these bytes. */
function types(bytes: Uint8Array): string {
  return messagesIn(bytes).map(({ type }) => type).join("");
}

Deno.test("session: a client that asks without reading is not read from either", () => {
  const world = new World();
  const client = world.addClient(repeat(SYNC, 200_000));
  client.stream.usually = 0;
  for (let i = 0; i < 20; i++) {
    world.clientSends(client, 65_536);
    world.dispatch(client.stream);
  }
  // One read's worth was answered.
  assert.ok(client.stream.unread > 14 * 65_536, `${client.stream.unread} bytes are unread`);
  world.settle();
  assert.equal(client.received.length, 200_000 * 6);
});

Deno.test("session: a client that was held back for its many requests goes on, however slowly it reads", () => {
  const world = new World({ pool_mode: "session" });
  const server = world.addServer();
  const many = 3 * MOST_OWED;
  const client = world.addClient(concat(query("none"), repeat(SYNC, many), query("none")));
  while (world.clientSends(client, 50_000)) world.dispatch(client.stream);
  assert.ok(server.connection.owed.length > MOST_OWED);
  world.clientSends(client, Infinity);
  client.stream.usually = 0;
  world.serverTakes(server, Infinity);
  while (world.serverSends(server, Infinity)) world.dispatch(server.stream);
  world.settle();
  assert.equal(types(client.received), "CZ" + "Z".repeat(many) + "CZ");
});

Deno.test("session: a message that its client left unfinished is never finished for it", () => {
  for (const missing of [1, 2, 3, 4, 5, 6]) {
    const world = new World();
    const server = world.addServer();
    const whole = query("none of this");
    const client = world.addClient(whole.slice(0, -missing));
    world.clientSends(client, Infinity);
    world.dispatch(client.stream);
    client.stream.ended = true;
    world.dispatch(client.stream);
    assert.equal(server.connection.state.stage, ServerStage.Closed);
    assert.deepEqual(server.stream.fetch(), whole.slice(0, -missing));
  }
});

Deno.test("session: last words are left out where they would be read as a part of a row", () => {
  for (const cut of [6, 17, Infinity]) {
    const world = new World();
    const server = world.addServer();
    const client = world.addClient(query("rows 1"));
    world.clientSends(client, Infinity);
    world.dispatch(client.stream);
    world.serverTakes(server, Infinity);
    const answer = server.fromModel;
    world.serverSends(server, cut);
    world.dispatch(server.stream);
    client.session.fail("FATAL", REASONS.adminShutdown, "", "");
    const received = client.stream.fetch();
    if (cut === Infinity) assert.equal(types(received.slice(answer.length)), "E");
    else assert.deepEqual(received, answer.slice(0, cut));
  }
});

Deno.test("session: the answer that finds its client gone is not taken for the next client's", () => {
  const world = new World();
  const server = world.addServer();
  const leaver = world.addClient(query("none"));
  const next = world.addClient(query("rows 3"));
  for (const client of [leaver, next]) {
    world.clientSends(client, Infinity);
    world.dispatch(client.stream);
  }
  assert.equal(next.session.state.stage, Stage.Waiting);
  leaver.stream.broken = true;
  world.serverTakes(server, Infinity);
  world.serverSends(server, Infinity);
  world.dispatch(server.stream);
  assert.equal(leaver.session.state.stage, Stage.Closed);
  assert.equal(next.session.state.stage, Stage.Linked);
  assert.equal(next.session.state.queryCount, 0);
  world.settle();
  assert.equal(types(next.received), "TDDDCZ");
  assert.equal(next.session.state.queryCount, 1);
});

Deno.test("session: a server that is being cleaned after a client was lost is not offered before it is clean", () => {
  const world = new World();
  const server = world.addServer();
  const leaver = world.addClient(query("set"));
  world.clientSends(leaver, Infinity);
  world.dispatch(leaver.stream);
  leaver.stream.broken = true;
  world.serverTakes(server, Infinity);
  world.serverSends(server, Infinity);
  world.dispatch(server.stream);
  assert.equal(server.connection.state.stage, ServerStage.Cleaning);
  assert.equal(server.connection.state.dirty, Dirty.Set);
  world.settle();
  world.checkIdle(server);
  assert.equal(server.connection.state.dirty, 0);
});

Deno.test("session: a log-in that waits for the first server, which arrives after its pool", () => {
  const world = new World();
  const client = world.addNewClient(startup({ user: "me", database: "db" }));
  world.pool.defaults = undefined;
  world.pool.reported.clear();
  world.settle();
  assert.equal(client.session.state.stage, Stage.Preparing);
  world.move();
  const server = world.addLateServer();
  world.settle();
  assert.equal(types(client.received), "RSKZ");
  assert.deepEqual([...world.pool.reported], ["application_name"]);
  world.checkIdle(server);
});

Deno.test("session: those who wait at a limit of several pools have one timer, whatever happens", () => {
  const world = new World({
    max_db_connections: 1,
    reserve_pool_timeout: 1000,
    max_concurrent_creates: 4,
    scaling_max_parallel_creates: 4,
  });
  world.addServer();
  world.addClient(concat(query("begin"), query("none")));
  world.settle();
  const before = world.reactor.timers.size;
  for (let i = 0; i < 50; i++) world.addClient(query("none"));
  world.settle();
  assert.equal(world.pool.waiting, 50);
  assert.equal(world.pool.share.refusedBy!.of, "database");
  for (let i = 0; i < 50; i++) {
    world.pool.share.changed();
    world.reactor.endTurn();
  }
  assert.equal(world.reactor.timers.size, before + 1);
  world.reactor.now += 5000;
  world.reactor.timers.expire(world.reactor.now);
  world.settle();
  assert.equal(world.pool.waiting, 0);
  assert.equal(types(world.clients[50]!.received), "EZ");
  assert.match(world.warnings[0]!, /checkout timeout after 5000ms: database "db" EXHAUSTED/);
});

Deno.test("session: what comes in one piece with the StartupMessage is done once", () => {
  for (const cut of [Infinity, 1, 3, 40, 45]) {
    const world = new World();
    const server = world.addServer();
    const client = world.addNewClient(
      concat(startup({ user: "me", database: "db" }), query("none 1"), query("none 2")),
    );
    while (world.clientSends(client, cut)) world.dispatch(client.stream);
    world.settle();
    assert.equal(types(client.received), "RSKZCZCZ");
    assert.equal(server.model.seen.length, 2);
    assert.equal(world.pool.clients, 1);
  }
});

Deno.test("session: an administrator who does not read is not read from", () => {
  const world = new World();
  const client = world.addClient(repeat(query("SHOW STATS"), 1000));
  const { session, stream } = client;
  session.pool = undefined;
  session.admin = new AdminSession(session);
  session.state.stage = Stage.Admin;
  const requests = () => world.mail.filter(({ kind }) => kind === "admin_request").length;
  const turn = () => {
    world.clientSends(client, 160);
    world.dispatch(stream);
  };
  turn();
  assert.equal(requests(), 1);
  turn();
  assert.equal(requests(), 1);
  stream.usually = 0;
  session.admin.answer(new Uint8Array(100_000), STAYS_OPEN);
  turn();
  assert.equal(requests(), 1);
  stream.usually = Infinity;
  world.dispatch(stream);
  turn();
  assert.equal(requests(), 2);
  // The socket became free while a request was under way: that one's answer comes first.
  stream.usually = 0;
  session.write(new Uint8Array(10));
  stream.usually = Infinity;
  world.dispatch(stream);
  turn();
  assert.equal(requests(), 2);
  session.admin.answer(new Uint8Array(1), STAYS_OPEN);
  turn();
  assert.equal(requests(), 3);
});

Deno.test("session: a checkout that meets an old server has another opened, once, and not while it is young", () => {
  const world = new World({ max_concurrent_creates: 4, scaling_max_parallel_creates: 2 });
  const server = world.addServer();
  server.connection.state.lifetimeMs = 3_600_000;
  let opened = 0;
  world.pool.connect = () => opened++;
  const client = world.addClient(concat(query("none"), query("none")));
  world.settle();
  for (const [part, wanted] of [[0.5, 0], [0.96, 1], [0.97, 1]] as const) {
    world.reactor.now = server.connection.state.createdAtMs + 3_600_000 * part;
    for (let i = 0; i < 3; i++) {
      client.unsent = query("none");
      world.settle();
    }
    assert.equal(opened, wanted);
  }
});

Deno.test("session: a client that has not taken its answer takes no server for its next request", () => {
  const world = new World();
  const server = world.addServer();
  const client = world.addClient(query("rows 5"));
  world.clientSends(client, Infinity);
  world.dispatch(client.stream);
  client.stream.usually = 0;
  world.serverTakes(server, Infinity);
  world.serverSends(server, Infinity);
  world.dispatch(server.stream);
  assert.equal(client.session.state.stage, Stage.Idle);
  client.unsent = query("rows 5");
  world.clientSends(client, Infinity);
  world.dispatch(client.stream);
  assert.equal(client.session.state.stage, Stage.Idle);
  world.checkIdle(server);
  world.settle();
  assert.equal(types(client.received), "TDDDDDCZTDDDDDCZ");
});

Deno.test("session: a log-in that waits for a server ends when its client leaves, whatever it has sent ahead", () => {
  for (const ahead of [new Uint8Array(0), query("none")]) {
    for (const inOnePiece of [true, false]) {
      const world = new World();
      world.pool.defaults = undefined;
      const first = startup({ user: "me", database: "db" });
      const client = world.addNewClient(concat(first, ahead));
      world.clientSends(client, inOnePiece ? Infinity : first.length);
      world.dispatch(client.stream);
      if (world.clientSends(client, Infinity)) world.dispatch(client.stream);
      assert.equal(client.session.state.stage, Stage.Preparing);
      client.stream.ended = true;
      for (let i = 0; i < 2; i++) world.dispatch(client.stream);
      assert.equal(client.session.state.stage, Stage.Closed);
      assert.equal(world.pool.waiting, 0);
    }
  }
});
