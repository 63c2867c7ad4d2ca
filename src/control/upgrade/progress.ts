/** What the workers say of a binary upgrade that is under way: sums over them, and as the log has it. */

import type { MovingRow } from "../../mail.ts";
import type { StayReason } from "../../stats/upgrades.ts";
import type { Supervisor } from "../supervisor.ts";

/** What has moved so far. */
function movedSoFar(rows: readonly MovingRow[]): { clients: number; servers: number } {
  return {
    clients: sum(rows, ({ movedClients }) => movedClients),
    servers: sum(rows, ({ movedServers }) => movedServers),
  };
}

/** What each worker has said last: one that is lost, or does not answer in time, has moved what it had moved. */
export class LastHeard {
  readonly #rows = new Map<number, MovingRow>();

  /** Rows of the workers that answer within `ms`. */
  async ask(supervisor: Pick<Supervisor, "askInTime">, ms: number): Promise<MovingRow[]> {
    const rows = await supervisor.askInTime<MovingRow>("moving", ms);
    for (const row of rows) this.#rows.set(row.worker, row);
    return rows;
  }

  moved(): { clients: number; servers: number } {
    return movedSoFar([...this.#rows.values()]);
  }
}

/**
 * Clients that are here still, by reason. Without a pool that moves, `understood` tells whether that is for want of the
 * pools or of the format.
 */
export function clientsLeft(
  rows: readonly MovingRow[],
  understood: boolean,
): Record<StayReason, number> {
  const poolStays = sum(rows, ({ unknownPool }) => unknownPool);
  return {
    unknown_pool: understood ? poolStays : 0,
    unknown_format: sum(rows, ({ unknownFormat }) => unknownFormat) + (understood ? 0 : poolStays),
    refused: sum(rows, ({ refused }) => refused),
    login: sum(rows, ({ underWay }) => underWay),
    console: sum(rows, ({ consoles }) => consoles),
  };
}

/** Servers of moved pools that are to follow, and batches on their way. */
export function lateOnes(rows: readonly MovingRow[]): number {
  return sum(rows, ({ late }) => late);
}

/** Clients that nobody serves: frozen here, and not acknowledged. */
export function frozenOnes(rows: readonly MovingRow[]): number {
  return sum(rows, ({ frozen }) => frozen);
}

/** All of them. */
export function total(left: Record<StayReason, number>): number {
  return Object.values(left).reduce((all, count) => all + count, 0);
}

/** As the log has it. */
export function movedText({ clients, servers }: { clients: number; servers: number }): string {
  return `moved ${clients} clients and ${servers} servers`;
}

/** What is here still, and why. */
export function leftText(left: Record<StayReason, number>, late: number, silent: number): string {
  const waiting = [
    `${left.unknown_pool} clients of pools that the new process does not have`,
    `${left.login} clients that log in or take leave`,
    `${left.console} consoles`,
    `${late} servers and batches`,
  ];
  if (silent > 0) waiting.push(`all that ${silent} workers have, which do not answer`);
  if (left.refused > 0) waiting.push(`${left.refused} clients that the new process refused`);
  if (left.unknown_format > 0) {
    waiting.unshift(`${left.unknown_format} clients whose format the new process does not know`);
  }
  return waiting.join(", ");
}

function sum(rows: readonly MovingRow[], of: (row: MovingRow) => number): number {
  return rows.reduce((all, row) => all + of(row), 0);
}
