import assert from "node:assert/strict";
import { decode, encode } from "../../handover/codec.ts";
import type { Reactor } from "../../reactor/reactor.ts";
import { concat, frontend, int32, messagesIn } from "../../protocol/testing/wire.ts";
import { type Reason, REASONS } from "../../reasons.ts";
import { newServerState, ServerStage } from "../../server/state.ts";
import { FakeReactor } from "../../testing/fake_reactor.ts";
import { FakeStream } from "../../testing/fake_stream.ts";
import { type LineOwner, type LineSnapshot, ListeningLine, quoted } from "./line.ts";

const DONE = concat(frontend("C", "LISTEN"), frontend("Z", [0x49]));

/** A listener that is none. */
class Owner implements LineOwner {
  readonly reported = new Set<string>();
  readonly traffic = { received: 0, sent: 0, server_parses: 0 };
  readonly wanted = new Set<string>();
  readonly told: string[] = [];
  wants(channel: string): boolean {
    return this.wanted.has(channel);
  }
  caughtUp(): void {
    this.told.push("caught up");
  }
  notification(_: ListeningLine, bytes: Uint8Array, start: number, end: number): void {
    this.told.push(`heard ${new TextDecoder().decode(bytes.slice(start + 9, end))}`);
  }
  lost(_: ListeningLine, { code }: Reason, detail: string): void {
    this.told.push(`lost ${code} ${detail}`);
  }
  closed(): void {
    this.told.push("closed");
  }
}

class Bench {
  readonly owner = new Owner();
  readonly reactor = new FakeReactor();
  readonly stream = new FakeStream(10);
  line: ListeningLine;

  constructor() {
    const state = newServerState(1, this.reactor.now);
    state.stage = ServerStage.Linked;
    const reactor = this.reactor as unknown as Reactor;
    this.line = new ListeningLine(this.owner, { reactor, stream: this.stream, state });
  }

  want(...channels: string[]): void {
    for (const channel of channels) {
      this.owner.wanted.add(channel);
      this.line.changed(channel);
    }
  }

  wantNo(channel: string): void {
    this.owner.wanted.delete(channel);
    this.line.changed(channel);
  }

  /** The text of the queries that were sent since. */
  sent(): string[] {
    return messagesIn(this.stream.fetch()).map(({ type, body }) => {
      assert.equal(type, "Q");
      return new TextDecoder().decode(body.slice(0, -1));
    });
  }

  receive(bytes: Uint8Array): void {
    this.stream.push(bytes);
    this.reactor.registered.get(this.stream.fd)?.handler.onReady(this.stream.events);
  }

  move(): void {
    const snapshot = decode(encode(this.line.freeze())) as LineSnapshot;
    const reactor = this.reactor as unknown as Reactor;
    this.line = new ListeningLine(this.owner, { reactor, stream: this.stream, snapshot });
  }
}

Deno.test("line: one query at a time, and a channel is had when PostgreSQL has said so", () => {
  const bench = new Bench();
  bench.want("a", 'b"c');
  bench.line.work();
  const [first, ...more] = bench.sent();
  assert.deepEqual(more, []);
  assert.match(first!, /idle_session_timeout.*;LISTEN "a";LISTEN "b""c";$/);
  bench.want("d");
  bench.line.work();
  assert.deepEqual(bench.sent(), []);
  assert.ok(!bench.line.has("a"));
  bench.receive(DONE);
  assert.ok(bench.line.has("a"));
  assert.ok(bench.line.has('b"c'));
  assert.deepEqual(bench.sent(), ['LISTEN "d";']);
  assert.deepEqual(bench.owner.told, []);
  bench.receive(DONE);
  assert.deepEqual(bench.owner.told, ["caught up"]);
  assert.equal(bench.line.channels, 3);
});

Deno.test("line: what is not wanted any more is not had from the moment it is sent", () => {
  const bench = new Bench();
  bench.want("a", "b");
  bench.line.work();
  bench.receive(DONE);
  bench.sent();
  bench.wantNo("a");
  assert.ok(bench.line.has("a"));
  bench.line.work();
  assert.deepEqual(bench.sent(), ['UNLISTEN "a";']);
  assert.ok(!bench.line.has("a"));
  bench.receive(DONE);
  assert.equal(bench.line.channels, 1);
});

Deno.test("line: wishes that change while a query is under way follow it", () => {
  const bench = new Bench();
  bench.want("a");
  bench.line.work();
  bench.sent();
  bench.wantNo("a");
  bench.receive(DONE);
  assert.deepEqual(bench.sent(), ['UNLISTEN "a";']);
  bench.want("a");
  bench.receive(DONE);
  assert.deepEqual(bench.sent(), ['LISTEN "a";']);
  bench.receive(DONE);
  assert.ok(bench.line.has("a"));
  // One that came and went in between costs nothing.
  bench.want("x");
  bench.wantNo("x");
  bench.line.work();
  assert.deepEqual(bench.sent(), []);
});

Deno.test("line: many channels go in several queries", () => {
  const bench = new Bench();
  bench.want(...Array.from({ length: 501 }, (_, i) => `c${i}`));
  bench.line.work();
  assert.equal(bench.sent()[0]!.split("LISTEN").length - 1, 500);
  bench.receive(DONE);
  assert.deepEqual(bench.sent(), ['LISTEN "c500";']);
});

Deno.test("line: notifications come whole, also between the answers to its own query", () => {
  const heard = frontend("A", int32(1), "a", "x");
  const all = concat(frontend("C", "LISTEN"), heard, frontend("Z", [0x49]), heard);
  for (let cut = 1; cut < all.length; cut++) {
    for (const moves of [false, true]) {
      const bench = new Bench();
      bench.want("a");
      bench.line.work();
      bench.receive(all.slice(0, cut));
      if (moves) bench.move();
      bench.receive(all.slice(cut));
      assert.deepEqual(bench.owner.told, ["heard a\0x\0", "caught up", "heard a\0x\0"]);
      assert.ok(bench.line.has("a"));
    }
  }
});

Deno.test("line: moved in the middle, it knows what is under way and asks for the timeout no more", () => {
  const bench = new Bench();
  bench.want("a");
  bench.line.work();
  bench.sent();
  bench.move();
  bench.line.work();
  assert.deepEqual(bench.sent(), []);
  bench.want("b");
  bench.receive(DONE);
  assert.ok(bench.line.has("a"));
  assert.deepEqual(bench.sent(), ['LISTEN "b";']);
});

Deno.test("line: after a move a channel that nobody wants is given up by the review", () => {
  const bench = new Bench();
  bench.want("a", "b");
  bench.line.work();
  bench.receive(DONE);
  bench.owner.wanted.delete("a");
  bench.move();
  bench.sent();
  bench.line.review();
  bench.line.work();
  assert.deepEqual(bench.sent(), ['UNLISTEN "a";']);
});

Deno.test("line: a mark between its queries confirms none of them", () => {
  const bench = new Bench();
  bench.line.notify("m", "id");
  assert.deepEqual(bench.sent(), [`NOTIFY "m", 'id'`]);
  bench.want("a");
  bench.line.work();
  bench.receive(DONE);
  assert.ok(!bench.line.has("a"));
  bench.receive(DONE);
  assert.ok(bench.line.has("a"));
  assert.deepEqual(bench.owner.told, ["caught up"]);
  bench.line.notify("m", "id");
  bench.receive(DONE);
  assert.deepEqual(bench.owner.told, ["caught up", "caught up"]);
  assert.equal(bench.line.channels, 1);
});

Deno.test("line: an error of its own query, or the end of the connection, loses it", () => {
  const refused = new Bench();
  refused.want("a");
  refused.line.work();
  refused.receive(concat(frontend("E", "SERROR", "C42501", "Mno", [0]), frontend("Z", [0x49])));
  assert.deepEqual(refused.owner.told, ["closed", "lost 08006 42501: no"]);
  const ended = new Bench();
  ended.receive(frontend("E", "SFATAL", "VFATAL", "C57P01", "Mwords", [0]));
  ended.stream.ended = true;
  ended.receive(new Uint8Array(0));
  assert.deepEqual(ended.owner.told, ["closed", "lost 08006 FATAL 57P01: words"]);
});

Deno.test("line: closed by its owner, it tells the owner nothing but that", () => {
  const bench = new Bench();
  bench.line.close(REASONS.listenerIdle);
  assert.deepEqual(bench.owner.told, ["closed"]);
  assert.deepEqual(messagesIn(bench.stream.fetch()).map(({ type }) => type), ["X"]);
});

Deno.test("line: a channel's name stays one whatever is in it", () => {
  assert.equal(quoted('a"; DROP "b'), '"a""; DROP ""b"');
});
