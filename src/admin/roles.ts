/**
 * What those of `stats_users` may do: look, and what a driver does by itself. Each kind of command stands in the table, so
 * that a new one can't be forgotten.
 */

import type { Command } from "./commands.ts";
import { Refusal } from "./refusal.ts";

/** Which commands change something outside of the session, or are an administrator's for another reason. */
const FOR_ADMINS: Readonly<Record<Command["kind"], boolean>> = {
  show: false,
  show_parameter: false,
  complete: false,
  select: false,
  no_types: false,
  begin: false,
  commit: false,
  rollback: false,
  set: false,
  reset: false,
  deallocate: false,
  discard_all: false,
  nothing: false,
  pool: true,
  kill_client: true,
  reload: true,
  reset_interner: true,
  shutdown: true,
  upgrade: true,
  set_log_level: true,
};

/** Why a user who may only look may not run the command; `undefined`: he may. */
export function refusalToStats(command: Command): Refusal | undefined {
  if (FOR_ADMINS[command.kind]) {
    return new Refusal("42501", "permission denied: users of stats_users may only look", {
      hint: "SHOW is allowed; the rest is for admin_username and admin_users",
    });
  }
  if (command.kind !== "show" || command.show.texts === undefined) return undefined;
  return new Refusal("42501", "permission denied: it has texts of queries", {
    hint: "they may hold data, and are for admin_username and admin_users",
  });
}
