/** TLS streams over sockets that cut, hold back and refuse; and streams that are frozen and thawed between any two steps. */

import assert from "node:assert/strict";
import fc from "fast-check";
import { decode, encode } from "../handover/codec.ts";
import { EAGAIN, EPIPE, EPROTO } from "../os/errno.ts";
import type { Fd } from "../os/fd.ts";
import { SHUT_WR, SO_SNDBUF, SOL_SOCKET } from "../os/layout.ts";
import { close, recv, setSocketOption, shutdown } from "../os/libc.ts";
import { putOff, type Sender, settle } from "../reactor/posts.ts";
import { Outbox } from "../reactor/outbox.ts";
import { READ_BYTES, readBuffer, writeBuffer } from "../reactor/stream.ts";
import { Authority } from "../../tests/support/certificates.ts";
import { infoOf, isTlsState, type TlsState } from "./state.ts";
import { SUITES } from "./suites.ts";
import { TlsStream } from "./stream.ts";
import { asking, connectedPair, drain, Ends, inject, serving, take } from "./testing/ends.ts";
import {
  ALERT,
  DATA,
  dataOf,
  HANDSHAKE,
  type Opened,
  ReferencePeer,
  stateAndPeer,
} from "./testing/reference_peer.ts";

const folder = Deno.makeTempDirSync({ prefix: "pg_doorman-tls-" });
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));
const authority = Authority.create(folder);
const certificate = authority.issue({ name: "localhost" });
const encoder = new TextEncoder();
const AES_256 = 0x1302;
const AES_256_1_2 = 0xc030;
const ON = true;
const OFF = false;
const ringAvailable = putOff(ON) >= 0;
putOff(OFF);

/** As it comes to a successor: through the codec of the upgrade socket. */
function carried(state: TlsState): TlsState {
  const arrived = decode(encode(state));
  assert.ok(isTlsState(arrived));
  return arrived;
}

/** A stream of ours and the reference at the other end; it can move. */
class Wire implements Disposable, Sender {
  stream: TlsStream;
  readonly peer: ReferencePeer;
  readonly fd: Fd;
  readonly other: Fd;
  /** Empty ranges that the stream has told of. */
  told = 0;

  constructor(suite = AES_256, role: "server" | "client" = "server", mostPlaintext?: number) {
    const { state, peer } = stateAndPeer(suite, role, mostPlaintext);
    [this.fd, this.other] = connectedPair();
    this.stream = new TlsStream(this.fd, state);
    this.peer = peer;
  }

  move(): void {
    const state = carried(this.stream.freeze());
    this.stream.end();
    this.stream = new TlsStream(this.fd, state);
  }

  notTaken(_bytes: Uint8Array, start: number, end: number): void {
    assert.equal(start, end, "plaintext counts as taken when it is sealed");
    this.told++;
  }

  sent(): Opened[] {
    return this.peer.open(drain(this.other));
  }

  [Symbol.dispose](): void {
    this.stream.end();
    close(this.fd);
    close(this.other);
  }
}

Deno.test("tls stream: what one end sends the other receives", () => {
  using ends = new Ends(serving(certificate), asking());
  assert.deepEqual(ends.server.info, { protocol: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384" });
  assert.equal(take(ends.server), -EAGAIN);
  const hello = encoder.encode("hello");
  assert.equal(ends.client.send(hello, 0, 5), 5);
  assert.deepEqual(take(ends.server), hello);
  assert.equal(ends.server.send(hello, 1, 3), 2);
  assert.deepEqual(take(ends.client, 7), hello.slice(1, 3));
  ends.client.sayEnd();
  assert.equal(take(ends.server), 0);
});

// ── cuts ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** What a peer may send: data of some size, padded or not, and what is not data. */
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ data: fc.nat({ max: 300 }), padding: fc.nat({ max: 40 }) }) },
  { weight: 1, arbitrary: fc.record({ data: fc.nat({ max: 16_384 }), padding: fc.constant(0) }) },
  { weight: 1, arbitrary: fc.constant("new keys" as const) },
  { weight: 1, arbitrary: fc.constant("new keys, and ours" as const) },
  { weight: 1, arbitrary: fc.constant("ticket" as const) },
  { weight: 1, arbitrary: fc.constant("half a key update, then the rest" as const) },
);

type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** The records of some steps, and the data in them. */
function recordsOf(
  peer: ReferencePeer,
  steps: readonly Step[],
): { bytes: Uint8Array<ArrayBuffer>; data: Uint8Array } {
  const bytes: number[] = [];
  const data: number[] = [];
  const is13 = peer.suite.version === 0x0304;
  for (const [i, one] of steps.entries()) {
    if (typeof one === "object") {
      const content = Uint8Array.from({ length: one.data }, (_, at) => at + i & 255);
      data.push(...content);
      bytes.push(...peer.data(content, { padding: one.padding }));
    } else if (!is13) bytes.push(...peer.alert(1, 90));
    else if (one === "ticket") {
      bytes.push(...peer.seal(HANDSHAKE, Uint8Array.of(4, 0, 0, 100, ...new Uint8Array(100))));
    } else if (one === "half a key update, then the rest") {
      bytes.push(...peer.seal(HANDSHAKE, Uint8Array.of(24, 0)));
      bytes.push(...peer.seal(HANDSHAKE, Uint8Array.of(0, 1, 0)));
      peer.send.update();
    } else bytes.push(...peer.keyUpdate(one === "new keys" ? 0 : 1));
  }
  return { bytes: Uint8Array.from(bytes), data: Uint8Array.from(data) };
}

Deno.test("tls stream: the same data wherever the records are cut, byte by byte and frozen at each", () => {
  const steps: Step[] = [
    { data: 5, padding: 0 },
    { data: 0, padding: 2 },
    "new keys, and ours",
    { data: 17, padding: 9 },
    "ticket",
    "half a key update, then the rest",
    { data: 3, padding: 0 },
  ];
  for (const suite of SUITES) {
    using wire = new Wire(suite.id, "client");
    const { bytes, data } = recordsOf(wire.peer, steps);
    const heard: number[] = [];
    for (const byte of bytes) {
      inject(wire.other, Uint8Array.of(byte));
      wire.move();
      const said = take(wire.stream);
      if (typeof said !== "number") heard.push(...said);
      else assert.equal(said, -EAGAIN);
      wire.move();
    }
    assert.deepEqual(Uint8Array.from(heard), data);
    const letter = encoder.encode("a");
    assert.equal(wire.stream.send(letter, 0, 1), 1);
    assert.deepEqual(dataOf(wire.sent()), letter);
  }
});

Deno.test("tls stream: the same data at random cuts and offsets, frozen now and then", () => {
  const suites = fc.constantFrom(...SUITES.map(({ id }) => id));
  const cuts = fc.array(
    fc.record({
      length: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 70_000 })),
      move: fc.boolean(),
      offset: fc.oneof(fc.constant(0), fc.nat({ max: READ_BYTES - 1 })),
    }),
    { minLength: 1, maxLength: 30 },
  );
  fc.assert(
    fc.property(suites, fc.array(step, { maxLength: 12 }), cuts, (suite, steps, pieces) => {
      using wire = new Wire(suite, "client");
      const { bytes, data } = recordsOf(wire.peer, steps);
      const heard: number[] = [];
      const hear = (offset: number) => {
        for (;;) {
          // What is before the offset is the owner's.
          readBuffer.fill(0xee, 0, offset);
          const said = take(wire.stream, offset);
          assert.ok(readBuffer.subarray(0, offset).every((byte) => byte === 0xee));
          if (typeof said === "number") return assert.equal(said, -EAGAIN);
          heard.push(...said);
        }
      };
      let at = 0;
      for (let i = 0; at < bytes.length; i++) {
        const { length, move, offset } = pieces[i % pieces.length];
        const end = Math.min(bytes.length, at + length);
        inject(wire.other, bytes.slice(at, end));
        at = end;
        if (move) wire.move();
        hear(offset);
      }
      assert.deepEqual(Uint8Array.from(heard), data);
    }),
    { numRuns: 30 },
  );
});

Deno.test("tls stream: no whole record is left unopened when receive returns", () => {
  using wire = new Wire();
  const { peer } = wire;
  // More than one read, in records that end anywhere.
  const pieces = Array.from(
    { length: 12 },
    (_, i) => new Uint8Array(9000 + 1000 * (i % 7)).fill(i),
  );
  const bytes = Uint8Array.from(pieces.flatMap((piece) => [...peer.data(piece)]));
  let heard = 0;
  for (let at = 0; at < bytes.length; at += READ_BYTES) {
    inject(wire.other, bytes.slice(at, at + READ_BYTES));
    for (;;) {
      const said = take(wire.stream);
      if (typeof said === "number") break;
      heard += said.length;
    }
    const { undecoded } = wire.stream.freeze();
    if (undecoded !== undefined && undecoded.length >= 5) {
      assert.ok(undecoded.length < 5 + (undecoded[3] << 8 | undecoded[4]));
    }
  }
  assert.equal(heard, pieces.reduce((sum, piece) => sum + piece.length, 0));
});

Deno.test("tls stream: records that came with the end of a handshake are opened without a read", () => {
  const { state, peer } = stateAndPeer(AES_256);
  state.undecoded = Uint8Array.of(
    ...peer.data("a"),
    ...peer.data("b"),
    ...peer.data("c").slice(0, 9),
  );
  const [fd, other] = connectedPair();
  const stream = new TlsStream(fd, state);
  assert.deepEqual(take(stream), encoder.encode("ab"));
  assert.equal(stream.freeze().undecoded?.length, 9);
  stream.end();
  close(fd);
  close(other);
});

Deno.test("tls stream: no more is given than is asked for, and the rest needs no socket", () => {
  const asked = fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 6 });
  const records = fc.array(fc.integer({ min: 1, max: 16_384 }), { minLength: 1, maxLength: 3 });
  fc.assert(
    fc.property(records, asked, fc.nat({ max: 500 }), (lengths, mosts, offset) => {
      using wire = new Wire();
      const wanted: number[] = [];
      for (const [i, length] of lengths.entries()) {
        const bytes = new Uint8Array(length).map((_, k) => k * 7 + i);
        wanted.push(...bytes);
        inject(wire.other, wire.peer.data(bytes));
      }
      const heard: number[] = [];
      for (let i = 0; heard.length < wanted.length; i++) {
        const most = mosts[i % mosts.length]!;
        const before = wire.stream.waiting;
        const n = wire.stream.receive(offset, most);
        assert.ok(n > 0 && n <= most, `${n} of ${most}`);
        if (before > 0) assert.equal(wire.stream.waiting, before - n);
        heard.push(...readBuffer.subarray(offset, offset + n));
        assert.equal(wire.stream.copyWaiting()?.length ?? 0, wire.stream.waiting);
        const waiting = wire.stream.copyWaiting() ?? new Uint8Array(0);
        const next = wanted.slice(heard.length, heard.length + waiting.length);
        assert.deepEqual([...waiting], next, "it may travel");
      }
      assert.deepEqual(heard, wanted);
      assert.equal(wire.stream.receive(0), -EAGAIN);
    }),
    { numRuns: 30 },
  );
});

Deno.test("tls stream: what waits comes before the end, and before a fault", () => {
  for (const broken of [false, true]) {
    using wire = new Wire();
    inject(wire.other, wire.peer.data(encoder.encode("abcdef")));
    inject(wire.other, broken ? new Uint8Array(8).fill(99) : wire.peer.alert(1, 0));
    const heard: string[] = [];
    for (let i = 0; i < 3; i++) {
      assert.equal(wire.stream.receive(0, 2), 2);
      heard.push(String.fromCharCode(...readBuffer.subarray(0, 2)));
    }
    assert.deepEqual(heard, ["ab", "cd", "ef"]);
    assert.equal(wire.stream.receive(0, 2), broken ? -EPROTO : 0);
  }
});

// ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────────────

Deno.test("tls stream: all that is sent arrives, from whichever buffer and however little is taken", () => {
  const suites = fc.constantFrom(...SUITES.map(({ id }) => id));
  const sends = fc.array(
    fc.record({
      length: fc.oneof(
        fc.nat({ max: 300 }),
        fc.nat({ max: 20_000 }),
        fc.integer({ min: 60_000, max: 120_000 }),
      ),
      at: fc.nat({ max: 200 }),
      from: fc.constantFrom("own", "read", "write"),
      drains: fc.boolean(),
      move: fc.boolean(),
    }),
    { maxLength: 10 },
  );
  fc.assert(
    fc.property(suites, sends, fc.constantFrom(512, 8192, 16_384), (suite, steps, most) => {
      using wire = new Wire(suite, "server", most);
      setSocketOption(wire.fd, SOL_SOCKET, SO_SNDBUF, 4608);
      const outbox = new Outbox();
      const wanted: number[] = [];
      const heard: number[] = [];
      const hear = () => {
        for (const { type, content } of wire.sent()) {
          assert.equal(type, DATA);
          assert.ok(content.length > 0 && content.length <= most);
          heard.push(...content);
        }
      };
      for (const [i, { length, at, from, drains, move }] of steps.entries()) {
        const source = from === "own"
          ? new Uint8Array(at + length + (i & 1))
          : from === "read"
          ? readBuffer
          : writeBuffer;
        const end = Math.min(source.length, at + length);
        const behind = source[end];
        for (let k = at; k < end; k++) source[k] = k * 7 + i;
        wanted.push(...source.subarray(at, end));
        if (outbox.length > 0) outbox.append(source, at, end);
        else {
          const sent = wire.stream.post(source, at, end, wire);
          assert.ok(sent >= 0);
          if (at + sent < end) outbox.append(source, at + sent, end);
          // It may have been told already, as an owner would be.
          if (wire.stream.unsent > 0) outbox.append(source, end, end);
        }
        assert.equal(source[end], behind);
        // The source is used again at once.
        source.fill(0xcc, at, end);
        if (move) wire.move();
        if (!drains) continue;
        hear();
        assert.equal(outbox.flush(wire.stream), 0);
      }
      for (let i = 0; outbox.length > 0; i++) {
        assert.ok(i < 10_000);
        hear();
        assert.equal(outbox.flush(wire.stream), 0);
      }
      hear();
      assert.equal(wire.stream.unsent, 0);
      assert.deepEqual(heard, wanted);
    }),
    { numRuns: 20 },
  );
});

Deno.test("tls stream: nothing is sealed while something is unsent, and that is one batch at most", () => {
  using wire = new Wire();
  setSocketOption(wire.fd, SOL_SOCKET, SO_SNDBUF, 4608);
  const bytes = new Uint8Array(300_000).fill(0x61);
  let taken = 0;
  for (let i = 0; i < 50 && wire.stream.unsent === 0; i++) {
    taken += wire.stream.send(bytes, 0, bytes.length);
  }
  const { unsent } = wire.stream;
  assert.ok(unsent > 0 && unsent <= READ_BYTES + READ_BYTES / 8);
  assert.equal(wire.stream.send(bytes, 0, 1), -EAGAIN);
  assert.equal(wire.stream.post(bytes, 0, 1, wire), -EAGAIN);
  assert.equal(wire.stream.flush(), 0);
  let heard = 0;
  while (wire.stream.unsent > 0) {
    heard += dataOf(wire.sent()).length;
    assert.equal(wire.stream.flush(), 0);
  }
  heard += dataOf(wire.sent()).length;
  assert.equal(heard, taken);
});

Deno.test({
  name: "tls stream: posts are sealed when they are made, and what the kernel refuses is told of",
  ignore: !ringAvailable,
  fn: () => {
    putOff(ON);
    try {
      using wire = new Wire();
      const post = (text: string) => {
        const bytes = encoder.encode(text);
        const taken = wire.stream.post(bytes, 0, bytes.length, wire);
        bytes.fill(0);
        return taken;
      };
      assert.equal(post("a"), 1);
      assert.equal(wire.sent().length, 0);
      settle();
      assert.deepEqual(dataOf(wire.sent()), encoder.encode("a"));
      // A second one in the same turn, and a move with one under way.
      post("b");
      post("c");
      assert.ok(wire.stream.settle());
      wire.move();
      assert.deepEqual(dataOf(wire.sent()), encoder.encode("bc"));
      setSocketOption(wire.fd, SOL_SOCKET, SO_SNDBUF, 4608);
      let posted = 0;
      while (wire.told === 0) {
        const taken = post("x".repeat(2000));
        if (taken > 0) posted += taken;
        settle();
      }
      assert.ok(wire.stream.unsent > 0);
      assert.equal(post("y"), -EAGAIN);
      wire.move();
      let heard = 0;
      for (let i = 0; i < 100 && heard < posted; i++) {
        heard += dataOf(wire.sent()).length;
        assert.equal(wire.stream.flush(), 0);
      }
      assert.equal(heard, posted);
    } finally {
      putOff(OFF);
    }
  },
});

// ── ends ────────────────────────────────────────────────────────────────────────────────────────────────────────────

Deno.test("tls stream: the end is told after the data before it, to whoever waits for the socket", () => {
  using wire = new Wire();
  const { peer } = wire;
  inject(wire.other, Uint8Array.of(...peer.data("a"), ...peer.alert(1, 0), ...peer.data("b")));
  assert.deepEqual(take(wire.stream), encoder.encode("a"));
  // Without a further byte of the peer's, the kernel says that there is something to be read: the end.
  assert.equal(recv(wire.fd, new Uint8Array(1), 1), 0);
  wire.move();
  assert.equal(take(wire.stream), 0);
  // The other direction goes on (RFC 8446 §6.1).
  assert.equal(wire.stream.send(encoder.encode("c"), 0, 1), 1);
  assert.deepEqual(dataOf(wire.sent()), encoder.encode("c"));
});

Deno.test("tls stream: an end without close_notify is an end, in the middle of a record too", () => {
  for (const piece of [0, 3, 9]) {
    using wire = new Wire();
    inject(wire.other, wire.peer.data("a"));
    if (piece > 0) inject(wire.other, wire.peer.data("b").slice(0, piece));
    shutdown(wire.other, SHUT_WR);
    assert.deepEqual(take(wire.stream), encoder.encode("a"));
    assert.equal(take(wire.stream), 0);
  }
});

Deno.test("tls stream: says its end once, behind what is unsent, and sends nothing more", () => {
  for (const suite of [AES_256, AES_256_1_2]) {
    using wire = new Wire(suite);
    setSocketOption(wire.fd, SOL_SOCKET, SO_SNDBUF, 4608);
    const bytes = new Uint8Array(READ_BYTES).fill(0x61);
    while (wire.stream.unsent === 0) wire.stream.send(bytes, 0, bytes.length);
    wire.stream.sayEnd();
    wire.stream.sayEnd();
    assert.equal(wire.stream.send(bytes, 0, 1), -EPIPE);
    wire.move();
    const sent: Opened[] = [];
    while (wire.stream.unsent > 0) {
      sent.push(...wire.sent());
      assert.equal(wire.stream.flush(), 0);
    }
    sent.push(...wire.sent());
    assert.deepEqual(sent.filter(({ type }) => type !== DATA), [
      { type: ALERT, content: Uint8Array.of(1, 0) },
    ]);
    assert.equal(sent.at(-1)!.type, ALERT);
    // It reads on.
    inject(wire.other, wire.peer.data("b"));
    assert.deepEqual(take(wire.stream), encoder.encode("b"));
  }
});

Deno.test("tls stream: a fault that came behind data is told after it, though it moved between", () => {
  using wire = new Wire();
  inject(wire.other, Uint8Array.of(...wire.peer.data("a"), 23, 3, 3, 0, 17, ...new Uint8Array(17)));
  assert.deepEqual(take(wire.stream), encoder.encode("a"));
  assert.equal(recv(wire.fd, new Uint8Array(1), 1), 0);
  wire.move();
  assert.equal(take(wire.stream), -EPROTO);
  assert.match(wire.stream.fault, /bad_record_mac/);
  assert.deepEqual(wire.sent().map(({ content }) => [...content]), [[2, 20]]);
});

Deno.test("tls stream: secrets are overwritten in the end, and not those of a frozen copy", () => {
  const { state } = stateAndPeer(AES_256);
  const [fd, other] = connectedPair();
  const stream = new TlsStream(fd, state);
  const copy = stream.freeze();
  const before = state.send.secret;
  stream.end();
  stream.end();
  for (const secret of [before, state.receive.secret]) {
    assert.ok(secret.every((byte) => byte === 0));
  }
  for (const { secret } of [copy.receive, copy.send]) assert.ok(secret.some((byte) => byte !== 0));
  assert.equal(take(stream), 0);
  assert.equal(stream.send(new Uint8Array(1), 0, 1), -EPIPE);
  assert.equal(stream.flush(), 0);
  close(fd);
  close(other);
});

Deno.test("tls stream: replaced secrets are overwritten at new keys", () => {
  using wire = new Wire();
  const state = wire.stream.freeze();
  wire.stream.end();
  const { receive } = state;
  wire.stream = new TlsStream(wire.fd, state);
  const old = receive.secret;
  inject(wire.other, wire.peer.keyUpdate(0));
  take(wire.stream);
  assert.ok(old.every((byte) => byte === 0));
  assert.notEqual(receive.secret, old);
});

// ── hostile peers ───────────────────────────────────────────────────────────────────────────────────────────────────

Deno.test("tls stream: of changed records nothing is heard that was not sent, and the peer is told", () => {
  const change = fc.oneof(
    fc.record({ flip: fc.nat(), bit: fc.nat({ max: 7 }) }),
    fc.record({ cut: fc.nat(), count: fc.integer({ min: 1, max: 40 }) }),
    fc.record({ insert: fc.nat(), bytes: fc.uint8Array({ minLength: 1, maxLength: 40 }) }),
    fc.record({ repeat: fc.nat(), count: fc.integer({ min: 1, max: 400 }) }),
  );
  const suites = fc.constantFrom(...SUITES.map(({ id }) => id));
  const pieces = fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(
      suites,
      fc.array(step, { minLength: 1, maxLength: 6 }),
      fc.array(change, { minLength: 1, maxLength: 3 }),
      pieces,
      (suite, steps, changes, cuts) => {
        using wire = new Wire(suite, "client");
        const { bytes, data } = recordsOf(wire.peer, steps);
        let broken = [...bytes];
        for (const one of changes) broken = mutated(broken, one);
        const heard: number[] = [];
        let end = 0;
        for (let at = 0, i = 0; at < broken.length && end === 0; i++) {
          const piece = broken.slice(at, at + cuts[i % cuts.length]);
          at += piece.length;
          inject(wire.other, Uint8Array.from(piece));
          for (;;) {
            const said = take(wire.stream);
            if (typeof said === "number") {
              if (said !== -EAGAIN) end = said;
              break;
            }
            heard.push(...said);
          }
          const { undecoded } = wire.stream.freeze();
          assert.ok((undecoded?.length ?? 0) < 5 + 2 ** 14 + 2048);
        }
        assert.deepEqual(heard, [...data.subarray(0, heard.length)]);
        if (end === 0) return;
        assert.equal(end, -EPROTO);
        const sent = wire.sent();
        assert.equal(sent.length, 1);
        assert.equal(sent[0].type, ALERT);
        assert.deepEqual([...sent[0].content].slice(0, 1), [2]);
      },
    ),
    { numRuns: 150 },
  );
});

type Change =
  | { flip: number; bit: number }
  | { cut: number; count: number }
  | { insert: number; bytes: Uint8Array }
  | { repeat: number; count: number };

function mutated(bytes: number[], change: Change): number[] {
  const place = (wish: number) => bytes.length === 0 ? 0 : wish % bytes.length;
  if ("flip" in change) {
    return bytes.with(place(change.flip), bytes[place(change.flip)] ^ 1 << change.bit);
  }
  if ("cut" in change) return bytes.toSpliced(place(change.cut), change.count);
  if ("insert" in change) return bytes.toSpliced(place(change.insert), 0, ...change.bytes);
  const at = place(change.repeat);
  return bytes.toSpliced(at, 0, ...bytes.slice(at, at + change.count));
}

Deno.test("tls stream: a state of another process is looked at before it is used", () => {
  const { state } = stateAndPeer(AES_256);
  const good = JSON.stringify(infoOf(carried(state)));
  assert.match(good, /TLS_AES_256_GCM_SHA384/);
  const bad: unknown[] = [
    undefined,
    null,
    7,
    {},
    { ...state, suite: 0xc013 },
    { ...state, suite: 0x1301 },
    { ...state, version: 0x0303 },
    { ...state, role: "peer" },
    { ...state, send: undefined },
    { ...state, send: { secret: new Uint8Array(3), sequence: 0 } },
    { ...state, receive: { ...state.receive, sequence: -1 } },
    { ...state, receive: { ...state.receive, sequence: 0.5 } },
    { ...state, mostPlaintext: 0 },
    { ...state, mostPlaintext: 65_536 },
    { ...state, undecoded: "text" },
    { ...state, undecoded: new Uint8Array(200_000) },
    { ...state, owesUpdate: 1 },
    { ...state, fault: undefined },
  ];
  for (const one of bad) {
    assert.ok(!isTlsState(one));
    assert.throws(() => new TlsStream(0 as Fd, one as TlsState), /can't go on/);
  }
});
