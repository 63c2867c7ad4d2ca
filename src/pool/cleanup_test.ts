import assert from "node:assert/strict";
import { TransactionStatus } from "../protocol/codes.ts";
import type { ReceivedError } from "../protocol/error_response.ts";
import { REASONS } from "../reasons.ts";
import { parameterSet } from "../server/parameters.ts";
import { Dirty, newServerState, type ServerState } from "../server/state.ts";
import { cleanupFailure, cleanupQueries } from "./cleanup.ts";

const { Failed: FAILED, Idle: IDLE, InTransaction: IN_TRANSACTION } = TransactionStatus;
/** Values of cleanup_server_connections. */
const CLEANS = {
  settings: { cleanup_server_connections: true, session_isolation: "tracked" },
  defaults: undefined,
} as const;
const LEAVES_THE_REST = {
  ...CLEANS,
  settings: { ...CLEANS.settings, cleanup_server_connections: false },
};
const STRICT = {
  defaults: parameterSet(new Map([["server_version", "18.4"], ["is_superuser", "off"]])),
  settings: { cleanup_server_connections: false, session_isolation: "strict" },
} as const;

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

Deno.test("cleanup: in strict mode PostgreSQL is asked about what DISCARD ALL leaves", () => {
  const [first, second, ...others] = cleanupQueries(stateWith(Dirty.All), STRICT);
  assert.equal(first, "DISCARD ALL");
  assert.deepEqual(others, []);
  assert.match(second!, /setseed\(-?0\.\d{9}\).*pg_get_loaded_modules/);
  assert.doesNotMatch(second!, /replication_origin/, "who is no superuser may not ask");
  const other = { ...STRICT, defaults: parameterSet(new Map([["is_superuser", "on"]])) };
  assert.match(cleanupQueries(stateWith(Dirty.All), other)[1]!, /pg_extension.*replication_origin/);
});

Deno.test("cleanup: what can't be undone closes the server, and is no fault", () => {
  const error = (code: string) => ({ code, message: "" }) as ReceivedError;
  assert.equal(cleanupFailure(error("22P02")).level, "info");
  assert.equal(cleanupFailure(error("42501")), REASONS.serverCleanupFailed);
});
