// hot path
/**
 * From a client without a server: what needs none is answered here, and for the rest a server is checked out.
 */

import { Frontend, frontendLimit, readLength } from "../../protocol/codes.ts";
import { REASONS } from "../../reasons.ts";
import type { ClientEnd, ClientInput, ClientOutput, ClientTimes, ClientView } from "../parts.ts";
import { violation } from "../refusals.ts";
import type { AnswerRecording } from "../socket_parts.ts";
import { Stage } from "../state.ts";
import { answerLocally } from "./local_answers.ts";
import { LocalAnswer, readyWithoutServer } from "./transaction.ts";

/** The part of a session that this file sees. */
interface Session extends ClientView, ClientInput, ClientOutput, ClientEnd, ClientTimes {
  readonly rewrites: boolean;
  recording: AnswerRecording | undefined;
  request(bytes: Uint8Array<ArrayBuffer>, at: number, end: number): void;
}

/** Takes `bytes[at..end)`. */
export function route(
  session: Session,
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  end: number,
): void {
  const state = session.state;
  messages: while (at < end) {
    if (state.left > 0) {
      const take = Math.min(state.left, end - at);
      state.left -= take;
      at += take;
      continue;
    }
    if (end - at < 5) break;
    const type = bytes[at];
    const length = readLength(bytes, at + 1);
    if (length < 4 || length > frontendLimit(type)) {
      violation(session, type, length);
      return;
    }
    switch (type) {
      case Frontend.Terminate:
        session.close(REASONS.clientTerminated, "");
        return;
      case Frontend.Sync:
        state.skipToSync = false;
        session.readyMs = session.context.reactor.now;
        session.write(readyWithoutServer(state.deferredBegin));
        if (state.stage !== Stage.Idle) return;
        break;
      case Frontend.Flush:
      case Frontend.CopyData:
      case Frontend.CopyDone:
      case Frontend.CopyFail:
        // Late data of a COPY that has failed: PostgreSQL ignores it, too.
        break;
      default:
        if (state.skipToSync) break;
        if (type === Frontend.Query) {
          const answer = answerLocally(session, bytes, at, end, length);
          if (answer === LocalAnswer.NeedMore) break messages;
          if (answer === LocalAnswer.Given) {
            if (state.stage !== Stage.Idle) return;
            break;
          }
        }
        session.request(bytes, at, end);
        return;
    }
    state.left = length + 1;
    state.leftDropped = true;
  }
  if (at < end) session.keep(bytes, at, end);
}
