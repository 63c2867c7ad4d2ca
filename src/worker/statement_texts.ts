/**
 * The texts of statements that this worker keeps, in two halves: those of named statements, once each for all pools,
 * and those of unnamed ones. A client's unnamed statement is its own while it is new; when it has not been replaced for
 * `query_interner_anon_idle_ttl_seconds`, clients that have the same share one copy. Nothing is forgotten that a client
 * may still bind.
 */

import type { InternerRow, InternerTextRow } from "../mail.ts";
import type { Session } from "../client/session.ts";
import { shareUnnamed } from "../client/prepared/unnamed.ts";
import {
  hashBytes,
  type InternedQuery,
  QueryInterner,
  queryText,
} from "../server/statements/query_interner.ts";

/** Bytes of texts that one round compares; the rest waits for the next, since clients wait meanwhile. */
const MOST_SHARED_A_ROUND = 4 * 1024 * 1024;
const PREVIEW_CHARACTERS = 120;

export class StatementTexts {
  readonly named: QueryInterner = new QueryInterner();
  readonly #unnamed = new QueryInterner();

  /** From time to time: shares texts that rest, and forgets those that nobody has; returns how many those were. */
  sweep(
    sessions: Iterable<Session>,
    ttlMs: number,
    now: number,
  ): { named: number; anonymous: number } {
    let left = MOST_SHARED_A_ROUND;
    for (const session of sessions) {
      left -= shareUnnamed(session, this.#unnamed, left > 0 && ttlMs > 0 ? now - ttlMs : -Infinity);
    }
    return { named: this.named.sweep(), anonymous: this.#unnamed.sweep() };
  }

  /** Forgets at once what nobody has. */
  forgetUnused(): void {
    this.named.forgetUnused();
    this.#unnamed.forgetUnused();
  }

  /** RESET INTERNER: statements keep their texts, and equal ones to come are new. */
  clear(): void {
    this.named.clear();
    this.#unnamed.clear();
  }

  /** The row of SHOW INTERNER. */
  row(sessions: Iterable<Session>, worker: number): InternerRow {
    const { named } = this;
    const anonymous = { entries: this.#unnamed.entries, bytes: this.#unnamed.bytes };
    for (const { state } of ownTexts(sessions)) {
      anonymous.entries++;
      anonymous.bytes += state.unnamedLength;
    }
    return { named: { entries: named.entries, bytes: named.bytes }, anonymous, worker };
  }

  /** Rows of SHOW INTERNER with a number: the longest texts, at most `most`. */
  longest(
    sessions: readonly Session[],
    { most, now, worker }: { most: number; now: number; worker: number },
  ): InternerTextRow[] {
    const rows: { query: Pick<InternedQuery, "hash" | "body">; idleMs: number }[] = [];
    for (const query of this.named.all()) rows.push({ query, idleMs: -1 });
    const idle = new Map<InternedQuery, number>();
    for (const { restingText, state } of sessions) {
      if (restingText === undefined) continue;
      const idleMs = Math.round(now - state.unnamedAtMs);
      idle.set(restingText, Math.min(idle.get(restingText) ?? Infinity, idleMs));
    }
    for (const query of this.#unnamed.all()) {
      // Its last client has gone, or has another statement now: when that was nobody knows any more.
      rows.push({ query, idleMs: idle.get(query) ?? 0 });
    }
    for (const { state } of ownTexts(sessions)) {
      const body = state.unnamed!.subarray(0, state.unnamedLength);
      const query = { hash: hashBytes(body, 0, body.length), body };
      rows.push({ query, idleMs: Math.round(now - state.unnamedAtMs) });
    }
    return rows.sort((a, b) => b.query.body.length - a.query.body.length).slice(0, most).map((
      { query, idleMs },
    ) => ({
      hash: query.hash >>> 0,
      kind: idleMs < 0 ? "named" : "anonymous",
      bytes: query.body.length,
      idle_ms: idleMs,
      // A character has four bytes at most.
      query: [...queryText(query, 4 * PREVIEW_CHARACTERS)].slice(0, PREVIEW_CHARACTERS).join(""),
      worker,
    }));
  }
}

/** Sessions with a whole unnamed text of their own. */
function* ownTexts(sessions: Iterable<Session>): Iterable<Session> {
  for (const session of sessions) {
    const { unnamedId, unnamedLength, unnamedFilled } = session.state;
    if (unnamedId === 0 || unnamedLength < 0 || unnamedFilled < unnamedLength) continue;
    if (session.restingText === undefined) yield session;
  }
}
