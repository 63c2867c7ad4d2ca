import { Buffer } from "node:buffer";
import assert from "node:assert/strict";
import type { PoolSettings } from "../../config/settings.ts";
import type { ReceivedError } from "../../protocol/error_response.ts";
import { parameterSet } from "../../server/parameters.ts";
import { Dirty, DIRTY_EVERYTHING } from "../../server/state.ts";
import { PlainSession } from "../../testing/plain_session.ts";
import { askLeftovers, mustAsk, settleLeftovers } from "./leftovers.ts";

const ERROR: ReceivedError = {
  severity: "ERROR",
  code: "57014",
  message: "canceling statement due to statement timeout",
  detail: "",
  hint: "",
};

/** A client whose server may have these left. */
function left(dirty: number, change: Partial<PoolSettings> = {}): PlainSession {
  const session = new PlainSession(change).linked();
  session.plain.state.dirty = dirty;
  return session;
}

function asks(session: PlainSession): boolean {
  return mustAsk(session, session.server!);
}

/** Asks, and returns the query. */
function ask(session: PlainSession): string {
  askLeftovers(session, session.server!);
  const [asked, ...more] = session.fetch();
  assert.deepEqual(more, []);
  return asked!.replace(/^ask /, "");
}

function encoded(answer: object): string {
  return Buffer.from(JSON.stringify(answer)).toString("base64");
}

/** The answer comes. */
function settle(session: PlainSession, about: number, answer: object | ReceivedError): void {
  session.plain.state.asked = about;
  session.plain.state.answer = "code" in answer ? undefined : encoded(answer);
  settleLeftovers(session, session.server!, "code" in answer ? ERROR : undefined);
}

Deno.test("leftovers: PostgreSQL is asked where something may stay, and where it matters", () => {
  assert.ok(asks(left(Dirty.Temp)));
  assert.ok(!asks(left(Dirty.Prepare)));
  assert.ok(!asks(left(Dirty.Temp, { cleanup_server_connections: false })));
  const kept = left(Dirty.Temp);
  kept.state.keepsServer = true;
  assert.ok(!asks(kept));
});

Deno.test("leftovers: in session mode RESET leads back to the StartupMessage", () => {
  const session = left(Dirty.Reset);
  session.state.keepsServer = true;
  assert.ok(!asks(session));
  // Nothing was asked for: it counts no more.
  assert.equal(session.plain.state.dirty, 0);
  session.plain.state.dirty = Dirty.Reset;
  session.state.initial = parameterSet(new Map([["work_mem", "1MB"]]));
  assert.ok(asks(session));
  const sql = ask(session);
  assert.match(sql, /VALUES \(E'work_mem', E'1MB'\)/);
  session.plain.state.dirty = Dirty.Reset;
  session.state.replication = "logical";
  assert.ok(!asks(session));
});

Deno.test("leftovers: only what may be there is asked about", () => {
  const session = left(Dirty.Advisory | Dirty.Prepare);
  const sql = ask(session);
  assert.match(sql, /pg_lock_status/);
  assert.doesNotMatch(sql, /pg_settings|pg_depend|pg_cursors|pg_listening/);
  // What is done meanwhile makes it dirty anew.
  assert.equal(session.plain.state.dirty, Dirty.Prepare);
});

Deno.test("leftovers: names with a dot are asked for", () => {
  const session = left(Dirty.Set);
  session.state.setNames = ["app.user"];
  const sql = ask(session);
  assert.match(sql, /unnest\('\{app\.user\}'/);
});

Deno.test("leftovers: what can't follow the client pins it, and no longer than it is there", () => {
  const session = left(0);
  settle(session, Dirty.Temp | Dirty.Advisory, { temp: 2, locks: 0 });
  assert.equal(session.state.pinned, Dirty.Temp);
  assert.equal(session.pool!.counters.total.pins, 1);
  // It is not asked about: it stays.
  settle(session, Dirty.Advisory, { locks: 1 });
  assert.equal(session.state.pinned, Dirty.Temp | Dirty.Advisory);
  settle(session, Dirty.Temp | Dirty.Advisory, { temp: 0, locks: 0 });
  // Before it goes, everything else that was done meanwhile is asked about.
  assert.notEqual(session.state.pinned, 0);
  assert.equal(session.plain.state.dirty & Dirty.Any, Dirty.Any);
  ask(session);
  settle(session, DIRTY_EVERYTHING | Dirty.Any, { temp: 0, locks: 0 });
  assert.equal(session.state.pinned, 0);
  assert.equal(session.pool!.counters.total.pins, 1);
});

Deno.test("leftovers: parameters follow the client, and it is told of those that PostgreSQL reports", () => {
  const session = left(0);
  session.plain.state.parameters = parameterSet(new Map([["application_name", "mine"]]));
  settle(session, Dirty.Set, { set: { work_mem: "4096" }, role: "none", user: "me" });
  assert.deepEqual(session.fetch(), ["write S application_name mine"]);
  assert.deepEqual([...session.state.parameters.values], [
    ["application_name", "mine"],
    ["work_mem", "4096"],
  ]);
  assert.equal(session.plain.state.parameters, session.state.parameters);
  assert.equal(session.state.pinned, 0);
});

Deno.test("leftovers: more parameters than can be taken along pin the client, until there are fewer", () => {
  const many = Object.fromEntries(Array.from({ length: 301 }, (_, i) => [`app.n${i}`, "1"]));
  const session = left(0);
  settle(session, Dirty.Set, { custom: many });
  assert.equal(session.state.pinned, Dirty.Set);
  assert.equal(session.state.parameters.values.size, 0);
  const fewer = { custom: { ...many, "app.n0": null } };
  settle(session, Dirty.Set, fewer);
  // Before it goes, everything else that was done meanwhile is asked about.
  ask(session);
  settle(session, DIRTY_EVERYTHING | Dirty.Any, fewer);
  assert.equal(session.state.pinned, 0);
  assert.equal(session.state.parameters.values.size, 300);
  const reset = Object.fromEntries(Object.keys(many).map((name) => [name, ""]));
  settle(session, Dirty.Set, { custom: { ...reset, "app.n5": "1" } });
  assert.equal(session.state.pinned, 0);
  assert.equal(session.state.parameters.values.size, 1);
  settle(session, Dirty.Set, { custom: { "app.long": "x".repeat(70_000) } });
  assert.equal(session.state.pinned, Dirty.Set);
});

Deno.test("leftovers: another session user can't be had on another server", () => {
  const session = left(0);
  settle(session, Dirty.Set, { set: null, role: "none", user: "another" });
  assert.equal(session.state.pinned, Dirty.Set);
});

Deno.test("leftovers: a question that fails is asked once more without the client's timeout", () => {
  const session = left(Dirty.Temp);
  ask(session);
  settle(session, Dirty.Temp, ERROR);
  assert.equal(session.state.pinned, 0);
  assert.equal(session.plain.state.dirty, Dirty.Temp);
  assert.match(ask(session), /^BEGIN; .*SET LOCAL statement_timeout = 0; .*; COMMIT$/);
  settle(session, Dirty.Temp, ERROR);
  // Nobody knows: the client keeps its server.
  assert.equal(session.state.pinned, Dirty.Set);
  assert.ok(!session.plain.state.askedAgain);
});
