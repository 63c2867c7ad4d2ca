/** What is frozen here and not yet forgotten, with what it takes to bring it back. */

import type { Session } from "../../client/session.ts";
import type { FrozenItem } from "../../mail.ts";
import type { Pool } from "../../pool/pool.ts";
import type { Replication } from "../../pool/replication.ts";
import type { ServerConnection } from "../../server/connection.ts";

/** A frozen thing and what it is thawed to if it has to stay. */
export interface Held {
  item: FrozenItem;
  pool: Pool | undefined;
  session: Session | undefined;
  server: ServerConnection | undefined;
}

/** A pool itself; `dynamic`: what it was made by, if it is in no configuration. */
export function heldPool(pool: Pool, snapshot: unknown, dynamic: unknown): Held {
  const { database, user } = pool.settings;
  const item: FrozenItem = { type: "pool", database, user, fds: [], pool: snapshot, dynamic };
  return { item, pool, session: undefined, server: undefined };
}

/** A server that will not come after all. */
export function lost(pool: Pool): Held {
  const { database, user } = pool.settings;
  const item: FrozenItem = { type: "lost", database, user, fds: [] };
  return { item, pool, session: undefined, server: undefined };
}

/** A linked server comes back to the event loop with its session. */
export function putBack({ item, pool, session, server }: Held): void {
  if (item.type === "listener") pool!.listener.unfreeze();
  if (server === undefined) return;
  if (session === undefined) {
    server.unfreeze();
    pool!.putBack(server);
  } else keeper(session, pool!).putBack(server);
}

/** Who keeps the server of a session. */
export function keeper(session: Session, pool: Pool): Pool | Replication {
  return session.state.replication === "none" ? pool : pool.replication;
}
