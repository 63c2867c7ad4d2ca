import assert from "node:assert/strict";
import type { GeneralSettings } from "../config/settings.ts";
import { levelFilter } from "../log/filter.ts";
import { createRecordLog } from "../log/log.ts";
import type { Fd } from "../os/fd.ts";
import { socketPair } from "../os/fd_passing.ts";
import { SOCK_NONBLOCK } from "../os/layout.ts";
import * as libc from "../os/libc.ts";
import type { Reactor } from "../reactor/reactor.ts";
import { type Timer, Timers } from "../reactor/timers.ts";
import { Shared, SHARED_WORDS, Tally } from "../stats/shared.ts";
import { Logins } from "./logins.ts";

const F_SETFL = 4;

/** A log-in that gives way when it is told to. */
interface FakeLogin {
  name: string;
  giveWay(): void;
}

class Crowd {
  now = 0;
  readonly timers = new Timers();
  readonly shared = new Int32Array(SHARED_WORDS);
  readonly tally = new Tally(this.shared);
  readonly general = { max_connections: 10 } as GeneralSettings;
  readonly logged: string[] = [];
  readonly log = createRecordLog({
    filter: levelFilter("warn"),
    emit: ({ message }) => this.logged.push(message),
    callSites: "error",
  });
  readonly reactor = this as unknown as Reactor;
  readonly logins = new Logins(this);
  readonly gone: string[] = [];

  at(at: number, fire: () => void): Timer {
    return this.timers.add(at, fire);
  }

  /** Those that are logged in. */
  users(count: number): void {
    Atomics.add(this.shared, Shared.Clients, count);
  }

  connect(name: string): FakeLogin {
    this.users(1);
    const login = {
      name,
      giveWay: () => {
        this.gone.push(name);
        this.users(-1);
        this.logins.over(login);
      },
    };
    this.logins.waits(login);
    return login;
  }

  wait(ms: number): string {
    const until = this.now + ms;
    while (this.now < until) {
      this.now = Math.min(until, Math.max(this.now, this.timers.next()));
      this.timers.expire(this.now);
    }
    return this.gone.splice(0).join("");
  }
}

/** As a connection that was accepted, and its other end. */
function connection(): [Fd, Fd] {
  const pair = socketPair();
  for (const fd of pair) libc.fcntl(fd, F_SETFL, SOCK_NONBLOCK);
  return pair;
}

Deno.test("logins: silent ones stay while nobody needs their place", () => {
  const crowd = new Crowd();
  crowd.users(2);
  for (const name of "abcdefgh") crowd.connect(name);
  assert.equal(crowd.wait(60_000), "");
  assert.deepEqual(crowd.logged, []);
});

Deno.test("logins: the longest silent ones go, as many as there are too many", () => {
  const crowd = new Crowd();
  crowd.users(7);
  const [a] = [..."abcd"].map((name) => crowd.connect(name));
  assert.equal(crowd.wait(900), "", "not yet silent for long");
  crowd.logins.waits(a);
  crowd.connect("e");
  assert.equal(crowd.wait(600), "bc");
  crowd.users(1);
  assert.equal(crowd.wait(400), "d");
  assert.equal(crowd.wait(600), "");
  crowd.users(1);
  assert.equal(crowd.wait(300), "a");
});

Deno.test("logins: those that go on step by step are never ended", () => {
  const crowd = new Crowd();
  const many = Array.from({ length: 100 }, (_, i) => crowd.connect(String(i)));
  for (let i = 0; i < 20; i++) {
    for (const login of many) crowd.logins.waits(login);
    assert.equal(crowd.wait(900), "");
  }
});

Deno.test("logins: a log-in that is through is looked at no more", () => {
  const crowd = new Crowd();
  const a = crowd.connect("a");
  crowd.connect("b");
  crowd.logins.over(a);
  crowd.users(20);
  assert.equal(crowd.wait(2000), "b");
  assert.equal(crowd.wait(10_000), "");
  assert.equal(crowd.timers.next(), Infinity, "nothing to look at");
});

Deno.test("logins: a lower max_connections counts at once", () => {
  const crowd = new Crowd();
  for (const name of "abcdef") crowd.connect(name);
  assert.equal(crowd.wait(5000), "");
  crowd.general.max_connections = 4;
  assert.equal(crowd.wait(300), "ab");
});

Deno.test("logins: where descriptors have run out silent ones go, however few there are", () => {
  const crowd = new Crowd();
  crowd.connect("a");
  crowd.wait(1100);
  crowd.connect("b");
  crowd.logins.outOfDescriptors();
  assert.equal(crowd.wait(300), "a");
  assert.equal(crowd.wait(5000), "");
});

Deno.test("logins: one line of the log for many, at most every five seconds", () => {
  const crowd = new Crowd();
  crowd.users(10);
  for (let i = 0; i < 40; i++) {
    crowd.connect("x");
    crowd.wait(250);
  }
  crowd.wait(6000);
  const counts = crowd.logged.map((line) => Number(/ended (\d+) log-ins/.exec(line)![1]));
  assert.equal(counts.reduce((sum, count) => sum + count, 0), 40);
  assert.ok(counts.length <= 4, crowd.logged.join("\n"));
  assert.match(crowd.logged[0], /refused 0 connections before their log-in, .* max=10$/);
});

Deno.test("logins: at the bound a connection is told why and closed, and is not counted", () => {
  const crowd = new Crowd();
  const descriptors = () => [...Deno.readDirSync("/proc/self/fd")].length;
  crowd.users(109);
  const before = descriptors();
  const [here, there] = connection();
  assert.ok(crowd.logins.admit(here));
  libc.close(here);
  libc.close(there);
  assert.equal(Atomics.load(crowd.shared, Shared.Clients), 110);
  const [mine, other] = connection();
  libc.send(other, new Uint8Array(100), 100);
  assert.ok(!crowd.logins.admit(mine));
  assert.equal(Atomics.load(crowd.shared, Shared.Clients), 110);
  const bytes = new Uint8Array(1000);
  const length = libc.recv(other, bytes, bytes.length);
  assert.match(
    new TextDecoder().decode(bytes.subarray(0, length)),
    /^E.*FATAL\0C53300\0Msorry, too many clients already\0/s,
  );
  assert.equal(libc.recv(other, bytes, bytes.length), 0, "the end, and no reset");
  libc.close(other);
  assert.equal(descriptors(), before);
  crowd.wait(300);
  assert.match(crowd.logged.join(), /ended 0 log-ins .* refused 1 connections/);
  crowd.general.max_connections = 1000;
  crowd.users(1889);
  const [last, peer] = connection();
  assert.ok(crowd.logins.admit(last));
  assert.equal(Atomics.load(crowd.shared, Shared.Clients), 2000);
  assert.ok(!crowd.logins.admit(last));
  libc.close(peer);
});

Deno.test("logins: no more are let in than there are descriptors for, and silent ones make room", () => {
  const crowd = new Crowd();
  crowd.shared[Shared.MostClients] = 5;
  crowd.users(4);
  crowd.connect("silent");
  crowd.wait(1100);
  const [mine, other] = connection();
  assert.ok(!crowd.logins.admit(mine));
  libc.close(other);
  assert.equal(crowd.wait(300), "silent");
  assert.match(crowd.logged.join(), /refused 1 connections .* most by the limit of open files=5$/);
  const [last, peer] = connection();
  assert.ok(crowd.logins.admit(last));
  for (const fd of [last, peer]) libc.close(fd);
});
