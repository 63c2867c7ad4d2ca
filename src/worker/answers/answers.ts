/**
 * What the control plane asks this worker, and what it orders: each by its name to the file that knows.
 */

import type { ConnectionCounts, MovingRow, WorkerCommand, WorkerQuestion } from "../../mail.ts";
import type { Session } from "../../client/session.ts";
import type { Log } from "../../log/log.ts";
import type { Coordinator } from "../../pool/coordinator.ts";
import type { AuthQueries } from "../auth_queries.ts";
import { type Directory, POOLS_AT_ONCE } from "../directory.ts";
import type { StatementTexts } from "../statement_texts.ts";
import { commandPools, killClient, killPools, sendHome, sendHomeAtRest } from "./commands.ts";
import { preparedMemoryRows, preparedRows } from "./prepared_rows.ts";
import { clientRows, poolRows, presenceRow, serverRows } from "./rows.ts";

/** What answers are taken from. */
export interface AnsweringWorker {
  readonly index: number;
  readonly reactor: { readonly now: number };
  readonly sessions: ReadonlyMap<number, Session>;
  readonly directory: Pick<Directory, "all">;
  readonly texts: Pick<StatementTexts, "row" | "longest">;
  readonly coordinator: Pick<Coordinator, "databases">;
  readonly authQueries: Pick<AuthQueries, "rows">;
  readonly counts: ConnectionCounts;
  /** Of the binary upgrade that is under way. */
  readonly departure: { row(): MovingRow } | undefined;
}

/** What orders are carried out on. */
export interface ObeyingWorker {
  readonly log: Log;
  readonly sessions: ReadonlyMap<number, Session>;
  readonly directory: Pick<Directory, "named">;
  readonly texts: Pick<StatementTexts, "clear">;
  readonly listeners: { close(): void };
  draining: boolean;
}

/** Answers a question, in pieces that are made when they are asked for; the last one is returned. */
export function* answer(
  worker: AnsweringWorker,
  what: WorkerQuestion,
  most: number,
): Generator<unknown[], unknown[]> {
  if (what !== "pools") return answerWhole(worker, what, most);
  const { index, directory, reactor: { now } } = worker;
  const options = { now, worker: index, most: POOLS_AT_ONCE };
  return yield* poolRows(directory.all(), worker.sessions.values(), options);
}

/** Of a list without end at most `most` rows. */
function answerWhole(
  worker: AnsweringWorker,
  what: Exclude<WorkerQuestion, "pools">,
  most: number,
): unknown[] {
  const { index, directory, texts } = worker;
  const { now } = worker.reactor;
  const sessions = worker.sessions.values();
  switch (what) {
    case "clients":
      return clientRows(sessions, now, index);
    case "prepared":
      return preparedRows(directory.all(), sessions, index);
    case "interner":
      return [texts.row(sessions, index)];
    case "interner_texts":
      return texts.longest([...sessions], { most, now, worker: index });
    case "prepared_memory":
      return preparedMemoryRows(directory.all(), sessions, index);
    case "servers":
      return serverRows(directory.all(), now, index);
    case "limits":
      return [...worker.coordinator.databases()];
    case "auth_query":
      return worker.authQueries.rows();
    case "moving":
      return worker.departure === undefined ? [] : [worker.departure.row()];
    case "presence":
      return [presenceRow(sessions, index)];
    case "counts":
      return [{ ...worker.counts, clients: worker.sessions.size, worker: index }];
    default:
      return what satisfies never;
  }
}

/** Carries out an order; returns the number of pools or clients that it concerned. */
export function obey(worker: ObeyingWorker, command: WorkerCommand): number {
  const { log, sessions, directory } = worker;
  const { name, database } = command;
  switch (name) {
    case "kill_client":
      return killClient(sessions.get(command.client));
    case "stop_accepting":
      worker.listeners.close();
      return 0;
    case "drain":
      worker.listeners.close();
      worker.draining = true;
      sendHomeAtRest(sessions.values());
      return 0;
    case "send_home":
      return sendHome(sessions.values());
    case "reset_interner":
      worker.texts.clear();
      return 0;
    case "kill":
      return killPools(directory.named(database), sessions.values(), log);
    case "pause":
    case "resume":
    case "reconnect":
    case "enable":
    case "disable":
      return commandPools(name, directory.named(database), log);
    default:
      return name satisfies never;
  }
}
