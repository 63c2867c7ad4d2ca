/**
 * Keys of `[general]` about the log, in the order of the reference; see `schema.ts` for what a row means.
 */

import type { KeyTable } from "./schema.ts";
import type { LoggingConfig } from "./types.ts";

/** Where the log goes, and what is in it. */
export const LOGGING_TABLE: KeyTable<LoggingConfig> = {
  log_level: {
    heading: "Logging",
    type: "enum",
    choices: ["error", "warn", "info", "debug", "trace"],
    reload: "A",
    unset: "the command line's, else `info`",
    doc: "Level of logging; `--log-level` beats it. Not in upstream.",
  },
  log_format: {
    type: "enum",
    choices: ["text", "structured", "debug"],
    reload: "A",
    unset: "the command line's, else `text`",
    doc: "Shape of log lines (`debug` is `text`); `--log-format` beats it. Not in upstream.",
  },
  log_client_connections: {
    type: "bool",
    default: false,
    reload: "A",
    doc: "Log every client's login.",
  },
  log_client_disconnections: {
    type: "bool",
    default: false,
    reload: "A",
    doc: "Log every client's leaving.",
  },
  log_min_duration: {
    type: "duration",
    default: 0,
    reload: "A",
    doc:
      "Log queries that take at least this long from their message to their ReadyForQuery, with user, address and " +
      "application_name. 0 = none. Not in upstream.",
  },
  log_min_duration_text: {
    type: "u32",
    default: 0,
    max: 2000,
    reload: "A",
    doc:
      "Characters of the query's text in these lines, never its parameters; what stands in the text itself is in the " +
      "log then. 0 = no text. Not in upstream.",
  },
  log_file: {
    type: "path",
    reload: "R",
    unset: "log to standard error",
    doc: "Append the log to this file, which SIGHUP opens anew. Not in upstream.",
  },
  syslog_prog_name: {
    type: "string",
    reload: "R",
    unset: "log to standard error",
    doc:
      "Log to syslog under this name instead of standard error; `log_format` is without effect then. Without a daemon " +
      "at its socket lines are lost, and counted.",
  },
  syslog_socket: {
    type: "path",
    default: "/dev/log",
    reload: "R",
    doc: "The syslog daemon's socket. Not in upstream.",
  },
  syslog_format: {
    type: "enum",
    choices: ["rfc5424", "rfc3164"],
    default: "rfc5424",
    reload: "R",
    doc:
      "Shape of messages; journald and old daemons understand `rfc3164` alone at their socket. Not in upstream, which " +
      "has `rfc3164`.",
  },
  syslog_facility: {
    type: "enum",
    choices: [
      "user",
      "daemon",
      "auth",
      "authpriv",
      "local0",
      "local1",
      "local2",
      "local3",
      "local4",
      "local5",
      "local6",
      "local7",
    ],
    default: "user",
    reload: "R",
    doc: "Facility of messages to syslog. Not in upstream.",
  },
};
