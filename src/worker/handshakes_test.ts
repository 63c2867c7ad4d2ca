import assert from "node:assert/strict";
import type { EncryptingClient } from "../client/context.ts";
import type { Reactor } from "../reactor/reactor.ts";
import { SHARED_WORDS } from "../stats/shared.ts";
import { FakeReactor } from "../testing/fake_reactor.ts";
import { Handshakes } from "./handshakes.ts";

/** Clients of one worker, by number. */
class Clients {
  readonly reactor = new FakeReactor();
  readonly handshakes: Handshakes;
  readonly happened: string[] = [];
  readonly #clients: EncryptingClient[] = [];
  /** Of the clients by number; those beyond have one in common. */
  addresses: string[] = [];

  constructor(
    perSecond: number,
    most: number,
    shared = new Int32Array(SHARED_WORDS),
    mostATurn?: number,
  ) {
    const reactor = this.reactor as unknown as Reactor;
    const clock = () => this.reactor.now;
    this.handshakes = new Handshakes({ reactor, shared }, perSecond, { most, mostATurn, clock });
  }

  client(n: number): EncryptingClient {
    return this.#clients[n] ??= {
      ip: this.addresses[n] ?? "10.0.0.1",
      proceed: () => this.happened.push(`${n} proceeds`),
      giveWay: () => {
        this.happened.push(`${n} gives way`);
        this.handshakes.over(this.client(n));
      },
    };
  }

  begin(...numbers: number[]): boolean[] {
    return numbers.map((n) => this.handshakes.begin(this.client(n)));
  }

  over(...numbers: number[]): void {
    for (const n of numbers) this.handshakes.over(this.client(n));
    this.reactor.endTurn();
  }

  pass(ms: number): string[] {
    this.reactor.now += ms;
    this.reactor.timers.expire(this.reactor.now);
    this.reactor.endTurn();
    return this.happened.splice(0);
  }
}

Deno.test("handshakes: who comes beyond their number waits in line", () => {
  const clients = new Clients(0, 2);
  assert.deepEqual(clients.begin(0, 1, 2, 3, 4), [true, true, false, false, false]);
  assert.deepEqual(clients.pass(500), []);
  clients.over(3);
  clients.over(0);
  assert.deepEqual(clients.happened.splice(0), ["2 proceeds"]);
  // Behind whoever waits.
  clients.over(1, 2);
  assert.deepEqual(clients.begin(5), [true]);
  assert.deepEqual(clients.happened.splice(0), ["4 proceeds"]);
  clients.over(4, 5);
  assert.deepEqual(clients.pass(10_000), []);
});

Deno.test("handshakes: few begin in one turn, and the others in the turns after it", () => {
  const clients = new Clients(0, 100, undefined, 3);
  assert.deepEqual(clients.begin(0, 1, 2, 3, 4, 5, 6), [
    true,
    true,
    true,
    false,
    false,
    false,
    false,
  ]);
  assert.deepEqual(clients.pass(0), ["3 proceeds", "4 proceeds", "5 proceeds"]);
  // Behind whoever waits.
  assert.deepEqual(clients.begin(7), [false]);
  assert.deepEqual(clients.pass(0), ["6 proceeds", "7 proceeds"]);
  assert.deepEqual(clients.pass(0), []);
  assert.deepEqual(clients.begin(8, 9, 10, 11), [true, true, true, false]);
  assert.deepEqual(clients.pass(0), ["11 proceeds"]);
});

Deno.test("handshakes: places that come free are taken by few in each turn", () => {
  const clients = new Clients(0, 5, undefined, 2);
  clients.begin(0, 1, 2, 3, 4, 5, 6, 7, 8);
  assert.deepEqual(clients.pass(0), ["2 proceeds", "3 proceeds"]);
  assert.deepEqual(clients.pass(0), ["4 proceeds"]);
  clients.over(0, 1, 2, 3);
  assert.deepEqual(clients.pass(0), ["5 proceeds", "6 proceeds", "7 proceeds", "8 proceeds"]);
});

Deno.test("handshakes: who is silent for too long makes room, if somebody waits", () => {
  const clients = new Clients(0, 3);
  assert.deepEqual(clients.begin(0, 1, 2), [true, true, true]);
  assert.deepEqual(clients.pass(5000), []);
  clients.handshakes.stepped(clients.client(0));
  assert.deepEqual(clients.begin(3), [false]);
  assert.deepEqual(clients.pass(200), ["1 gives way", "3 proceeds"]);
  assert.deepEqual(clients.begin(4, 5), [false, false]);
  assert.deepEqual(clients.pass(200), ["2 gives way", "4 proceeds"]);
  assert.deepEqual(clients.pass(500), []);
  assert.deepEqual(clients.pass(500), ["0 gives way", "5 proceeds"]);
});

Deno.test("handshakes: so many a second and no more, over all workers, in the order of their coming", () => {
  const shared = new Int32Array(SHARED_WORDS);
  const one = new Clients(200, 100, shared);
  const other = new Clients(200, 100, shared);
  assert.deepEqual(one.begin(0), [true]);
  assert.deepEqual(other.begin(0), [true]);
  assert.deepEqual(one.begin(1, 2, 3), [false, false, false]);
  assert.deepEqual(one.pass(10), ["1 proceeds", "2 proceeds"]);
  // Whoever comes when somebody waits is behind him.
  assert.deepEqual(one.begin(4), [false]);
  assert.deepEqual(one.pass(10), ["3 proceeds", "4 proceeds"]);
  const many = new Clients(100, 1000);
  let begun = 0;
  for (let n = 0; n < 300; n++) if (many.begin(n)[0]) begun++;
  for (let ms = 0; ms < 1000; ms++) begun += many.pass(1).length;
  assert.ok(begun >= 99 && begun <= 101, String(begun));
});

Deno.test("handshakes: a newcomer of another address is the next, however many wait of one", () => {
  const clients = new Clients(0, 2);
  clients.addresses[9] = "10.0.0.2";
  clients.begin(0, 1, 2, 3, 4, 5, 6, 7, 8);
  assert.deepEqual(clients.begin(9), [false]);
  clients.over(0);
  assert.deepEqual(clients.happened.splice(0), ["9 proceeds"]);
  clients.over(1);
  assert.deepEqual(clients.happened.splice(0), ["2 proceeds"]);
});

Deno.test("handshakes: addresses with as many places take turns", () => {
  const clients = new Clients(0, 1);
  clients.addresses = ["a", "a", "a", "b", "b", "c"].map((letter) => `10.0.0.${letter}`);
  clients.begin(0, 1, 2, 3, 4, 5);
  const order: string[] = [];
  for (const n of [0, 1, 3, 5, 2]) {
    clients.over(n);
    order.push(...clients.happened.splice(0));
  }
  assert.deepEqual(order, [1, 3, 5, 2, 4].map((n) => `${n} proceeds`));
});

Deno.test("handshakes: the address with the most places loses the oldest, and soon, for one with fewer", () => {
  const clients = new Clients(0, 4);
  clients.addresses = ["10.0.0.2"];
  clients.begin(0, 1);
  assert.deepEqual(clients.pass(100), []);
  clients.begin(2, 3);
  clients.addresses[8] = "10.0.0.3";
  assert.deepEqual(clients.begin(4, 8), [false, false]);
  assert.deepEqual(clients.pass(100), ["1 gives way", "8 proceeds"]);
  // Its share is no more than theirs: from here on it is as before.
  assert.deepEqual(clients.pass(700), []);
  assert.deepEqual(clients.pass(200), ["2 gives way", "4 proceeds"]);
});

Deno.test("handshakes: a crowd in thousands keeps another address waiting for less than a second", () => {
  const clients = new Clients(0, 512);
  clients.addresses[4000] = "10.0.0.2";
  for (let n = 0; n < 4000; n++) clients.begin(n);
  for (let turn = 0; turn < 100; turn++) clients.pass(0);
  assert.deepEqual(clients.begin(4000), [false]);
  let waited = 0;
  while (!clients.pass(10).includes("4000 proceeds")) waited += 10;
  assert.ok(waited < 500, `${waited} ms`);
});

Deno.test("handshakes: while places are wanting the oldest and the newest take turns, and else the oldest", () => {
  const clients = new Clients(0, 2);
  clients.begin(0, 1, 2, 3, 4, 5, 6);
  for (const n of [0, 1, 2, 6, 3]) clients.over(n);
  assert.deepEqual(
    clients.happened.splice(0),
    [2, 6, 3, 5, 4].map((n) => `${n} proceeds`),
  );
  const paced = new Clients(100, 10);
  paced.begin(0, 1, 2, 3);
  assert.deepEqual([...paced.pass(10), ...paced.pass(10)], ["1 proceeds", "2 proceeds"]);
});

Deno.test("handshakes: nobody waits behind thousands of his own address who make no step", () => {
  const clients = new Clients(0, 512);
  for (let n = 0; n < 4000; n++) clients.begin(n);
  for (let turn = 0; turn < 100; turn++) clients.pass(0);
  assert.deepEqual(clients.begin(4000), [false]);
  let waited = 0;
  while (!clients.pass(10).includes("4000 proceeds")) waited += 10;
  assert.ok(waited < 1200, `${waited} ms`);
});

Deno.test("handshakes: addresses of one network in IPv6 are one, and beyond a number of them all are", () => {
  const clients = new Clients(0, 2);
  clients.addresses = ["2001:db8::1", "2001:db8::2", "2001:db8::7:0:0:3", "2001:db8:0:1::1"];
  clients.begin(0, 1, 2, 3);
  clients.over(0);
  assert.deepEqual(clients.happened.splice(0), ["3 proceeds"]);
  clients.over(1, 2, 3);
  const many = new Clients(0, 1);
  many.addresses = Array.from({ length: 600 }, (_, n) => `10.1.${n >> 8}.${n & 255}`);
  for (let n = 0; n < 600; n++) many.begin(n);
  const order: number[] = [];
  for (let n = 0; order.length < 599; n = order.at(-1)!) {
    many.over(n);
    const [happened] = many.happened.splice(0);
    order.push(Number.parseInt(happened!));
  }
  // Each of its own has its turn, and so has the line of all others.
  assert.deepEqual(order.slice(0, 512), Array.from({ length: 512 }, (_, i) => i + 1));
  assert.equal(new Set(order).size, 599);
});
