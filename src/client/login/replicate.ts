/** A replication client gets a server of its own first: what PostgreSQL says to it is the end of its login. */

import type { Pool } from "../../pool/pool.ts";
import { type Reason, REASONS } from "../../reasons.ts";
import type { ServerConnection } from "../../server/connection.ts";
import type { ServerLink } from "../../server/link.ts";
import type { ParameterSet } from "../../server/parameters.ts";
import type { SessionState } from "../state.ts";

/** The part of a session that this file sees. */
interface Session extends ServerLink {
  readonly context: { readonly draining: boolean };
  readonly state: SessionState;
  readonly pool: Pool | undefined;
  own(server: ServerConnection): void;
}

/** What is told how it ends. */
interface Login {
  through(told: ParameterSet): void;
  refused(reason: Reason, first: string, second?: string, code?: string): void;
}

/** Opens the server. */
export function replicate(session: Session, login: Login): void {
  const { state, context } = session;
  if (context.draining) return login.refused(REASONS.shuttingDown, "");
  session.pool!.replication.open(session, {
    kind: state.replication,
    parameters: state.startup,
    ready(server) {
      state.parameters = state.initial = server.state.parameters;
      session.own(server);
      login.through(state.parameters);
    },
    failed: (reason, first, second, code) => login.refused(reason, first, second, code),
  });
}
