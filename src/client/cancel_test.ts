import assert from "node:assert/strict";
import { EPOLLIN } from "../os/layout.ts";
import { messagesIn, query } from "../protocol/testing/wire.ts";
import { World } from "../testing/world.ts";
import { Stage } from "./state.ts";

function types(bytes: Uint8Array): string {
  return messagesIn(bytes).map(({ type }) => type).join("");
}

/** A client in a transaction on a server. */
function linked() {
  const world = new World();
  const server = world.addServer();
  const client = world.addClient(query("begin work"));
  world.settle();
  client.unsent = query("none");
  world.settle();
  assert.equal(client.session.state.stage, Stage.Linked);
  return { world, server, client };
}

Deno.test("cancel: where nothing of the client's is under way nothing is sent, and it is through at once", () => {
  const { world, server, client } = linked();
  let through = 0;
  client.session.cancel(() => through++);
  assert.equal(through, 1);
  // What the pooler asks is not the client's.
  server.connection.askOwn("none", 1);
  client.session.cancel(() => through++);
  assert.equal(through, 2);
  assert.equal(server.connection.cancelsUnderWay, 0);
  world.settle();
  client.unsent = query("commit");
  world.settle();
  client.session.cancel(() => through++);
  assert.equal(through, 3);
});

Deno.test("cancel: what the client sends while one is under way waits, and goes when it is through", () => {
  const { world, server, client } = linked();
  const { connection } = server;
  const before = server.model.seen.length;
  connection.cancelsUnderWay = 1;
  client.unsent = query("rows 1");
  world.settle();
  assert.equal(server.model.seen.length, before);
  // It is not read from meanwhile, and keeps its server whatever asks.
  client.unsent = query("commit");
  world.clientSends(client, Infinity);
  client.session.releaseIfIdle();
  assert.ok(!client.session.mayBeRead);
  assert.equal(client.session.server, connection);
  connection.cancelsUnderWay = 0;
  client.session.serverWritable();
  client.session.onReady(EPOLLIN);
  world.settle();
  assert.equal(types(client.received), "CZCZTDCZCZ");
  assert.equal(server.model.seen.length, before + 2);
});
