/**
 * Records as messages of syslog: RFC 5424, which has time and host in full, and RFC 3164 as libc's syslog(3) writes it,
 * the one form that journald and old daemons understand at their local socket. A message is a datagram: no line feed.
 */

import { escaped, type LineFormatter, type LogRecord, SEVERITIES } from "./format.ts";

/** What messages look like. */
export type SyslogFormat = "rfc5424" | "rfc3164";

/** RFC 5424 §6.2.1, those that are a program's to choose. */
const FACILITIES = {
  user: 1,
  daemon: 3,
  auth: 4,
  authpriv: 10,
  local0: 16,
  local1: 17,
  local2: 18,
  local3: 19,
  local4: 20,
  local5: 21,
  local6: 22,
  local7: 23,
} as const;

/** Name of a facility. */
export type SyslogFacility = keyof typeof FACILITIES;

/** Who logs. */
export interface SyslogSource {
  format: SyslogFormat;
  facility: SyslogFacility;
  program: string;
  pid: number;
  /** Empty: not known. */
  host: string;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/** Longest fields of RFC 5424 §6. */
const MOST = { host: 255, program: 48, messageId: 32 } as const;

/** Makes messages of one source. */
export function syslogFormatter(source: SyslogSource): LineFormatter {
  return source.format === "rfc5424" ? rfc5424(source) : rfc3164(source);
}

function rfc5424({ facility, program, pid, host }: SyslogSource): LineFormatter {
  const from = `${field(host, MOST.host)} ${field(program, MOST.program)} ${pid}`;
  return (record) => {
    const time = new Date(record.at).toISOString();
    const id = field(record.target.replace(/^pg_doorman::/, ""), MOST.messageId);
    return `${head(facility, record)}1 ${time} ${from} ${id} - ${text(record)}`;
  };
}

function rfc3164({ facility, program, pid }: SyslogSource): LineFormatter {
  // What ends the tag is no part of it.
  const tag = `${field(program.replace(/[:[\]]/g, "_"), MOST.program)}[${pid}]`;
  return (record) => {
    const at = new Date(record.at);
    const two = (number: number) => String(number).padStart(2, "0");
    const day = `${MONTHS[at.getMonth()]} ${String(at.getDate()).padStart(2)}`;
    // Local time: there is no place for a zone.
    const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
    return `${head(facility, record)}${day} ${time} ${tag}: ${text(record)}`;
  };
}

function head(facility: SyslogFacility, { level }: LogRecord): string {
  return `<${FACILITIES[facility] * 8 + SEVERITIES[level]}>`;
}

function text({ file, line, message }: LogRecord): string {
  return `${file}:${line}: ${escaped(message)}`;
}

/** Visible ASCII of a length, or the nil value. */
function field(value: string, most: number): string {
  return value.replace(/[^\x21-\x7e]/g, "_").slice(0, most) || "-";
}
