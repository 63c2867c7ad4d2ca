/** SHOW UPGRADE: where this process stands among those that took over from one another, and what became of upgrades. */

import { text } from "../rows.ts";
import type { Show } from "./show.ts";

/** An item a row, so that a later one changes no column. Times are UTC; `never` and `none` where there is nothing. */
export const showUpgrade: Show = {
  name: "upgrade",
  columns: [text("item"), text("value")],
  rows(environment) {
    const { phase, pid, startedAtMs, predecessorPid, totals } = environment.upgrades();
    const { last } = totals;
    const items: [string, string | number][] = [
      ["phase", phase],
      ["pid", pid],
      ["started_at", time(startedAtMs)],
      ["predecessor_pid", predecessorPid ?? "none"],
      ["generation", totals.generation],
      ["attempts", totals.attempts],
      ["completed", totals.completed],
      ["refused", totals.refused],
      ...Object.entries(totals.failed).map(named("failed")),
      ["clients_moved", totals.clients],
      ["servers_moved", totals.servers],
      ["bytes_moved", totals.bytes],
      ["clients_lost", totals.lost],
      ...Object.entries(totals.left).map(named("left")),
      ["last_result", last.result],
      ["last_began_at", time(last.beganAtMs)],
      ["last_ready_ms", last.readyMs],
      ["last_moving_ms", last.movingMs],
      ["last_clients_moved", last.clients],
      ["last_servers_moved", last.servers],
      ["last_bytes_moved", last.bytes],
      ["last_left", last.left],
    ];
    return items.map(([item, value]) => [item, String(value)]);
  },
};

function named(prefix: string): (entry: [string, number]) => [string, number] {
  return ([reason, count]) => [`${prefix}_${reason}`, count];
}

function time(ms: number): string {
  return ms === 0 ? "never" : new Date(ms).toISOString();
}
