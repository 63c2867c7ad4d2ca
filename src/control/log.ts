/**
 * The log of the process: lines on standard error, in the shape that the command line or, where it says nothing, the
 * configuration asks for.
 */

import type { RunOptions } from "../cli/args.ts";
import type { Config } from "../config/types.ts";
import { levelFilter, type LogFilter } from "../log/filter.ts";
import { lineFormatter, usesColour } from "../log/format.ts";
import type { LineFormatter } from "../log/format.ts";
import { LineSink } from "../log/line_sink.ts";
import { createLog, type LineLog } from "../log/log.ts";
import { errnoText } from "../os/errno.ts";
import { StandardError } from "../os/standard_error.ts";

const TARGET = "pg_doorman::log";
/** So long the end of the process waits for standard error to take the last lines. */
const LAST_LINES_MS = 200;
/** As long a command waits for what it has to say. */
const LAST_WORDS_MS = 2000;

/** Opens the log. It never waits for standard error, but for a moment at the end of the process. */
export function startLog(options: RunOptions, config: Config): LineLog {
  const sink = new LineSink({
    output: new StandardError(),
    later: (ms, action) => Deno.unrefTimer(setTimeout(action, ms)),
    tellLost: (lines, errno) =>
      log.error(TARGET, `${lines} lines of the log were lost: standard error: ${errnoText(errno)}`),
  });
  const log = createLog({
    filter: configuredFilter(options, config),
    format: lineFormat(options, config),
    write: (line) => sink.put(line),
    later: (ms, action) => Deno.unrefTimer(setTimeout(action, ms)),
  });
  globalThis.addEventListener("unload", () => sink.flush(LAST_LINES_MS));
  return log;
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
