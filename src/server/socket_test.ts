import assert from "node:assert/strict";
import { EPOLLIN, EPOLLOUT, EPOLLRDHUP } from "../os/layout.ts";
import { Owed } from "../protocol/owed_replies.ts";
import { concat, frontend } from "../protocol/testing/wire.ts";
import { REASONS } from "../reasons.ts";
import { FakeStream } from "../testing/fake_stream.ts";
import { KeepingStream } from "../testing/keeping_stream.ts";
import { ServerBench } from "../testing/server_bench.ts";

const ANSWER = concat(frontend("C", "SELECT 1"), frontend("Z", [0x49]));
const ASK = Uint8Array.from({ length: 100 }, (_, i) => i);

function eventsOf({ reactor, stream }: ServerBench): number {
  return reactor.registered.get(stream.fd)!.events;
}

/** Streams that take what they are given, and those that count it as taken and keep it. */
const STREAMS = [FakeStream, KeepingStream];

Deno.test("server socket: what PostgreSQL does not take waits, in order, and is sent on", () => {
  const ways = STREAMS.flatMap((Stream) => [false, true].map((moves) => ({ Stream, moves })));
  for (let taken = 0; taken < ASK.length; taken++) {
    for (const { Stream, moves } of ways) {
      const bench = new ServerBench({ Stream });
      bench.stream.appetite = [taken];
      bench.connection.send(ASK, 0, ASK.length);
      bench.connection.send(ASK, 10, 20);
      assert.ok(bench.connection.congested);
      if (moves) bench.move();
      assert.equal(eventsOf(bench), EPOLLIN | EPOLLRDHUP | EPOLLOUT);
      bench.turn();
      assert.deepEqual(bench.stream.fetch(), concat(ASK, ASK.slice(10, 20)));
      assert.ok(!bench.connection.congested);
      assert.equal(eventsOf(bench), EPOLLIN | EPOLLRDHUP);
      assert.deepEqual(bench.link.told, ["writable"]);
      assert.equal(bench.owner.traffic.sent, 110);
      assert.equal(bench.connection.state.sent, 110);
    }
  }
});

Deno.test("server socket: it tells that it is writable when all is sent, and not before", () => {
  for (const Stream of STREAMS) {
    const bench = new ServerBench({ Stream });
    bench.stream.appetite = [0, 30, 0, 30, 0];
    bench.connection.send(ASK, 0, ASK.length);
    bench.turn();
    bench.turn();
    assert.deepEqual(bench.link.told, []);
    assert.ok(bench.connection.congested);
    bench.turn();
    assert.deepEqual(bench.link.told, ["writable"]);
    assert.deepEqual(bench.stream.fetch(), ASK);
  }
});

Deno.test("server socket: what a stream answers by itself goes out when PostgreSQL takes it", () => {
  const bench = new ServerBench({ Stream: KeepingStream });
  bench.stream.appetite = [0];
  // As a record layer does that was asked for new keys.
  bench.stream.send(ASK, 0, 7);
  bench.connection.owed.push(Owed.Query);
  bench.receive(ANSWER);
  assert.ok(bench.connection.congested);
  bench.turn();
  assert.ok(!bench.connection.congested);
  assert.deepEqual(bench.stream.fetch(), ASK.slice(0, 7));
  assert.deepEqual(bench.link.delivered, ANSWER);
});

Deno.test("server socket: paused, it leaves the answer where it is", () => {
  const bench = new ServerBench();
  bench.connection.owed.push(Owed.Query);
  bench.connection.pauseReading();
  bench.stream.push(ANSWER);
  bench.turn();
  assert.equal(bench.stream.unread, ANSWER.length);
  bench.connection.resumeReading();
  bench.turn();
  assert.deepEqual(bench.link.delivered, ANSWER);
  assert.equal(bench.connection.state.received, ANSWER.length);
  assert.equal(bench.owner.traffic.received, ANSWER.length);
});

Deno.test("server socket: paused in the middle of an answer, it goes on where it was", () => {
  for (let cut = 1; cut < ANSWER.length; cut++) {
    const bench = new ServerBench();
    bench.connection.owed.push(Owed.Query);
    bench.receive(ANSWER.slice(0, cut));
    bench.connection.pauseReading();
    bench.stream.push(ANSWER.slice(cut));
    bench.turn();
    assert.equal(bench.stream.unread, ANSWER.length - cut);
    bench.connection.resumeReading();
    bench.turn();
    assert.deepEqual(bench.link.delivered, ANSWER);
  }
});

Deno.test("server socket: paused, it notices an end that comes only when it reads again", () => {
  const bench = new ServerBench();
  bench.connection.owed.push(Owed.Query);
  bench.connection.pauseReading();
  bench.stream.push(ANSWER);
  bench.stream.ended = true;
  bench.turn();
  assert.ok(!bench.closed);
  // It would come over and over.
  assert.equal(eventsOf(bench) & EPOLLRDHUP, 0);
  bench.connection.resumeReading();
  bench.turn();
  assert.deepEqual(bench.link.delivered, ANSWER);
  bench.turn();
  assert.equal(bench.owner.closedFor, REASONS.serverLost);
});

Deno.test("server socket: paused, a reset ends it at once", () => {
  const bench = new ServerBench();
  bench.connection.pauseReading();
  bench.reset();
  assert.equal(bench.owner.closedFor, REASONS.serverLost);
  assert.deepEqual(bench.owner.told, ["closed connection reset"]);
});

Deno.test("server socket: what PostgreSQL said before it hung up is read, though nothing can be sent", () => {
  const fatal = frontend("E", "SFATAL", "VFATAL", "C57P01", "Mwords", [0]);
  for (const paused of [false, true]) {
    const bench = new ServerBench();
    if (paused) bench.connection.pauseReading();
    bench.stream.broken = true;
    bench.connection.owed.push(Owed.Query);
    bench.connection.send(ASK, 0, ASK.length);
    assert.ok(!bench.closed);
    bench.stream.push(fatal);
    bench.turn();
    assert.deepEqual(bench.link.delivered, fatal);
    bench.end();
    assert.deepEqual(bench.owner.told, ["closed FATAL 57P01: words"]);
  }
});

Deno.test("server socket: a broken pipe under what waits leaves the word to the read side", () => {
  const bench = new ServerBench();
  bench.stream.appetite = [0];
  bench.connection.send(ASK, 0, ASK.length);
  bench.stream.broken = true;
  bench.turn();
  assert.ok(!bench.closed);
  assert.equal(eventsOf(bench), EPOLLIN | EPOLLRDHUP);
  bench.end();
  assert.equal(bench.owner.closedFor, REASONS.serverLost);
  assert.deepEqual(bench.link.told, ["lost 08006 "]);
});

Deno.test("server socket: one that takes nothing until the kernel gives up is not said to have hung up", () => {
  const bench = new ServerBench();
  bench.stream.appetite = [40, 0];
  bench.connection.send(ASK, 0, ASK.length);
  bench.turn();
  bench.reactor.now += 7000;
  // The kernel tells it once: the read that follows finds the end of the stream and no more.
  bench.stream.error = 110;
  bench.turn();
  bench.turn();
  assert.equal(bench.owner.closedFor, REASONS.serverUnreachable);
  assert.deepEqual(bench.link.told, [
    "lost 08006 it has taken nothing for 7 s, connection timed out (ETIMEDOUT)",
  ]);
});

Deno.test("server socket: no Terminate is sent behind half a message", () => {
  const bench = new ServerBench();
  bench.stream.appetite = [50];
  bench.connection.send(ASK, 0, ASK.length);
  bench.connection.close(REASONS.adminShutdown, "");
  assert.deepEqual(bench.stream.fetch(), ASK.slice(0, 50));
});

Deno.test("server socket: frozen in vain, it goes on", () => {
  const bench = new ServerBench();
  bench.connection.owed.push(Owed.Query);
  bench.receive(ANSWER.slice(0, 3));
  bench.stream.appetite = [0];
  bench.connection.send(ASK, 0, ASK.length);
  bench.connection.freeze();
  bench.connection.unfreeze();
  bench.turn();
  bench.receive(ANSWER.slice(3));
  assert.deepEqual(bench.stream.fetch(), ASK);
  assert.deepEqual(bench.link.delivered, ANSWER);
});
