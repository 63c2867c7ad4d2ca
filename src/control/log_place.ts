/**
 * Where the lines of the log go, and what they look like there: standard error, the journal behind it, `log_file`, or
 * syslog.
 */

import { hostname } from "node:os";
import { EXIT, type RunOptions } from "../cli/args.ts";
import type { Config } from "../config/types.ts";
import { journalFormatter, type LineFormatter, lineFormatter, usesColour } from "../log/format.ts";
import type { LineOutput } from "../log/line_sink.ts";
import { syslogFormatter } from "../log/syslog.ts";
import { LogFile, LogFileError } from "../os/log_file.ts";
import { leadsToJournal, StandardError } from "../os/standard_error.ts";
import { SyslogSocket } from "../os/syslog_socket.ts";
import { fromStartDirectory } from "./configuration.ts";
import { ListenError } from "./service/listeners.ts";

/** One of them. */
export interface LogPlace {
  /** For the line that tells of lost ones. */
  readonly name: string;
  readonly output: LineOutput;
  /** It is there without standard error. */
  readonly lasting: boolean;
  /** The shape of lines that command line and configuration ask for. */
  format(options: RunOptions, config: Config): LineFormatter;
  /** Looks anew for what it leads to. Throws a `LogFileError`. */
  reopen(): void;
}

/** The place that the configuration asks for. Throws a `ListenError` where it can't be had. */
export function openLogPlace({ general }: Config): LogPlace {
  const { log_file, syslog_prog_name } = general;
  if (syslog_prog_name !== undefined) return syslogPlace(general, syslog_prog_name);
  if (log_file !== undefined) return filePlace(log_file);
  const journal = leadsToJournal(Deno.env.get("JOURNAL_STREAM"));
  return {
    name: "standard error",
    output: new StandardError(),
    lasting: false,
    format: (options, config) => {
      const format = configuredFormat(options, config);
      return journal ? journalFormatter(format) : format;
    },
    reopen: () => {},
  };
}

function filePlace(path: string): LogPlace {
  const file = openFile(path);
  return {
    name: "log_file",
    output: file,
    lasting: true,
    format: configuredFormat,
    reopen: () => file.reopen(),
  };
}

function openFile(path: string): LogFile {
  try {
    return new LogFile(fromStartDirectory(path));
  } catch (error) {
    if (error instanceof LogFileError) throw new ListenError(error.message, EXIT.failure, error);
    throw error;
  }
}

function syslogPlace(general: Config["general"], program: string): LogPlace {
  const socket = new SyslogSocket(general.syslog_socket);
  const format = syslogFormatter({
    format: general.syslog_format,
    facility: general.syslog_facility,
    program,
    pid: Deno.pid,
    host: hostname(),
  });
  return {
    name: `syslog (${general.syslog_socket})`,
    output: socket,
    lasting: true,
    format: () => format,
    reopen: () => socket.reopen(),
  };
}

function configuredFormat(options: RunOptions, config: Config): LineFormatter {
  return lineFormatter(
    options.logFormat ?? config.general.log_format ?? "text",
    usesColour({
      terminal: Deno.stderr.isTerminal(),
      noColor: options.noColor,
      NO_COLOR: Deno.env.get("NO_COLOR"),
    }),
  );
}
