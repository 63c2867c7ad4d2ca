/**
 * A client that says no more: it has shut down its side and still reads, or it is gone. The kernel shows both alike, so
 * it is sent something that changes nothing: whoever is gone answers by a reset, and is dealt with then. At PostgreSQL,
 * too, the end of the stream is read only once all that came before it is answered.
 */

import { Owed } from "../protocol/owed_replies.ts";
import { parameterStatus } from "../protocol/messages.ts";
import type { ServerConnection } from "../server/connection.ts";
import { type SessionState, Stage } from "./state.ts";

/** What is looked at of a client. */
interface EndingClient {
  readonly state: Pick<SessionState, "stage" | "replication" | "left">;
  readonly server: ServerConnection | undefined;
  readonly backlogged: boolean;
}

/** What something is sent to. */
interface SoundedClient {
  readonly midMessage: boolean;
  readonly backlogged: boolean;
  readonly recording: object | undefined;
  readonly state: Pick<SessionState, "parameters">;
  write(bytes: Uint8Array): void;
}

/** Whether it is still to be sent what it asked for: PostgreSQL needs nothing more for it. */
export function awaitsAnswer({ state, server, backlogged }: EndingClient): boolean {
  if (state.stage !== Stage.Linked || state.replication !== "none" || server === undefined) {
    return false;
  }
  const { owed } = server;
  if (state.left > 0 || owed.copyIn || owed.copyBoth) return false;
  if (owed.length === 0) return backlogged;
  const last = owed.lastKind();
  return last === Owed.Sync || last === Owed.Query || last === Owed.FunctionCall;
}

/** Says a parameter once more. In the middle of a message PostgreSQL's own bytes do as well. */
export function sound(client: SoundedClient): void {
  if (client.midMessage || client.backlogged || client.recording !== undefined) return;
  // Nobody's to change, so it is what the client has heard already.
  const version = client.state.parameters.values.get("server_version");
  if (version !== undefined) client.write(parameterStatus("server_version", version));
}
