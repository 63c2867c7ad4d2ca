/** What may come and what may not, and what is said of it: each record here is made by the reference peer. */

import assert from "node:assert/strict";
import { EAGAIN, EPROTO } from "../os/errno.ts";
import type { Fd } from "../os/fd.ts";
import { close } from "../os/libc.ts";
import { MOST_IDLE_RECORDS, MOST_RECORDS_OF_KEY } from "./record_layer.ts";
import { SUITES, TLS_1_3 } from "./suites.ts";
import { TlsStream } from "./stream.ts";
import { connectedPair, drain, inject, take } from "./testing/ends.ts";
import {
  ALERT,
  DATA,
  dataOf,
  HANDSHAKE,
  type Opened,
  ReferencePeer,
  stateAndPeer,
} from "./testing/reference_peer.ts";

const AES_256 = 0x1302;
const AES_256_1_2 = 0xc030;
const CHACHA_1_2 = 0xcca8;
const encoder = new TextEncoder();

/** A stream of ours and the reference at the other end. */
class Wire implements Disposable {
  readonly stream: TlsStream;
  readonly peer: ReferencePeer;
  readonly other: Fd;

  constructor(suite = AES_256, role: "server" | "client" = "server") {
    const { state, peer } = stateAndPeer(suite, role);
    const [mine, other] = connectedPair();
    this.stream = new TlsStream(mine, state);
    this.peer = peer;
    this.other = other;
  }

  /** Sends records as they are; what the stream says of them. */
  deliver(...records: Uint8Array[]): Uint8Array | number {
    inject(this.other, Uint8Array.from(records.flatMap((record) => [...record])));
    return take(this.stream);
  }

  say(text: string): void {
    const bytes = encoder.encode(text);
    assert.equal(this.stream.send(bytes, 0, bytes.length), bytes.length);
  }

  /** What the stream has sent. */
  sent(): Opened[] {
    return this.peer.open(drain(this.other));
  }

  [Symbol.dispose](): void {
    this.stream.end();
    close(this.stream.fd);
    close(this.other);
  }
}

const text = (heard: Uint8Array | number) =>
  typeof heard === "number" ? String(heard) : new TextDecoder().decode(heard);

for (const suite of SUITES) {
  Deno.test(`record layer: ${suite.name} as the RFCs have it`, () => {
    for (const role of ["server", "client"] as const) {
      using wire = new Wire(suite.id, role);
      assert.equal(text(wire.deliver(wire.peer.data("hello"))), "hello");
      assert.equal(text(wire.deliver(wire.peer.data("a"), wire.peer.data("bc"))), "abc");
      wire.say("and hello");
      wire.say("again");
      const opened = wire.sent();
      assert.equal(text(dataOf(opened)), "and helloagain");
      assert.equal(wire.peer.unopened, 0);
      // The largest that may come.
      const large = new Uint8Array(16_384).fill(0x61);
      assert.deepEqual(wire.deliver(wire.peer.data(large)), large);
      assert.equal(wire.deliver(wire.peer.alert(1, 0)), 0);
      assert.equal(take(wire.stream), 0);
    }
  });
}

interface Refusal {
  name: string;
  records: (peer: ReferencePeer) => Uint8Array[];
  alert: number;
  suite?: number;
  role?: "client";
}

const bytes = (...values: number[]) => Uint8Array.from(values);
const changed = (record: Uint8Array, at: number): Uint8Array => {
  const copy = record.slice();
  copy.set([copy.at(at)! ^ 1], at < 0 ? record.length + at : at);
  return copy;
};

const REFUSALS: Refusal[] = [
  { name: "a changed tag", records: (p) => [changed(p.data("x"), -1)], alert: 20 },
  { name: "changed ciphertext", records: (p) => [changed(p.data("x"), 6)], alert: 20 },
  { name: "a record twice", records: (p) => twice(p.data("x")), alert: 20 },
  { name: "a record left out", records: (p) => [p.data("x"), p.data("y")].slice(1), alert: 20 },
  {
    name: "records in another order",
    records: (p) => [p.data("x"), p.data("y")].reverse(),
    alert: 20,
  },
  {
    name: "the number before",
    records: (p) => [p.data("x"), p.data("y", { sequence: 0 })],
    alert: 20,
  },
  {
    name: "a tag alone",
    records: () => [bytes(23, 3, 3, 0, 16, ...new Uint8Array(16))],
    alert: 20,
  },
  { name: "no bytes", records: () => [bytes(23, 3, 3, 0, 0)], alert: 20 },
  { name: "a header of TLS 1.0", records: (p) => [p.data("x", { version: 0x0301 })], alert: 70 },
  { name: "plain text", records: () => [encoder.encode("Q\0\0\0\x0dSELECT 1;")], alert: 70 },
  { name: "17 KB", records: () => [bytes(23, 3, 3, 0x41, 1)], alert: 22 },
  { name: "more than 16 KB inside", records: (p) => [p.data(new Uint8Array(16_385))], alert: 22 },
  {
    name: "too much padding",
    records: (p) => [p.data("x", { padding: 16_384 })],
    alert: 22,
  },
  { name: "padding alone", records: (p) => [p.seal(0, bytes(0, 0, 0))], alert: 10 },
  { name: "an unknown type", records: (p) => [p.seal(24, bytes(1))], alert: 10 },
  { name: "an outer type of TLS 1.2", records: (p) => [p.data("x", { outerType: 22 })], alert: 10 },
  { name: "a ChangeCipherSpec", records: () => [bytes(20, 3, 3, 0, 1, 1)], alert: 10 },
  { name: "an inner ChangeCipherSpec", records: (p) => [p.seal(20, bytes(1))], alert: 10 },
  { name: "an unprotected alert", records: () => [bytes(21, 3, 3, 0, 2, 2, 40)], alert: 10 },
  { name: "an empty alert", records: (p) => [p.seal(ALERT, bytes())], alert: 10 },
  { name: "an alert of three bytes", records: (p) => [p.seal(ALERT, bytes(1, 0, 0))], alert: 50 },
  { name: "an empty message", records: (p) => [p.seal(HANDSHAKE, bytes())], alert: 10 },
  {
    name: "a ticket from a client",
    records: (p) => [p.seal(HANDSHAKE, bytes(4, 0, 0, 0))],
    alert: 10,
  },
  { name: "a ClientHello", records: (p) => [p.seal(HANDSHAKE, bytes(1, 0, 0, 0))], alert: 10 },
  { name: "a Finished", records: (p) => [p.seal(HANDSHAKE, bytes(20, 0, 0, 0))], alert: 10 },
  {
    name: "a KeyUpdate of two bytes",
    records: (p) => [p.seal(HANDSHAKE, bytes(24, 0, 0, 2, 0, 0))],
    alert: 50,
  },
  {
    name: "a KeyUpdate that asks for what is unknown",
    records: (p) => [p.seal(HANDSHAKE, bytes(24, 0, 0, 1, 2))],
    alert: 47,
  },
  {
    name: "more after a KeyUpdate in its record",
    records: (p) => [p.seal(HANDSHAKE, bytes(24, 0, 0, 1, 0, 24, 0, 0, 1, 0))],
    alert: 10,
  },
  {
    name: "data within a message of the handshake",
    records: (p) => [p.seal(HANDSHAKE, bytes(24, 0)), p.data("x")],
    alert: 10,
  },
  {
    name: "old keys after a KeyUpdate",
    records: (p) => [p.seal(HANDSHAKE, bytes(24, 0, 0, 1, 0)), p.data("x")],
    alert: 20,
  },
  {
    name: "data within a ticket",
    records: (p) => [p.seal(HANDSHAKE, bytes(4, 0, 1, 0, 7)), p.data("x")],
    role: "client",
    alert: 10,
  },
  {
    name: "a ticket without end",
    records: (p) => [p.seal(HANDSHAKE, bytes(4, 255, 0, 0))],
    role: "client",
    alert: 50,
  },
  {
    name: "a request for a certificate",
    records: (p) => [p.seal(HANDSHAKE, bytes(13, 0, 0, 0))],
    role: "client",
    alert: 10,
  },
  {
    name: "empty records and no end",
    records: (p) => times(MOST_IDLE_RECORDS + 1, () => p.data("")),
    alert: 10,
  },
  {
    name: "KeyUpdates and no end",
    records: (p) => times(MOST_IDLE_RECORDS + 1, () => p.keyUpdate(1)),
    alert: 10,
  },
  {
    name: "tickets and no end",
    records: (p) => times(MOST_IDLE_RECORDS + 1, () => p.seal(HANDSHAKE, bytes(4, 0, 0, 1, 0))),
    role: "client",
    alert: 10,
  },
  // TLS 1.2.
  {
    name: "a changed tag",
    records: (p) => [changed(p.data("x"), -1)],
    alert: 20,
    suite: AES_256_1_2,
  },
  {
    name: "a changed tag",
    records: (p) => [changed(p.data("x"), -1)],
    alert: 20,
    suite: CHACHA_1_2,
  },
  {
    name: "a changed nonce",
    records: (p) => [changed(p.data("x"), 5)],
    alert: 20,
    suite: AES_256_1_2,
  },
  { name: "a record twice", records: (p) => twice(p.data("x")), alert: 20, suite: AES_256_1_2 },
  { name: "a record twice", records: (p) => twice(p.data("x")), alert: 20, suite: CHACHA_1_2 },
  {
    name: "another type",
    records: (p) => [p.data("x", { outerType: 22 })],
    alert: 20,
    suite: CHACHA_1_2,
  },
  { name: "too short", records: () => [bytes(23, 3, 3, 0, 23)], alert: 20, suite: AES_256_1_2 },
  {
    name: "18 KB and more",
    records: () => [bytes(23, 3, 3, 0x48, 1)],
    alert: 22,
    suite: AES_256_1_2,
  },
  {
    name: "more than 16 KB",
    records: (p) => [p.data(new Uint8Array(16_385))],
    alert: 22,
    suite: CHACHA_1_2,
  },
  {
    name: "a ChangeCipherSpec",
    records: (p) => [p.seal(20, bytes(1))],
    alert: 10,
    suite: AES_256_1_2,
  },
  { name: "a KeyUpdate", records: (p) => [p.keyUpdate(1)], alert: 10, suite: AES_256_1_2 },
  {
    name: "a ClientHello",
    records: (p) => [p.seal(HANDSHAKE, bytes(1, 0, 1, 0))],
    alert: 100,
    suite: CHACHA_1_2,
  },
  {
    name: "a ServerHello",
    records: (p) => [p.seal(HANDSHAKE, bytes(2, 0, 1, 0))],
    alert: 10,
    suite: AES_256_1_2,
    role: "client",
  },
  {
    name: "warnings and no end",
    records: (p) => times(MOST_IDLE_RECORDS + 1, () => p.alert(1, 100)),
    alert: 10,
    suite: AES_256_1_2,
  },
];

function twice<T>(one: T): T[] {
  return [one, one];
}

function times<T>(count: number, make: () => T): T[] {
  return Array.from({ length: count }, make);
}

for (const { name, records, alert, suite = AES_256, role = "server" } of REFUSALS) {
  const version = SUITES.find(({ id }) => id === suite)!.version === TLS_1_3 ? "1.3" : "1.2";
  Deno.test(`record layer: TLS ${version} refuses ${name} (${SUITES.find(({ id }) => id === suite)!.cipher})`, () => {
    using wire = new Wire(suite, role);
    const said = wire.deliver(...records(wire.peer));
    // What was in order before it is told first.
    if (typeof said !== "number") assert.ok(["x", "xx"].includes(text(said)), text(said));
    assert.equal(typeof said === "number" ? said : take(wire.stream), -EPROTO);
    assert.equal(take(wire.stream), -EPROTO);
    assert.notEqual(wire.stream.fault, "");
    const sent = wire.sent();
    assert.deepEqual(sent.map(({ type }) => type), [ALERT]);
    assert.deepEqual([...sent[0].content], [alert === 100 ? 1 : 2, alert]);
    // Nothing is sent any more.
    assert.ok(wire.stream.send(bytes(1), 0, 1) < 0);
    assert.equal(wire.sent().length, 0);
  });
}

Deno.test("record layer: what only looks unusual is taken", () => {
  using wire = new Wire();
  const { peer } = wire;
  assert.equal(text(wire.deliver(peer.data("a", { padding: 1000 }), peer.data("\0\0"))), "a\0\0");
  assert.equal(wire.deliver(peer.data("", { padding: 3 }), peer.data("")), -EAGAIN);
  assert.equal(text(wire.deliver(peer.data("b", { padding: 16_383 }))), "b");
  for (let i = 0; i < 3 * MOST_IDLE_RECORDS; i++) {
    assert.equal(text(wire.deliver(peer.data(""), peer.keyUpdate(0), peer.data("c"))), "c");
  }
  // user_canceled says nothing by itself (RFC 8446 §6.1).
  assert.equal(text(wire.deliver(peer.alert(1, 90), peer.data("d"))), "d");
});

Deno.test("record layer: TLS 1.2 passes over warnings, and a server's wish for a new handshake", () => {
  using wire = new Wire(AES_256_1_2, "client");
  const { peer } = wire;
  assert.equal(text(wire.deliver(peer.alert(1, 100), peer.data("a"))), "a");
  assert.equal(text(wire.deliver(peer.seal(HANDSHAKE, bytes(0, 0, 0, 0)), peer.data("b"))), "b");
  assert.equal(wire.sent().length, 0);
});

Deno.test("record layer: an alert of the peer's ends all, and says why", () => {
  for (const suite of [AES_256, AES_256_1_2]) {
    using wire = new Wire(suite, "client");
    assert.equal(text(wire.deliver(wire.peer.data("a"), wire.peer.alert(2, 48))), "a");
    assert.equal(take(wire.stream), -EPROTO);
    assert.match(wire.stream.fault, /unknown_ca/);
    assert.equal(wire.sent().length, 0);
  }
  // In TLS 1.3 the level says nothing.
  using wire = new Wire(AES_256, "client");
  assert.equal(wire.deliver(wire.peer.alert(1, 116)), -EPROTO);
  assert.match(wire.stream.fault, /certificate_required/);
});

Deno.test("record layer: new keys of the peer's, whole and in parts", () => {
  using wire = new Wire();
  const { peer } = wire;
  assert.equal(text(wire.deliver(peer.data("a"), peer.keyUpdate(0), peer.data("b"))), "ab");
  for (const cut of [1, 2, 3, 4]) {
    const message = bytes(24, 0, 0, 1, 0);
    assert.equal(wire.deliver(peer.seal(HANDSHAKE, message.slice(0, cut))), -EAGAIN);
    assert.equal(wire.deliver(peer.seal(HANDSHAKE, message.slice(cut))), -EAGAIN);
    peer.send.update();
    assert.equal(text(wire.deliver(peer.data("c"))), "c");
  }
  // Nothing was asked for, so nothing was answered.
  wire.say("d");
  assert.deepEqual(wire.sent().map(({ type }) => type), [DATA]);
});

Deno.test("record layer: new keys of ours where the peer asks for them, once and before data", () => {
  using wire = new Wire();
  const { peer } = wire;
  assert.equal(wire.deliver(peer.keyUpdate(1), peer.keyUpdate(1), peer.keyUpdate(0)), -EAGAIN);
  assert.equal(wire.sent().length, 0);
  wire.say("a");
  wire.say("b");
  const sent = wire.sent();
  assert.deepEqual(sent.map(({ type }) => type), [HANDSHAKE, DATA, DATA]);
  assert.deepEqual([...sent[0].content], [24, 0, 0, 1, 0]);
  assert.equal(text(dataOf(sent)), "ab");
});

Deno.test("record layer: keys are changed before they were used too often", () => {
  for (const suite of SUITES.filter(({ version }) => version === TLS_1_3)) {
    const { state, peer } = stateAndPeer(suite.id);
    const [mine, other] = connectedPair();
    state.send.sequence = MOST_RECORDS_OF_KEY - 2;
    peer.receive.sequence = MOST_RECORDS_OF_KEY - 2;
    const stream = new TlsStream(mine, state);
    for (const letter of "abcd") stream.send(encoder.encode(letter), 0, 1);
    const sent = peer.open(drain(other));
    assert.deepEqual(sent.map(({ type }) => type), [DATA, DATA, HANDSHAKE, DATA, DATA]);
    assert.deepEqual([...sent[2].content], [24, 0, 0, 1, 0]);
    assert.equal(text(dataOf(sent)), "abcd");
    assert.equal(stream.freeze().send.sequence, 2);
    stream.end();
    close(mine);
    close(other);
  }
});

Deno.test("record layer: the peer is asked for new keys when it has used its own too often", () => {
  const { state, peer } = stateAndPeer(AES_256, "client");
  const [mine, other] = connectedPair();
  state.receive.sequence = MOST_RECORDS_OF_KEY - 1;
  peer.send.sequence = MOST_RECORDS_OF_KEY - 1;
  const stream = new TlsStream(mine, state);
  const exchange = (letter: string) => {
    inject(other, peer.data(letter));
    assert.equal(text(take(stream)), letter);
    stream.send(encoder.encode(letter), 0, 1);
    return peer.open(drain(other)).map(({ type, content }) =>
      type === HANDSHAKE ? [...content] : type
    );
  };
  assert.deepEqual(exchange("a"), [[24, 0, 0, 1, 1], DATA]);
  // Once is enough, as long as it has not answered.
  assert.deepEqual(exchange("b"), [DATA]);
  inject(other, peer.keyUpdate(0));
  assert.equal(take(stream), -EAGAIN);
  assert.deepEqual(exchange("c"), [DATA]);
  assert.ok(!stream.freeze().askedUpdate);
  stream.end();
  close(mine);
  close(other);
});

Deno.test("record layer: tickets are passed over, in whatever parts they come", () => {
  using wire = new Wire(AES_256, "client");
  const { peer } = wire;
  const ticket = bytes(4, 0, 1, 44, ...new Uint8Array(300));
  assert.equal(
    text(wire.deliver(peer.seal(HANDSHAKE, bytes(...ticket, ...ticket)), peer.data("a"))),
    "a",
  );
  for (const cut of [1, 3, 4, 5, 200, 303]) {
    const second = bytes(...ticket.slice(cut), ...ticket);
    const records = [ticket.slice(0, cut), second].map((part) => peer.seal(HANDSHAKE, part));
    assert.equal(text(wire.deliver(...records, peer.data("b"))), "b");
  }
  // With new keys behind the second.
  const messages = bytes(...ticket, 24, 0, 0, 1, 1);
  assert.equal(wire.deliver(peer.seal(HANDSHAKE, messages)), -EAGAIN);
  peer.send.update();
  assert.equal(text(wire.deliver(peer.data("c"))), "c");
  wire.say("d");
  assert.deepEqual(wire.sent().map(({ type }) => type), [HANDSHAKE, DATA]);
});

Deno.test("record layer: no nonce comes twice, whatever OpenSSL's first one was", () => {
  for (const id of [AES_256_1_2, CHACHA_1_2]) {
    using wire = new Wire(id);
    const explicit = new Set<string>();
    for (let i = 0; i < 300; i++) {
      wire.say("x");
      const record = drain(wire.other);
      if (id === AES_256_1_2) explicit.add(record.slice(5, 13).toHex());
      assert.equal(text(dataOf(wire.peer.open(record))), "x");
    }
    if (id === AES_256_1_2) assert.equal(explicit.size, 300);
  }
});

Deno.test("record layer: numbers of more than 32 bits", () => {
  for (const suite of SUITES) {
    const { state, peer } = stateAndPeer(suite.id);
    const [mine, other] = connectedPair();
    const number = 3 * 2 ** 32 + 0x89abcdef;
    state.receive.sequence = number;
    peer.send.sequence = number;
    // TLS 1.3 has new keys long before.
    if (suite.version !== TLS_1_3) {
      state.send.sequence = number;
      peer.receive.sequence = number;
    }
    const stream = new TlsStream(mine, state);
    inject(other, Uint8Array.of(...peer.data("a"), ...peer.data("b")));
    assert.equal(text(take(stream)), "ab");
    stream.send(encoder.encode("c"), 0, 1);
    stream.send(encoder.encode("d"), 0, 1);
    assert.equal(text(dataOf(peer.open(drain(other)))), "cd");
    stream.end();
    close(mine);
    close(other);
  }
});
