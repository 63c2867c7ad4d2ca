import assert from "node:assert/strict";
import { MARK_CHANNEL } from "../../pool/listen/listening_client.ts";
import { Owed } from "../../protocol/owed_replies.ts";
import { concat, frontend } from "../../protocol/testing/wire.ts";
import { REASONS } from "../../reasons.ts";
import { parameterSet } from "../../server/parameters.ts";
import type { Tracked } from "../../server/statements/on_server.ts";
import { Dirty } from "../../server/state.ts";
import { PlainSession } from "../../testing/plain_session.ts";
import {
  isMoving,
  notifiedByServer,
  settleChannels,
  settleMark,
  stopListening,
  transactionEnded,
} from "./listening.ts";
import { bindUnlisten, confirmUnlisten, executeUnlisten, noteUnlisten } from "./unlisten.ts";

const encoder = new TextEncoder();

/** NotificationResponse. */
function notification(channel: string, payload = ""): Uint8Array<ArrayBuffer> {
  return frontend("A", concat(new Uint8Array(4), encoder.encode(`${channel}\0${payload}\0`)));
}

function linkedSession(): PlainSession {
  const session = new PlainSession().linked();
  session.state.parameters = parameterSet(new Map([["client_encoding", "UTF8"]]));
  return session;
}

/** A client whose server listens to `a`, which the pool's listener listens to, too. */
function moving(): PlainSession {
  const session = linkedSession();
  assert.equal(settleChannels(session, session.server!, ["a"]), 0);
  session.reactor.endTurn();
  assert.deepEqual(session.fetch(), ["listen a"]);
  session.listening!.ready();
  assert.deepEqual(session.fetch(), ["release if idle"]);
  return session;
}

function byServer(session: PlainSession, channel: string, payload = ""): string[] {
  const bytes = notification(channel, payload);
  notifiedByServer(session, bytes, 0, bytes.length);
  return session.fetch();
}

function byListener(session: PlainSession, channel: string): string[] {
  session.listening!.notify(channel, notification(channel));
  return session.fetch();
}

Deno.test("listening: up to the mark a client hears its server, behind it the listener", () => {
  const session = moving();
  assert.ok(isMoving(session, session.server!));
  const [sent] = session.fetch();
  const { mark } = session.state.listens!.moving!;
  assert.ok(sent!.startsWith("ask LISTEN") && sent!.endsWith(`'${mark}'`));
  // It is sent once.
  assert.ok(isMoving(session, session.server!));
  assert.deepEqual(session.fetch(), []);
  assert.equal(byServer(session, "a").length, 1);
  assert.deepEqual(byListener(session, "a"), []);
  // Another's mark, and then its own.
  assert.deepEqual(byServer(session, MARK_CHANNEL, "another"), []);
  assert.deepEqual(byServer(session, MARK_CHANNEL, mark), []);
  assert.deepEqual(byServer(session, "a"), []);
  session.listening!.markRead();
  assert.deepEqual(session.fetch(), ["forget mark", "release if idle"]);
  assert.deepEqual(session.state.listens!.channels, ["a"]);
  assert.ok(!isMoving(session, session.server!));
  assert.equal(session.plain.state.dirty, Dirty.Unlisten);
  assert.equal(byListener(session, "a").length, 1);
  assert.deepEqual(byListener(session, "b"), []);
  assert.deepEqual(byServer(session, "a"), []);
});

Deno.test("listening: what the listener brings before its server's mark waits for that", () => {
  const session = moving();
  isMoving(session, session.server!);
  session.fetch();
  const { listens } = session.state;
  session.listening!.markRead();
  assert.deepEqual(session.fetch(), []);
  assert.deepEqual(byListener(session, "a"), []);
  assert.equal(listens!.waiting.length, 1);
  assert.deepEqual(byServer(session, MARK_CHANNEL, listens!.moving!.mark), ["forget mark"]);
  transactionEnded(session, listens!);
  assert.match(session.fetch().join(), /^write A a$/);
});

Deno.test("listening: without a listener, or without its mark, the client keeps its server", () => {
  const session = moving();
  session.listening!.unavailable("none is to be had");
  const pinned = ["abandon a", `pin ${Dirty.Listen} of ${Dirty.Listen}`, "release if idle"];
  assert.deepEqual(session.fetch(), pinned);
  assert.equal(session.state.listens!.moving, undefined);
  const unmarked = moving();
  settleMark(unmarked, unmarked.server!, undefined);
  assert.deepEqual(unmarked.fetch(), pinned);
});

Deno.test("listening: a listener that is lost takes along who has heard by it, and nobody else", () => {
  const session = moving();
  session.listening!.lost("08006", "gone");
  assert.equal(session.fetch()[0], "abandon a");
  session.state.listens!.channels = ["a"];
  session.listening!.lost("08006", "gone");
  assert.deepEqual(session.fetch(), [`FATAL ${REASONS.listenerLost.code} gone`]);
});

Deno.test("listening: channels that a listener of all can't have are left to the server", () => {
  const latin = linkedSession();
  latin.state.parameters = parameterSet(new Map([["client_encoding", "LATIN1"]]));
  assert.equal(settleChannels(latin, latin.server!, ["a"]), Dirty.Listen);
  const many = linkedSession();
  const channels = Array.from({ length: 1001 }, (_, i) => `c${i}`);
  assert.equal(settleChannels(many, many.server!, channels), Dirty.Listen);
  const odd = linkedSession();
  assert.equal(settleChannels(odd, odd.server!, ["a\ufffd"]), Dirty.Listen);
  const kept = linkedSession();
  kept.state.keepsServer = true;
  assert.equal(settleChannels(kept, kept.server!, ["a"]), 0);
  assert.equal(kept.state.listens, undefined);
});

Deno.test("listening: more than fits of what waits ends the client", () => {
  const session = moving();
  session.state.listens!.channels = ["a"];
  session.backlogged = true;
  session.listening!.notify("a", new Uint8Array(1024 * 1024));
  assert.deepEqual(session.fetch(), []);
  session.listening!.notify("a", new Uint8Array(1));
  assert.match(session.fetch().join(), new RegExp(`^FATAL ${REASONS.tooManyNotifications.code}`));
  assert.equal(session.state.listens!.waitingBytes, 0);
});

Deno.test("unlisten: what PostgreSQL confirms is gone when its transaction has ended", () => {
  const session = moving();
  const listens = session.state.listens!;
  listens.moving = undefined;
  listens.channels = ["a", "b"];
  confirmUnlisten(session, ["a"]);
  // Undone by an error.
  confirmUnlisten(session, undefined);
  transactionEnded(session, listens);
  assert.deepEqual(session.fetch(), []);
  confirmUnlisten(session, ["a"]);
  transactionEnded(session, listens);
  assert.deepEqual(session.fetch(), ["unlisten a"]);
  assert.deepEqual(listens.channels, ["b"]);
  confirmUnlisten(session, ["*"]);
  transactionEnded(session, listens);
  assert.deepEqual(session.fetch(), ["unlisten b"]);
  assert.deepEqual(listens.channels, []);
});

Deno.test("unlisten: of channels on their way nothing is left to be taken over", () => {
  const session = moving();
  const listens = session.state.listens!;
  confirmUnlisten(session, ["a"]);
  transactionEnded(session, listens);
  assert.deepEqual(session.fetch(), ["abandon a", "unlisten a"]);
  assert.equal(listens.moving, undefined);
});

Deno.test("unlisten: the reply that will confirm it knows the channels", () => {
  const session = moving();
  const { owed } = session.plain;
  const text = encoder.encode('unlisten a; unlisten "B"\0');
  owed.push(Owed.Query);
  noteUnlisten(session.state, session.server!, text, 0, text.length);
  assert.deepEqual((owed.headRecord() as Tracked).unlistens, ["a", "B"]);
  const bound = linkedSession();
  // One that has never listened has nothing to lose.
  bindUnlisten(bound.state, ["a", "B"]);
  assert.equal(bound.state.listens, undefined);
  bindUnlisten(session.state, ["a", "B"]);
  bound.plain.owed.push(Owed.Execute);
  executeUnlisten(session.state.listens!, bound.server!);
  assert.deepEqual((bound.plain.owed.headRecord() as Tracked).unlistens, ["a", "B"]);
});

Deno.test("listening: a session that ends leaves its listener once", () => {
  const session = moving();
  stopListening(session);
  stopListening(session);
  assert.deepEqual(session.fetch(), ["leave listener"]);
});
