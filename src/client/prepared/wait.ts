// hot path
/**
 * A message whose meaning depends on the answers to those before it waits for them: behind a text that may deallocate all
 * statements nobody knows which names there are. A Parse of the pooler's goes in front; its answer lets the client go on.
 */

import { Owed, SWALLOW } from "../../protocol/owed_replies.ts";
import type { ServerConnection } from "../../server/connection.ts";
import { type Tracked, tracked } from "../../server/statements/on_server.ts";
import { add, sendFlush, sendParse } from "../relay/gather.ts";
import { GONE } from "./deallocate.ts";
import { CHECKING } from "./outcomes.ts";

/** Body of the Parse of an empty statement. */
export const EMPTY_BODY: Uint8Array<ArrayBuffer> = new Uint8Array(3);

/** Whether a name in the next message is to wait. */
export function mustWait({ state, owed }: ServerConnection): boolean {
  if (!state.deallocating) return false;
  // What an error skips needs no name, and who is in a COPY gets no answer before its end.
  if (owed.skipping || owed.copyIn) return false;
  if (owed.length > 0) return true;
  state.deallocating = false;
  return false;
}

/** Sends `bytes[from..at)` and what the rest waits for. */
export function waitForAnswers(
  server: ServerConnection,
  bytes: Uint8Array<ArrayBuffer>,
  from: number,
  at: number,
): typeof CHECKING {
  add(server, bytes, from, at);
  if (isWaiting(server)) return CHECKING;
  sendParse(server, GONE, EMPTY_BODY);
  server.owed.track(Owed.Parse | SWALLOW, tracked({ waits: true }));
  sendFlush(server);
  return CHECKING;
}

/** Whether that was sent already: something else has let the client go on before it. */
function isWaiting({ owed }: ServerConnection): boolean {
  if (owed.lastKind() !== Owed.Parse) return false;
  const last = (owed.laterRecords().at(-1) ?? owed.headRecord()) as Partial<Tracked> | undefined;
  return last?.waits === true;
}
