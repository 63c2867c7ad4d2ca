/**
 * Snapshots of another program's version, perhaps, made into this one's: what that version did not have yet is as in a
 * session, a server connection or a pool that is new. Ages are 0, since they travel in place of times. Whoever adds a
 * field to what travels says here what it is for one that comes without it; the compiler asks for it.
 */

import type { SessionSnapshot } from "../../client/freeze.ts";
import { newSessionState } from "../../client/state.ts";
import { withDefaults } from "../../handover/with_defaults.ts";
import { noCounts } from "../../pool/share.ts";
import type { ListenerSnapshot } from "../../pool/listen/listener.ts";
import type { PoolSnapshot } from "../../pool/snapshot.ts";
import type { ServerSnapshot } from "../../server/link.ts";
import type { FrozenStatement } from "../../server/statements/on_server.ts";
import { newServerState } from "../../server/state.ts";
import { Counters, noScaling } from "../../stats/counters.ts";

const emptySession = (): SessionSnapshot => ({
  state: newSessionState(0, 0),
  queryAgeMs: -1,
  xactAgeMs: 0,
  waitAgeMs: 0,
  requestAgeMs: 0,
  readyAgeMs: 0,
  timeoutCancelAgeMs: -1,
  statements: [],
  server: undefined,
  tail: undefined,
  outbox: undefined,
  throttled: false,
  tls: undefined,
  checking: false,
  unread: false,
});

const emptyServer = (): ServerSnapshot => ({
  state: newServerState(0, 0),
  owed: { entries: [], records: undefined, skipping: false, copyIn: false, copyBoth: false },
  tls: undefined,
  outbox: undefined,
  tail: undefined,
  ownError: undefined,
  fatal: undefined,
  drained: 0,
});

const emptyListener = (): ListenerSnapshot => ({
  line: { server: emptyServer(), channels: [], adding: [], removing: [] },
  clients: [],
  stale: false,
  from: undefined,
});

const emptyPool = (): PoolSnapshot => ({
  paused: false,
  disabled: false,
  clientKey: undefined,
  defaults: undefined,
  reported: [],
  totals: new Counters().total,
  averages: new Counters().averages,
  servers: 0,
  statements: [],
  limits: noCounts(),
  scaling: noScaling(),
});

const NO_STATEMENT: FrozenStatement = {
  shape: undefined,
  types: undefined,
  own: false,
  id: 0,
  generation: 0,
  body: undefined,
  planner: "",
};

/** A session's snapshot with all that this version has. */
export function completeSession(given: unknown): SessionSnapshot {
  const snapshot = withDefaults(emptySession(), given);
  return {
    ...snapshot,
    statements: snapshot.statements.map(([name, one]) => [name, withDefaults(NO_STATEMENT, one)]),
    server: snapshot.server && completeServer(snapshot.server),
  };
}

/** A server connection's. */
export function completeServer(given: unknown): ServerSnapshot {
  return withDefaults(emptyServer(), given);
}

/** A listener's. */
export function completeListener(given: unknown): ListenerSnapshot {
  const snapshot = withDefaults(emptyListener(), given);
  return { ...snapshot, line: { ...snapshot.line, server: completeServer(snapshot.line.server) } };
}

/** A pool's. */
export function completePool(given: unknown): PoolSnapshot {
  const snapshot = withDefaults(emptyPool(), given);
  const statements = snapshot.statements.map((one) => withDefaults(NO_STATEMENT, one));
  return { ...snapshot, statements };
}
