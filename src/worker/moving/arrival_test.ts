import assert from "node:assert/strict";
import type { FrozenItem } from "../../mail.ts";
import type { Fd } from "../../os/fd.ts";
import { socketPair } from "../../os/fd_passing.ts";
import * as libc from "../../os/libc.ts";
import { bytesOf } from "../../protocol/testing/model_server.ts";
import { simpleQuery } from "../../protocol/testing/pipelines.ts";
import type { Reactor } from "../../reactor/reactor.ts";
import { decode, encode } from "../../handover/codec.ts";
import { World } from "../../testing/world.ts";
import { type ArrivalPlace, tellLost, thaw } from "./arrival.ts";

type Fields = Record<string, unknown>;

/** A client in a transaction, frozen, with what `spoil` makes of its snapshot. */
function frozen(spoil: (session: Fields) => void): FrozenItem {
  const world = new World({ pool_size: 1 });
  const { connection } = world.addServer();
  const { session, stream } = world.addClient(bytesOf(simpleQuery("begin 1")));
  world.settle();
  assert.equal(session.server, connection);
  world.pool.takeOut(connection);
  const snapshot = decode(encode(session.freeze())) as Fields;
  spoil(snapshot);
  const fds = [stream.fd as number, connection.stream.fd as number];
  return { type: "session", database: "db", user: "me", fds, session: snapshot };
}

Deno.test("arrival: what can't be thawed leaves nothing behind and closes its descriptors, once", () => {
  const spoilers: Record<string, (session: Fields) => void> = {
    "no session at all": (session) => {
      session.statements = 5;
    },
    "no server": ({ server }) => {
      (server as { owed: Fields }).owed = { entries: 5 };
    },
    "its parameters": ({ state }) => {
      (state as Fields).parameters = { values: 7 };
    },
    "its statements": (session) => {
      session.statements = [[null, { id: 7, body: new Uint8Array(3) }]];
    },
    "what it sent": (session) => {
      session.tail = 5;
    },
    "what it is sent": (session) => {
      session.outbox = { length: 10 };
    },
  };
  for (const [what, spoil] of Object.entries(spoilers)) {
    const item = frozen(spoil);
    const world = new World({ pool_size: 1 });
    const { reactor, pool } = world;
    pool.expected = 1;
    for (const fd of item.fds) reactor.release(fd as Fd);
    const place: ArrivalPlace = {
      reactor: reactor as unknown as Reactor,
      log: undefined as unknown as ArrivalPlace["log"],
      tune: () => {},
      pool: () => pool,
      openDynamic: () => undefined,
      openThawed: (fd, state) => world.openThawed(fd, state),
    };
    assert.throws(() => thaw(item, place), TypeError, what);
    assert.deepEqual([pool.size, pool.clients, pool.expected], [0, 0, 0], what);
    assert.equal(reactor.registered.size, 0, what);
    for (const fd of item.fds) assert.throws(() => reactor.close(fd as Fd), /closed twice/, what);
  }
});

Deno.test("arrival: who is lost is told so, but for those with TLS, who would take it for a record", () => {
  for (const [tls, told] of [[undefined, "E"], [{}, ""]] as const) {
    const fds = socketPair();
    tellLost({ type: "session", database: "db", user: "me", fds: [fds[0]], session: { tls } });
    libc.close(fds[0]);
    const bytes = new Uint8Array(100);
    const count = libc.recv(fds[1], bytes, bytes.length);
    assert.equal(new TextDecoder().decode(bytes.subarray(0, Math.min(1, count))), told);
    libc.close(fds[1]);
  }
});
