import assert from "node:assert/strict";
import { TransactionStatus } from "../protocol/codes.ts";
import { Dirty, newServerState, type ServerState } from "../server/state.ts";
import { cleanupQueries } from "./cleanup.ts";

const { Failed: FAILED, Idle: IDLE, InTransaction: IN_TRANSACTION } = TransactionStatus;
/** Values of cleanup_server_connections. */
const CLEANS = { cleanup_server_connections: true, session_isolation: "tracked" } as const;
const LEAVES_THE_REST = { ...CLEANS, cleanup_server_connections: false };

function stateWith(dirty: number, status: number = IDLE): ServerState {
  return { ...newServerState(1, 0), dirty, status };
}

Deno.test("cleanup: nothing for a clean server", () => {
  assert.deepEqual(cleanupQueries(stateWith(0), CLEANS), []);
});

Deno.test("cleanup: what was changed and no more", () => {
  const cases: [number, string][] = [
    [Dirty.Set, "RESET ROLE;RESET SESSION AUTHORIZATION;RESET ALL;"],
    [Dirty.Prepare, "DEALLOCATE ALL;"],
    [Dirty.Declare, "CLOSE ALL;"],
    [Dirty.Listen, "UNLISTEN *;"],
    [Dirty.Set | Dirty.Listen, "RESET ROLE;RESET SESSION AUTHORIZATION;RESET ALL;UNLISTEN *;"],
  ];
  for (const [dirty, wanted] of cases) {
    assert.deepEqual(cleanupQueries(stateWith(dirty), CLEANS), [wanted]);
  }
});

Deno.test("cleanup: an open or failed transaction is rolled back first, and even where cleanup is off", () => {
  for (const status of [IN_TRANSACTION, FAILED]) {
    assert.deepEqual(cleanupQueries(stateWith(0, status), CLEANS), ["ROLLBACK"]);
    assert.deepEqual(cleanupQueries(stateWith(Dirty.Set, status), LEAVES_THE_REST), ["ROLLBACK"]);
    assert.deepEqual(cleanupQueries(stateWith(Dirty.All, status), CLEANS), [
      "ROLLBACK",
      "DISCARD ALL",
    ]);
  }
});

Deno.test("cleanup: after a session everything, in a query of its own", () => {
  assert.deepEqual(cleanupQueries(stateWith(Dirty.All | Dirty.Set), CLEANS), ["DISCARD ALL"]);
  assert.deepEqual(cleanupQueries(stateWith(Dirty.All), LEAVES_THE_REST), []);
});
