import assert from "node:assert/strict";
import fc from "fast-check";
import { EAGAIN, EPIPE } from "../os/errno.ts";
import { MOST_REUSED_BYTES, Outbox } from "./outbox.ts";
import type { ByteStream } from "./stream.ts";

/** Takes as many bytes of each send as `appetite` says; −1: none now, −2: broken. */
class Peer implements Pick<ByteStream, "send" | "flush" | "unsent"> {
  /** What the stream holds back of what it has taken: as many bytes as `holds` says of each send, until it is flushed. */
  unsent = 0;
  holds: number[] = [];
  flushes = true;
  readonly taken: number[] = [];
  appetite: number[] = [];

  send(bytes: Uint8Array, start: number, end: number): number {
    const most = this.appetite.shift() ?? Infinity;
    if (most === -2) return -EPIPE;
    if (most <= 0) return -EAGAIN;
    const piece = bytes.subarray(start, Math.min(end, start + most));
    this.taken.push(...piece);
    this.unsent = this.holds.shift() ?? 0;
    return piece.length;
  }

  flush(): number {
    if (this.flushes) this.unsent = 0;
    return 0;
  }
}

Deno.test("outbox: all bytes, once and in order, however the peer takes them", () => {
  const step = fc.oneof(
    fc.record({ add: fc.uint8Array({ maxLength: 3000 }), from: fc.nat({ max: 5 }) }),
    fc.record({ takes: fc.array(fc.integer({ min: -1, max: 2000 }), { maxLength: 4 }) }),
  );
  fc.assert(fc.property(fc.array(step), (steps) => {
    const outbox = new Outbox();
    const peer = new Peer();
    const wanted: number[] = [];
    let asked = true;
    for (const taken of steps) {
      if ("add" in taken) {
        const start = Math.min(taken.from, taken.add.length);
        outbox.append(taken.add, start, taken.add.length);
        wanted.push(...taken.add.subarray(start));
        if (start === taken.add.length) asked = false;
        // The outbox holds a copy: the read buffer is used again at once.
        taken.add.fill(0);
      } else {
        peer.appetite = [...taken.takes, -1];
        assert.equal(outbox.flush(peer), 0);
        asked = true;
      }
      // An empty range says that the stream holds something back, until it is asked.
      assert.equal(outbox.length, wanted.length - peer.taken.length + (asked ? 0 : 1));
      const unsent = outbox.freeze();
      assert.deepEqual([...unsent ?? []], wanted.slice(peer.taken.length));
    }
    peer.appetite = [];
    assert.equal(outbox.flush(peer), 0);
    assert.equal(outbox.length, 0);
    assert.deepEqual(peer.taken, wanted);
  }));
});

Deno.test("outbox: a broken peer is told, a full one is not an error", () => {
  const outbox = new Outbox();
  const peer = new Peer();
  outbox.append(Uint8Array.of(1, 2, 3), 0, 3);
  peer.appetite = [1, -1];
  assert.equal(outbox.flush(peer), 0);
  assert.equal(outbox.length, 2);
  peer.appetite = [-2];
  assert.equal(outbox.flush(peer), -EPIPE);
});

Deno.test("outbox: stands as long as the stream holds something back, and sends nothing past it", () => {
  const outbox = new Outbox();
  const peer = new Peer();
  peer.unsent = 7;
  peer.flushes = false;
  outbox.append(Uint8Array.of(), 0, 0);
  assert.ok(outbox.length > 0);
  assert.equal(outbox.flush(peer), 0);
  assert.equal(outbox.length, 7);
  assert.equal(outbox.freeze(), undefined);
  outbox.append(Uint8Array.of(1, 2), 0, 2);
  assert.equal(outbox.flush(peer), 0);
  assert.deepEqual(peer.taken, []);
  assert.equal(outbox.length, 9);
  assert.deepEqual(outbox.freeze(), Uint8Array.of(1, 2));
  // It takes the rest, and holds some of that back.
  peer.flushes = true;
  peer.holds = [5];
  assert.equal(outbox.flush(peer), 0);
  assert.deepEqual(peer.taken, [1, 2]);
  assert.equal(outbox.length, 5);
  assert.equal(outbox.flush(peer), 0);
  assert.equal(outbox.length, 0);
});

Deno.test("outbox: a long range stays where it is, in its place among the others, and goes in pieces", () => {
  const outbox = new Outbox();
  const long = new Uint8Array(3 * MOST_REUSED_BYTES).map((_, i) => i % 251);
  outbox.append(Uint8Array.of(1, 2), 0, 2);
  outbox.append(long, 1, long.length);
  outbox.append(Uint8Array.of(3), 0, 1);
  const wanted = [1, 2, ...long.subarray(1), 3];
  assert.deepEqual(Uint8Array.from(outbox.freeze()!), Uint8Array.from(wanted));
  const taken: Uint8Array[] = [];
  const peer: Pick<ByteStream, "send" | "flush" | "unsent"> = {
    unsent: 0,
    flush: () => 0,
    send: (bytes, start, end) => {
      taken.push(bytes.subarray(start, end));
      return end - start;
    },
  };
  let flushes = 0;
  for (; outbox.length > 0; flushes++) assert.equal(outbox.flush(peer), 0);
  assert.ok(flushes > 2, "others have their turn");
  assert.ok(taken.some(({ buffer }) => buffer === long.buffer), "it is not copied");
  assert.deepEqual(Uint8Array.from(taken.flatMap((piece) => [...piece])), Uint8Array.from(wanted));
  outbox.append(long, 0, long.length);
  assert.equal(outbox.freeze()!.buffer, long.buffer);
});
