/**
 * When a client may have its notifications: between two messages, outside of transactions, while it takes what it is
 * sent. Until then they wait, as PostgreSQL does it.
 */

import { TransactionStatus } from "../../protocol/codes.ts";
import { joinAll } from "../../protocol/messages.ts";
import type { ClientOutput, ClientView } from "../parts.ts";
import { type Listens, Stage } from "../state.ts";

/** The listener is ahead of its server: the server's come first. */
export function holds({ moving }: Listens): boolean {
  return moving !== undefined && moving.byListener && !moving.byServer;
}

/** Whether the client is between two messages, outside of a transaction, and takes what it is sent. */
export function mayHave(session: ClientView & ClientOutput, listens: Listens): boolean {
  const { stage, deferredBegin } = session.state;
  if (session.backlogged || deferredBegin || holds(listens)) return false;
  if (stage !== Stage.Linked) {
    return stage === Stage.Idle || stage === Stage.Waiting || stage === Stage.Syncing;
  }
  const { state, owed } = session.server!;
  return state.status === TransactionStatus.Idle && owed.length === 0 && !state.unsynced &&
    (state.left === 0 || state.leftDropped);
}

/** Gives the client what waits for it, if it may have it now. */
export function flushNotifications(session: ClientView & ClientOutput): void {
  const { listens } = session.state;
  if (listens === undefined || listens.waiting.length === 0) return;
  if (mayHave(session, listens)) sendWaiting(session, listens);
}

export function sendWaiting(session: ClientView & ClientOutput, listens: Listens): void {
  if (session.backlogged) return;
  const bytes = listens.waiting.length === 1 ? listens.waiting[0] : joinAll(listens.waiting);
  forgetWaiting(listens);
  session.write(bytes);
}

export function forgetWaiting(listens: Listens): void {
  listens.waiting = [];
  listens.waitingBytes = 0;
}
