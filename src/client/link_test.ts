import assert from "node:assert/strict";
import type { PoolSettings } from "../config/settings.ts";
import type { ReceivedError } from "../protocol/error_response.ts";
import { REASONS } from "../reasons.ts";
import { parameterSet } from "../server/parameters.ts";
import { Dirty } from "../server/state.ts";
import { PlainSession } from "../testing/plain_session.ts";
import { giveBack, link, own, ownQueryDone, release, tellLoss } from "./link.ts";
import { flush } from "./relay/gather.ts";
import { Stage } from "./state.ts";

type Linking = Parameters<typeof link>[0];

/** A session that waits for its server; what the stages of one would do is noted. */
class WaitingSession extends PlainSession {
  constructor(change: Partial<PoolSettings> = {}) {
    super(change);
    this.state.stage = Stage.Waiting;
  }

  moveTo(stage: number): void {
    this.state.stage = stage;
  }

  unthrottle(): void {}

  relayKept(): void {
    this.done.push("relay");
  }

  release(): void {
    release(this.whole);
  }

  refuse(): void {
    this.done.push("refuse");
  }

  get whole(): Linking {
    return this as unknown as Linking;
  }

  /** Checks the plain server out. */
  link(): boolean {
    return link(this.whole, this.plain as unknown as Linking["server"] & object);
  }
}

const ERROR: ReceivedError = {
  severity: "ERROR",
  code: "22023",
  message: "no such value",
  detail: "",
  hint: "",
};

Deno.test("link: a server with the client's parameters is the client's at once", () => {
  const session = new WaitingSession();
  session.waitStartMs = 400;
  session.plain.state.dirty = Dirty.Reset | Dirty.Temp;
  assert.ok(session.link());
  assert.equal(session.state.stage, Stage.Linked);
  assert.equal(session.plain.link, session);
  assert.ok(!session.state.keepsServer);
  assert.equal(session.plain.state.dirty, Dirty.Temp);
  assert.equal(session.state.maxWaitUs, 600_000);
  assert.deepEqual(session.fetch(), []);
});

Deno.test("link: a client that has not taken its answers gets no new ones", () => {
  const session = new WaitingSession();
  session.backlogged = true;
  session.link();
  assert.deepEqual(session.fetch(), ["pause"]);
});

Deno.test("link: other parameters are set first, and what was kept follows", () => {
  const session = new WaitingSession();
  session.state.parameters = parameterSet(new Map([["search_path", "mine"]]));
  assert.ok(!session.link());
  assert.equal(session.state.stage, Stage.Syncing);
  const [resumed, query, ...more] = session.fetch();
  assert.equal(resumed, "resume");
  assert.match(query!, /^run SELECT pg_catalog.set_config\(E'search_path', E'mine', false\)/);
  assert.deepEqual(more, []);
  ownQueryDone(session.whole, undefined);
  assert.equal(session.state.stage, Stage.Linked);
  assert.equal(session.plain.state.parameters, session.state.parameters);
  assert.deepEqual(session.fetch(), ["relay"]);
  // A query of the pooler's for another end.
  ownQueryDone(session.whole, undefined);
  assert.deepEqual(session.fetch(), []);
});

Deno.test("link: parameters that PostgreSQL would not have are the client's end, and not the server's", () => {
  const session = new WaitingSession();
  session.state.parameters = parameterSet(new Map([["search_path", "mine"]]));
  session.link();
  session.fetch();
  ownQueryDone(session.whole, ERROR);
  assert.deepEqual(session.fetch(), [
    "check in",
    `FATAL ${REASONS.parametersFailed.code} no such value`,
  ]);
});

Deno.test("link: a cancel that came before the request was sent refuses it", () => {
  const session = new WaitingSession();
  session.state.parameters = parameterSet(new Map([["search_path", "mine"]]));
  session.link();
  session.fetch();
  session.state.canceled = true;
  ownQueryDone(session.whole, undefined);
  assert.deepEqual(session.fetch(), ["check in", "refuse"]);
  assert.ok(!session.state.canceled);
});

Deno.test("link: the BEGIN that the client was told of goes in front", () => {
  const session = new WaitingSession();
  session.state.deferredBegin = true;
  session.link();
  assert.ok(!session.state.deferredBegin);
  assert.ok(session.plain.state.beginning);
  assert.equal(session.plain.owed.length, 5);
  flush(session.server!);
  assert.deepEqual(session.fetch(), ["send"]);
});

Deno.test("link: a released server is to be cleaned of what was its client's own", () => {
  const plain = new WaitingSession();
  plain.link();
  plain.release();
  assert.equal(plain.plain.state.dirty, 0);
  assert.equal(plain.state.stage, Stage.Idle);
  assert.equal(plain.server, undefined);
  const kept = new WaitingSession({ pool_mode: "session" });
  kept.link();
  assert.ok(kept.state.keepsServer);
  kept.release();
  assert.equal(kept.plain.state.dirty, Dirty.All);
  const pinned = new WaitingSession();
  pinned.link();
  pinned.state.pinned = Dirty.Temp;
  pinned.release();
  assert.equal(pinned.plain.state.dirty, Dirty.All);
  assert.equal(pinned.state.pinned, 0);
});

Deno.test("link: a replication client's server is never given back", () => {
  const session = new WaitingSession();
  session.state.replication = "physical";
  own(session.whole, session.plain as unknown as Linking["server"] & object);
  assert.equal(session.state.stage, Stage.Linked);
  session.release();
  assert.deepEqual(session.fetch(), [`FATAL ${REASONS.shuttingDown.code}`]);
  giveBack(session, session.pool!, "cut");
  assert.deepEqual(session.fetch(), ["close server: "]);
});

Deno.test("link: the end of a client leaves its server clean, to be cleaned, or closed", () => {
  const ends = (change: (session: WaitingSession) => void) => {
    const session = new WaitingSession();
    session.link();
    change(session);
    giveBack(session, session.pool!, "cut");
    assert.equal(session.server, undefined);
    assert.equal(session.plain.link, undefined);
    return [session.fetch().join(), session.plain.state.dirty] as const;
  };
  assert.deepEqual(ends(() => {}), ["check in", 0]);
  assert.deepEqual(ends(({ state }) => state.stage = Stage.Syncing), ["check in", Dirty.Set]);
  assert.deepEqual(ends(({ plain }) => plain.state.asked = Dirty.Temp), [
    "check in",
    Dirty.Temp,
  ]);
  assert.deepEqual(ends(({ state }) => state.keepsServer = true), ["check in", Dirty.All]);
  const [closed] = ends(({ state }) => state.left = 3);
  assert.equal(closed, "close server: its client left in the middle of a message");
  // The rest of a message that is dropped never goes to the server.
  assert.deepEqual(
    ends(({ state }) => {
      state.left = 3;
      state.leftDropped = true;
    }),
    ["check in", 0],
  );
});

Deno.test("link: a client is told of its server's loss, unless it knows or could not read it", () => {
  const told = (server: "silent" | "told why", change: (session: WaitingSession) => void) => {
    const session = new WaitingSession();
    session.link();
    change(session);
    tellLoss(session, REASONS.serverLost, "gone", server === "told why");
    assert.equal(session.server, undefined);
    return session.fetch();
  };
  assert.deepEqual(told("silent", () => {}), [`FATAL ${REASONS.serverLost.code} gone`]);
  assert.deepEqual(told("told why", () => {}), ["say"]);
  assert.deepEqual(told("silent", ({ plain }) => plain.state.left = 7), ["say"]);
  assert.deepEqual(told("silent", ({ state }) => state.replication = "logical"), ["say"]);
  assert.deepEqual(told("silent", ({ state }) => state.stage = Stage.Closed), []);
});
