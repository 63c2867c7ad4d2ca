// hot path
/**
 * The queue of replies that a server connection owes: one entry for every frontend message that was sent to it and
 * will be answered, with the word whether its replies go to the client or are ours alone. So a reply can't reach a
 * client that did not ask: what does not fit the head of the queue is a desync, and the server connection is closed.
 *
 * ```
 *   sent:     Parse  Bind  Describe('S')   Execute          Close  Sync      Query / FunctionCall
 *   leaves    1      2     t, then T or n  C, I or s (1)    3      Z         Z
 *   with:
 * ```
 * 1. Rows and COPY data come before and leave the entry where it is.
 *
 * An ErrorResponse to a message of the extended protocol makes PostgreSQL skip all messages up to the next Sync
 * (manual, "Message Flow", "Extended Query"), Query and FunctionCall included: their entries go with it (`#skipping`
 * when that Sync was not sent yet). While a COPY FROM STDIN runs, PostgreSQL ignores Sync: entries of a Sync between
 * the Execute and the CopyDone are taken out when CopyInResponse arrives.
 */

import { Backend } from "./codes.ts";

/** What was asked; the low four bits of an entry. */
export const Owed = {
  Query: 1,
  FunctionCall: 2,
  Parse: 3,
  Bind: 4,
  DescribeStatement: 5,
  /** After ParameterDescription, RowDescription or NoData is still to come. */
  DescribeStatementRows: 6,
  DescribePortal: 7,
  Execute: 8,
  Close: 9,
  Sync: 10,
  /** CopyDone or CopyFail went out before CopyInResponse came: nothing answers it, but Sync counts again from here. */
  CopyEnd: 11,
} as const;

/** Marks an entry whose replies are swallowed: the pooler asked. */
export const SWALLOW = 0x40;

/** What to do with a backend message. */
export const Verdict = { Forward: 0, Swallow: 1, Desync: 2 } as const;

const KIND = 0x0f;

export class OwedReplies {
  #ring = new Uint8Array(16);
  #head = 0;
  /** Entries in the queue. */
  length = 0;
  /** An error was answered and the Sync that ends the skipping has not been sent. */
  #skipping = false;
  /** COPY FROM STDIN runs: Sync is not answered. */
  #copyIn = false;

  /** Notes that a message was sent. `entry` is a kind, with `SWALLOW` where the replies are ours. */
  push(entry: number): void {
    const kind = entry & KIND;
    if (this.#skipping) {
      if (kind !== Owed.Sync) return;
      this.#skipping = false;
    }
    if (kind === Owed.CopyEnd) {
      if (this.#copyIn) {
        this.#copyIn = false;
        return;
      }
      // After a failed COPY the client may still be sending; PostgreSQL ignores it, and so does the queue.
      if (this.length === 0) return;
    } else if (this.#copyIn && kind === Owed.Sync) return;
    if (this.length === this.#ring.length) this.#grow();
    this.#ring[(this.#head + this.length) & (this.#ring.length - 1)] = entry;
    this.length++;
  }

  /** The kind at the head, 0 when nothing is owed. */
  headKind(): number {
    return this.length === 0 ? 0 : this.#ring[this.#head] & KIND;
  }

  /** The kind at the tail, 0 when nothing is owed. */
  lastKind(): number {
    return this.length === 0
      ? 0
      : this.#ring[(this.#head + this.length - 1) & (this.#ring.length - 1)] & KIND;
  }

  /** Whether the replies that come now are ours. */
  swallowing(): boolean {
    return this.length > 0 && (this.#ring[this.#head] & SWALLOW) !== 0;
  }

  /** Whether a COPY FROM STDIN runs and its end has not been sent. */
  get copyIn(): boolean {
    return this.#copyIn;
  }

  /** Whether an error was answered whose Sync has not been sent. */
  get skipping(): boolean {
    return this.#skipping;
  }

  /** Takes note of a backend message other than NoticeResponse, NotificationResponse and ParameterStatus. */
  receive(type: number): number {
    if (this.length === 0) return Verdict.Desync;
    const entry = this.#ring[this.#head];
    const verdict = (entry & SWALLOW) !== 0 ? Verdict.Swallow : Verdict.Forward;
    const kind = entry & KIND;
    switch (type) {
      case Backend.DataRow:
      case Backend.CopyData:
      case Backend.CopyDone:
      case Backend.CopyOutResponse:
      case Backend.CopyBothResponse:
        return kind === Owed.Query || kind === Owed.Execute ? verdict : Verdict.Desync;
      case Backend.CopyInResponse:
        if (kind !== Owed.Execute && kind !== Owed.Query) return Verdict.Desync;
        this.#startCopyIn();
        return verdict;
      case Backend.CommandComplete:
      case Backend.EmptyQueryResponse:
        if (kind === Owed.Query) return verdict;
        if (kind !== Owed.Execute) return Verdict.Desync;
        this.#pop();
        return verdict;
      case Backend.PortalSuspended:
        if (kind !== Owed.Execute) return Verdict.Desync;
        this.#pop();
        return verdict;
      case Backend.ParseComplete:
        if (kind !== Owed.Parse) return Verdict.Desync;
        this.#pop();
        return verdict;
      case Backend.BindComplete:
        if (kind !== Owed.Bind) return Verdict.Desync;
        this.#pop();
        return verdict;
      case Backend.CloseComplete:
        if (kind !== Owed.Close) return Verdict.Desync;
        this.#pop();
        return verdict;
      case Backend.RowDescription:
        if (kind === Owed.Query) return verdict;
        if (kind !== Owed.DescribePortal && kind !== Owed.DescribeStatementRows) {
          return Verdict.Desync;
        }
        this.#pop();
        return verdict;
      case Backend.NoData:
        if (kind !== Owed.DescribePortal && kind !== Owed.DescribeStatementRows) {
          return Verdict.Desync;
        }
        this.#pop();
        return verdict;
      case Backend.ParameterDescription:
        if (kind !== Owed.DescribeStatement) return Verdict.Desync;
        this.#ring[this.#head] = (entry & ~KIND) | Owed.DescribeStatementRows;
        return verdict;
      case Backend.ReadyForQuery:
        if (kind !== Owed.Query && kind !== Owed.FunctionCall && kind !== Owed.Sync) {
          return Verdict.Desync;
        }
        this.#pop();
        return verdict;
      case Backend.FunctionCallResponse:
        return kind === Owed.FunctionCall ? verdict : Verdict.Desync;
      case Backend.ErrorResponse:
        this.#copyIn = false;
        if (kind !== Owed.Query && kind !== Owed.FunctionCall && kind !== Owed.Sync) this.#skip();
        return verdict;
      default:
        return Verdict.Desync;
    }
  }

  /** The entries from head to tail, and the two conditions, as plain data. */
  freeze(): { entries: number[]; skipping: boolean; copyIn: boolean } {
    const entries: number[] = [];
    for (let i = 0; i < this.length; i++) {
      entries.push(this.#ring[(this.#head + i) & (this.#ring.length - 1)]);
    }
    return { entries, skipping: this.#skipping, copyIn: this.#copyIn };
  }

  static thaw(frozen: { entries: number[]; skipping: boolean; copyIn: boolean }): OwedReplies {
    const owed = new OwedReplies();
    for (const entry of frozen.entries) owed.push(entry);
    owed.#skipping = frozen.skipping;
    owed.#copyIn = frozen.copyIn;
    return owed;
  }

  #pop(): void {
    this.#head = (this.#head + 1) & (this.#ring.length - 1);
    this.length--;
    while (this.length > 0 && (this.#ring[this.#head] & KIND) === Owed.CopyEnd) {
      this.#head = (this.#head + 1) & (this.#ring.length - 1);
      this.length--;
    }
    if (this.length === 0) this.#copyIn = false;
  }

  #skip(): void {
    while (this.length > 0) {
      if ((this.#ring[this.#head] & KIND) === Owed.Sync) return;
      this.#head = (this.#head + 1) & (this.#ring.length - 1);
      this.length--;
    }
    this.#skipping = true;
  }

  #startCopyIn(): void {
    const kept: number[] = [];
    let ended = false;
    for (let i = 0; i < this.length; i++) {
      const entry = this.#ring[(this.#head + i) & (this.#ring.length - 1)];
      const kind = entry & KIND;
      if (ended) kept.push(entry);
      // This COPY's own end. It goes now: one query may run several, each with an end of its own.
      else if (kind === Owed.CopyEnd) ended = true;
      else if (kind !== Owed.Sync || i === 0) kept.push(entry);
    }
    this.#head = 0;
    this.length = kept.length;
    this.#ring.set(kept);
    this.#copyIn = !ended;
  }

  #grow(): void {
    const old = this.#ring;
    const ring = new Uint8Array(old.length * 2);
    for (let i = 0; i < this.length; i++) ring[i] = old[(this.#head + i) & (old.length - 1)];
    this.#ring = ring;
    this.#head = 0;
  }
}
