// hot path
/**
 * BEGIN without a server. A client that sends a plain BEGIN is told at once that its transaction has begun; a server is
 * taken for its next message, and BEGIN goes in front of that one in the same write. A transaction that ends before
 * costs no server at all.
 *
 * BEGIN goes as Parse, Bind and Execute without a Sync. PostgreSQL answers it together with what follows, and if BEGIN
 * should fail, it skips what follows: nothing is ever run outside of a transaction that the client believes to be in.
 * Statistics count the transaction from the checkout on.
 */

import { TransactionStatus } from "../../protocol/codes.ts";
import * as messages from "../../protocol/messages.ts";
import { Owed, SWALLOW } from "../../protocol/owed_replies.ts";
import type { ServerConnection } from "../../server/connection.ts";
import { add } from "../relay/gather.ts";

/** What became of a Query: PostgreSQL is to answer it, it was answered, or too little of it is there to tell. */
export const LocalAnswer = { None: 0, Given: 1, NeedMore: 2 } as const;

/** What a text asks of the transaction block. */
export const TransactionCommand = { None: 0, Begin: 1, Commit: 2, Rollback: 3 } as const;

/** Longest text that is looked at; more blanks than this make it another text. */
export const MOST_COMMAND_BYTES = 48;

const encoder = new TextEncoder();
const words = (...texts: string[]) => texts.map((text) => encoder.encode(text));
const [BEGIN_WORD, COMMIT_WORD, END_WORD, ROLLBACK_WORD, ABORT_WORD] = words(
  "begin",
  "commit",
  "end",
  "rollback",
  "abort",
) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array];
const [WORK_WORD, TRANSACTION_WORD] = words("work", "transaction") as [Uint8Array, Uint8Array];

const SEMICOLON = 0x3b;

/**
 * What `bytes[start..end)`, a whole text with its terminator, asks for: the word alone, or with WORK or TRANSACTION,
 * with or without a semicolon, in any letter case, blanks around it. Whatever has options or comments is `None`.
 */
export function transactionCommand(bytes: Uint8Array, start: number, end: number): number {
  let at = blanksEnd(bytes, start);
  let command: number;
  let after: number;
  switch (bytes[at] | 0x20) {
    case 0x62:
      command = TransactionCommand.Begin;
      after = wordEnd(bytes, at, BEGIN_WORD);
      break;
    case 0x63:
      command = TransactionCommand.Commit;
      after = wordEnd(bytes, at, COMMIT_WORD);
      break;
    case 0x65:
      command = TransactionCommand.Commit;
      after = wordEnd(bytes, at, END_WORD);
      break;
    case 0x72:
      command = TransactionCommand.Rollback;
      after = wordEnd(bytes, at, ROLLBACK_WORD);
      break;
    case 0x61:
      command = TransactionCommand.Rollback;
      after = wordEnd(bytes, at, ABORT_WORD);
      break;
    default:
      return TransactionCommand.None;
  }
  if (after === at) return TransactionCommand.None;
  at = blanksEnd(bytes, after);
  if (at > after) {
    const word = (bytes[at] | 0x20) === 0x77 ? WORK_WORD : TRANSACTION_WORD;
    at = blanksEnd(bytes, wordEnd(bytes, at, word));
  }
  if (bytes[at] === SEMICOLON) at = blanksEnd(bytes, at + 1);
  return bytes[at] === 0 && at === end - 1 ? command : TransactionCommand.None;
}

/** Whether a text that begins with this byte may be such a command; most may not. */
export function mayBeCommand(first: number): boolean {
  switch (first | 0x20) {
    case 0x61:
    case 0x62:
    case 0x63:
    case 0x65:
    case 0x72:
      return true;
    default:
      return isBlank(first);
  }
}

/** PostgreSQL's blanks. */
function isBlank(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}

function blanksEnd(bytes: Uint8Array, at: number): number {
  while (isBlank(bytes[at])) at++;
  return at;
}

/** Behind the word at `at`, or `at` when another word is there. */
function wordEnd(bytes: Uint8Array, at: number, word: Uint8Array): number {
  for (let i = 0; i < word.length; i++) if ((bytes[at + i] | 0x20) !== word[i]) return at;
  return at + word.length;
}

const idle = messages.readyForQuery(TransactionStatus.Idle);
const begun = messages.readyForQuery(TransactionStatus.InTransaction);

/** ReadyForQuery for a client that has no server. */
export function readyWithoutServer(deferredBegin: boolean): Uint8Array<ArrayBuffer> {
  return deferredBegin ? begun : idle;
}

const BEGUN = messages.join(messages.commandComplete("BEGIN"), begun);
const COMMITTED = messages.join(messages.commandComplete("COMMIT"), idle);
const ROLLED_BACK = messages.join(messages.commandComplete("ROLLBACK"), idle);

/**
 * The answer to a command of a client that has no server, or `undefined` where PostgreSQL is to answer: it warns of a
 * second BEGIN, and of an end without a beginning.
 */
export function answerTo(
  command: number,
  deferredBegin: boolean,
): Uint8Array<ArrayBuffer> | undefined {
  switch (command) {
    case TransactionCommand.Begin:
      return deferredBegin ? undefined : BEGUN;
    case TransactionCommand.Commit:
      return deferredBegin ? COMMITTED : undefined;
    case TransactionCommand.Rollback:
      return deferredBegin ? ROLLED_BACK : undefined;
    default:
      return undefined;
  }
}

/** The closes leave no portal and no unnamed statement behind, as it is after BEGIN in a Query. */
const BEGIN = messages.join(
  messages.parse("", "BEGIN"),
  messages.bind(new Uint8Array(0)),
  messages.execute(),
  messages.close("P"),
  messages.close("S"),
);

/** Puts BEGIN in front of the message that is relayed next. */
export function beginOn(server: ServerConnection): void {
  const { owed, state } = server;
  owed.push(Owed.Parse | SWALLOW);
  owed.push(Owed.Bind | SWALLOW);
  owed.push(Owed.Execute | SWALLOW);
  owed.push(Owed.Close | SWALLOW);
  owed.push(Owed.Close | SWALLOW);
  state.unsynced = true;
  state.unnamed = -1;
  state.beginning = true;
  add(server, BEGIN, 0, BEGIN.length);
}
