/**
 * The log as the code sees it: `log.warn("pg_doorman::pool", "…")`. It decides whether a record is wanted and where it
 * comes from; what becomes of it is the caller's: the control plane writes lines (`createLog`), a worker sends records
 * by mail (`createRecordLog`). Pure: clock and writer are handed in. Messages never hold secrets.
 */

import type { CallSite } from "./call_site.ts";
import { callSiteAbove, moduleSite } from "./call_site.ts";
import type { LogFilter } from "./filter.ts";
import { CompiledFilter, severity } from "./filter.ts";
import type { LineFormatter, LogLevel, LogRecord } from "./format.ts";
import { type Provocation, ProvokedLines } from "./provoked.ts";
import { StormLimit } from "./storm.ts";

/** What is asked of every kind of log. */
export interface LogOptions {
  filter: LogFilter;
  /** Milliseconds since the epoch; the system's clock if left out. */
  now?: () => number;
  /** Records of this level and worse name their line of code; `warn` if left out. */
  callSites?: LogLevel;
  /** Calls once the time is over. Without it nothing is summed up. */
  later?: (ms: number, action: () => void) => void;
}

/**
 * Longest message, in characters: a line fits into one write that other writers of the same pipe can't come between
 * (PIPE_BUF, 4096 bytes), and no text of a peer's fills the log.
 */
export const MOST_MESSAGE_CHARACTERS = 3500;

const INFO = severity("info");

/** Takes records of the modules named by their targets. */
export interface Log {
  error(target: string, message: string, site?: CallSite): void;
  warn(target: string, message: string, site?: CallSite): void;
  info(target: string, message: string, site?: CallSite): void;
  debug(target: string, message: string, site?: CallSite): void;
  trace(target: string, message: string, site?: CallSite): void;
  /** Takes an info record that the operator has asked for by a key: each is written, however many there are. */
  requested(target: string, message: string): void;
  /** Takes a record that a peer can cause at will: see provoked.ts. */
  provoked(level: LogLevel, target: string, by: Provocation, message: string): void;
  /** Whether such a record would be written: asked before a costly message is put together. */
  enabled(level: LogLevel, target: string): boolean;
  /** Takes a record made elsewhere, if the filter lets it pass. */
  take(record: LogRecord): void;
  readonly filter: LogFilter;
  setFilter(filter: LogFilter): void;
}

/** A log of lines, whose shape may change while it runs. */
export interface LineLog extends Log {
  setFormat(format: LineFormatter): void;
}

/** A log that hands its records to `emit`. */
export function createRecordLog(
  options: LogOptions & { emit: (record: LogRecord) => void },
): Log {
  return new RecordLog(options);
}

/** A log that writes lines. */
export function createLog(
  options: LogOptions & { write: (line: string) => void; format: LineFormatter },
): LineLog {
  return new WritingLog(options);
}

class RecordLog implements Log {
  readonly #emit: (record: LogRecord) => void;
  readonly #now: () => number;
  readonly #callSites: number;
  readonly #provoked: ProvokedLines | undefined;
  readonly #storms: StormLimit | undefined;
  #filter: LogFilter;
  #compiled: CompiledFilter;

  constructor(options: LogOptions & { emit: (record: LogRecord) => void }) {
    const { emit, now = Date.now, later } = options;
    this.#emit = emit;
    this.#now = now;
    this.#provoked = later === undefined ? undefined : new ProvokedLines({ emit, now, later });
    this.#storms = later && new StormLimit({
      tell: (level, target, message) =>
        this.#emit(this.#record(level, target, message, moduleSite(target))),
      later,
    });
    this.#callSites = severity(options.callSites ?? "warn");
    this.#filter = options.filter;
    this.#compiled = new CompiledFilter(options.filter);
  }

  get filter(): LogFilter {
    return this.#filter;
  }

  setFilter(filter: LogFilter): void {
    this.#filter = filter;
    this.#compiled = new CompiledFilter(filter);
  }

  enabled(level: LogLevel, target: string): boolean {
    return this.#compiled.passes(level, target);
  }

  take(record: LogRecord): void {
    if (this.enabled(record.level, record.target)) this.#emit(record);
  }

  error(target: string, message: string, site?: CallSite): void {
    if (this.enabled("error", target)) this.#log("error", target, message, site, this.error);
  }

  warn(target: string, message: string, site?: CallSite): void {
    if (this.enabled("warn", target)) this.#log("warn", target, message, site, this.warn);
  }

  info(target: string, message: string, site?: CallSite): void {
    if (this.enabled("info", target)) this.#log("info", target, message, site, this.info);
  }

  debug(target: string, message: string, site?: CallSite): void {
    if (this.enabled("debug", target)) this.#log("debug", target, message, site, this.debug);
  }

  trace(target: string, message: string, site?: CallSite): void {
    if (this.enabled("trace", target)) this.#log("trace", target, message, site, this.trace);
  }

  requested(target: string, message: string): void {
    if (!this.enabled("info", target)) return;
    this.#emit(this.#record("info", target, message, moduleSite(target)));
  }

  provoked(level: LogLevel, target: string, by: Provocation, message: string): void {
    if (!this.enabled(level, target)) return;
    // Its line of code would cost more than all the rest of a refusal.
    const record = this.#record(level, target, message, moduleSite(target));
    if (this.#provoked === undefined) this.#emit(record);
    else this.#provoked.take(record, by);
  }

  /** `below` is the method that the module called: the frame above it is the module's. */
  #log(
    level: LogLevel,
    target: string,
    message: string,
    site: CallSite | undefined,
    below: (...args: never[]) => unknown,
  ): void {
    // Who asks for more than info wants all of it.
    if (severity(level) <= INFO && this.#storms?.admit(level, target, message) === false) return;
    const wanted = severity(level) <= this.#callSites;
    const found = site ?? (wanted ? callSiteAbove(below) : undefined) ?? moduleSite(target);
    this.#emit(this.#record(level, target, message, found));
  }

  #record(level: LogLevel, target: string, message: string, site: CallSite): LogRecord {
    const { file, line } = site;
    return { level, target, message: bounded(message), file, line, at: this.#now() };
  }
}

class WritingLog extends RecordLog implements LineLog {
  readonly #lines: { format: LineFormatter };

  constructor(options: LogOptions & { write: (line: string) => void; format: LineFormatter }) {
    const lines = { format: options.format };
    super({ ...options, emit: (record) => options.write(lines.format(record)) });
    this.#lines = lines;
  }

  setFormat(format: LineFormatter): void {
    this.#lines.format = format;
  }
}

function bounded(message: string): string {
  const beyond = message.length - MOST_MESSAGE_CHARACTERS;
  if (beyond <= 0) return message;
  return `${message.slice(0, MOST_MESSAGE_CHARACTERS)}… (and ${beyond} more characters)`;
}
