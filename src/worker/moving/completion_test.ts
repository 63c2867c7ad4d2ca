import assert from "node:assert/strict";
import { newSessionState } from "../../client/state.ts";
import { decode, encode } from "../../handover/codec.ts";
import { newServerState } from "../../server/state.ts";
import { completePool, completeServer, completeSession } from "./completion.ts";

Deno.test("completion: a session of a version that knew little is as a new one for the rest", () => {
  const snapshot = completeSession(decode(encode({
    state: { id: 7, user: "u", queryCount: 3, flavour: "sweet" },
    statements: [[Uint8Array.of(65), { id: 9, body: Uint8Array.of(1) }]],
    server: { state: { id: 3, pid: 44 }, owed: { entries: [1, 2] } },
  })));
  assert.deepEqual(snapshot.state, { ...newSessionState(7, 0), user: "u", queryCount: 3 });
  assert.equal(snapshot.queryAgeMs, -1);
  const [[name, statement]] = snapshot.statements;
  assert.deepEqual(name, Uint8Array.of(65));
  assert.deepEqual(statement, {
    id: 9,
    body: Uint8Array.of(1),
    shape: undefined,
    types: undefined,
    generation: 0,
    planner: "",
    own: false,
  });
  assert.deepEqual(snapshot.server!.state, { ...newServerState(3, 0), pid: 44 });
  assert.deepEqual(snapshot.server!.owed.entries, [1, 2]);
  assert.ok(!snapshot.server!.owed.copyIn);
});

Deno.test("completion: no two snapshots share a map or a list that is a default", () => {
  const [one, other] = [completeSession({}), completeSession({})];
  assert.notEqual(one.state.statements, other.state.statements);
  assert.notEqual(one.state.startup, other.state.startup);
  assert.notEqual(completeServer({}).state.statements, completeServer({}).state.statements);
  assert.notEqual(completePool({}).totals, completePool({}).totals);
});

Deno.test("completion: a pool's counters that came are kept, others are 0", () => {
  const pool = completePool({ totals: { xact_count: 5, moons: 2 }, servers: 2, paused: true });
  assert.equal(pool.totals.xact_count, 5);
  assert.equal(pool.totals.errors, 0);
  assert.ok(!("moons" in pool.totals));
  assert.deepEqual([pool.servers, pool.paused, pool.reported], [2, true, []]);
});
