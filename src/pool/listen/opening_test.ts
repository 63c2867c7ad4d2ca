import assert from "node:assert/strict";
import type { PoolSettings } from "../../config/settings.ts";
import { Timers } from "../../reactor/timers.ts";
import type { LoggedIn, LoginFailure } from "../../server/login.ts";
import { poolSettings } from "../../testing/settings.ts";
import { Opening, type OpeningListener, type OpeningLogin } from "./opening.ts";

/** A listener that wants a connection, with a server and a limit that do what the test says. */
class Bench implements OpeningListener {
  now = 1000;
  readonly timers = new Timers();
  readonly name = "me@db";
  settings = poolSettings({ startup_parameters: [["client_encoding", "LATIN1"], ["x", "1"]] });
  paused = false;
  replacing = false;
  place = true;
  readonly warnings: string[] = [];
  readonly told: string[] = [];
  readonly logins: Login[] = [];
  readonly opening: Opening;
  opens = 0;
  works = 0;

  constructor() {
    // deno-lint-ignore no-this-alias
    const bench = this;
    this.opening = new Opening(this, {
      reactor: {
        get now() {
          return bench.now;
        },
        at: (when, fire) => this.timers.add(when, fire),
      },
      log: { warn: (_target: string, message: string) => this.warnings.push(message) },
      share: {
        take: () => this.place && !this.replacing,
        takeAhead: () => this.place && this.replacing,
        count() {},
      },
    });
  }

  newLogin(): OpeningLogin {
    const login = new Login();
    this.logins.push(login);
    return login;
  }

  opened(): void {
    this.opens++;
  }

  unavailable(detail: string): void {
    this.told.push(detail);
  }

  work(): void {
    this.works++;
    this.opening.open();
  }

  pass(ms: number): void {
    this.now += ms;
    this.timers.expire(this.now);
  }
}

class Login implements OpeningLogin {
  done: (result: LoggedIn | LoginFailure) => void = () => {};
  fields: readonly [string, string][] = [];
  givenUp = false;

  start(
    _settings: PoolSettings,
    done: (result: LoggedIn | LoginFailure) => void,
    fields: readonly [string, string][],
  ): void {
    this.done = done;
    this.fields = fields;
  }

  giveUp(): void {
    this.givenUp = true;
  }

  fail(): void {
    this.done({ kind: "failed", code: "57P03", message: "starting\nup", transient: true });
  }
}

Deno.test("opening: one login at a time is under way, and its connection speaks UTF-8", () => {
  const bench = new Bench();
  bench.opening.open();
  assert.ok(bench.opening.underWay);
  const fields = new Map(bench.logins[0]!.fields);
  assert.equal(fields.get("client_encoding"), "UTF8");
  assert.equal(fields.get("x"), "1");
  bench.logins[0]!.done({ kind: "ready" } as LoggedIn);
  assert.ok(!bench.opening.underWay);
  assert.equal(bench.opens, 1);
});

Deno.test("opening: after a failure clients are told at once, and PostgreSQL is left alone for a second", () => {
  const bench = new Bench();
  bench.opening.open();
  bench.logins[0]!.fail();
  assert.deepEqual(bench.told, ["57P03: starting up"]);
  bench.pass(999);
  bench.opening.open();
  assert.equal(bench.logins.length, 1);
  assert.equal(bench.told.length, 2);
  bench.pass(1);
  bench.opening.open();
  assert.equal(bench.logins.length, 2);
});

Deno.test("opening: other settings are tried at once, and what is under way is given up", () => {
  const bench = new Bench();
  bench.opening.open();
  bench.logins[0]!.fail();
  bench.opening.reset();
  bench.opening.open();
  assert.equal(bench.logins.length, 2);
  bench.opening.reset();
  assert.ok(bench.logins[1]!.givenUp);
  assert.ok(!bench.opening.underWay);
});

Deno.test("opening: a replacement that fails bothers nobody and is tried again later, once", () => {
  const bench = new Bench();
  bench.replacing = true;
  bench.opening.open();
  bench.logins[0]!.fail();
  assert.deepEqual(bench.told, []);
  bench.pass(5000);
  bench.opening.open();
  assert.equal(bench.logins.length, 1);
  bench.pass(5000);
  assert.equal(bench.works, 1);
  assert.equal(bench.logins.length, 2);
});

Deno.test("opening: without a place nothing is begun, and the log says so once until there is one", () => {
  const bench = new Bench();
  bench.place = false;
  for (let i = 0; i < 3; i++) bench.opening.open();
  assert.equal(bench.warnings.length, 1);
  assert.deepEqual([bench.logins.length, bench.told.length], [0, 0]);
  bench.place = true;
  bench.opening.open();
  assert.equal(bench.logins.length, 1);
});

Deno.test("opening: a paused pool opens nothing", () => {
  const bench = new Bench();
  bench.paused = true;
  bench.opening.open();
  assert.equal(bench.logins.length, 0);
});

Deno.test("opening: stopped means no attempt later and no login", () => {
  const bench = new Bench();
  bench.replacing = true;
  bench.opening.open();
  bench.logins[0]!.fail();
  bench.opening.stop();
  bench.pass(60_000);
  assert.equal(bench.works, 0);
});
