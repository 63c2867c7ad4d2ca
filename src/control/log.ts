/**
 * The log of the process: lines on standard error, in the shape that the command line or, where it says nothing, the
 * configuration asks for.
 */

import type { RunOptions } from "../cli/args.ts";
import type { Config } from "../config/types.ts";
import { levelFilter, type LogFilter } from "../log/filter.ts";
import { lineFormatter, usesColour } from "../log/format.ts";
import type { LineFormatter } from "../log/format.ts";
import { createLog, type LineLog } from "../log/log.ts";

/** Opens the log. */
export function startLog(options: RunOptions, config: Config): LineLog {
  const encoder = new TextEncoder();
  return createLog({
    filter: configuredFilter(options, config),
    format: lineFormat(options, config),
    write: (line) => {
      const bytes = encoder.encode(line);
      for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
    },
  });
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
