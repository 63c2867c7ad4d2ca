/**
 * Records and what a line of the log looks like: upstream's text (with or without colour) and structured forms. A record
 * is one line whatever its message holds: control characters, which could forge a second line or drive a terminal, are
 * written as escapes.
 */

/** Severities, worst first. */
export const LOG_LEVELS = ["error", "warn", "info", "debug", "trace"] as const;

/** Severity of a record. */
export type LogLevel = typeof LOG_LEVELS[number];

/** Severities of syslog, RFC 5424 §6.2.1, which are journald's, too. */
export const SEVERITIES: Readonly<Record<LogLevel, number>> = {
  error: 3,
  warn: 4,
  info: 6,
  debug: 7,
  trace: 7,
};

/** Shape of log lines; `debug` is upstream's second name for `text`. */
export type LogFormat = "text" | "structured" | "debug";

/** One line of the log before it is one. */
export interface LogRecord {
  level: LogLevel;
  /** Stable module name, as `pg_doorman::pool`. */
  target: string;
  message: string;
  file: string;
  line: number;
  /** Milliseconds since the epoch. */
  at: number;
}

/** Makes the line of a record, line feed included. */
export type LineFormatter = (record: LogRecord) => string;

const COLOURS: Readonly<Record<LogLevel, string>> = {
  error: "\x1b[31m",
  warn: "\x1b[33m",
  info: "\x1b[32m",
  debug: "\x1b[36m",
  trace: "\x1b[90m",
};
const COLOUR_OFF = "\x1b[0m";

/** The formatter of a shape; `colour` concerns text alone. */
export function lineFormatter(format: LogFormat, colour: "colour" | "plain"): LineFormatter {
  if (format === "structured") return formatStructured;
  return colour === "colour" ? formatColoured : formatText;
}

/** `2026-01-31T12:00:00.000Z  INFO src/pool/pool.ts:10: message`. */
export function formatText(record: LogRecord): string {
  return textLine(record, record.level.toUpperCase().padStart(5));
}

function formatColoured(record: LogRecord): string {
  const level = record.level.toUpperCase().padStart(5);
  return textLine(record, `${COLOURS[record.level]}${level}${COLOUR_OFF}`);
}

function textLine(record: LogRecord, level: string): string {
  const time = new Date(record.at).toISOString();
  return `${time} ${level} ${record.file}:${record.line}: ${escaped(record.message)}\n`;
}

/** Lines for journald: it takes the severity from `<n>` at the beginning, sd-daemon(3), which is not part of the line. */
export function journalFormatter(format: LineFormatter): LineFormatter {
  return (record) => `<${SEVERITIES[record.level]}>${format(record)}`;
}

/** One JSON object with upstream's keys in upstream's order. */
export function formatStructured(record: LogRecord): string {
  return `${
    JSON.stringify({
      timestamp: new Date(record.at).toISOString(),
      level: record.level.toUpperCase(),
      file: record.file,
      line: record.line,
      message: record.message,
    })
  }\n`;
}

/** Whether to write colour: only to a terminal, unless the operator or the environment forbids it. */
export function usesColour(
  from: { terminal: boolean; noColor: boolean; NO_COLOR: string | undefined },
): "colour" | "plain" {
  const forbidden = from.noColor || (from.NO_COLOR !== undefined && from.NO_COLOR !== "");
  return from.terminal && !forbidden ? "colour" : "plain";
}

// deno-lint-ignore no-control-regex
const CONTROL = /[\x00-\x1f\x7f-\x9f\u2028\u2029]/;
// deno-lint-ignore no-control-regex
const EVERY_CONTROL = /[\x00-\x1f\x7f-\x9f\u2028\u2029]/g;
const SHORT_ESCAPES: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/** A message with its control characters as escapes. */
export function escaped(message: string): string {
  if (!CONTROL.test(message)) return message;
  return message.replace(
    EVERY_CONTROL,
    (char) => SHORT_ESCAPES[char] ?? `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
