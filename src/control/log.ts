/**
 * The log of the process: lines to where the configuration says, in the shape that the command line or, where it says
 * nothing, the configuration asks for.
 */

import type { RunOptions } from "../cli/args.ts";
import type { Config } from "../config/types.ts";
import { levelFilter, type LogFilter } from "../log/filter.ts";
import { LineSink } from "../log/line_sink.ts";
import { createLog, type LineLog, type Log } from "../log/log.ts";
import { errnoText } from "../os/errno.ts";
import { LogFileError } from "../os/log_file.ts";
import { StandardError } from "../os/standard_error.ts";
import { type LogPlace, openLogPlace } from "./log_place.ts";

const TARGET = "pg_doorman::log";
/** So long the end of the process waits for the last lines to be taken. */
const LAST_LINES_MS = 200;
/** As long a command waits for what it has to say. */
const LAST_WORDS_MS = 2000;

/** Opens the log. It never waits for whoever takes its lines, but for a moment at the end of the process. */
export function startLog(
  options: RunOptions,
  config: Config,
): { log: LineLog; place: LogPlace; lostLines: () => number } {
  const place = openLogPlace(config);
  const sink = new LineSink({
    output: place.output,
    later: (ms, action) => Deno.unrefTimer(setTimeout(action, ms)),
    tellLost: (lines, errno) =>
      log.error(TARGET, `${lines} lines of the log were lost: ${place.name}: ${errnoText(errno)}`),
  });
  const log = createLog({
    filter: configuredFilter(options, config),
    format: place.format(options, config),
    write: (line) => sink.put(line),
    later: (ms, action) => Deno.unrefTimer(setTimeout(action, ms)),
  });
  globalThis.addEventListener("unload", () => sink.flush(LAST_LINES_MS));
  return { log, place, lostLines: () => sink.lostLines };
}

/** Opens what the log goes to anew, after somebody may have moved it away. */
export function reopenLog(log: Log, place: LogPlace): void {
  try {
    place.reopen();
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
