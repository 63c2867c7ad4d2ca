// hot path
/**
 * What the tag of a CommandComplete tells: what a check-in has to clean, which statements are gone, and that the schema
 * has changed.
 */

import { readBuffer } from "../reactor/stream.ts";
import type { ServerLink } from "./link.ts";
import { CALLED } from "./mark_bits.ts";
import { Owed } from "../protocol/owed_replies.ts";
import { onlyReported } from "./parameters.ts";
import { Dirty } from "./state.ts";
import { dropStatements, type StatementServer, unlistenedBy } from "./statements/replies.ts";

/** What is needed of a server connection. */
interface TaggedServer extends StatementServer {
  readonly owner: { readonly reported: ReadonlySet<string>; schemaChanged(): void };
  readonly link: ServerLink | undefined;
}

const ALL_CHANNELS: readonly string[] = ["*"];

/** Takes note of the tag at `readBuffer[start..end)`. */
export function noteTag(server: TaggedServer, start: number, end: number): void {
  const { state } = server;
  switch (readBuffer[start]) {
    case 0x53: // S
      if (matches(start, end, "SET")) {
        if (!server.owed.headIsLocal()) state.dirty |= Dirty.Set;
      }
      break;
    case 0x50: // P
      if (matches(start, end, "PREPARE")) state.dirty |= Dirty.SqlPrepare;
      break;
    case 0x4c: // L
      if (matches(start, end, "LISTEN")) {
        state.dirty |= Dirty.Listen;
        server.link?.listened();
      }
      break;
    case 0x44: // D
      if (matches(start, end, "DECLARE CURSOR")) state.dirty |= Dirty.Declare;
      else if (matches(start, end, "DO")) state.dirty |= CALLED;
      else if (matches(start, end, "DEALLOCATE ALL")) {
        if (!moreIsSent(server)) state.dirty &= ~(Dirty.Prepare | Dirty.SqlPrepare);
        dropStatements(server);
        askAgain(server);
      } else if (begins(start, end, "DROP ")) {
        schemaChanged(server);
        askAgain(server);
      } else if (matches(start, end, "DISCARD ALL")) {
        discarded(server);
      } else if (begins(start, end, "DISCARD ") || matches(start, end, "DEALLOCATE")) {
        askAgain(server);
      }
      break;
    case 0x41: // A
      if (begins(start, end, "ALTER ")) schemaChanged(server);
      break;
    case 0x43: // C
      if (matches(start, end, "CALL")) state.dirty |= CALLED;
      // What is made in pg_temp is the client's alone.
      else if (begins(start, end, "CREATE ")) {
        if ((state.dirty & Dirty.Temp) === 0) schemaChanged(server);
      } else if (begins(start, end, "CLOSE CURSOR")) {
        if (matches(start, end, "CLOSE CURSOR ALL")) state.dirty &= ~Dirty.Declare;
        askAgain(server);
      }
      break;
    case 0x55: // U
      if (matches(start, end, "UNLISTEN")) {
        server.link?.unlistened(unlistenedBy(server));
        askAgain(server);
      }
      break;
    case 0x52: // R
      // RESET of one parameter and of all have one tag: what is left is not known.
      if (matches(start, end, "RESET")) state.dirty |= Dirty.Set | Dirty.Reset;
      // COMMIT of a failed transaction has this tag, too.
      else if (matches(start, end, "ROLLBACK")) server.link?.unlistened(undefined);
      break;
    default:
      break;
  }
}

/** DISCARD ALL went through. */
function discarded(server: TaggedServer): void {
  const { state, owner, link } = server;
  // What was noted of messages that are sent already is of what comes behind it.
  if (moreIsSent(server)) state.dirty |= Dirty.Reset | Dirty.Any;
  else {
    state.dirty = (state.dirty & Dirty.All) | Dirty.Reset;
    link?.discarded();
  }
  dropStatements(server);
  state.parameters = onlyReported(state.parameters, owner.reported);
  state.own = [];
  link?.parametersChanged(state.parameters);
  link?.unlistened(ALL_CHANNELS);
  askAgain(server);
}

/** Whether anything but a Sync was sent behind what is answered now. */
function moreIsSent({ owed }: TaggedServer): boolean {
  return owed.length > 2 || owed.length === 2 && owed.lastKind() !== Owed.Sync;
}

/** What its client keeps the server for may be gone now. */
function askAgain(server: TaggedServer): void {
  if (server.link !== undefined) server.state.dirty |= server.link.pinned;
}

/** Others see the change when it is committed; what this client prepares from here on sees it at once. */
function schemaChanged(server: TaggedServer): void {
  server.state.changedSchema = true;
  server.owner.schemaChanged();
}

function matches(start: number, end: number, tag: string): boolean {
  if (end - start !== tag.length) return false;
  for (let i = 0; i < tag.length; i++) {
    if (readBuffer[start + i] !== tag.charCodeAt(i)) return false;
  }
  return true;
}

function begins(start: number, end: number, word: string): boolean {
  return end - start >= word.length && matches(start, start + word.length, word);
}
