import assert from "node:assert/strict";
import { createRecordLog } from "../log/log.ts";
import { levelFilter } from "../log/filter.ts";
import type { Fd } from "../os/fd.ts";
import { close } from "../os/libc.ts";
import { duplicate, findListener } from "../os/descriptors.ts";
import { Reactor } from "../reactor/reactor.ts";
import { type Accepted, type Doorway, Listeners } from "./accept.ts";

const IN = true;
const OUT = false;

/** A worker as far as accepting goes. */
class Acceptor implements Doorway {
  readonly reactor = new Reactor();
  readonly log = createRecordLog({ filter: levelFilter("info"), emit: () => {} });
  readonly logins = { admit: (_: Fd): boolean => true, outOfDescriptors: () => {} };
  readonly listeners = new Listeners(this);
  count = 0;
  last: Accepted | undefined;

  accepted(connection: Accepted): void {
    this.count++;
    this.last = connection;
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
  for (const { reactor } of [one, other]) reactor.turn(5);
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
