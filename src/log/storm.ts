/**
 * Lines of one kind that come as a storm: a server that refuses every connection, clients that are all sent home. The
 * first `MOST_LINES` of ten seconds are written; the others are counted, and one line tells of them and has the last.
 * As long as the storm goes on, that line is all: no disk is filled, and nothing happens without a line.
 *
 * A kind is a line of code, as far as that can be told without a stack trace: module, level and the text but for names
 * and numbers. What must hold: the table is bounded. Beyond `MOST_KINDS` all further kinds of a level are one.
 */

import type { LogLevel } from "./format.ts";

/** What is needed to know a storm. */
export interface StormOptions {
  /** To tell of lines that were counted. */
  tell: (level: LogLevel, target: string, message: string) => void;
  /** Calls once the time is over. */
  later: (ms: number, action: () => void) => void;
}

/** Lines of a kind in one period. */
export const MOST_LINES = 300;
/** Kinds that are told apart. */
export const MOST_KINDS = 1000;
const PERIOD_MS = 10_000;
/** What is looked at of a text, and kept of it to tell kinds apart. */
const LOOKED_AT = 160;
const KEPT = 60;
/** Names are in brackets or quotes. */
const NAMES_AND_NUMBERS = /\[[^\]]*\]|"[^"]*"|[0-9]+/g;

interface Kind {
  key: string;
  /** That may still be written in this period. */
  room: number;
  /** That have come in this period. */
  count: number;
  /** That were not written in it. */
  more: number;
  last: { level: LogLevel; target: string; message: string } | undefined;
}

export class StormLimit {
  readonly #options: StormOptions;
  readonly #kinds = new Map<string, Kind>();

  constructor(options: StormOptions) {
    this.#options = options;
  }

  /** Whether a line may be written; if not, it is counted. */
  admit(level: LogLevel, target: string, message: string): boolean {
    const kind = this.#kindOf(level, target, message);
    kind.count++;
    if (kind.room > 0) {
      kind.room--;
      return true;
    }
    kind.more++;
    kind.last = { level, target, message };
    return false;
  }

  #kindOf(level: LogLevel, target: string, message: string): Kind {
    const text = message.slice(0, LOOKED_AT).replace(NAMES_AND_NUMBERS, "").slice(0, KEPT);
    let key = `${level} ${target} ${text}`;
    let kind = this.#kinds.get(key);
    if (kind === undefined && this.#kinds.size >= MOST_KINDS) {
      key = level;
      kind = this.#kinds.get(key);
    }
    if (kind === undefined) {
      kind = { key, room: MOST_LINES, count: 0, more: 0, last: undefined };
      this.#kinds.set(key, kind);
      this.#lookLater(kind);
    }
    return kind;
  }

  #lookLater(kind: Kind): void {
    this.#options.later(PERIOD_MS, () => {
      const { count, more, last } = kind;
      if (count === 0) {
        this.#kinds.delete(kind.key);
        return;
      }
      // It is over when the lines of a period find room again.
      Object.assign(kind, { room: count > MOST_LINES ? 0 : MOST_LINES, count: 0, more: 0 });
      kind.last = undefined;
      this.#lookLater(kind);
      if (last !== undefined) {
        this.#options.tell(
          last.level,
          last.target,
          `… and ${more} more like this in the last ${PERIOD_MS / 1000} s, the last one: ` +
            last.message,
        );
      }
    });
  }
}
