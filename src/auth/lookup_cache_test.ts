import assert from "node:assert/strict";
import { type Looked, LookupCache, type Remembered } from "./lookup_cache.ts";

type Answer = Looked<string>;

/** A cache on a clock of its own, and what PostgreSQL is asked meanwhile. */
class Clock {
  now = 1000;
  readonly asked: { user: string; done: (looked: Answer) => void }[] = [];
  readonly pretending: (() => void)[] = [];
  readonly cache = new LookupCache<string>({
    times: { cache_ttl: 1000, cache_failure_ttl: 100, min_interval: 50 },
    now: () => this.now,
    ask: (user, done) => this.asked.push({ user, done }),
    pretend: (done) => this.pretending.push(done),
  });

  /** What a login is told; empty as long as it waits. */
  find(user: string): Answer[] {
    const told: Answer[] = [];
    this.cache.find(user, (looked) => told.push(looked));
    return told;
  }

  refetch(user: string, seen: Remembered<string>): Answer[] {
    const told: Answer[] = [];
    this.cache.refetch(user, seen, (looked) => told.push(looked));
    return told;
  }

  /** PostgreSQL answers what it was asked last. */
  answer(looked: Answer): void {
    this.asked.at(-1)!.done(looked);
  }

  /** A user who is known already. */
  known(user: string, looked: Remembered<string>): void {
    this.find(user);
    this.answer(looked);
  }
}

const found = (text: string): Remembered<string> => ({ kind: "found", found: text });
const MISSING: Remembered<string> = { kind: "missing" };
const FAILED: Answer = { kind: "failed", message: "no" };

Deno.test("lookup cache: an answer holds for its time, found or not", () => {
  for (const [looked, ttl] of [[found("a"), 1000], [MISSING, 100]] as const) {
    const clock = new Clock();
    clock.known("me", looked);
    clock.now += ttl - 1;
    assert.deepEqual(clock.find("me"), [looked]);
    assert.equal(clock.asked.length, 1);
    clock.now++;
    assert.deepEqual(clock.find("me"), []);
    assert.equal(clock.asked.length, 2);
  }
});

Deno.test("lookup cache: all who want to know at once ask one question", () => {
  const clock = new Clock();
  const all = Array.from({ length: 500 }, () => clock.find("me"));
  const other = clock.find("you");
  assert.deepEqual(clock.asked.map(({ user }) => user), ["me", "you"]);
  clock.asked[0]!.done(found("a"));
  for (const told of all) assert.deepEqual(told, [found("a")]);
  assert.deepEqual(other, []);
  assert.equal(clock.cache.counts.cache_misses, 2);
});

Deno.test("lookup cache: who has given up is not told, not even by one who is", () => {
  const clock = new Clock();
  const told: string[] = [];
  const giveUps: (() => void)[] = [];
  clock.cache.find("me", () => giveUps[1]!());
  giveUps.push(() => {}, clock.cache.find("me", () => told.push("second")));
  const third = clock.cache.find("me", () => told.push("third"));
  clock.cache.find("me", () => told.push("fourth"));
  third();
  clock.answer(MISSING);
  assert.deepEqual(told, ["fourth"]);
});

Deno.test("lookup cache: a failure is told to all and not kept", () => {
  const clock = new Clock();
  const told = [clock.find("me"), clock.find("me")];
  clock.answer(FAILED);
  assert.deepEqual(told, [[FAILED], [FAILED]]);
  assert.deepEqual(clock.find("me"), []);
  assert.equal(clock.asked.length, 2);
  const { cache_misses, executor_queries, executor_errors } = clock.cache.counts;
  assert.deepEqual([cache_misses, executor_queries, executor_errors], [1, 2, 1]);
});

Deno.test("lookup cache: after a wrong proof it is asked again, but not more often than min_interval", () => {
  const clock = new Clock();
  const old = found("old");
  clock.known("me", old);
  const first = clock.refetch("me", old);
  const second = clock.refetch("me", old);
  assert.equal(clock.asked.length, 2, "the two have one question");
  const fresh = found("new");
  clock.answer(fresh);
  assert.deepEqual([first, second], [[fresh], [fresh]]);
  assert.deepEqual(clock.refetch("me", old), [fresh], "what came since is told without a question");
  assert.deepEqual(clock.refetch("me", fresh), [fresh]);
  assert.equal(clock.asked.length, 2);
  assert.equal(clock.cache.counts.cache_rate_limited, 1);
  clock.now += 50;
  assert.deepEqual(clock.refetch("me", fresh), []);
  assert.equal(clock.cache.counts.cache_refetches, 2);
  clock.answer(MISSING);
  assert.deepEqual(clock.find("me"), [MISSING], "gone from PostgreSQL");
});

Deno.test("lookup cache: what was seen is asked for again whatever object says it, and what is past its time", () => {
  const clock = new Clock();
  clock.known("me", found("old"));
  clock.now += 50;
  assert.deepEqual(clock.refetch("me", found("old")), [], "a pool remembers what it was made by");
  clock.answer(found("newer"));
  clock.now += 1000;
  assert.deepEqual(clock.refetch("me", found("old")), [], "newer, and too old");
  assert.equal(clock.asked.length, 3);
});

Deno.test("lookup cache: of an unknown user it is waited as long, and not asked", () => {
  const clock = new Clock();
  clock.known("nobody", MISSING);
  const told = clock.refetch("nobody", MISSING);
  assert.deepEqual(told, []);
  clock.pretending[0]!();
  assert.deepEqual(told, [MISSING]);
  assert.deepEqual(clock.refetch("nobody", MISSING), [MISSING], "at once, as for one who is known");
  clock.now += 50;
  const givenUp: Answer[] = [];
  clock.cache.refetch("nobody", MISSING, (looked) => givenUp.push(looked))();
  clock.pretending[1]!();
  assert.deepEqual(givenUp, []);
  assert.equal(clock.asked.length, 1);
});

Deno.test("lookup cache: names that PostgreSQL would cut are nobody's", () => {
  const clock = new Clock();
  for (const name of ["x".repeat(64), "ä".repeat(32)]) {
    assert.deepEqual(clock.find(name), [MISSING]);
  }
  assert.equal(clock.asked.length, 0);
  assert.deepEqual(clock.find("ä".repeat(31)), []);
});

Deno.test("lookup cache: unknown names are bounded, and push out nobody who exists", () => {
  const clock = new Clock();
  clock.known("me", found("a"));
  for (let i = 0; i < 10_001; i++) clock.known(`n${i}`, MISSING);
  assert.equal(clock.cache.size, 10_001);
  assert.deepEqual(clock.find("me"), [found("a")]);
  assert.deepEqual(clock.find("n0"), [], "the one that was asked for longest ago is forgotten");
  assert.deepEqual(clock.find("n2"), [MISSING]);
});

Deno.test("lookup cache: what was asked before a clear is told and not kept", () => {
  const clock = new Clock();
  clock.known("you", found("b"));
  const told = clock.find("me");
  clock.cache.clear();
  clock.cache.setTimes({ cache_ttl: 10, cache_failure_ttl: 10, min_interval: 10 });
  clock.answer(found("a"));
  assert.deepEqual(told, [found("a")]);
  assert.deepEqual(clock.find("me"), []);
  assert.deepEqual(clock.find("you"), []);
  clock.answer(found("c"));
  clock.now += 10;
  assert.deepEqual(clock.find("you"), [], "the new times hold");
});
