/**
 * What the console has ordered of pools and a worker that starts later has to know: PAUSE and DISABLE, until RESUME and
 * ENABLE.
 */

import type { WorkerCommand } from "../mail.ts";

/** What is undone by what. */
const FAMILIES = new Map<WorkerCommand["name"], string>([
  ["pause", "paused"],
  ["resume", "paused"],
  ["enable", "disabled"],
  ["disable", "disabled"],
]);

export class StandingOrders {
  #orders: WorkerCommand[] = [];

  /** Takes note of it, if it is one that stands. */
  given(command: WorkerCommand): void {
    const family = FAMILIES.get(command.name);
    if (family === undefined) return;
    const { database } = command;
    // One for all databases leaves nothing of what was said of single ones.
    this.#orders = this.#orders.filter((order) =>
      FAMILIES.get(order.name) !== family ||
      database !== undefined && order.database !== database
    );
    this.#orders.push(command);
  }

  /** To be carried out in this order. */
  all(): readonly WorkerCommand[] {
    return this.#orders;
  }
}
