/// <reference lib="deno.unstable" />

import assert from "node:assert/strict";
import { SyslogSocket } from "./syslog_socket.ts";

const ENOENT = 2;
const ECONNREFUSED = 111;
const decoder = new TextDecoder();

function bytes(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

function daemon(path: string): Deno.DatagramConn {
  return Deno.listenDatagram({ transport: "unixpacket", path });
}

async function next(from: Deno.DatagramConn): Promise<string> {
  const [message] = await from.receive();
  return decoder.decode(message);
}

async function withPath(test: (path: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(`${folder}/log`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("syslog socket: each message is a datagram", async () => {
  await withPath(async (path) => {
    const listener = daemon(path);
    const socket = new SyslogSocket(path);
    assert.equal(socket.write(bytes("one")), 3);
    assert.equal(socket.write(bytes("two more")), 8);
    assert.equal(await next(listener), "one");
    assert.equal(await next(listener), "two more");
    socket.reopen();
    listener.close();
  });
});

Deno.test("syslog socket: without a daemon it is an error that no waiting changes, and each try looks for one", async () => {
  await withPath(async (path) => {
    const socket = new SyslogSocket(path);
    assert.equal(socket.write(bytes("lost")), -ENOENT);
    assert.ok(!socket.wait(60_000));
    const first = daemon(path);
    assert.equal(socket.write(bytes("first")), 5);
    assert.equal(await next(first), "first");
    first.close();
    assert.equal(socket.write(bytes("lost")), -ECONNREFUSED);
    Deno.removeSync(path);
    const second = daemon(path);
    assert.equal(socket.write(bytes("second")), 6);
    assert.equal(await next(second), "second");
    socket.reopen();
    second.close();
  });
});

Deno.test("syslog socket: a daemon that was started anew gets the message that found the old one gone", async () => {
  await withPath(async (path) => {
    const old = daemon(path);
    const socket = new SyslogSocket(path);
    socket.write(bytes("old"));
    old.close();
    Deno.removeSync(path);
    const restarted = daemon(path);
    assert.equal(socket.write(bytes("new")), 3);
    assert.equal(await next(restarted), "new");
    socket.reopen();
    restarted.close();
  });
});

Deno.test("syslog socket: a daemon that does not read holds nobody up", async () => {
  await withPath((path) => {
    const listener = daemon(path);
    const socket = new SyslogSocket(path);
    let taken = 0;
    while (taken < 100_000 && socket.write(bytes("x")) === 1) taken++;
    assert.ok(taken > 0 && taken < 100_000, `${taken}`);
    assert.ok(socket.wait(1));
    socket.reopen();
    listener.close();
    return Promise.resolve();
  });
});

Deno.test("syslog socket: a message that no datagram holds is cut, and those behind it come", async () => {
  await withPath(async (path) => {
    const listener = daemon(path);
    const socket = new SyslogSocket(path);
    const long = bytes("x".repeat(4_000_000));
    assert.equal(socket.write(long), long.length);
    assert.equal(socket.write(bytes("behind")), 6);
    assert.equal(await next(listener), "x".repeat(480));
    assert.equal(await next(listener), "behind");
    socket.reopen();
    listener.close();
  });
});

Deno.test("syslog socket: a path that is no address is an error", () => {
  assert.ok(new SyslogSocket(`/${"x".repeat(200)}`).write(bytes("x")) < 0);
});
