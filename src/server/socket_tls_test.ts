import assert from "node:assert/strict";
import { CERTIFICATE, KEY } from "../../tests/support/pem.ts";
import { decode, encode } from "../handover/codec.ts";
import { EPOLLIN, EPOLLOUT } from "../os/layout.ts";
import { close } from "../os/libc.ts";
import { Owed } from "../protocol/owed_replies.ts";
import { concat, frontend } from "../protocol/testing/wire.ts";
import type { Reactor } from "../reactor/reactor.ts";
import { REASONS } from "../reasons.ts";
import { FakeLink, FakeOwner } from "../testing/fake_link.ts";
import { FakeReactor } from "../testing/fake_reactor.ts";
import { AskingContext, ServingContext } from "../tls/context.ts";
import { TlsStream } from "../tls/stream.ts";
import { connectedPair, drain, inject, shakeHands, take } from "../tls/testing/ends.ts";
import { ServerConnection } from "./connection.ts";
import type { ServerSnapshot } from "./link.ts";
import { newServerState, ServerStage } from "./state.ts";
import { streamOf } from "./stream_of.ts";

const text = (pem: string) => ({ name: "a file", text: new TextEncoder().encode(pem) });

/** A server connection with TLS, and PostgreSQL's end of it. */
class Bench {
  readonly reactor = new FakeReactor();
  readonly owner = new FakeOwner<ServerConnection>();
  readonly link = new FakeLink();
  theirs: TlsStream;
  connection: ServerConnection;

  /** `worn`: what was sealed to PostgreSQL so far is so much that it asks for new keys. */
  constructor({ worn = false } = {}) {
    const serving = ServingContext.open({ certificate: text(CERTIFICATE), key: text(KEY) }, {});
    const asking = AskingContext.open({}, { verification: "none" });
    if (Array.isArray(serving) || Array.isArray(asking)) throw new Error("no context");
    const { server, client } = shakeHands(serving, asking);
    serving.end();
    asking.end();
    if (worn) server.state.receive.sequence = client.state.send.sequence = 2 ** 40;
    const [ours, theirs] = connectedPair();
    this.theirs = new TlsStream(theirs, server.state);
    const state = newServerState(1, this.reactor.now);
    state.stage = ServerStage.Linked;
    const reactor = this.reactor as unknown as Reactor;
    this.connection = new ServerConnection(
      reactor,
      new TlsStream(ours, client.state),
      state,
      this.owner,
    );
    this.connection.link = this.link;
    this.connection.listen();
  }

  /** To another process, and there again to life. */
  move(): void {
    const snapshot = decode(encode(this.connection.freeze())) as ServerSnapshot;
    const { fd } = this.connection.stream;
    this.connection.stream.end();
    const reactor = this.reactor as unknown as Reactor;
    const stream = streamOf(fd, snapshot.tls);
    this.connection = ServerConnection.thaw(reactor, stream, snapshot, this.owner);
    this.connection.link = this.link;
    this.connection.listen();
  }

  [Symbol.dispose](): void {
    this.theirs.end();
    close(this.theirs.fd);
    close(this.connection.stream.fd);
  }
}

const ANSWER = concat(
  frontend("D", [0, 1, 0, 0, 0, 1, 0x31]),
  frontend("C", "SELECT 1"),
  frontend("Z", [0x49]),
);

Deno.test("server socket with TLS: a record that is cut anywhere, with a move in the cut", () => {
  using bench = new Bench();
  const [near, far] = connectedPair();
  // Sealed to another socket, to be cut.
  const sealer = new TlsStream(near, bench.theirs.freeze());
  let count = 0;
  for (let cut = 1; cut < ANSWER.length + 22; cut += 3) {
    sealer.send(ANSWER.slice(), 0, ANSWER.length);
    const record = drain(far);
    bench.connection.owed.push(Owed.Query);
    inject(bench.theirs.fd, record.slice(0, cut));
    bench.connection.onReady(EPOLLIN);
    bench.move();
    inject(bench.theirs.fd, record.slice(cut));
    bench.connection.onReady(EPOLLIN);
    assert.equal(bench.link.delivered.length, ++count * ANSWER.length, `cut at ${cut}`);
  }
  assert.deepEqual(bench.link.delivered.slice(-ANSWER.length), ANSWER);
  sealer.end();
  for (const fd of [near, far]) close(fd);
});

Deno.test("server socket with TLS: what PostgreSQL does not take is sent on, however often it moves meanwhile", () => {
  using bench = new Bench();
  const sent = Uint8Array.from({ length: 3_000_000 }, (_, i) => i % 251);
  bench.connection.send(sent, 0, sent.length);
  assert.ok(bench.connection.congested);
  let received = new Uint8Array(0);
  const pieces: Uint8Array[] = [];
  for (let length = 0; length < sent.length;) {
    if (bench.connection.congested) bench.move();
    bench.connection.onReady(EPOLLOUT);
    for (;;) {
      const piece = take(bench.theirs);
      if (typeof piece === "number") break;
      pieces.push(piece);
      length += piece.length;
    }
  }
  received = concat(...pieces);
  assert.deepEqual(received, sent);
  assert.ok(!bench.connection.congested);
  assert.ok(bench.link.told.every((what) => what === "writable"));
});

Deno.test("server socket with TLS: it says goodbye, and is told why PostgreSQL has broken off", () => {
  {
    using bench = new Bench();
    bench.connection.close(REASONS.serverIdle, "");
    assert.deepEqual(take(bench.theirs), frontend("X"));
    assert.equal(take(bench.theirs), 0, "nothing more comes");
  }
  {
    using bench = new Bench();
    bench.theirs.sayEnd();
    bench.connection.onReady(EPOLLIN);
    assert.equal(bench.owner.closedFor, REASONS.serverLost);
  }
  using bench = new Bench();
  inject(bench.theirs.fd, new TextEncoder().encode("no record at all"));
  bench.connection.onReady(EPOLLIN);
  assert.equal(bench.owner.closedFor, REASONS.serverUnreachable);
  assert.match(bench.owner.told.at(-1)!, /^closed TLS: .*record/);
});

Deno.test("server socket with TLS: a server that rests takes what is no message of PostgreSQL's", () => {
  using bench = new Bench({ worn: true });
  const [near, far] = connectedPair();
  const sealer = new TlsStream(near, bench.theirs.freeze());
  sealer.send(ANSWER.slice(), 0, ANSWER.length);
  const records = drain(far);
  // New keys of PostgreSQL's, and that ours be new as well; the answer comes behind it.
  const update = 5 + (records[3]! << 8 | records[4]!);
  assert.ok(update < 40 && records.length > update);
  inject(bench.theirs.fd, records.slice(0, update));
  bench.connection.onReady(EPOLLIN);
  assert.equal(bench.owner.closedFor, undefined);
  bench.move();
  bench.connection.owed.push(Owed.Query);
  const ask = frontend("Q", "SELECT 1");
  bench.connection.send(ask.slice(), 0, ask.length);
  inject(bench.theirs.fd, records.slice(update));
  bench.connection.onReady(EPOLLIN);
  assert.deepEqual(bench.link.delivered, ANSWER);
  // Both go on by the new ones.
  const theirs = new TlsStream(bench.theirs.fd, sealer.freeze());
  bench.theirs.end();
  bench.theirs = theirs;
  assert.deepEqual(take(bench.theirs), ask);
  sealer.end();
  for (const fd of [near, far]) close(fd);
});
