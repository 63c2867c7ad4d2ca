import assert from "node:assert/strict";
import type { Fd } from "../os/fd.ts";
import * as libc from "../os/libc.ts";
import { receiveWithDescriptors, sendWithDescriptors, socketPair } from "../os/fd_passing.ts";
import { FrameKind, FrameSocket } from "./frames.ts";

function pair(): { a: FrameSocket; b: FrameSocket; bare: Fd } {
  const [one, other] = socketPair();
  return { a: new FrameSocket(one), b: new FrameSocket(other), bare: one };
}

/** Where the file behind a descriptor is, so that two can be compared. */
function fileOf(fd: number): string {
  return Deno.readLinkSync(`/proc/self/fd/${fd}`);
}

function assertClosed(file: string): void {
  const open = [...Deno.readDirSync("/proc/self/fd")].map(({ name }) => {
    try {
      return fileOf(Number(name));
    } catch {
      return "";
    }
  });
  assert.ok(!open.includes(file), "the descriptor is left open");
}

Deno.test("frames: descriptors come with their own frame, whatever the frames' sizes", async () => {
  const { a, b } = pair();
  const [left, right] = socketPair();
  const [another, last] = socketPair();
  const sizes = [10, 700_000, 3, 300_000];
  const given = [[left, right], [another], [], [last]];
  const sending = Promise.all(
    sizes.map((size, i) =>
      a.send(FrameKind.Batch, { text: "x".repeat(size), descriptors: given[i]!.length }, given[i])
    ),
  );
  for (const [i, size] of sizes.entries()) {
    const frame = await b.receive();
    assert.equal((frame!.payload as { text: string }).text.length, size);
    assert.deepEqual(frame!.descriptors!.map(fileOf), given[i]!.map(fileOf));
    for (const fd of frame!.descriptors!) libc.close(fd);
  }
  await sending;
  a.close();
  assert.equal(await b.receive(), undefined);
  b.close();
  for (const fd of [left, right, another, last]) libc.close(fd);
});

Deno.test("frames: the end in the middle of a frame closes what came with it", async () => {
  const { a, b, bare } = pair();
  const [left, right] = socketPair();
  const inode = fileOf(left);
  const header = new Uint8Array(100);
  new DataView(header.buffer).setUint32(0, 5000);
  await sendWithDescriptors(bare, header, [left]);
  libc.close(left);
  a.close();
  assert.equal(await b.receive(), undefined);
  b.close();
  assertClosed(inode);
  libc.close(right);
});

Deno.test("frames: what is no frame is the end", async () => {
  for (const length of [0, 7, 0xffff_ffff]) {
    const { a, b, bare } = pair();
    const bytes = new Uint8Array(16);
    new DataView(bytes.buffer).setUint32(0, length);
    await sendWithDescriptors(bare, bytes, []);
    assert.equal(await b.receive(), undefined);
    a.close();
    b.close();
  }
  const { a, b, bare } = pair();
  const bytes = new Uint8Array(9);
  new DataView(bytes.buffer).setUint32(0, 9);
  await sendWithDescriptors(bare, bytes, []);
  assert.equal(await b.receive(), undefined);
  a.close();
  b.close();
});

Deno.test("frames: fewer descriptors than the frame says: it has none", async () => {
  const { a, b } = pair();
  const [left, right] = socketPair();
  await a.send(FrameKind.Batch, { descriptors: 2 }, [left]);
  await a.send(FrameKind.Batch, { descriptors: 1 }, [right]);
  assert.equal((await b.receive())!.descriptors, undefined);
  const next = await b.receive();
  assert.deepEqual(next!.descriptors!.map(fileOf), [fileOf(right)]);
  for (const fd of [left, right, ...next!.descriptors!]) libc.close(fd);
  a.close();
  b.close();
});

Deno.test("frames: sending to nobody is refused", async () => {
  const { a, b } = pair();
  b.close();
  await assert.rejects(a.send(FrameKind.Done, {}), /the other process has gone/);
  a.close();
});

Deno.test("frames: what was to be sent when the socket is closed goes nowhere, least of all to its number's next owner", async () => {
  const { a, b } = pair();
  const long = "x".repeat(4_000_000);
  // The first one waits for room, the others wait for it.
  const sent = [1, 2, 3].map((n) => a.send(FrameKind.Done, { n, long }));
  const rejected = sent.map((one) => assert.rejects(one, /the other process has gone/));
  await new Promise((resolve) => setTimeout(resolve, 20));
  a.close();
  const others = Array.from({ length: 4 }, () => socketPair());
  await Promise.all(rejected);
  for (const [mine, theirs] of others) {
    libc.close(mine);
    assert.equal((await receiveWithDescriptors(theirs, 100)).bytes.length, 0);
    libc.close(theirs);
  }
  b.close();
});

Deno.test("frames: a close ends a receive that is under way, and frees the descriptor after it", async () => {
  const { a, b, bare } = pair();
  const inode = fileOf(bare);
  const received = a.receive();
  await new Promise((resolve) => setTimeout(resolve, 20));
  a.close();
  assert.equal(await received, undefined);
  assertClosed(inode);
  b.close();
});
