import assert from "node:assert/strict";
import { createRecordLog } from "../log/log.ts";
import { levelFilter } from "../log/filter.ts";
import type { SocketSettings } from "../config/settings.ts";
import type { Fd } from "../os/fd.ts";
import {
  IPPROTO_TCP,
  SO_KEEPALIVE,
  SO_SNDBUF,
  SOL_SOCKET,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY,
  TCP_USER_TIMEOUT,
} from "../os/layout.ts";
import { close, getSocketOption } from "../os/libc.ts";
import { duplicate, findListener } from "../os/descriptors.ts";
import { Reactor } from "../reactor/reactor.ts";
import { type Accepted, type Doorway, Listeners } from "./accept.ts";

const SETTINGS: SocketSettings = {
  unix_socket_buffer_size: 0,
  tcp_socket_buffer_size: 0,
  tcp_so_linger: 0,
  tcp_no_delay: true,
  tcp_keepalives_idle: 11,
  tcp_keepalives_interval: 12,
  tcp_keepalives_count: 13,
  tcp_user_timeout: 14,
};
const IN = true;
const OUT = false;

/** A worker as far as accepting goes. */
class Acceptor implements Doorway {
  readonly reactor = new Reactor();
  readonly log = createRecordLog({ filter: levelFilter("info"), emit: () => {} });
  readonly logins = { admit: (_: Fd): boolean => true, outOfDescriptors: () => {} };
  general = SETTINGS;
  readonly listeners = new Listeners(this);
  count = 0;
  last: Accepted | undefined;
  /** Options of the last: no delay, keep-alive, its three numbers, user timeout. */
  options: number[] = [];
  sendBuffer = 0;

  accepted(connection: Accepted): void {
    this.count++;
    this.last = connection;
    const { fd } = connection;
    const tcp = (name: number) => getSocketOption(fd, IPPROTO_TCP, name);
    const kept = [TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT].map(tcp);
    this.options = [tcp(TCP_NODELAY), getSocketOption(fd, SOL_SOCKET, SO_KEEPALIVE), ...kept];
    this.sendBuffer = getSocketOption(fd, SOL_SOCKET, SO_SNDBUF);
    close(connection.fd);
  }
}

/** What each of them accepts of so many connections. */
async function shares(port: number, acceptors: Acceptor[], count: number): Promise<number[]> {
  for (const acceptor of acceptors) acceptor.count = 0;
  const clients: Deno.Conn[] = [];
  for (let i = 0; i < count; i++) {
    clients.push(await Deno.connect({ port }));
    for (const { reactor } of acceptors) reactor.turn(5);
  }
  for (const client of clients) client.close();
  return acceptors.map(({ count }) => count);
}

Deno.test("accept: who stays out of it leaves all to the others, and comes in again", async () => {
  using socket = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const { port } = socket.addr as Deno.NetAddr;
  const fd = duplicate(findListener(`127.0.0.1:${port}`)!);
  const one = new Acceptor();
  const other = new Acceptor();
  other.listeners.accept(OUT);
  for (const { listeners } of [one, other]) listeners.open([{ fd, transport: "tcp" }]);
  assert.deepEqual(await shares(port, [other, one], 10), [0, 10]);
  other.listeners.accept(IN);
  one.listeners.accept(OUT);
  one.listeners.accept(OUT);
  assert.deepEqual(await shares(port, [one, other], 10), [0, 10]);
  other.listeners.close();
  other.listeners.accept(OUT);
  other.listeners.accept(IN);
  assert.deepEqual(await shares(port, [one, other], 3), [0, 0], "nobody is left");
  one.listeners.accept(IN);
  for (let i = 0; i < 3; i++) for (const { reactor } of [one, other]) reactor.turn(5);
  assert.equal(one.count, 3, "they have waited");
  one.listeners.close();
  close(fd);
});

Deno.test("accept: who is not admitted is no client, and takes no place of those that come after", async () => {
  using socket = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const { port } = socket.addr as Deno.NetAddr;
  const fd = duplicate(findListener(`127.0.0.1:${port}`)!);
  const acceptor = new Acceptor();
  let seen = 0;
  acceptor.logins.admit = (given) => {
    if (++seen % 2 === 0) return true;
    close(given);
    return false;
  };
  acceptor.listeners.open([{ fd, transport: "tcp" }]);
  const [accepted] = await shares(port, [acceptor], 10);
  assert.deepEqual([seen, accepted], [10, 5]);
  const { address, ip, unix } = acceptor.last!;
  assert.deepEqual([ip, unix], ["127.0.0.1", false]);
  assert.match(address, /^127\.0\.0\.1:\d+$/);
  acceptor.listeners.close();
  close(fd);
});

Deno.test("accept: all have the options of the configuration, those that waited for a reload, too", async () => {
  using socket = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const { port } = socket.addr as Deno.NetAddr;
  const fd = duplicate(findListener(`127.0.0.1:${port}`)!);
  using early = await Deno.connect({ port });
  const acceptor = new Acceptor();
  acceptor.listeners.open([{ fd, transport: "tcp" }]);
  const { reactor } = acceptor;
  reactor.turn(5);
  assert.deepEqual(acceptor.options, [1, 1, 11, 12, 13, 14_000]);
  for (let i = 0; i < 3; i++) {
    acceptor.options = [];
    await shares(port, [acceptor], 1);
    assert.deepEqual(acceptor.options, [1, 1, 11, 12, 13, 14_000]);
  }
  // Connected before the reload, accepted after it.
  using waiting = await Deno.connect({ port });
  acceptor.general = { ...SETTINGS, tcp_keepalives_idle: 21, tcp_socket_buffer_size: 50_000 };
  acceptor.options = [];
  reactor.turn(5);
  const tuned = [1, 1, 21, 12, 13, 14_000];
  assert.deepEqual([acceptor.options, acceptor.sendBuffer], [tuned, 100_000]);
  await shares(port, [acceptor], 1);
  assert.deepEqual([acceptor.options, acceptor.sendBuffer], [tuned, 100_000]);
  acceptor.general = {
    ...SETTINGS,
    tcp_no_delay: false,
    tcp_keepalives_idle: 0,
    tcp_user_timeout: 0,
  };
  await shares(port, [acceptor], 1);
  const [noDelay, keepAlive, , , , userTimeout] = acceptor.options;
  assert.deepEqual([noDelay, keepAlive, userTimeout], [0, 0, 0]);
  assert.ok(acceptor.sendBuffer !== 100_000);
  assert.equal(acceptor.count, 1);
  void [early, waiting];
  acceptor.listeners.close();
  close(fd);
});

Deno.test("accept: many that wait are all accepted, in a few turns", async () => {
  using socket = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const { port } = socket.addr as Deno.NetAddr;
  const fd = duplicate(findListener(`127.0.0.1:${port}`)!);
  const acceptor = new Acceptor();
  acceptor.listeners.open([{ fd, transport: "tcp" }]);
  await shares(port, [acceptor], 2);
  const clients: Deno.Conn[] = [];
  for (let i = 0; i < 100; i++) clients.push(await Deno.connect({ port }));
  acceptor.count = 0;
  for (let i = 0; i < 10; i++) acceptor.reactor.turn(5);
  assert.equal(acceptor.count, 100);
  for (const client of clients) client.close();
  acceptor.listeners.close();
  close(fd);
});
