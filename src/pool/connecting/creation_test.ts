import assert from "node:assert/strict";
import type { LoginFailure } from "../../server/login.ts";
import { noSums } from "../../stats/counters.ts";
import { FakeReactor } from "../../testing/fake_reactor.ts";
import { NO_TLS, poolSettings } from "../../testing/settings.ts";
import type { PoolEnvironment } from "../environment.ts";
import { type CreatingPool, Creation, loggedInState, verifierOf } from "./creation.ts";

type Answer = (addresses: never[], error: string | undefined) => void;

/** A pool whose server's name is resolved when the test says so, always in vain. */
class Bench implements CreatingPool {
  readonly reactor = new FakeReactor();
  readonly settings = poolSettings({ server_host: "db.example" });
  readonly name = "me@db";
  readonly waiting = 0;
  readonly clientKey = undefined;
  readonly traffic = noSums();
  readonly lines: string[] = [];
  readonly failures: LoginFailure[] = [];
  readonly asked: Answer[] = [];
  readonly derived: string[] = [];
  readonly creation: Creation;
  grown = 0;

  constructor() {
    const note = (level: string) => (_target: string, text: string) =>
      this.lines.push(`${level}: ${text}`);
    const environment = {
      reactor: this.reactor,
      log: { debug: note("debug"), error: note("error") },
      tune: () => {},
      addresses: (_host: string, _port: number, done: Answer) => this.asked.push(done),
      derive: (
        password: string,
        _salt: Uint8Array,
        _n: number,
        done: (key: Uint8Array) => void,
      ) => {
        this.derived.push(password);
        done(new TextEncoder().encode(password));
      },
    };
    this.creation = new Creation(this, environment as unknown as PoolEnvironment);
  }

  loggedIn(): void {
    assert.fail("there is no server");
  }

  loginFailed(failure: LoginFailure): void {
    this.failures.push(failure);
  }

  grow(): void {
    this.grown++;
  }

  fail(why = "not found"): void {
    this.creation.connect(0);
    this.asked.pop()!([], why);
  }

  pass(ms: number): void {
    this.reactor.now += ms;
    this.reactor.timers.expire(this.reactor.now);
  }
}

Deno.test("creation: a connection counts from its beginning, while its server's name is resolved, too", () => {
  const bench = new Bench();
  const ended: unknown[] = [];
  bench.creation.connect(0, (failure) => ended.push(failure?.message));
  assert.deepEqual([bench.creation.connecting, bench.creation.resolving], [1, 1]);
  bench.asked[0]!([], "not found");
  assert.equal(bench.creation.connecting, 0);
  assert.deepEqual(ended, ['resolve "db.example": not found']);
  assert.equal(bench.failures[0], bench.creation.lastFailure);
});

Deno.test("creation: the pause after a failure doubles up to a second, and then the pool is asked again", () => {
  const bench = new Bench();
  for (const pause of [50, 100, 200, 400, 800, 1000, 1000]) {
    bench.fail();
    const { grown } = bench;
    bench.pass(pause - 1);
    assert.ok(bench.creation.resting);
    assert.equal(bench.grown, grown);
    bench.pass(1);
    assert.ok(!bench.creation.resting);
    assert.equal(bench.grown, grown + 1);
  }
});

Deno.test("creation: a server that stays away is news once", () => {
  const bench = new Bench();
  for (const why of ["not found", "not found", "timed out"]) bench.fail(why);
  assert.deepEqual(bench.lines.map((line) => line.split(":", 1)[0]), ["error", "debug", "error"]);
});

Deno.test("creation: what failed by settings that do not hold any more is forgotten", () => {
  const before = poolSettings({ server_digest: "a" });
  const files = { ...NO_TLS.files, digest: "other contents" };
  const others = [{ server_digest: "b" }, { server_tls: { ...NO_TLS, files } }];
  for (const change of others) {
    const bench = new Bench();
    bench.fail();
    bench.creation.settingsChanged(before, poolSettings({ server_digest: "a", pool_size: 99 }));
    assert.ok(bench.creation.resting);
    bench.creation.settingsChanged(before, { ...before, ...change });
    assert.ok(!bench.creation.resting);
    assert.equal(bench.creation.lastFailure, undefined);
    bench.pass(60_000);
    assert.equal(bench.grown, 0);
  }
});

Deno.test("creation: closed, what is under way is nobody's any more", () => {
  const bench = new Bench();
  bench.creation.connect(0);
  bench.creation.close();
  assert.equal(bench.creation.connecting, 0);
  bench.asked[0]!([], "not found");
  assert.deepEqual(bench.failures, []);
});

Deno.test("creation: a salted password is derived once for each salt", () => {
  const bench = new Bench();
  const { derive } = bench.creation.secrets;
  for (const salt of [1, 1, 2]) {
    derive("secret", Uint8Array.of(salt), 4096, (key) => assert.equal(key?.length, 6));
  }
  assert.equal(bench.derived.length, 2);
});

Deno.test("creation: a server has limits of its own around those of the settings", () => {
  const settings = poolSettings({ server_lifetime: 10_000, idle_timeout: 0, server_digest: "d" });
  const state = loggedInState(
    7,
    1000,
    {
      kind: "ready",
      address: { bytes: new Uint8Array(1), text: "here" },
      pid: 42,
      secret: new Uint8Array(4),
      parameters: new Map([["TimeZone", "UTC"]]),
    } as Parameters<typeof loggedInState>[2],
    settings,
  );
  assert.ok(state.lifetimeMs >= 8000 && state.lifetimeMs <= 12_000);
  assert.deepEqual([state.idleLimitMs, state.digest, state.pid], [0, "d", 42]);
  assert.equal(state.parameters.values.get("TimeZone"), "UTC");
});

Deno.test("creation: a ClientKey belongs to a verifier, and to nothing without passthrough", () => {
  const verifier = { kind: "scram_passthrough", verifier: "SCRAM-SHA-256$x" } as const;
  assert.equal(verifierOf(poolSettings({ credentials: verifier })), "SCRAM-SHA-256$x");
  assert.equal(verifierOf(poolSettings({})), "");
});
