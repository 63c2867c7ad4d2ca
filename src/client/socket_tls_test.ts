import assert from "node:assert/strict";
import { CERTIFICATE, KEY } from "../../tests/support/pem.ts";
import { EPOLLOUT } from "../os/layout.ts";
import { close } from "../os/libc.ts";
import { concat } from "../protocol/testing/wire.ts";
import { PlainStream } from "../reactor/stream.ts";
import { FakeReactor } from "../testing/fake_reactor.ts";
import { AskingContext, ServingContext } from "../tls/context.ts";
import { TlsStream } from "../tls/stream.ts";
import { connectedPair, drain, inject, shakeHands, take } from "../tls/testing/ends.ts";
import type { ClientContext } from "./context.ts";
import { ClientSocket } from "./socket.ts";
import { newSessionState, Stage } from "./state.ts";

const text = (pem: string) => ({ name: "a file", text: new TextEncoder().encode(pem) });

class Socket extends ClientSocket {
  readonly taken: number[] = [];
  ends: string[] = [];

  take(bytes: Uint8Array, at: number, end: number): void {
    this.taken.push(...bytes.subarray(at, end));
  }

  close(_reason: unknown, detail: string): void {
    this.ends.push(detail);
  }

  fail(): void {
    assert.fail("nobody ends it");
  }

  protected drained(): void {}

  sayEnd(): void {
    this.shutdownWhenTaken();
  }
}

function finished() {
  const serving = ServingContext.open({ certificate: text(CERTIFICATE), key: text(KEY) }, {});
  const asking = AskingContext.open({}, { verification: "none" });
  if (Array.isArray(serving) || Array.isArray(asking)) throw new Error("no context");
  const both = shakeHands(serving, asking);
  serving.end();
  asking.end();
  return both;
}

Deno.test("socket: the end of a handshake that waits goes as it is, what is written behind it in records", () => {
  const [ours, theirs] = connectedPair();
  const reactor = new FakeReactor();
  const general = { proxy_copy_data_timeout: 1000, message_size_to_be_stream: 0 };
  const context = { reactor, general } as unknown as ClientContext;
  const newSocket = (tls?: Parameters<Socket["secure"]>[0]) => {
    const stream = tls === undefined ? new PlainStream(ours) : new TlsStream(ours, tls);
    return new Socket(context, stream, { ...newSessionState(1, 0), stage: Stage.Idle });
  };
  let socket = newSocket();
  socket.listen(undefined);
  const { server, client } = finished();
  // More than the kernel takes: its end is ours for now.
  const inClear = Uint8Array.from({ length: 2_000_000 }, (_, i) => i % 251);
  socket.write(inClear);
  assert.ok(socket.backlogged);
  socket.secure(server.state);
  assert.ok(socket.encrypted && socket.backlogged);
  const said = Uint8Array.from({ length: 50_000 }, (_, i) => i % 241);
  socket.write(said);
  // It travels like that, too.
  const snapshot = socket.freezeSocket();
  assert.ok(snapshot.tls!.unsent!.length > 1_000_000);
  assert.deepEqual(snapshot.outbox, said);
  socket.leaveSocket();
  socket = newSocket(snapshot.tls);
  socket.thawSocket(snapshot, undefined);
  let received = new Uint8Array(0);
  while (received.length < inClear.length) {
    received = concat(received, drain(theirs));
    socket.onReady(EPOLLOUT);
  }
  assert.deepEqual(received.slice(0, inClear.length), inClear);
  const records = received.slice(inClear.length);
  const undecoded = records.length > 0 ? records : undefined;
  const other = new TlsStream(theirs, { ...client.state, undecoded });
  let opened = new Uint8Array(0);
  while (opened.length < said.length) {
    const piece = take(other);
    if (typeof piece === "number") socket.onReady(EPOLLOUT);
    else opened = concat(opened, piece);
  }
  assert.deepEqual(opened, said);
  assert.ok(!socket.backlogged);
  socket.sayEnd();
  assert.equal(take(other), 0, "it is told that nothing more comes");
  // What is no record ends it, and the reason is told.
  inject(theirs, new TextEncoder().encode("no record at all"));
  socket.readNow();
  assert.equal(socket.ends.length, 1);
  assert.match(socket.ends[0]!, /record/);
  socket.closeSocket();
  other.end();
  for (const fd of [ours, theirs]) close(fd);
});
