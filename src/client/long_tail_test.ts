import assert from "node:assert/strict";
import { READ_BYTES } from "../reactor/stream.ts";
import { concat, frontend, messagesIn, SYNC } from "../protocol/testing/wire.ts";
import { World } from "../testing/world.ts";
import { arrivedTail, leavingTail, longTail } from "./long_tail.ts";

const TEXT_BYTES = 8_000_000;

/** Bytes that `run` copies from one array to another. */
function copied(run: () => void): number {
  const { set, slice } = Uint8Array.prototype;
  let count = 0;
  Uint8Array.prototype.set = function (source, at) {
    count += source.length;
    set.call(this, source, at);
  };
  Uint8Array.prototype.slice = function (start, end) {
    const part = slice.call(this, start, end);
    count += part.length;
    return part as Uint8Array<ArrayBuffer>;
  };
  try {
    run();
  } finally {
    Object.assign(Uint8Array.prototype, { set, slice });
  }
  return count;
}

const text = (value: string) => new TextEncoder().encode(value + "\0");

/** A world whose only client has sent a long Parse but for its last bytes, and PostgreSQL takes little at a time. */
function almostThere(): { world: World; rest: Uint8Array } {
  const world = new World({
    prepared_statements: true,
    prepared_statements_cache_size: 5,
    server_prepared_statements_cache_size: 3,
  });
  const server = world.addServer();
  const client = world.addClient(new Uint8Array(0));
  Object.assign(client.session.context, { mostLongBytes: 1e9 });
  const body = concat(
    text("mine"),
    text(`rows 1 --${"x".repeat(TEXT_BYTES)}`),
    Uint8Array.of(0, 0),
  );
  const parse = frontend("P", body);
  client.unsent = concat(parse.subarray(0, parse.length - 100));
  world.clientSends(client, Infinity);
  while (client.stream.unread > 0) world.dispatch(client.stream);
  server.stream.usually = READ_BYTES;
  return { world, rest: concat(parse.subarray(parse.length - 100), SYNC) };
}

Deno.test("long tail: a long message is copied as it is read, and not again when it is whole", () => {
  const { world, rest } = almostThere();
  const [client] = world.clients;
  const [server] = world.servers;
  client!.unsent = rest;
  world.clientSends(client!, Infinity);
  const most = copied(() => world.dispatch(client!.stream));
  assert.ok(most < 4 * READ_BYTES, `${most} bytes copied when it was whole`);
  for (let turns = 0; server!.connection.congested; turns++) {
    const most = copied(() => world.dispatch(server!.stream));
    assert.ok(most < 40 * READ_BYTES, `${most} bytes copied in a turn`);
    assert.ok(turns > 0 || server!.connection.congested, "others have their turn");
  }
  const sent = messagesIn(server!.stream.fetch()).find(({ type }) => type === "P")!.body;
  assert.equal(sent.length, "DOORMAN_1\0".length + "rows 1 --\0".length + TEXT_BYTES + 2);
});

Deno.test("long tail: what is half sent is not copied to travel, and goes on where it was", () => {
  const { world, rest } = almostThere();
  const [client] = world.clients;
  let tail: Uint8Array | undefined;
  const most = copied(() => {
    tail = client!.session.freeze().tail;
  });
  assert.ok(tail!.length > TEXT_BYTES - 200 && most < READ_BYTES, `${most} bytes copied`);
  client!.session.unfreeze();
  world.move();
  client!.unsent = rest;
  world.clientSends(client!, Infinity);
  world.settle();
  assert.equal(messagesIn(client!.received.slice()).map(({ type }) => type).join(""), "1Z");
});

Deno.test("long tail: its room travels with it, or is made again", () => {
  const bytes = new Uint8Array(200_000).fill(7);
  new DataView(bytes.buffer).setInt32(1, 500_000);
  const { bytes: room, length } = longTail(bytes, 0, bytes.length, 500_001);
  const leaving = leavingTail(room, length, 500_001, undefined)!;
  assert.equal(leaving.buffer, room.buffer);
  const whole = arrivedTail(leaving as Uint8Array<ArrayBuffer>);
  assert.deepEqual([whole.bytes.buffer === room.buffer, whole.length, whole.need], [
    true,
    200_000,
    500_001,
  ]);
  const alone = arrivedTail(bytes);
  assert.deepEqual(alone.bytes.subarray(0, 200_000), bytes);
  assert.deepEqual([alone.length, alone.need], [200_000, 500_001]);
  assert.ok(alone.bytes.length >= alone.need + READ_BYTES);
  // Whole messages that waited.
  const short = arrivedTail(bytes.slice(0, 70_000));
  assert.equal(short.need, 70_001);
  const copy = leavingTail(bytes, 10, 0, undefined)!;
  assert.notEqual(copy.buffer, bytes.buffer, "a short one is used again");
  const waiting = Uint8Array.of(1, 2);
  assert.deepEqual([...leavingTail(bytes, 1, 9, waiting)!], [7, 1, 2]);
  assert.equal(leavingTail(undefined, 0, 0, waiting), waiting);
});
