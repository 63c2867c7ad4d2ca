/**
 * How a session and its server part when one of them ends: the server goes back to its pool with a note of what is to be
 * cleaned, or is closed; the client is told why it has none any more.
 */

import { oneLine } from "../log/one_line.ts";
import type { Pool } from "../pool/pool.ts";
import { type Reason, REASONS, reasonText } from "../reasons.ts";
import { Dirty } from "../server/state.ts";
import type { ServerConnection } from "../server/connection.ts";
import type { ClientEnd, ClientView } from "./parts.ts";
import { type SessionState, Stage } from "./state.ts";

/** The part of a session that this file sees. */
interface Session extends Omit<ClientView, "server">, ClientEnd {
  server: ServerConnection | undefined;
}

const NOTHING = new Uint8Array(0);

/** Whether something of the client's is on its server that only DISCARD ALL undoes for sure. */
export function isItsOwn(state: SessionState): boolean {
  return state.keepsServer || state.pinned !== 0 || state.listens?.moving !== undefined;
}

/** The session ends, in whatever state it is: its server, if it has one, is the pool's again. */
export function giveBack(session: Session, pool: Pool): void {
  const { state, server } = session;
  if (server === undefined) return;
  session.server = undefined;
  server.link = undefined;
  if (isItsOwn(state)) server.state.dirty |= Dirty.All;
  server.state.dirty |= server.state.asked;
  server.state.asked = 0;
  // What was about to be set is on the server or not: nobody has looked.
  if (state.stage === Stage.Syncing) server.state.dirty |= Dirty.Set;
  if (state.left > 0 && !state.leftDropped) {
    server.close(REASONS.serverUnusable, "its client left in the middle of a message");
  } else if (state.replication !== "none") server.close(REASONS.replicationOver, "");
  else pool.checkIn(server);
}

/** Its server is lost, and the session ends. `toldWhy`: PostgreSQL's own FATAL message was delivered. */
export function tellLoss(session: Session, reason: Reason, detail: string, toldWhy: boolean): void {
  const { server, state } = session;
  session.server = undefined;
  if (state.stage === Stage.Closed) return;
  const cut = server !== undefined && server.state.left > 0 && !server.state.leftDropped;
  session.context.log.warn(
    "pg_doorman::client",
    `${session.name} client lost its server pid=${server?.state.pid}: ${
      reasonText(reason, detail)
    }${detail === "" ? "" : `: ${oneLine(detail)}`}`,
  );
  state.stage = Stage.Linked;
  // In the middle of a message an ErrorResponse would be read as a part of it.
  // A replication client hears from PostgreSQL alone, and so of an end without a word, too.
  if (toldWhy || cut || state.replication !== "none") session.say(NOTHING);
  else session.fail("FATAL", reason, detail, "");
}
