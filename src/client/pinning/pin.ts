/**
 * Why a client keeps its server between transactions, though it would not have to.
 */

import { Dirty } from "../../server/state.ts";
import type { ClientView } from "../parts.ts";

const TARGET = "pg_doorman::client";

/** Reasons for a pin in the operator's words. */
const WORDS: [bit: number, text: string][] = [
  [Dirty.Advisory, "advisory lock"],
  [Dirty.Temp, "temporary table"],
  [Dirty.Declare, "WITH HOLD cursor"],
  [Dirty.SqlPrepare, "PREPARE"],
  [Dirty.Listen, "LISTEN"],
  [Dirty.Set, "settings that can't be followed"],
  [Dirty.Names, "settings under names that can't be known"],
];

/** Of the reasons `about`, these hold now. */
export function pin(session: ClientView, about: number, pinned: number): void {
  const { state } = session;
  const before = state.pinned;
  const asked = (about & Dirty.Config) !== 0 ? about | Dirty.Set : about;
  state.pinned = before & ~asked | pinned;
  if (state.pinned === before) return;
  const { pid } = session.server!.state;
  if (before === 0) session.pool!.counters.total.pins++;
  session.context.log.info(
    TARGET,
    state.pinned === 0
      ? `${session.name} needs server pid=${pid} no more after its transactions`
      : `${session.name} keeps server pid=${pid} after its transactions: ${
        pinReasons(state.pinned)
      }`,
  );
}

/** Why a client keeps its server, for people. */
export function pinReasons(pinned: number): string {
  return WORDS.filter(([bit]) => (pinned & bit) !== 0).map(([, text]) => text).join(", ");
}
