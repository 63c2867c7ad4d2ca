// hot path
/**
 * UNLISTEN of a client whose server does not listen (listening.ts): its channels are taken from its text, and are gone
 * when PostgreSQL has confirmed it and the transaction has ended.
 */

import type { ServerConnection } from "../../server/connection.ts";
import { unlistenedChannels } from "../../server/marks.ts";
import { tracked } from "../../server/statements/on_server.ts";
import type { ClientView } from "../parts.ts";
import type { Listens, SessionState } from "../state.ts";

/** A Query was sent whose text `bytes[start..end)` has an UNLISTEN. */
export function noteUnlisten(
  state: SessionState,
  server: ServerConnection,
  bytes: Uint8Array,
  start: number,
  end: number,
): void {
  if (state.listens === undefined) return;
  server.owed.attach(tracked({ unlistens: unlistenedChannels(bytes, start, end) }));
}

/** A statement whose text has an UNLISTEN of these was parsed or bound. */
export function bindUnlisten({ listens }: SessionState, channels: string[]): void {
  if (listens !== undefined) listens.bound = channels;
}

/** An Execute was sent: if its tag is UNLISTEN, it is of what was bound last. */
export function executeUnlisten(listens: Listens, server: ServerConnection): void {
  if (listens.bound.length > 0) server.owed.attach(tracked({ unlistens: listens.bound }));
}

/** PostgreSQL has confirmed an UNLISTEN, or undone what the transaction did. */
export function confirmUnlisten(
  session: ClientView,
  channels: readonly string[] | undefined,
): void {
  const { listens } = session.state;
  if (listens === undefined) return;
  const { unlistened } = listens;
  if (channels === undefined) unlistened.length = 0;
  else if (!endsWith(unlistened, channels)) unlistened.push(...channels);
}

/** Each tag of one text tells the same. */
function endsWith(list: readonly string[], end: readonly string[]): boolean {
  const at = list.length - end.length;
  return at >= 0 && end.every((channel, i) => list[at + i] === channel);
}
