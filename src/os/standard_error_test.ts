import assert from "node:assert/strict";
import { EAGAIN, ENOSPC, EPIPE } from "./errno.ts";
import type { Fd } from "./fd.ts";
import * as libc from "./libc.ts";
import { unixAddress } from "./socket_address.ts";
import { leadsToJournal, StandardError } from "./standard_error.ts";

const O_NONBLOCK = 0o4000;
const F_GETFL = 3;
const LINE = new TextEncoder().encode(`${"x".repeat(99)}\n`);

/** Lines taken until one is not, and the answer to that one. */
function fill(error: StandardError): { lines: number; last: number } {
  for (let lines = 0; lines < 50_000; lines++) {
    const last = error.write(LINE);
    if (last !== LINE.length) return { lines, last };
  }
  assert.fail("it takes everything");
}

/** Runs `test` with a pipe that has both ends open, by name and descriptor. */
async function withPipe(test: (fd: Fd, path: string) => void): Promise<void> {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/pipe`;
  await new Deno.Command("mkfifo", { args: [path] }).output();
  const fd = libc.open(path, 2, 0) as Fd;
  test(fd, path);
  libc.close(fd);
  await Deno.remove(folder, { recursive: true });
}

Deno.test("standard error: a full pipe is not waited for, and its mode stays what it was for others", async () => {
  await withPipe((fd) => {
    const error = new StandardError(fd);
    assert.deepEqual(fill(error), { lines: 640, last: -EAGAIN });
    assert.equal(libc.fcntl(fd, F_GETFL, 0) & O_NONBLOCK, 0);
    assert.ok(error.wait(1));
    libc.read(fd, new Uint8Array(65_536), 65_536);
    assert.ok(error.wait(60_000));
    assert.equal(error.write(LINE), LINE.length);
  });
});

Deno.test("standard error: a pipe that can't be opened once more is not waited for either", async () => {
  await withPipe((fd) => {
    const error = new StandardError(fd, "/nowhere");
    const { last } = fill(error);
    assert.equal(last, -EAGAIN);
    assert.equal(error.write(new Uint8Array(100_000)), -EAGAIN);
    libc.read(fd, new Uint8Array(65_536), 65_536);
    assert.equal(error.write(new Uint8Array(100_000)), 4096);
  });
});

Deno.test("standard error: a pipe without a reader is an error, which no waiting changes", async () => {
  await withPipe((fd, path) => {
    const error = new StandardError(fd);
    const writer = libc.open(path, 1, 0) as Fd;
    assert.equal(error.write(LINE), LINE.length);
    libc.close(fd);
    assert.equal(error.write(LINE), -EPIPE);
    assert.ok(!error.wait(60_000));
    libc.dup2(writer, fd);
    libc.close(writer);
  });
});

Deno.test("standard error: a socket that nobody reads is not waited for", async () => {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/socket`;
  using _listener = Deno.listen({ transport: "unix", path });
  const fd = libc.socket(1, 1, 0) as Fd;
  assert.equal(libc.connect(fd, unixAddress(path)!), 0);
  assert.equal(fill(new StandardError(fd)).last, -EAGAIN);
  assert.equal(libc.fcntl(fd, F_GETFL, 0) & O_NONBLOCK, 0);
  libc.close(fd);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("standard error: a full device is an error", () => {
  const fd = libc.open("/dev/full", 1, 0) as Fd;
  assert.equal(new StandardError(fd).write(LINE), -ENOSPC);
  libc.close(fd);
});

Deno.test("standard error: it is the journal's only by device and inode", async () => {
  const path = await Deno.makeTempFile();
  const { dev, ino } = await Deno.stat(path);
  assert.ok(leadsToJournal(`${dev}:${ino}`, path));
  assert.ok(!leadsToJournal(`${dev}:${ino}1`, path));
  assert.ok(!leadsToJournal("", path));
  assert.ok(!leadsToJournal(undefined, path));
  assert.ok(!leadsToJournal(`${dev}:${ino}`, "/nowhere"));
  await Deno.remove(path);
});
