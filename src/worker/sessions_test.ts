import { FAILURE_WORDS, Failures } from "../auth/failures.ts";
import assert from "node:assert/strict";
import { UserMaps } from "../auth/user_maps.ts";
import type { SessionSnapshot } from "../client/freeze.ts";
import { newSessionState, Stage } from "../client/state.ts";
import type { GeneralSettings } from "../config/settings.ts";
import { levelFilter } from "../log/filter.ts";
import { createRecordLog } from "../log/log.ts";
import type { WorkerToWorker } from "../mail.ts";
import type { Fd } from "../os/fd.ts";
import { socketPair } from "../os/fd_passing.ts";
import { SOCK_NONBLOCK } from "../os/layout.ts";
import * as libc from "../os/libc.ts";
import type { Reactor } from "../reactor/reactor.ts";
import { REASONS } from "../reasons.ts";
import { Shared, SHARED_WORDS, Tally } from "../stats/shared.ts";
import { FakeReactor } from "../testing/fake_reactor.ts";
import { Sessions, type SessionsPlace } from "./sessions.ts";

const F_SETFL = 4;

/** A worker that is no pool's home: worker 1 is. */
class Host implements Disposable {
  readonly reactor = new FakeReactor();
  readonly mail: [worker: number, mail: WorkerToWorker & { kind: "hand_over" }][] = [];
  readonly place: SessionsPlace;
  readonly sessions: Sessions;
  readonly #fds: Fd[] = [];

  constructor(shared: Int32Array = new Int32Array(SHARED_WORDS)) {
    this.place = {
      reactor: this.reactor as unknown as Reactor,
      log: createRecordLog({ filter: levelFilter("error"), emit: () => {} }),
      shared,
      tally: new Tally(shared),
      mockSecret: new Uint8Array(32),
      failures: new Failures(new Int32Array(FAILURE_WORDS), new Uint8Array(32)),
      general: { client_login_timeout: 60_000, max_connections: 10 } as GeneralSettings,
      hba: undefined,
      userMaps: new UserMaps([]),
      checkQuery: new Uint8Array(0),
      draining: false,
      longBytes: 0,
      mostLongBytes: 1_000_000,
      counts: { total: 0, tls: 0, plain: 0, cancel: 0 },
      tls: undefined,
      handshakes: { begin: () => true, stepped: () => {}, over: () => {} },
      logins: { waits: () => {}, over: () => {} },
      passwords: { ask: () => assert.fail("no password") },
      externalChecks: { ask: () => assert.fail("no password") },
      findPool: () => ({ kind: "elsewhere", worker: 1 }),
      handOver: (worker, client) => this.sessions.handOver(worker, client),
      cancel: () => assert.fail("nobody cancels"),
      leave: (client) => this.sessions.leave(client),
      toControl: () => assert.fail("no console"),
      toPeer: (worker, mail) =>
        void this.mail.push([worker, mail as WorkerToWorker & { kind: "hand_over" }]),
    };
    this.sessions = new Sessions(this.place);
  }

  /** A client that has sent these bytes; its descriptor here. */
  connect(bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0)): Fd {
    const [ours, theirs] = socketPair();
    libc.fcntl(ours, F_SETFL, SOCK_NONBLOCK);
    if (bytes.length > 0) libc.send(theirs, bytes, bytes.length);
    this.#fds.push(ours, theirs);
    return ours;
  }

  accept(fd: Fd): void {
    this.sessions.accept({ fd, unix: true, address: "unix:", ip: "" });
  }

  readable(fd: Fd): void {
    this.reactor.registered.get(fd)!.handler.onReady(1);
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds) libc.close(fd);
  }
}

/** "user" me, "database" db; protocol 3.0. */
const STARTUP = Uint8Array.from([
  ...[0, 0, 0, 29, 0, 3, 0, 0],
  ...new TextEncoder().encode("user\0me\0database\0db\0\0"),
]);

Deno.test("sessions: accepted ones are numbered by all workers together, and counted", () => {
  const shared = new Int32Array(SHARED_WORDS);
  using one = new Host(shared);
  using other = new Host(shared);
  for (const host of [one, other, one]) host.accept(host.connect());
  assert.deepEqual([...one.sessions.all.keys()], [1, 3]);
  assert.deepEqual([...other.sessions.all.keys()], [2]);
  assert.equal(one.place.counts.total, 2);
  assert.equal(one.sessions.all.get(3)!.state.stage, Stage.Startup);
  Atomics.store(shared, Shared.LastClientId, 0x7fffffff);
  other.accept(other.connect());
  assert.ok([...other.sessions.all.keys()].every((id) => id >= 0), "no process id is negative");
});

Deno.test("sessions: who asks for a pool that is elsewhere is handed over with what it has sent", () => {
  using here = new Host();
  const fd = here.connect(STARTUP);
  here.accept(fd);
  here.reactor.now += 500;
  here.readable(fd);
  assert.equal(here.sessions.all.size, 0);
  const [worker, { fd: sent, session }] = here.mail[0]!;
  assert.deepEqual([here.mail.length, worker, sent], [1, 1, fd]);
  const { state } = session as SessionSnapshot;
  assert.deepEqual([state.id, state.user, state.database], [1, "me", "db"]);
  assert.ok(!here.reactor.registered.has(fd), "its bytes are the other worker's");

  using there = new Host(here.place.shared);
  there.reactor.now = 9000;
  there.sessions.takeOver(fd, structuredClone(session) as SessionSnapshot);
  // That one's home has moved on, too.
  assert.deepEqual(there.mail.map(([worker]) => worker), [1]);
  const again = there.mail[0]![1].session as SessionSnapshot;
  assert.deepEqual([again.state.id, again.state.connectedAtMs], [1, 500]);
});

Deno.test("sessions: one that is thawed has its place, and a login only if it is not through", () => {
  using host = new Host();
  const stages = [Stage.Login, Stage.Idle];
  const opened = stages.map((stage, i) =>
    host.sessions.openThawed(host.connect(), {
      state: { ...newSessionState(i + 5, 0), stage },
      tls: undefined,
    }, undefined)
  );
  assert.deepEqual(opened.map(({ login }) => login !== undefined), [true, false]);
  const { shared } = host.place;
  assert.equal(Atomics.load(shared, Shared.Clients), 2);
  assert.equal(Atomics.load(shared, Shared.LoggedIn), 1);
  assert.equal(host.sessions.all.get(6), opened[1]);
  host.sessions.leave(6);
  assert.deepEqual([...host.sessions.all.keys()], [5]);
  assert.equal(Atomics.load(shared, Shared.Clients), 1);
});

Deno.test("sessions: only those that have grown old leave something to be collected", () => {
  using host = new Host();
  const { reactor, sessions } = host;
  for (const ageMs of [0, 900, 1100, 60_000]) {
    host.accept(host.connect());
    reactor.now += ageMs;
    for (const session of sessions.all.values()) session.close(REASONS.clientGone, "");
    assert.equal(sessions.all.size, 0);
  }
  assert.equal(sessions.left, 2);
});
