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
 * when that Sync was not sent yet). What an error skips and was tracked (a statement that a Parse makes, a name that a
 * Close frees) is left in `skipped`, so that whoever noted it in advance can take it back. While a COPY FROM STDIN runs, PostgreSQL ignores Sync: entries of a Sync between
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

/** Marks an entry whose replies are swallowed: the pooler asked. An error of an extended message is not swallowed. */
export const SWALLOW = 0x40;
/** Marks a Parse that was not sent: its ParseComplete is made up when its turn comes. */
export const MAKE_UP = 0x80;
/** Marks an entry with a record of what it changes; `push` sets it. */
const TRACKED = 0x20;
/** Marks the Parse of an unnamed statement. */
export const UNNAMED = 0x10;
/** Marks a Query or an Execute that is one SET and no more, which ends with its transaction. */
export const LOCAL = 0x100;

/** What to do with a backend message. */
export const Verdict = { Forward: 0, Swallow: 1, Desync: 2 } as const;

const KIND = 0x0f;

/** Unnamed statements among what an error skipped: bits. */
export const SkippedUnnamed = { Client: 1, Pooler: 2 } as const;

/** What a message changes. Records of one kind say how many bytes they hold, beside themselves. */
export type OwedRecord = object & { readonly heldBytes?: number };

export class OwedReplies {
  #ring = new Uint16Array(16);
  /** Records of tracked entries, at the places of the ring. */
  #records: (OwedRecord | undefined)[] = new Array(16).fill(undefined);
  /** Records of the entries that the last error took, the first sent first. The reader empties it. */
  skipped: object[] = [];
  skippedUnnamed = 0;
  #head = 0;
  /** Entries in the queue. */
  length = 0;
  /** What is kept in memory for the records of the queue alone. */
  heldBytes = 0;
  /** An error was answered and the Sync that ends the skipping has not been sent. */
  #skipping = false;
  /** COPY FROM STDIN runs: Sync is not answered. */
  #copyIn = false;
  /** A replication stream runs: both sides send as they like. */
  #copyBoth = false;

  /** Notes that a message was sent, with a record of what it changes. */
  track(entry: number, record: OwedRecord): void {
    const before = this.length;
    this.push(entry | TRACKED);
    if (this.length > before) {
      this.#records[(this.#head + before) & (this.#ring.length - 1)] = record;
      this.heldBytes += record.heldBytes ?? 0;
    }
  }

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

  /** Adds a record to the entry that was pushed last, if it was not skipped and has none. */
  attach(record: object): void {
    if (this.#skipping || this.length === 0) return;
    const at = (this.#head + this.length - 1) & (this.#ring.length - 1);
    if ((this.#ring[at] & TRACKED) !== 0) return;
    this.#ring[at] |= TRACKED;
    this.#records[at] = record;
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

  /** Whether a SET that is answered now ends with its transaction. */
  headIsLocal(): boolean {
    return this.length > 0 && (this.#ring[this.#head] & LOCAL) !== 0;
  }

  /** Whether the replies that come now are ours. */
  swallowing(): boolean {
    return this.length > 0 && (this.#ring[this.#head] & SWALLOW) !== 0;
  }

  /** Whether an error that comes now is ours: that of an injected Parse is the client's. */
  swallowingErrors(): boolean {
    return this.swallowing() && endsWithReady(this.#ring[this.#head] & KIND);
  }

  /** Whether a ParseComplete is to be made up now. */
  madeUp(): boolean {
    return this.length > 0 && (this.#ring[this.#head] & MAKE_UP) !== 0;
  }

  /** The reply at the head was made up. */
  takeMadeUp(): void {
    this.#pop();
  }

  /** The record of the head, if it is tracked. */
  headRecord(): object | undefined {
    return this.length === 0 ? undefined : this.#records[this.#head];
  }

  /** Records of all entries but the head, the first sent first. */
  laterRecords(): object[] {
    const records: object[] = [];
    for (let i = 1; i < this.length; i++) {
      const record = this.#records[(this.#head + i) & (this.#ring.length - 1)];
      if (record !== undefined) records.push(record);
    }
    return records;
  }

  /** Whether the Parse of a client's unnamed statement is still to be answered. */
  owesUnnamed(): boolean {
    for (let i = 0; i < this.length; i++) {
      const entry = this.#ring[(this.#head + i) & (this.#ring.length - 1)];
      if ((entry & (UNNAMED | SWALLOW)) === UNNAMED) return true;
    }
    return false;
  }

  /** Whether anything is owed to the client, not to the pooler. */
  owesClient(): boolean {
    for (let i = 0; i < this.length; i++) {
      if ((this.#ring[(this.#head + i) & (this.#ring.length - 1)] & SWALLOW) === 0) return true;
    }
    return false;
  }

  /** Whether a COPY FROM STDIN runs and its end has not been sent. */
  get copyIn(): boolean {
    return this.#copyIn;
  }

  /** Whether a replication stream runs. */
  get copyBoth(): boolean {
    return this.#copyBoth;
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
        return kind === Owed.Query || kind === Owed.Execute ? verdict : Verdict.Desync;
      case Backend.CopyBothResponse:
        if (kind !== Owed.Query) return Verdict.Desync;
        this.#copyBoth = true;
        return verdict;
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
        if (!endsWithReady(kind)) {
          this.#skip();
          return Verdict.Forward;
        }
        if ((entry & TRACKED) !== 0) this.skipped.push(this.#records[this.#head]!);
        return verdict;
      default:
        return Verdict.Desync;
    }
  }

  /** The entries from head to tail, and the two conditions, as plain data. */
  freeze(): FrozenReplies {
    const entries: number[] = [];
    const records: (object | undefined)[] = [];
    let tracked = false;
    for (let i = 0; i < this.length; i++) {
      const at = (this.#head + i) & (this.#ring.length - 1);
      entries.push(this.#ring[at]);
      records.push(this.#records[at]);
      if (this.#records[at] !== undefined) tracked = true;
    }
    const frozen = {
      entries,
      skipping: this.#skipping,
      copyIn: this.#copyIn,
      copyBoth: this.#copyBoth,
    };
    return tracked ? { ...frozen, records } : frozen;
  }

  static thaw(frozen: FrozenReplies): OwedReplies {
    const owed = new OwedReplies();
    frozen.entries.forEach((entry, i) => {
      // Gaps of a list are null where it came as JSON.
      const record = frozen.records?.[i] ?? undefined;
      if (record === undefined) owed.push(entry);
      else owed.track(entry, record);
    });
    owed.#skipping = frozen.skipping;
    owed.#copyIn = frozen.copyIn;
    owed.#copyBoth = frozen.copyBoth;
    return owed;
  }

  #pop(): void {
    this.#drop();
    while (this.length > 0 && (this.#ring[this.#head] & KIND) === Owed.CopyEnd) this.#drop();
    if (this.length === 0) {
      this.#copyIn = false;
      this.#copyBoth = false;
    }
  }

  #drop(): void {
    if ((this.#ring[this.#head] & TRACKED) !== 0) {
      if (this.heldBytes > 0) this.heldBytes -= this.#records[this.#head]?.heldBytes ?? 0;
      this.#records[this.#head] = undefined;
    }
    this.#head = (this.#head + 1) & (this.#ring.length - 1);
    this.length--;
  }

  #skip(): void {
    while (this.length > 0) {
      const entry = this.#ring[this.#head];
      if ((entry & KIND) === Owed.Sync) return;
      if ((entry & TRACKED) !== 0) this.skipped.push(this.#records[this.#head]!);
      if ((entry & UNNAMED) !== 0) {
        this.skippedUnnamed |= (entry & SWALLOW) === 0
          ? SkippedUnnamed.Client
          : SkippedUnnamed.Pooler;
      }
      this.#drop();
    }
    this.#skipping = true;
  }

  #startCopyIn(): void {
    const { entries, records } = this.freeze();
    let ended = false;
    let kept = 0;
    this.#head = 0;
    this.#records.fill(undefined);
    entries.forEach((entry, i) => {
      const kind = entry & KIND;
      // This COPY's own end. It goes now: one query may run several, each with an end of its own.
      if (!ended && kind === Owed.CopyEnd) ended = true;
      else if (ended || kind !== Owed.Sync || i === 0) {
        this.#ring[kept] = entry;
        this.#records[kept] = records?.[i];
        kept++;
      }
    });
    this.length = kept;
    this.#copyIn = !ended;
  }

  #grow(): void {
    const ring = new Uint16Array(this.#ring.length * 2);
    const records: (OwedRecord | undefined)[] = new Array(ring.length).fill(undefined);
    for (let i = 0; i < this.length; i++) {
      const at = (this.#head + i) & (this.#ring.length - 1);
      ring[i] = this.#ring[at];
      records[i] = this.#records[at];
    }
    this.#ring = ring;
    this.#records = records;
    this.#head = 0;
  }
}

/** The queue as plain data. */
export interface FrozenReplies {
  entries: number[];
  /** By place, where any entry is tracked. */
  records?: (object | undefined)[];
  skipping: boolean;
  copyIn: boolean;
  copyBoth: boolean;
}

/** Whether what answers this kind comes to its end with a ReadyForQuery, after an error too. */
function endsWithReady(kind: number): boolean {
  return kind === Owed.Query || kind === Owed.FunctionCall || kind === Owed.Sync;
}
