/**
 * The log of the process: lines on standard error, in the shape that the command line or, where it says nothing, the
 * configuration asks for.
 */

import type { RunOptions } from "../cli/args.ts";
import type { Config } from "../config/types.ts";
import { levelFilter } from "../log/filter.ts";
import { lineFormatter, usesColour } from "../log/format.ts";
import { createLog, type LineLog } from "../log/log.ts";

/** Opens the log. */
export function startLog(options: RunOptions, config: Config): LineLog {
  const encoder = new TextEncoder();
  const { log_level, log_format } = config.general;
  return createLog({
    filter: levelFilter(options.logLevel ?? log_level ?? "info"),
    format: lineFormatter(
      options.logFormat ?? log_format ?? "text",
      usesColour({
        terminal: Deno.stderr.isTerminal(),
        noColor: options.noColor,
        NO_COLOR: Deno.env.get("NO_COLOR"),
      }),
    ),
    write: (line) => {
      const bytes = encoder.encode(line);
      for (let at = 0; at < bytes.length;) at += Deno.stderr.writeSync(bytes.subarray(at));
    },
  });
}
