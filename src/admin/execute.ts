/**
 * Runs the commands that reach the rest of the process. What concerns the session alone (transaction blocks, SET of
 * drivers' parameters, DEALLOCATE) stays with `console.ts`. Refusals are thrown; so is whatever the control plane
 * rejects with, which the console reports as an internal error.
 */

import type { ErrorFields } from "../protocol/error_response.ts";
import type { Command, DatabaseName } from "./commands.ts";
import type { AdminEnvironment, PoolCommand } from "./environment.ts";
import { Refusal } from "./refusal.ts";
import type { Row } from "./rows.ts";

/** What a command came to. */
export interface Outcome {
  readonly rows: readonly Row[];
  readonly tag: string;
  /** The tag of SELECT ends in the number of rows. */
  readonly counted: boolean;
  readonly notices: readonly ErrorFields[];
}

/** The commands that are run here. */
export type ControlCommand = Extract<
  Command,
  { kind: "show" | "pool" | "reload" | "shutdown" | "upgrade" | "set_log_level" | "reset_interner" }
>;

/** An outcome without rows, counts or notices unless given. */
export function outcome(tag: string, more: Partial<Outcome> = {}): Outcome {
  return { rows: [], tag, counted: false, notices: [], ...more };
}

/** Runs one command; `who` begins the log line of one that changes something. */
export async function execute(
  command: ControlCommand,
  environment: AdminEnvironment,
  who: string,
): Promise<Outcome> {
  switch (command.kind) {
    case "show":
      return outcome("SHOW", { rows: await command.show.rows(environment) });
    case "pool":
      return await executeOnPools(command, environment, who);
    case "reload":
      return await executeReload(environment, who);
    case "shutdown":
      return executeShutdown(environment, who);
    case "upgrade":
      return executeUpgrade(environment, who);
    case "reset_interner":
      if (environment.resetInterner === undefined) throw unavailable("RESET INTERNER");
      await environment.resetInterner();
      environment.log("info", `${who} RESET INTERNER`);
      return outcome("RESET");
    case "set_log_level":
      return executeSetLogLevel(command.filter, environment, who);
    default:
      return command satisfies never;
  }
}

async function executeOnPools(
  command: { verb: PoolCommand | "kill"; database: DatabaseName | undefined },
  environment: AdminEnvironment,
  who: string,
): Promise<Outcome> {
  const verb = command.verb.toUpperCase();
  if (command.verb === "kill" && environment.kill === undefined) throw unavailable(verb);
  const database = command.database?.find((name) => environment.hasDatabase(name));
  if (command.database !== undefined && database === undefined) throw noPool(command.database[0]);
  const touched = command.verb === "kill"
    ? await environment.kill?.(database) ?? 0
    : await environment.command(command.verb, database);
  // A reload may have taken the last pool away in between.
  if (database !== undefined && touched === 0) throw noPool(database);
  const scope = database === undefined ? "all databases" : `database "${database}"`;
  environment.log("info", `${who} ${verb} of ${scope}: ${touched} ${plural("pool", touched)}`);
  return outcome(verb);
}

async function executeReload(environment: AdminEnvironment, who: string): Promise<Outcome> {
  if (environment.reload === undefined) throw unavailable("RELOAD");
  environment.log("info", `${who} RELOAD`);
  const { ok, summary, faults } = await environment.reload();
  if (!ok) {
    const count = `${faults.length} ${plural("fault", faults.length)}`;
    throw new Refusal("F0000", `configuration rejected, nothing has changed: ${count}`, {
      detail: faults.join("\n"),
    });
  }
  const notices: ErrorFields[] = summary === ""
    ? []
    : [{ severity: "NOTICE", code: "00000", message: summary }];
  return outcome("RELOAD", { notices });
}

function executeShutdown(environment: AdminEnvironment, who: string): Outcome {
  if (environment.shutdown === undefined) throw unavailable("SHUTDOWN");
  environment.log("info", `${who} SHUTDOWN`);
  environment.shutdown();
  return outcome("SHUTDOWN", { rows: [["t"]] });
}

function executeUpgrade(environment: AdminEnvironment, who: string): Outcome {
  if (environment.upgrade === undefined) throw unavailable("UPGRADE");
  environment.log("info", `${who} UPGRADE`);
  const obstacle = environment.upgrade();
  if (obstacle === undefined) return outcome("UPGRADE", { rows: [["t"]] });
  const notices: ErrorFields[] = [{ severity: "WARNING", code: "55000", message: obstacle }];
  return outcome("UPGRADE", { rows: [["f"]], notices });
}

function executeSetLogLevel(filter: string, environment: AdminEnvironment, who: string): Outcome {
  if (environment.setLogLevel === undefined) throw unavailable("SET log_level");
  const fault = environment.setLogLevel(filter);
  if (fault !== undefined) throw new Refusal("42601", fault);
  environment.log("info", `${who} log level is now ${environment.logLevel()}`);
  return outcome("SET");
}

function noPool(database: string): Refusal {
  return new Refusal("3D000", `No pool for database "${database}"`);
}

function unavailable(what: string): Refusal {
  return new Refusal("0A000", `${what} is not available in this build`);
}

function plural(word: string, count: number): string {
  return count === 1 ? word : `${word}s`;
}
