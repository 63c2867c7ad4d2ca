/**
 * The table of the console's commands: how each is written, how its text becomes a `Command`, and which SHOWs there
 * are. SHOW passes over surplus words, as it always has; a command that changes something does not, since a word too
 * many may have been meant to limit it.
 */

import { completeWord } from "./completion.ts";
import type { Completion } from "./completion.ts";
import type { AdminEnvironment, PoolCommand, ShutdownWait } from "./environment.ts";
import { Refusal } from "./refusal.ts";
import type { Column } from "./rows.ts";
import { text } from "./rows.ts";
import type { SessionCommand } from "./session_sql.ts";
import { parseSessionSql, parseSet, parseShowParameter, valueFrom } from "./session_sql.ts";
import { showAuthQuery } from "./show/auth_query.ts";
import { showClients } from "./show/clients.ts";
import { showConfig } from "./show/config.ts";
import { showConnections } from "./show/connections.ts";
import { showDatabases } from "./show/databases.ts";
import { showInterner, showInternerTexts } from "./show/interner.ts";
import { showHelp } from "./show/help.ts";
import { showLists } from "./show/lists.ts";
import { showLogLevel } from "./show/log_level.ts";
import { showPoolCoordinator } from "./show/pool_coordinator.ts";
import { showPools, showPoolsExtended } from "./show/pools.ts";
import { showPoolScaling } from "./show/pool_scaling.ts";
import { showPoolsMemory } from "./show/pools_memory.ts";
import { showPreparedStatements } from "./show/prepared_statements.ts";
import { showServers } from "./show/servers.ts";
import { showSockets } from "./show/sockets.ts";
import type { Show } from "./show/show.ts";
import { showStartupParameters } from "./show/startup_parameters.ts";
import { showStats } from "./show/stats.ts";
import { showUpgrade } from "./show/upgrade.ts";
import { showUsers } from "./show/users.ts";
import { showVersion } from "./show/version.ts";
import type { StatementText, Token } from "./tokens.ts";
import { splitStatements } from "./tokens.ts";

/** A statement that the console can run. */
export type Command =
  | { kind: "show"; show: Show }
  | { kind: "complete"; completion: Completion }
  | { kind: "pool"; verb: PoolCommand | "kill" | "wait_close"; database: DatabaseName | undefined }
  | { kind: "kill_client"; client: number }
  | { kind: "reload" }
  | { kind: "reset_interner" }
  | { kind: "shutdown"; waitFor: ShutdownWait }
  | { kind: "upgrade" }
  | { kind: "set_log_level"; filter: string }
  | SessionCommand;

/** A database as the operator wrote it: the names it may mean, the likeliest first. */
export type DatabaseName = readonly string[];

interface Verb {
  readonly verb: string;
  /** Its lines in SHOW HELP. */
  readonly help: readonly string[];
  /** Whether this build can do it; absent means always. */
  available?(environment: AdminEnvironment): boolean;
  parse(statement: StatementText): Command;
}

const SHOWS: readonly Show[] = [
  showHelp(helpLines),
  showConfig,
  showDatabases,
  showPools,
  showPoolsExtended,
  showPoolsMemory,
  showPoolCoordinator,
  showPoolScaling,
  showPreparedStatements,
  showInterner,
  showClients,
  showServers,
  showConnections,
  showStats,
  showVersion,
  showUpgrade,
  showUsers,
  showAuthQuery,
  showStartupParameters,
  showLogLevel,
  showLists,
  showSockets,
];

const VERBS: readonly Verb[] = [
  {
    verb: "SHOW",
    help: [
      `SHOW ${SHOWS.map((show) => show.name.toUpperCase()).join("|")}`,
      "SHOW LISTS",
      "SHOW CONNECTIONS",
      "SHOW STATS",
    ],
    parse: parseShow,
  },
  {
    verb: "SET",
    help: ["SET log_level = '<filter>'"],
    available: (environment) => environment.setLogLevel !== undefined,
    parse: parseSetting,
  },
  {
    verb: "RELOAD",
    help: ["RELOAD"],
    available: (environment) => environment.reload !== undefined,
    parse: (statement) => alone(statement, { kind: "reload" }),
  },
  {
    verb: "SHUTDOWN",
    help: ["SHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]"],
    available: (environment) => environment.shutdown !== undefined,
    parse: parseShutdown,
  },
  {
    verb: "UPGRADE",
    help: ["UPGRADE"],
    available: (environment) => environment.upgrade !== undefined,
    parse: (statement) => alone(statement, { kind: "upgrade" }),
  },
  { verb: "PAUSE", help: ["PAUSE [db]"], parse: (statement) => onPools(statement, "pause") },
  { verb: "RESUME", help: ["RESUME [db]"], parse: (statement) => onPools(statement, "resume") },
  {
    verb: "RECONNECT",
    help: ["RECONNECT [db]"],
    parse: (statement) => onPools(statement, "reconnect"),
  },
  {
    verb: "WAIT_CLOSE",
    help: ["WAIT_CLOSE [db]"],
    parse: (statement) => onPools(statement, "wait_close"),
  },
  { verb: "DISABLE", help: ["DISABLE db"], parse: (statement) => onDatabase(statement, "disable") },
  { verb: "ENABLE", help: ["ENABLE db"], parse: (statement) => onDatabase(statement, "enable") },
  { verb: "SUSPEND", help: [], parse: refuseSuspend },
  {
    verb: "KILL_CLIENT",
    help: ["KILL_CLIENT client_id"],
    available: (environment) => environment.killClient !== undefined,
    parse: parseKillClient,
  },
  {
    verb: "KILL",
    help: ["KILL [db]"],
    available: (environment) => environment.kill !== undefined,
    parse: (statement) => onPools(statement, "kill"),
  },
  {
    verb: "RESET",
    help: ["RESET INTERNER"],
    available: (environment) => environment.resetInterner !== undefined,
    parse: parseReset,
  },
];

function helpLines(environment: AdminEnvironment): string[] {
  return VERBS.filter((verb) => verb.available?.(environment) ?? true).flatMap((verb) => verb.help);
}

/** The commands in the text of a Query or Parse; none if it is empty. Throws `Refusal` if any of them is unknown. */
export function parseCommands(query: string): Command[] {
  const completion = completeWord(query, SHOWS.map((show) => show.name));
  if (completion !== undefined) return [{ kind: "complete", completion }];
  return splitStatements(query).map(parseStatement);
}

function parseStatement(statement: StatementText): Command {
  const first = statement.tokens[0];
  const word = first.kind === "word" ? first.text.toUpperCase() : "";
  const verb = VERBS.find((candidate) => candidate.verb === word);
  if (verb !== undefined) return verb.parse(statement);
  const own = parseSessionSql(statement);
  if (own !== undefined) return own;
  const hint = { hint: "SHOW HELP lists the commands" };
  if (word === "COPY") {
    throw new Refusal("0A000", "COPY is not supported on the admin database", hint);
  }
  // Not more than the first word: the rest may hold what is nobody's business, and goes to the log.
  const named = word === "" ? "query" : `query ${shorten(word)}`;
  throw new Refusal("58000", `unsupported ${named} on the admin database`, hint);
}

function parseShow(statement: StatementText): Command {
  const name = statement.tokens[1];
  const hint = { hint: "SHOW HELP lists the commands" };
  if (name === undefined) {
    throw new Refusal("58000", "unsupported SHOW on the admin database: a name must follow", hint);
  }
  const wanted = name.text.toLowerCase();
  // The other spelling has always been understood.
  const known = wanted === "pool_memory" ? "pools_memory" : wanted;
  const show = SHOWS.find((candidate) => candidate.name === known);
  if (show === showInterner && /^\d+$/.test(statement.tokens[2]?.text ?? "")) {
    const most = Math.min(Number(statement.tokens[2].text), Number.MAX_SAFE_INTEGER);
    return { kind: "show", show: showInternerTexts(most) };
  }
  if (show !== undefined) return { kind: "show", show };
  const parameter = parseShowParameter(statement);
  if (parameter !== undefined) return parameter;
  const message = `unsupported SHOW "${shorten(name.text)}" on the admin database`;
  throw new Refusal("58000", message, hint);
}

function parseReset(statement: StatementText): Command {
  if (statement.tokens[1]?.text.toLowerCase() !== "interner") {
    const own = parseSessionSql(statement);
    if (own !== undefined) return own;
    const hint = { hint: "RESET INTERNER is the only one that concerns the pooler" };
    throw new Refusal("58000", "unsupported RESET on the admin database", hint);
  }
  if (statement.tokens.length > 2) throw unexpected(statement.tokens[2]);
  return { kind: "reset_interner" };
}

function parseSetting(statement: StatementText): Command {
  const { tokens } = statement;
  const scoped = /^(session|local)$/i.test(tokens[1]?.text ?? "") ? 1 : 0;
  const name = tokens[1 + scoped];
  if (name?.text.toLowerCase() === "log_level") return parseLogLevel(statement, 2 + scoped);
  const usual = parseSet(statement);
  if (usual !== undefined) return usual;
  if (tokens.length < 3) {
    throw new Refusal("42601", "SET needs a parameter and a value: SET log_level = '<filter>'");
  }
  const unknown = shorten(name?.text ?? "").toUpperCase();
  throw new Refusal("42601", `unknown parameter "${unknown}" on the admin database`, {
    hint: "what can be set: log_level",
  });
}

function parseLogLevel(statement: StatementText, at: number): Command {
  const separator = statement.tokens[at];
  const separated = separator?.kind === "symbol" && separator.text === "=" ||
    separator?.kind === "word" && separator.text.toUpperCase() === "TO";
  const value = separated ? at + 1 : at;
  if (statement.tokens[value] === undefined) {
    throw new Refusal("42601", "SET log_level needs a value: SET log_level = '<filter>'");
  }
  return { kind: "set_log_level", filter: valueFrom(statement, value).trim() };
}

function parseShutdown(statement: StatementText): Command {
  const word = statement.tokens[1];
  if (word === undefined) return { kind: "shutdown", waitFor: "transactions" };
  if (statement.tokens.length > 2) throw unexpected(statement.tokens[2]);
  switch (word.kind === "word" ? word.text.toUpperCase() : "") {
    case "WAIT_FOR_SERVERS":
      return { kind: "shutdown", waitFor: "servers" };
    case "WAIT_FOR_CLIENTS":
      return { kind: "shutdown", waitFor: "clients" };
    default:
      throw unexpected(word);
  }
}

/** `client_id` of SHOW CLIENTS, with its `#c` or without. */
function parseKillClient(statement: StatementText): Command {
  const id = /^\s*['"]?(?:#?c)?([0-9]{1,10})['"]?\s*$/i.exec(statement.from(1))?.[1];
  if (id !== undefined) return { kind: "kill_client", client: Number(id) };
  throw new Refusal("42601", "KILL_CLIENT needs the client_id of SHOW CLIENTS", {
    hint: "as in KILL_CLIENT #c42",
  });
}

/** PgBouncer's way to hand its sockets to another process: clients hang meanwhile, and nobody ends it but RESUME. */
function refuseSuspend(): Command {
  throw new Refusal("0A000", "SUSPEND is not supported on the admin database", {
    hint: "PAUSE lets clients wait; UPGRADE hands them over to another process",
  });
}

/** A command that would do harm if its database were forgotten. */
function onDatabase(statement: StatementText, verb: PoolCommand): Command {
  if (statement.tokens.length > 1) return onPools(statement, verb);
  throw new Refusal("42601", `${verb.toUpperCase()} needs a database`);
}

function onPools(
  statement: StatementText,
  verb: PoolCommand | "kill" | "wait_close",
): Command {
  const { tokens } = statement;
  if (tokens.length > 2) throw unexpected(tokens[2]);
  const name = tokens[1];
  if (name === undefined) return { kind: "pool", verb, database: undefined };
  if (name.kind === "quoted") return { kind: "pool", verb, database: [name.text] };
  if (name.kind !== "word") throw unexpected(name);
  // Scripts have always written mixed case without quotes; SQL folds it. The name as written goes first.
  return { kind: "pool", verb, database: [name.text, name.text.toLowerCase()] };
}

function alone(statement: StatementText, command: Command): Command {
  if (statement.tokens.length > 1) throw unexpected(statement.tokens[1]);
  return command;
}

function unexpected(token: Token): Refusal {
  return new Refusal("42601", `syntax error at or near "${shorten(token.text)}"`);
}

const SHOWN_CHARACTERS = 63;

function shorten(word: string): string {
  return word.length <= SHOWN_CHARACTERS ? word : `${word.slice(0, SHOWN_CHARACTERS)}...`;
}

const SUCCESS = [text("success")];

/** The columns of a command's result set; `undefined` if it has none. */
export function columnsOf(command: Command): readonly Column[] | undefined {
  switch (command.kind) {
    case "show":
      return command.show.columns;
    case "complete":
      return command.completion.columns;
    case "show_parameter":
      return [text(command.parameter.name)];
    case "select":
      return command.items.map((item) => item.column);
    case "no_types":
      return command.columns;
    case "shutdown":
    case "upgrade":
      return SUCCESS;
    default:
      return undefined;
  }
}
