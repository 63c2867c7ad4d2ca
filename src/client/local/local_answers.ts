// hot path
/**
 * Queries of a client without a server that are answered without one: BEGIN and what ends a transaction in which nothing
 * was done, `pooler_check_query`, and a DEALLOCATE of what only this session knows. Called for the first message of each request, so that the
 * common one, which is none of these, must be told by its first byte.
 */

import { commandComplete, join } from "../../protocol/messages.ts";
import { answerCheck } from "./check_query.ts";
import { mayDeallocate, readDeallocation } from "../prepared/deallocate.ts";
import { flushNotifications } from "../listen/delivery.ts";
import { refuseBlock } from "../refusals.ts";
import { REASONS } from "../../reasons.ts";
import type { AnswerRecording } from "../socket_parts.ts";
import type { ClientEnd, ClientOutput, ClientTimes, ClientView } from "../parts.ts";
import { clearStatements, findStatement, setStatement } from "../prepared/names.ts";
import {
  answerTo,
  LocalAnswer,
  mayBeCommand,
  MOST_COMMAND_BYTES,
  readyWithoutServer,
  TransactionCommand,
  transactionCommand,
} from "./transaction.ts";

/** The part of a session that this file sees. */
interface Session extends ClientView, ClientOutput, ClientTimes, ClientEnd {
  readonly rewrites: boolean;
  recording: AnswerRecording | undefined;
}

/** Answers the Query at `bytes[at]`, of this length, if it needs no server; bytes are there up to `end`. */
export function answerLocally(
  session: Session,
  bytes: Uint8Array<ArrayBuffer>,
  at: number,
  end: number,
  length: number,
): number {
  if (end - at < 6) return length > 4 ? LocalAnswer.NeedMore : LocalAnswer.None;
  const next = at + length + 1;
  if (length + 1 === session.context.checkQuery.length) {
    const answer = answerCheck(session, bytes, at, end);
    if (answer !== undefined) return answer;
  }
  if (length <= MOST_COMMAND_BYTES && mayBeCommand(bytes[at + 5])) {
    if (next > end) return LocalAnswer.NeedMore;
    const { state } = session;
    const command = transactionCommand(bytes, at + 5, next);
    const answer = answerTo(command, state.deferredBegin);
    // Nothing new begins at a pooler that shuts down.
    const late = session.context.draining && command === TransactionCommand.Begin;
    if (command === TransactionCommand.Begin && session.pool!.settings.pool_mode === "statement") {
      refuseBlock(session);
      return LocalAnswer.Given;
    }
    if (answer !== undefined && !late) {
      state.deferredBegin = command === TransactionCommand.Begin;
      // A simple query destroys the unnamed statement.
      state.unnamedId = 0;
      session.readyMs = session.context.reactor.now;
      session.write(answer);
      flushNotifications(session);
      if (session.context.draining) session.fail("FATAL", REASONS.shuttingDown, "", "");
      return LocalAnswer.Given;
    }
  }
  if (session.rewrites && mayDeallocate(bytes, at + 5, next, end) && next <= end) {
    if (deallocate(session, bytes, at + 5, next)) return LocalAnswer.Given;
  }
  return LocalAnswer.None;
}

/** A DEALLOCATE of what only this session knows; `false`: PostgreSQL is to answer. */
function deallocate(
  session: Session,
  bytes: Uint8Array<ArrayBuffer>,
  start: number,
  end: number,
): boolean {
  const { state } = session;
  const what = readDeallocation(bytes, start, end);
  if (what === undefined) return false;
  if (what === "ALL") clearStatements(state, session.pool!.statements);
  else {
    const { name } = what;
    if (findStatement(state, name, 0, name.length) === undefined) return false;
    setStatement(state, session.pool!.statements, name, undefined);
  }
  state.unnamedId = 0;
  const tag = what === "ALL" ? "DEALLOCATE ALL" : "DEALLOCATE";
  session.readyMs = session.context.reactor.now;
  session.write(join(commandComplete(tag), readyWithoutServer(state.deferredBegin)));
  return true;
}
