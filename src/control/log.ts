/**
 * The log of the process: lines on standard error or in a file, in the shape that the command line or, where it says
 * nothing, the configuration asks for.
 */

import { EXIT, type RunOptions } from "../cli/args.ts";
import type { Config } from "../config/types.ts";
import { levelFilter, type LogFilter } from "../log/filter.ts";
import { lineFormatter, usesColour } from "../log/format.ts";
import type { LineFormatter } from "../log/format.ts";
import { LineSink } from "../log/line_sink.ts";
import { createLog, type LineLog, type Log } from "../log/log.ts";
import { errnoText } from "../os/errno.ts";
import { LogFile, LogFileError } from "../os/log_file.ts";
import { StandardError } from "../os/standard_error.ts";
import { fromStartDirectory } from "./configuration.ts";
import { ListenError } from "./service/listeners.ts";

const TARGET = "pg_doorman::log";
/** So long the end of the process waits for standard error to take the last lines. */
const LAST_LINES_MS = 200;
/** As long a command waits for what it has to say. */
const LAST_WORDS_MS = 2000;

/** Opens the log. It never waits for standard error, but for a moment at the end of the process. */
export function startLog(
  options: RunOptions,
  config: Config,
): { log: LineLog; file: LogFile | undefined } {
  const file = openFile(config.general.log_file);
  const where = file === undefined ? "standard error" : "log_file";
  const sink = new LineSink({
    output: file ?? new StandardError(),
    later: (ms, action) => Deno.unrefTimer(setTimeout(action, ms)),
    tellLost: (lines, errno) =>
      log.error(TARGET, `${lines} lines of the log were lost: ${where}: ${errnoText(errno)}`),
  });
  const log = createLog({
    filter: configuredFilter(options, config),
    format: lineFormat(options, config),
    write: (line) => sink.put(line),
    later: (ms, action) => Deno.unrefTimer(setTimeout(action, ms)),
  });
  globalThis.addEventListener("unload", () => sink.flush(LAST_LINES_MS));
  return { log, file };
}

function openFile(path: string | undefined): LogFile | undefined {
  try {
    return path === undefined ? undefined : new LogFile(fromStartDirectory(path));
  } catch (error) {
    if (error instanceof LogFileError) throw new ListenError(error.message, EXIT.failure, error);
    throw error;
  }
}

/** Opens the log's file anew, after somebody may have moved it away. */
export function reopenLog(log: Log, file: LogFile | undefined): void {
  try {
    file?.reopen();
  } catch (error) {
    if (!(error instanceof LogFileError)) throw error;
    log.error(TARGET, `${error.message}: the log goes on in the file that it had`);
  }
}

/** Says something on standard error without a log, shortly before the end. */
export function sayLast(text: string): void {
  const sink = new LineSink({ output: new StandardError(), later: () => {}, tellLost: () => {} });
  for (const line of text.split(/(?<=\n)/)) sink.put(line);
  sink.flush(LAST_WORDS_MS);
}

/** The filter that command line and configuration ask for. */
export function configuredFilter(options: RunOptions, config: Config): LogFilter {
  return levelFilter(options.logLevel ?? config.general.log_level ?? "info");
}

/** The shape of lines that command line and configuration ask for. */
export function lineFormat(options: RunOptions, config: Config): LineFormatter {
  return lineFormatter(
    options.logFormat ?? config.general.log_format ?? "text",
    usesColour({
      terminal: Deno.stderr.isTerminal(),
      noColor: options.noColor,
      NO_COLOR: Deno.env.get("NO_COLOR"),
    }),
  );
}
