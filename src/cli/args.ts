/**
 * The command line and the environment variables that stand in for options, as upstream has them. Pure: says what is
 * asked for, or what is wrong with it, and never exits.
 */

import { parseArgs } from "node:util";
import { nearestName } from "../config/nearest.ts";
import type { LogFormat, LogLevel } from "../log/format.ts";
import { LOG_LEVELS } from "../log/format.ts";

/** Exit codes of the process; 71 and 78 are EX_OSERR and EX_CONFIG of sysexits.h. */
export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  os: 71,
  config: 78,
} as const;

/** What running and testing are told. */
export interface RunOptions {
  configFile: string;
  /** Undefined when neither command line nor environment say so: then the config may. */
  logLevel: LogLevel | undefined;
  logFormat: LogFormat | undefined;
  noColor: boolean;
  daemon: boolean;
  /** Listening socket to adopt instead of binding one. */
  inheritFd: number | undefined;
}

/** What the command line asks for. */
export type CommandLine =
  | { kind: "run"; options: RunOptions }
  /** `online`: it connects as well. */
  | { kind: "test"; options: RunOptions; online: boolean }
  /** Text for standard output. */
  | { kind: "help"; text: string }
  | { kind: "version" }
  /** Text for standard error. */
  | { kind: "unavailable"; text: string }
  | { kind: "usage_error"; text: string };

/** Looks an environment variable up. */
export type Environment = (name: string) => string | undefined;

const DEFAULT_CONFIG_FILE = "pg_doorman.toml";
const LOG_FORMATS: readonly LogFormat[] = ["text", "structured", "debug"];
const COMMANDS = ["generate", "generate-docs", "help"];

const OPTIONS = {
  "log-level": { type: "string", short: "l" },
  "log-format": { type: "string", short: "F" },
  "no-color": { type: "boolean", short: "n" },
  daemon: { type: "boolean", short: "d" },
  "inherit-fd": { type: "string" },
  "test-config": { type: "boolean", short: "t" },
  online: { type: "boolean" },
  help: { type: "boolean", short: "h" },
  version: { type: "boolean", short: "V" },
} as const;

const USAGE = "Usage: pg_doorman [OPTIONS] [CONFIG_FILE] [COMMAND]";

/** Text of `--help`. */
export const HELP = `PgDoorman: connection pooler for PostgreSQL

${USAGE}

Commands:
  generate       Write a config from a running server (not available yet)
  generate-docs  Write the reference of the config (not available yet)
  help           Print this text

Arguments:
  [CONFIG_FILE]  Config file: .yaml and .yml are YAML, all others TOML
                 [env: CONFIG_FILE] [default: ${DEFAULT_CONFIG_FILE}]

Options:
  -l, --log-level LEVEL    error, warn, info, debug or trace; beats general.log_level
                           [env: LOG_LEVEL] [default: info]
  -F, --log-format FORMAT  text, structured (a JSON object a line) or debug (as text);
                           beats general.log_format [env: LOG_FORMAT] [default: text]
  -n, --no-color           No colour in the log; so does a NO_COLOR that is not empty
  -d, --daemon             Run in the background [env: DAEMON=true|false]
      --inherit-fd FD      Serve this listening socket instead of opening one
                           [env: INHERIT_FD]
  -t, --test-config        Check the config, say what is wrong with it, and exit
      --online             With -t: log in to each server as well, and whatever else
                           the config makes PgDoorman connect to
  -h, --help               Print this text
  -V, --version            Print the version

Exit status:
  0   normal end, or the config is valid
  1   the process failed, or what -t --online tries
  2   the command line is wrong
  71  the operating system refused something
  78  the config is wrong
`;

/** Reads the command line; values on it beat the environment's. */
export function parseCommandLine(args: readonly string[], env: Environment): CommandLine {
  const command = findCommand(args);
  if (command === "help") return { kind: "help", text: HELP };
  if (command !== undefined) {
    return { kind: "unavailable", text: `pg_doorman: ${command} is not available yet\n` };
  }
  let parsed;
  try {
    parsed = parseArgs({
      args: [...args],
      options: OPTIONS,
      allowPositionals: true,
      strict: true,
    });
  } catch (error) {
    return usageError(optionFault(error, args));
  }
  const { values, positionals } = parsed;
  if (values.help) return { kind: "help", text: HELP };
  if (values.version) return { kind: "version" };
  const [configFile, extra] = positionals;
  if (extra !== undefined) return usageError(`unexpected argument "${extra}"`);
  const faults: string[] = [];
  const options: RunOptions = {
    configFile: configFile ?? fromEnvironment(env, "CONFIG_FILE") ?? DEFAULT_CONFIG_FILE,
    logLevel: choice(values["log-level"], env, "--log-level", LOG_LEVELS, faults),
    logFormat: choice(values["log-format"], env, "--log-format", LOG_FORMATS, faults),
    noColor: values["no-color"] ?? false,
    daemon: values.daemon ?? daemonFromEnvironment(env, faults),
    inheritFd: descriptor(values["inherit-fd"], env, faults),
  };
  if (faults.length > 0) return usageError(faults.join("\nerror: "));
  const online = values.online ?? false;
  if (values["test-config"]) return { kind: "test", options, online };
  return online ? usageError("--online goes with --test-config") : { kind: "run", options };
}

/** A variable that is set but empty counts as not set. */
function fromEnvironment(env: Environment, name: string): string | undefined {
  const value = env(name);
  return value === "" ? undefined : value;
}

function choice<T extends string>(
  given: string | undefined,
  env: Environment,
  option: string,
  choices: readonly T[],
  faults: string[],
): T | undefined {
  const variable = option.slice(2).replace("-", "_").toUpperCase();
  const value = given ?? fromEnvironment(env, variable);
  if (value === undefined) return undefined;
  const found = choices.find((each) => each === value);
  if (found === undefined) {
    const where = given === undefined ? `environment variable ${variable}` : option;
    faults.push(`invalid value "${value}" for ${where}: use ${choices.join(", ")}`);
  }
  return found;
}

function daemonFromEnvironment(env: Environment, faults: string[]): boolean {
  const value = fromEnvironment(env, "DAEMON");
  if (value !== undefined && value !== "true" && value !== "false") {
    faults.push(`invalid value "${value}" for environment variable DAEMON: use true, false`);
  }
  return value === "true";
}

function descriptor(
  given: string | undefined,
  env: Environment,
  faults: string[],
): number | undefined {
  const value = given ?? fromEnvironment(env, "INHERIT_FD");
  if (value === undefined) return undefined;
  if (/^[0-9]{1,9}$/.test(value)) return Number(value);
  const where = given === undefined ? "environment variable INHERIT_FD" : "--inherit-fd";
  faults.push(`invalid value "${value}" for ${where}: use the number of a file descriptor`);
  return undefined;
}

/** The first argument that is neither an option nor an option's value, if it is a command. */
function findCommand(args: readonly string[]): string | undefined {
  for (let index = 0; index < args.length; index++) {
    const arg = args[index] as string;
    if (arg === "--") return undefined;
    if (!arg.startsWith("-")) {
      if (COMMANDS.includes(arg)) return arg;
    } else if (takesNext(arg)) index++;
  }
  return undefined;
}

/** `-l`, `-nl`, `--log-level` and so on are followed by their value; `-ldebug` and `--log-level=debug` are not. */
function takesNext(arg: string): boolean {
  if (/^--(log-level|log-format|inherit-fd)$/.test(arg)) return true;
  return /^-[ndthV]*[lF]$/.test(arg);
}

function usageError(fault: string): CommandLine {
  return {
    kind: "usage_error",
    text: `error: ${fault}\n\n${USAGE}\n\nFor more information, try "--help".\n`,
  };
}

function optionFault(error: unknown, args: readonly string[]): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ERR_PARSE_ARGS_UNKNOWN_OPTION") {
    const unknown = args.find((arg) => isUnknown(arg)) ?? "";
    const [name] = unknown.split("=");
    const nearest = nearestName((name as string).slice(2), Object.keys(OPTIONS));
    const hint = nearest === undefined ? "" : `: did you mean --${nearest}?`;
    return `unexpected argument "${name}"${hint}`;
  }
  if (error instanceof Error) return (error.message.split("\n")[0] as string).replace(/\.$/, "");
  throw error;
}

function isUnknown(arg: string): boolean {
  if (arg.startsWith("--")) return !Object.hasOwn(OPTIONS, (arg.slice(2).split("=")[0]) as string);
  return /^-[^-]/.test(arg) && /^-[^lFndthV]/.test(arg);
}
