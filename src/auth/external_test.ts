import assert from "node:assert/strict";
import type { ExternalRequest, ExternalVerdict } from "../config/external_check.ts";
import { type ExternalCheck, ExternalChecks, ExternalLine } from "./external.ts";

/** A method whose answers are given by the test. */
class Answering implements ExternalCheck {
  readonly atOnce: number;
  readonly timeoutMs: number;
  readonly asked: string[] = [];
  readonly signals: AbortSignal[] = [];
  readonly #answers: PromiseWithResolvers<ExternalVerdict>[] = [];

  constructor(atOnce = 1, timeoutMs = 60_000) {
    this.atOnce = atOnce;
    this.timeoutMs = timeoutMs;
  }

  check(request: ExternalRequest, signal: AbortSignal): Promise<ExternalVerdict> {
    this.asked.push(request.user);
    this.signals.push(signal);
    const answer = Promise.withResolvers<ExternalVerdict>();
    this.#answers.push(answer);
    return answer.promise;
  }

  /** Of the oldest that has no answer. */
  get next(): PromiseWithResolvers<ExternalVerdict> {
    return this.#answers.shift()!;
  }
}

const ACCEPTED: ExternalVerdict = { kind: "accepted" };

function request(user: string, method: ExternalRequest["method"] = "ldap"): ExternalRequest {
  const password = Uint8Array.of(1, 2, 3);
  return { method, options: {}, user, database: "db", address: "10.0.0.1", password };
}

/** Lets promises that are settled tell so. */
async function settle(): Promise<void> {
  for (let i = 0; i < 10; i++) await Promise.resolve();
}

Deno.test("external checks: so many at once by method, the others in their order", async () => {
  const method = new Answering(2);
  const checks = new ExternalChecks(new Map([["ldap", method]]));
  const told: string[] = [];
  for (const user of ["a", "b", "c"]) {
    checks.ask(request(user), (verdict) => told.push(`${user} ${verdict.kind}`));
  }
  assert.deepEqual(method.asked, ["a", "b"]);
  method.next.resolve(ACCEPTED);
  await settle();
  assert.deepEqual(method.asked, ["a", "b", "c"]);
  method.next.resolve({ kind: "refused", why: "no" });
  method.next.reject(new Error("down"));
  await settle();
  assert.deepEqual(told, ["a accepted", "b refused", "c error"]);
});

Deno.test("external checks: who leaves is heard of, keeps the place and is told nothing", async () => {
  const method = new Answering();
  const checks = new ExternalChecks(new Map([["ldap", method]]));
  const told: string[] = [];
  const ask = (user: string) => checks.ask(request(user), () => told.push(user));
  const leaveA = ask("a");
  const leaveB = ask("b");
  ask("c");
  leaveA();
  leaveB();
  assert.deepEqual(method.signals.map(({ aborted }) => aborted), [true]);
  await settle();
  // It is still under way.
  assert.deepEqual(method.asked, ["a"]);
  method.next.resolve(ACCEPTED);
  await settle();
  assert.deepEqual(method.asked, ["a", "c"]);
  method.next.resolve(ACCEPTED);
  await settle();
  assert.deepEqual(told, ["c"]);
});

Deno.test("external checks: no answer in time is an answer, and the place stays taken", async () => {
  const method = new Answering(1, 1);
  const checks = new ExternalChecks(new Map([["ldap", method]]));
  const verdict = await new Promise<ExternalVerdict>((done) => checks.ask(request("a"), done));
  assert.deepEqual(verdict, { kind: "error", why: "no answer within 1 ms" });
  const late = await new Promise<ExternalVerdict>((done) => checks.ask(request("b"), done));
  assert.equal(late.kind, "error");
  assert.deepEqual(method.asked, ["a"]);
  assert.deepEqual(method.signals.map(({ aborted }) => aborted), [true]);
  method.next.resolve(ACCEPTED);
  await settle();
  assert.deepEqual(method.asked, ["a"], "nobody waits for the other one any more");
});

Deno.test("external checks: a method that there is not lets nobody in", async () => {
  const checks = new ExternalChecks(new Map());
  const verdict = await new Promise<ExternalVerdict>((done) =>
    checks.ask(request("a", "pam"), done)
  );
  assert.deepEqual(verdict, { kind: "error", why: "pam is not available" });
});

Deno.test("external line: what is taken back frees its place, and is not answered", () => {
  const sent: [string, (verdict: ExternalVerdict) => void][] = [];
  const takenBack: string[] = [];
  const line = new ExternalLine(
    (asked, done) => {
      sent.push([asked.user, done]);
      return () => takenBack.push(asked.user);
    },
    { atOnce: 1, waiting: 2, waitingBytes: 6 },
  );
  const told: string[] = [];
  const ask = (user: string) => line.ask(request(user), () => told.push(user));
  const leaveA = ask("a")!;
  const leaveB = ask("b")!;
  assert.ok(ask("c"));
  assert.equal(ask("d"), undefined);
  leaveB();
  assert.ok(ask("e"), "there is room again");
  leaveA();
  assert.deepEqual(takenBack, ["a"]);
  assert.deepEqual(sent.map(([user]) => user), ["a", "c"]);
  sent[1]![1](ACCEPTED);
  assert.deepEqual(sent.map(([user]) => user), ["a", "c", "e"]);
  leaveA();
  assert.deepEqual([told, takenBack], [["c"], ["a"]]);
});
