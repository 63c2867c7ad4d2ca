import assert from "node:assert/strict";
import { concat, frontend, messagesIn, query } from "../protocol/testing/wire.ts";
import { Stage } from "../client/state.ts";
import { parameterSet } from "../server/parameters.ts";
import { ServerStage } from "../server/state.ts";
import { World } from "../testing/world.ts";

const FATAL = frontend("E", "SFATAL", "VFATAL", "C57P01", "Mterminating connection", [0]);
/** As a server of before 9.6 says it. */
const OLD_FATAL = frontend("E", "SFATAL", "C57P01", "Mterminating connection", [0]);
const PANIC = frontend("E", "SPANIK", "VPANIC", "CXX000", "Mwords", [0]);

function types(bytes: Uint8Array): string {
  return messagesIn(bytes).map(({ type }) => type).join("");
}

for (const [name, said] of Object.entries({ FATAL, OLD_FATAL, PANIC })) {
  Deno.test(`pool: an idle server is lent to nobody from the first byte of ${name} on`, () => {
    for (let cut = 1; cut <= said.length; cut++) {
      const world = new World();
      const good = world.addServer();
      // The one that came back last is lent first.
      const doomed = world.addServer();
      doomed.stream.push(said.slice(0, cut));
      world.dispatch(doomed.stream);
      const client = world.addClient(query("none"));
      world.settle();
      assert.equal(types(client.received), "CZ", `after ${cut} bytes`);
      assert.equal(good.connection.state.uses, 1);
      assert.equal(doomed.connection.state.uses, 0);
      doomed.stream.push(said.slice(cut));
      doomed.stream.ended = true;
      world.settle();
      assert.equal(doomed.connection.state.stage, ServerStage.Closed);
    }
  });
}

Deno.test("pool: a server whose FATAL was whole is not idle any more, before its end comes", () => {
  const world = new World();
  const server = world.addServer();
  server.stream.push(FATAL);
  world.dispatch(server.stream);
  assert.equal(world.pool.idle, 0);
  assert.equal(world.pool.size, 0);
});

Deno.test("pool: what is no error is no reason to part with an idle server", () => {
  const notice = frontend("N", "SFATAL", "VFATAL", "C57P01", "Mwords", [0]);
  for (let cut = 1; cut < notice.length; cut++) {
    const world = new World();
    const server = world.addServer();
    server.stream.push(notice.slice(0, cut));
    world.dispatch(server.stream);
    const client = world.addClient(query("none"));
    world.clientSends(client, Infinity);
    world.dispatch(client.stream);
    assert.equal(server.connection.state.uses, 1);
    server.stream.push(notice.slice(cut));
    world.settle();
    // Whose it is the first five bytes decide.
    assert.equal(types(client.received), cut < 5 ? "NCZ" : "CZ");
  }
});

Deno.test("pool: a server that has said FATAL does not come back, nor does it after a move", () => {
  for (const moves of [false, true]) {
    const world = new World({ pool_mode: "session" });
    const good = world.addServer();
    const doomed = world.addServer();
    const client = world.addClient(query("none"));
    world.settle();
    assert.equal(doomed.connection.state.uses, 1);
    doomed.stream.push(FATAL);
    world.dispatch(doomed.stream);
    if (moves) world.move();
    client.unsent = frontend("X");
    world.settle();
    assert.equal(types(client.received), "CZE");
    assert.equal(doomed.connection.state.stage, ServerStage.Closed);
    const next = world.addClient(query("none"));
    world.settle();
    assert.equal(types(next.received), "CZ");
    assert.equal(good.connection.state.uses, 1);
  }
});

Deno.test("pool: an idle server that a move finds with half a FATAL is lent to nobody after it", () => {
  for (let cut = 1; cut < FATAL.length; cut++) {
    const world = new World();
    world.addServer();
    const doomed = world.addServer();
    doomed.stream.push(FATAL.slice(0, cut));
    world.dispatch(doomed.stream);
    world.move();
    const client = world.addClient(concat(query("none"), query("none")));
    world.settle();
    assert.equal(types(client.received), "CZCZ");
    assert.equal(doomed.connection.state.uses, 0);
  }
});

/** A client whose server must get its parameters first, and what the pooler has sent to the two servers for it. */
function syncing(change: { code?: string; pool_mode?: "session" | "transaction" } = {}) {
  const { code = "57P01", pool_mode = "transaction" } = change;
  const world = new World({ pool_mode });
  const good = world.addServer();
  const doomed = world.addServer();
  const client = world.addClient(query("rows 1"));
  client.session.state.parameters = parameterSet(new Map([["application_name", "own"]]));
  world.clientSends(client, Infinity);
  world.dispatch(client.stream);
  assert.equal(client.session.state.stage, Stage.Syncing);
  // What is sent to it is never read.
  doomed.stream.fetch();
  doomed.stream.push(frontend("E", "SFATAL", "VFATAL", `C${code}`, "Mwords", [0]));
  return { world, good, doomed, client };
}

for (const pool_mode of ["transaction", "session"] as const) {
  Deno.test(`pool: a request that was not sent when its server said FATAL goes to another, ${pool_mode} mode`, () => {
    for (const moves of [false, true]) {
      const { world, good, doomed, client } = syncing({ pool_mode });
      if (moves) world.move();
      world.dispatch(doomed.stream);
      assert.equal(doomed.connection.state.stage, ServerStage.Closed);
      world.settle();
      assert.match(types(client.received), /^TD+CZ$/);
      assert.equal(good.model.parameter, "own");
      assert.ok(doomed.model.seen.length === 0);
    }
  });
}

Deno.test("pool: a request that was canceled before it was sent goes nowhere", () => {
  const { world, good, doomed, client } = syncing();
  client.session.cancel();
  world.dispatch(doomed.stream);
  world.settle();
  assert.equal(types(client.received), "EZ");
  assert.match(new TextDecoder().decode(client.received), /C57014/);
  assert.equal(good.model.seen.length, 0);
  client.unsent = query("none");
  world.settle();
  assert.equal(types(client.received), "EZCZ");
});

Deno.test("pool: what the parameters themselves may have brought about is the client's to hear", () => {
  const { world, good, doomed, client } = syncing({ code: "53200" });
  world.dispatch(doomed.stream);
  doomed.stream.ended = true;
  world.settle();
  assert.equal(types(client.received), "E");
  assert.match(new TextDecoder().decode(client.received), /C53200/);
  assert.equal(good.model.seen.length, 0);
});
