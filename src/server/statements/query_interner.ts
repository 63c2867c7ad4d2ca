/**
 * One copy of every statement's text in this worker: what a Parse says behind its name (query, parameter types), byte
 * for byte, plus the client's parameters that decide what the text means. The key is exact: the hash finds candidates,
 * the bytes decide.
 *
 * What must hold: an entry with users stays; one without is removed by the second sweep that finds it so.
 */

import { randomFillSync } from "node:crypto";

/** A statement's text. Plain data; compare by reference within one worker only. */
export interface InternedQuery {
  readonly hash: number;
  /** Query text with its terminator, number of parameter types, types. */
  readonly body: Uint8Array<ArrayBuffer>;
  /** The client's parameters that the text depends on; empty when it has none of its own. */
  readonly planner: string;
  users: number;
  sweeps: number;
  next: InternedQuery | undefined;
}

/** `sweeps` of an entry that `clear` has taken out. */
export const FORGOTTEN = -1;

/** When so much has come since the last sweep, what nobody uses goes at once. */
const MOST_NEW_BYTES = 32 * 1024 * 1024;

/** Seeded, so that nobody can choose texts whose hashes are equal. */
const SEED = randomFillSync(new Int32Array(1))[0] | 1;

/** FNV-1a over `bytes[start..end)`. */
export function hashBytes(bytes: Uint8Array, start: number, end: number): number {
  let hash = SEED;
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i], 0x01000193);
  return hash ^ (hash >>> 15);
}

/** Whether `bytes[start..end)` are `wanted`. */
export function sameBytes(
  wanted: Uint8Array,
  bytes: Uint8Array,
  start: number,
  end: number,
): boolean {
  if (wanted.length !== end - start) return false;
  for (let i = 0; i < wanted.length; i++) if (wanted[i] !== bytes[start + i]) return false;
  return true;
}

const decoder = new TextDecoder();

/** The query's text, at most `most` bytes of it. */
export function queryText(
  { body }: Pick<InternedQuery, "body">,
  most: number = body.length,
): string {
  const text = body.subarray(0, most);
  const zero = text.indexOf(0);
  return decoder.decode(zero < 0 ? text : text.subarray(0, zero));
}

export class QueryInterner {
  readonly #byHash = new Map<number, InternedQuery>();
  entries = 0;
  bytes = 0;
  #newBytes = 0;

  /** The one entry for `bytes[start..end)`; a copy is made if there is none. */
  intern(
    bytes: Uint8Array<ArrayBuffer>,
    start: number,
    end: number,
    planner: string,
  ): InternedQuery {
    const hash = hashBytes(bytes, start, end);
    const first = this.#byHash.get(hash);
    for (let entry = first; entry !== undefined; entry = entry.next) {
      if (sameBytes(entry.body, bytes, start, end) && entry.planner === planner) {
        entry.sweeps = 0;
        return entry;
      }
    }
    const body = bytes.slice(start, end);
    const entry: InternedQuery = { hash, body, planner, users: 0, sweeps: 0, next: first };
    this.#byHash.set(hash, entry);
    this.entries++;
    this.bytes += body.length;
    this.#newBytes += body.length;
    return entry;
  }

  /** Does not wait for the sweeps when texts come faster than they go. Whoever calls it has users for all that it needs. */
  relieve(): void {
    if (this.#newBytes > MOST_NEW_BYTES) this.forgetUnused();
  }

  /** Removes whatever has no user, as `relieve`. */
  forgetUnused(): void {
    for (const entry of this.all()) if (entry.users === 0) entry.sweeps = 1;
    this.sweep();
  }

  /** Removes what two sweeps in a row found without a user; the number of entries that went. */
  sweep(): number {
    this.#newBytes = 0;
    let removed = 0;
    for (const [hash, first] of this.#byHash) {
      let kept: InternedQuery | undefined;
      for (let entry: InternedQuery | undefined = first; entry !== undefined;) {
        const next: InternedQuery | undefined = entry.next;
        if (entry.users > 0) entry.sweeps = 0;
        if (entry.users === 0 && entry.sweeps++ > 0) {
          removed++;
          this.entries--;
          this.bytes -= entry.body.length;
        } else {
          entry.next = kept;
          kept = entry;
        }
        entry = next;
      }
      if (kept === undefined) this.#byHash.delete(hash);
      else this.#byHash.set(hash, kept);
    }
    return removed;
  }

  /** Forgets everything: texts in use stay with their statements, equal ones to come are new. */
  clear(): void {
    for (const entry of this.all()) entry.sweeps = FORGOTTEN;
    this.#byHash.clear();
    this.entries = 0;
    this.bytes = 0;
  }

  *all(): Iterable<InternedQuery> {
    for (const first of this.#byHash.values()) {
      for (let entry: InternedQuery | undefined = first; entry; entry = entry.next) yield entry;
    }
  }
}
