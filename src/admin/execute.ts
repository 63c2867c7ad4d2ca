/**
 * Runs the commands that reach the rest of the process. What concerns the session alone (transaction blocks, SET of
 * drivers' parameters, DEALLOCATE) stays with `console.ts`. Refusals are thrown; so is whatever the control plane
 * rejects with, which the console reports as an internal error.
 */

import type { ErrorFields } from "../protocol/error_response.ts";
import type { Command, DatabaseName } from "./commands.ts";
import type { AdminEnvironment, PoolCommand, ShutdownWait } from "./environment.ts";
import { Refusal } from "./refusal.ts";
import type { Row } from "./rows.ts";
import type { AskingConsole } from "./show/show.ts";

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
  {
    kind:
      | "show"
      | "pool"
      | "kill_client"
      | "reload"
      | "shutdown"
      | "upgrade"
      | "set_log_level"
      | "reset_interner";
  }
>;

/** An outcome without rows, counts or notices unless given. */
export function outcome(tag: string, more: Partial<Outcome> = {}): Outcome {
  return { rows: [], tag, counted: false, notices: [], ...more };
}

/** The console that a command comes from. */
export interface CommandingConsole extends AskingConsole {
  /** Begins the log line of a command that changes something. */
  readonly who: string;
  /** Aborted when its client is gone: what takes its time ends then. */
  readonly gone: AbortSignal;
}

/** Runs one command. */
export async function execute(
  command: ControlCommand,
  environment: AdminEnvironment,
  console: CommandingConsole,
): Promise<Outcome> {
  const { who } = console;
  switch (command.kind) {
    case "show":
      return outcome("SHOW", { rows: await command.show.rows(environment, console) });
    case "pool":
      return await executeOnPools(command, environment, console);
    case "kill_client":
      return await executeKillClient(command.client, environment, who);
    case "reload":
      return await executeReload(environment, who);
    case "shutdown":
      return executeShutdown(command.waitFor, environment, who);
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
  command: { verb: PoolCommand | "kill" | "wait_close"; database: DatabaseName | undefined },
  environment: AdminEnvironment,
  { who, gone }: CommandingConsole,
): Promise<Outcome> {
  const verb = command.verb.toUpperCase();
  if (command.verb === "kill" && environment.kill === undefined) throw unavailable(verb);
  const database = command.database?.find((name) => environment.hasDatabase(name));
  if (command.database !== undefined && database === undefined) throw noPool(command.database[0]);
  if (command.verb === "wait_close") {
    await closed(database, environment, gone);
    return outcome(verb);
  }
  const touched = command.verb === "kill"
    ? await environment.kill?.(database) ?? 0
    : await environment.command(command.verb, database);
  // A reload may have taken the last pool away in between.
  if (database !== undefined && touched === 0) throw noPool(database);
  const scope = database === undefined ? "all databases" : `database "${database}"`;
  environment.log("info", `${who} ${verb} of ${scope}: ${touched} ${plural("pool", touched)}`);
  return outcome(verb);
}

const LOOK_MS = 50;

/** No server connection is left that RECONNECT or a reload has asked to be replaced. */
async function closed(
  database: string | undefined,
  environment: AdminEnvironment,
  gone: AbortSignal,
): Promise<void> {
  for (;;) {
    const pools = await environment.pools();
    const late = pools.some((pool) =>
      pool.sv_close_needed > 0 && (database === undefined || pool.database === database)
    );
    if (!late || gone.aborted) return;
    await new Promise((done) => setTimeout(done, LOOK_MS));
  }
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

async function executeKillClient(
  client: number,
  environment: AdminEnvironment,
  who: string,
): Promise<Outcome> {
  if (environment.killClient === undefined) throw unavailable("KILL_CLIENT");
  environment.log("info", `${who} KILL_CLIENT #c${client}`);
  if (await environment.killClient(client)) return outcome("KILL_CLIENT");
  throw new Refusal("42704", `there is no client #c${client}`, { hint: "SHOW CLIENTS lists them" });
}

function executeShutdown(
  waitFor: ShutdownWait,
  environment: AdminEnvironment,
  who: string,
): Outcome {
  if (environment.shutdown === undefined) throw unavailable("SHUTDOWN");
  environment.log("info", `${who} SHUTDOWN, waiting for ${waitFor}`);
  environment.shutdown(waitFor);
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
