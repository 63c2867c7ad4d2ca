import assert from "node:assert/strict";
import type { PoolSettings } from "../config/settings.ts";
import { TransactionStatus } from "../protocol/codes.ts";
import { Owed } from "../protocol/owed_replies.ts";
import { REASONS } from "../reasons.ts";
import { PlainSession } from "../testing/plain_session.ts";
import { Stage } from "./state.ts";
import { CANCEL_GRACE_MS, checkIdle, checkLinked, noteRequest, tellWaiting } from "./timeouts.ts";

/** A client whose query runs since 1000. */
function running(change: Partial<PoolSettings>): PlainSession {
  const session = new PlainSession(change).linked();
  session.requestMs = 1000;
  session.xactStartMs = 1000;
  session.plain.owed.push(Owed.Query);
  return session;
}

/** A client in a transaction that was told to go on at 1000. */
function quiet(change: Partial<PoolSettings>): PlainSession {
  const session = new PlainSession(change).linked();
  session.readyMs = 1000;
  session.xactStartMs = 1000;
  session.plain.state.status = TransactionStatus.InTransaction;
  return session;
}

Deno.test("timeouts: a query is canceled once, and after a while given up with its server", () => {
  const session = running({ query_timeout: 100 });
  assert.equal(checkLinked(session, 1099), 1100);
  assert.deepEqual(session.fetch(), []);
  assert.equal(checkLinked(session, 1100), 1100 + CANCEL_GRACE_MS);
  const [canceled, notice, ...more] = session.fetch();
  assert.equal(canceled, "cancel");
  assert.match(notice!, /^write N .*query_timeout \(100 ms\) reached/);
  assert.deepEqual(more, []);
  assert.equal(checkLinked(session, 1200), 1100 + CANCEL_GRACE_MS);
  assert.deepEqual(session.fetch(), []);
  assert.equal(checkLinked(session, 1100 + CANCEL_GRACE_MS), Infinity);
  assert.deepEqual(session.fetch(), [
    `FATAL ${REASONS.queryTimeout.code} 100`,
    "close server: its query was not canceled in time",
  ]);
  assert.equal(session.pool!.counters.total.query_timeouts, 1);
});

Deno.test("timeouts: of pipelined queries each has its own time", () => {
  const session = running({ query_timeout: 100 });
  session.readyMs = 1080;
  assert.equal(checkLinked(session, 1100), 1180);
  assert.deepEqual(session.fetch(), []);
});

Deno.test("timeouts: in the middle of a message of PostgreSQL's no notice is written", () => {
  const session = running({ query_timeout: 100 });
  session.midMessage = true;
  checkLinked(session, 1100);
  assert.deepEqual(session.fetch(), ["cancel"]);
});

Deno.test("timeouts: a transaction ends, whether a query runs in it or not", () => {
  const busy = running({ transaction_timeout: 500 });
  assert.equal(checkLinked(busy, 1499), 1500);
  assert.equal(checkLinked(busy, 1500), Infinity);
  assert.deepEqual(busy.fetch(), [`FATAL ${REASONS.transactionTimeout.code} 500`]);
  const idle = quiet({ transaction_timeout: 500, idle_transaction_timeout: 1000 });
  assert.equal(checkLinked(idle, 1400), 1500);
  assert.equal(checkLinked(idle, 1500), Infinity);
  assert.deepEqual(idle.fetch(), [`FATAL ${REASONS.transactionTimeout.code} 500`]);
  assert.equal(idle.pool!.counters.total.transaction_timeouts, 1);
});

Deno.test("timeouts: silence in a transaction counts from the last answer or the last request", () => {
  const session = quiet({ idle_transaction_timeout: 200 });
  session.requestMs = 1050;
  assert.equal(checkLinked(session, 1249), 1250);
  assert.equal(checkLinked(session, 1250), Infinity);
  assert.deepEqual(session.fetch(), [`FATAL ${REASONS.idleTransaction.code} 200`]);
});

Deno.test("timeouts: without a Sync, silence counts from when it is first seen", () => {
  const session = quiet({ idle_transaction_timeout: 200 });
  session.plain.state.status = TransactionStatus.Idle;
  session.plain.state.unsynced = true;
  session.requestMs = 1100;
  assert.equal(checkLinked(session, 5000), 5200);
  assert.equal(checkLinked(session, 5199), 5200);
  assert.equal(checkLinked(session, 5200), Infinity);
  assert.deepEqual(session.fetch(), [`FATAL ${REASONS.idleTransaction.code} 200`]);
});

Deno.test("timeouts: what is under way elsewhere, streams, or does nothing, is not timed", () => {
  const limits = { query_timeout: 1, transaction_timeout: 1, client_idle_timeout: 1 };
  const frozen = running(limits);
  frozen.frozen = true;
  const stream = running(limits);
  stream.state.replication = "physical";
  const syncing = running(limits);
  syncing.state.stage = Stage.Syncing;
  for (const session of [frozen, stream, syncing, new PlainSession(limits).linked()]) {
    assert.equal(checkLinked(session, 9000), Infinity);
    assert.deepEqual(session.fetch(), []);
  }
  for (const session of [frozen, stream, syncing]) {
    assert.equal(checkIdle(session, 9000), Infinity);
    assert.deepEqual(session.fetch(), []);
  }
});

Deno.test("timeouts: a client that does nothing is sent home, with a server or without", () => {
  for (const linked of [false, true]) {
    const session = new PlainSession({ client_idle_timeout: 300 });
    if (linked) session.linked();
    else session.state.stage = Stage.Idle;
    session.readyMs = 1000;
    assert.equal(checkIdle(session, 1299), 1300);
    // A part of a request is there.
    session.state.left = 5;
    assert.equal(checkIdle(session, 1300), Infinity);
    session.state.left = 0;
    assert.deepEqual(session.fetch(), []);
    assert.equal(checkIdle(session, 1300), Infinity);
    assert.deepEqual(session.fetch(), [`FATAL ${REASONS.clientIdle.code} 300`]);
  }
});

Deno.test("timeouts: a transaction that no server knows of is idle, and ends by the shorter limit", () => {
  for (
    const [idle, whole, reason] of [
      [200, 0, REASONS.idleTransaction],
      [0, 300, REASONS.transactionTimeout],
      [400, 300, REASONS.transactionTimeout],
      [200, 300, REASONS.idleTransaction],
    ] as const
  ) {
    const session = new PlainSession({
      idle_transaction_timeout: idle,
      transaction_timeout: whole,
      client_idle_timeout: 1,
    });
    session.state.stage = Stage.Idle;
    session.state.deferredBegin = true;
    session.readyMs = 1000;
    const limit = reason === REASONS.idleTransaction ? idle : whole;
    assert.equal(checkIdle(session, 1000 + limit - 1), 1000 + limit);
    assert.equal(checkIdle(session, 1000 + limit), Infinity);
    assert.deepEqual(session.fetch(), [`FATAL ${reason.code} ${limit}`]);
  }
});

Deno.test("timeouts: a transaction begins with the request that finds none, a request where nothing is owed", () => {
  const session = new PlainSession().linked();
  const { server } = session;
  noteRequest(session, server!);
  assert.deepEqual([session.requestMs, session.xactStartMs], [1000, 1000]);
  session.reactor.now = 2000;
  session.plain.state.status = TransactionStatus.InTransaction;
  noteRequest(session, server!);
  assert.deepEqual([session.requestMs, session.xactStartMs], [2000, 1000]);
  session.reactor.now = 3000;
  session.plain.owed.push(Owed.Query);
  noteRequest(session, server!);
  assert.deepEqual([session.requestMs, session.xactStartMs], [2000, 1000]);
});

Deno.test("timeouts: who waits is told so, but not in the middle of a login or on the way elsewhere", () => {
  const session = new PlainSession();
  session.state.stage = Stage.Preparing;
  tellWaiting(session, 100);
  assert.deepEqual(session.fetch(), []);
  session.state.stage = Stage.Waiting;
  tellWaiting(session, 100);
  assert.match(session.fetch().join(), /^write N .*client being queued.*100 ms/);
  session.frozen = true;
  tellWaiting(session, 200);
  assert.deepEqual(session.fetch(), []);
});
