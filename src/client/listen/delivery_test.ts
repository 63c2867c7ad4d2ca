import assert from "node:assert/strict";
import { TransactionStatus } from "../../protocol/codes.ts";
import { Owed } from "../../protocol/owed_replies.ts";
import { frontend } from "../../protocol/testing/wire.ts";
import { PlainSession } from "../../testing/plain_session.ts";
import { type Listens, Stage } from "../state.ts";
import { flushNotifications, mayHave } from "./delivery.ts";

const NOTIFICATION = frontend("A", Uint8Array.of(0x31, 0));

function listens(): Listens {
  return {
    channels: ["news"],
    moving: undefined,
    unlistened: [],
    gone: [],
    bound: [],
    waiting: [],
    waitingBytes: 0,
  };
}

/** Whether a listening client may have a notification when this is so. */
function may(stage: number, change: (session: PlainSession, listens: Listens) => void): boolean {
  const session = new PlainSession();
  if (stage === Stage.Linked) session.linked();
  else session.state.stage = stage;
  const its = session.state.listens = listens();
  change(session, its);
  return mayHave(session, its);
}

Deno.test("delivery: a client may have notifications between two messages, outside of transactions", () => {
  const nothing = () => {};
  for (const stage of [Stage.Idle, Stage.Waiting, Stage.Syncing, Stage.Linked]) {
    assert.ok(may(stage, nothing));
    assert.ok(!may(stage, (session) => session.backlogged = true));
    assert.ok(!may(stage, ({ state }) => state.deferredBegin = true));
  }
  for (const stage of [Stage.Login, Stage.Preparing, Stage.Closing]) {
    assert.ok(!may(stage, nothing));
  }
  const linked = (change: (session: PlainSession) => void) => may(Stage.Linked, change);
  assert.ok(!linked(({ plain }) => plain.state.status = TransactionStatus.InTransaction));
  assert.ok(!linked(({ plain }) => plain.owed.push(Owed.Query)));
  assert.ok(!linked(({ plain }) => plain.state.unsynced = true));
  assert.ok(!linked(({ plain }) => plain.state.left = 1));
  assert.ok(linked(({ plain }) => {
    plain.state.left = 1;
    plain.state.leftDropped = true;
  }));
});

Deno.test("delivery: what the listener is ahead of the server with waits", () => {
  const moving = (come: { byServer?: boolean; byListener?: boolean }) =>
    may(Stage.Idle, (_, its) => {
      const sent = { channels: ["a"], mark: "m", ready: true, sent: true };
      its.moving = { ...sent, byServer: false, byListener: false, ...come };
    });
  assert.ok(!moving({ byListener: true }));
  assert.ok(moving({}));
  assert.ok(moving({ byServer: true }));
});

Deno.test("delivery: what has waited is written in one piece, once", () => {
  const session = new PlainSession();
  session.state.stage = Stage.Idle;
  flushNotifications(session);
  const its = session.state.listens = listens();
  its.waiting = [NOTIFICATION, NOTIFICATION];
  its.waitingBytes = 2 * NOTIFICATION.length;
  session.backlogged = true;
  flushNotifications(session);
  assert.deepEqual(session.fetch(), []);
  session.backlogged = false;
  flushNotifications(session);
  assert.deepEqual(session.fetch(), ["write A 1", "write A 1"]);
  assert.equal(its.waitingBytes, 0);
  flushNotifications(session);
  assert.deepEqual(session.fetch(), []);
});
