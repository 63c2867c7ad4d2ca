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
