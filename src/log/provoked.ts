/**
 * Lines that somebody outside can cause as often as he likes: refused log-ins, broken messages. The first of a kind and
 * an address is written at once, those of the next ten seconds are counted and then told of in one line, with the last
 * of them; and so on until there are none in ten seconds. Nothing happens without a line, and nobody fills a disk.
 *
 * What must hold: the table is bounded. Beyond `MOST_ADDRESSES` all further addresses are one, for each kind.
 */

import type { LogRecord } from "./format.ts";

/** What sums a line up with others. */
export interface Provocation {
  /** A word of the program's own: why, or where. */
  kind: string;
  /** Without the port, which is another one each time. */
  address: string;
}

/** What is needed to sum up. */
export interface ProvokedOptions {
  emit: (record: LogRecord) => void;
  /** Milliseconds since the epoch. */
  now: () => number;
  /** Calls once the time is over. */
  later: (ms: number, action: () => void) => void;
}

/** Kinds at addresses that are told apart. */
export const MOST_ADDRESSES = 1000;
const PERIOD_MS = 10_000;
const OTHERS = "other addresses";

interface Sum {
  kind: string;
  address: string;
  /** Since the last line of it. */
  more: number;
  last: LogRecord;
}

export class ProvokedLines {
  readonly #options: ProvokedOptions;
  readonly #sums = new Map<string, Sum>();

  constructor(options: ProvokedOptions) {
    this.#options = options;
  }

  /** Writes a record, or counts it. */
  take(record: LogRecord, { kind, address }: Provocation): void {
    const known = this.#sums.get(key(kind, address)) ??
      (this.#sums.size < MOST_ADDRESSES ? undefined : this.#sums.get(key(kind, OTHERS)));
    if (known !== undefined) {
      known.more++;
      known.last = record;
      return;
    }
    const of = this.#sums.size < MOST_ADDRESSES ? address : OTHERS;
    const sum = { kind, address: of, more: 0, last: record };
    this.#sums.set(key(kind, of), sum);
    this.#options.emit(record);
    this.#lookLater(sum);
  }

  #lookLater(sum: Sum): void {
    this.#options.later(PERIOD_MS, () => {
      const { kind, address, more, last } = sum;
      if (more === 0) {
        this.#sums.delete(key(kind, address));
        return;
      }
      sum.more = 0;
      this.#options.emit({
        ...last,
        at: this.#options.now(),
        message: `${kind}: … and ${more} more of these in the last ${PERIOD_MS / 1000} s from ` +
          `${address}, the last one: ${last.message}`,
      });
      this.#lookLater(sum);
    });
  }
}

function key(kind: string, address: string): string {
  return `${kind} ${address}`;
}
