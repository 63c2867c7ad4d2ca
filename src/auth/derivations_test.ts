import assert from "node:assert/strict";
import { Derivations } from "./derivations.ts";

class Place {
  readonly derivations: Derivations;
  readonly started: string[] = [];
  readonly done: string[] = [];
  readonly #ends: (() => void)[] = [];

  constructor(limits: { atOnce: number; waiting: number; waitingBytes: number }) {
    this.derivations = new Derivations((password, _salt, iterations, done) => {
      this.started.push(password as string);
      this.#ends.push(() => done(iterations === 0 ? undefined : Uint8Array.of(iterations)));
    }, limits);
  }

  ask(password: string, iterations = 1): (() => void) | undefined {
    return this.derivations.ask(
      password,
      new Uint8Array(1),
      iterations,
      (salted) => this.done.push(`${password}=${salted}`),
    );
  }

  /** The oldest run ends. */
  end(): void {
    this.#ends.shift()!();
  }
}

Deno.test("derivations: so many at once, the others in their order", () => {
  const place = new Place({ atOnce: 2, waiting: 10, waitingBytes: 100 });
  for (const password of ["a", "b", "c", "d"]) assert.ok(place.ask(password));
  assert.deepEqual(place.started, ["a", "b"]);
  place.end();
  assert.deepEqual(place.started, ["a", "b", "c"]);
  for (let i = 0; i < 3; i++) place.end();
  assert.deepEqual(place.done, ["a=1", "b=1", "c=1", "d=1"]);
});

Deno.test("derivations: a full line takes nobody, by number or by bytes", () => {
  const place = new Place({ atOnce: 1, waiting: 2, waitingBytes: 10 });
  assert.ok(place.ask("running, and of no weight"));
  assert.ok(place.ask("12345"));
  assert.equal(place.ask("123456"), undefined);
  assert.ok(place.ask("12345"));
  assert.equal(place.ask(""), undefined);
  place.end();
  assert.ok(place.ask("12345"));
});

Deno.test("derivations: who leaves the line is not run, who leaves while it runs is not told, and both make room", () => {
  const place = new Place({ atOnce: 1, waiting: 1, waitingBytes: 100 });
  const running = place.ask("running")!;
  const waiting = place.ask("waiting")!;
  waiting();
  waiting();
  assert.ok(place.ask("next"));
  running();
  place.end();
  assert.deepEqual(place.started, ["running", "next"]);
  place.end();
  assert.deepEqual(place.done, ["next=1"]);
});

Deno.test("derivations: a run that failed is told, and does not hold its place", () => {
  const place = new Place({ atOnce: 1, waiting: 1, waitingBytes: 100 });
  place.ask("fails", 0);
  place.ask("next");
  place.end();
  place.end();
  assert.deepEqual(place.done, ["fails=undefined", "next=1"]);
});
