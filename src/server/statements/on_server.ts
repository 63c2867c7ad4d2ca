// hot path
/**
 * Prepared statements as a server connection sees them: which of the pool's statements PostgreSQL has there, in the
 * order of their use. The list may lack what the server has, since every Parse is sent behind a Close of the same name;
 * what it names beyond the server's costs the client that meets it PostgreSQL's own error 26000.
 *
 * A statement counts as there once its ParseComplete came. Before that only the messages up to the next Sync may rely
 * on it: an error before the Parse skips the Parse and them together, but not what comes behind that Sync.
 */

import type { FrozenReplies } from "../../protocol/owed_replies.ts";
import type { InternedQuery } from "./query_interner.ts";
import type { ServerState } from "../state.ts";

/** A statement of a pool under its name on the servers. Plain data; `id` identifies it. */
export interface Statement {
  readonly id: number;
  /** `statementName(id)`. */
  readonly name: Uint8Array<ArrayBuffer>;
  readonly query: InternedQuery;
  /** Marks of its text (marks.ts, read_by_parse.ts), or `NOT_LOOKED`: see `marksOf` of pool/statement_cache.ts. */
  marks: number;
  /** Generation of the schema that it was first seen in; −1: what it returns has changed since. */
  generation: number;
  /** What it returned when it was parsed first (`rowShape`); `undefined`: not known. */
  shape: Uint8Array | undefined;
  /** Types of its parameters, as a Parse has them behind the text; `undefined`: not known. */
  types: Uint8Array | undefined;
  /** One client's: nobody else is given it. */
  readonly own: boolean;
  /** When PostgreSQL was last seen to make this of its text, on the reactor's clock. */
  seenMs: number;
  /** When it was last seen to return what its clients know of. */
  affirmedMs: number;
  /** Clients and the pool's cache that refer to it. */
  holders: number;
  /** Times that a client asked for it by Parse. */
  parses: number;
}

/** `marks` of a text that nobody has looked at yet. */
export const NOT_LOOKED = -1;

/** A statement of another process, as it travels. */
export interface FrozenStatement {
  shape: Uint8Array | undefined;
  id: number;
  generation: number;
  /** Absent when the pool's own snapshot has brought it. */
  body: Uint8Array | undefined;
  planner: string;
  own: boolean;
  types: Uint8Array | undefined;
}

const encoder = new TextEncoder();

/** The name of a statement on the servers, `DOORMAN_<id>`, without terminator. */
export function statementName(id: number): Uint8Array<ArrayBuffer> {
  return encoder.encode(`DOORMAN_${id}`);
}

/**
 * What a message changes before its answer is there, for taking it back when an error skips it: the statement that a
 * Parse puts on the server, and the name that it (or a Close, a DEALLOCATE) changes for the client.
 */
export interface Tracked {
  /** Id of the statement that this message puts on the server, or takes from it; −1: none. */
  readonly put: number;
  readonly taken: number;
  /** The client's name for it, if it concerns a name. */
  readonly name: Uint8Array | undefined;
  readonly before: Statement | undefined;
  readonly after: Statement | undefined;
  /** A Describe of the pooler's that tells what this statement returns. */
  readonly described: Statement | undefined;
  /** The shared statement that `described` takes the place of, for the name `alias`, until it is known to be the same. */
  readonly again?: Statement;
  readonly alias?: Uint8Array<ArrayBuffer>;
  /** A message of the pooler's whose answer the client's next messages wait for. */
  readonly waits?: boolean;
  /** Channels that the text names in UNLISTEN; `*`: all. */
  readonly unlistens?: readonly string[];
  /** ErrorResponse that the client gets in place of the one that this message makes PostgreSQL raise. */
  readonly refusal?: Uint8Array;
  /** What `before` takes: it is held until the answer is there. */
  readonly heldBytes: number;
}

/** What a client's statement takes of memory beside its name and its text; measured. */
export const BESIDE_BYTES = 2048;

/** What a client's name and its statement take of memory. */
export function bytesOf(name: Uint8Array, { query }: Statement): number {
  return BESIDE_BYTES + name.length + query.body.length;
}

/** A change with nothing but what is given. */
export function tracked(change: Partial<Tracked>): Tracked {
  const { name, before } = change;
  return {
    heldBytes: name === undefined || before === undefined ? 0 : bytesOf(name, before),
    put: -1,
    taken: -1,
    name: undefined,
    before: undefined,
    after: undefined,
    described: undefined,
    ...change,
  };
}

/**
 * What of a RowDescription (`bytes[start..end)`, without type and length) must stay the same for whoever has seen it
 * before: names, types and type modifiers of the columns, as PostgreSQL compares them.
 */
export function rowShape(bytes: Uint8Array, start: number, end: number): Uint8Array {
  const shape = new Uint8Array(Math.max(0, end - start));
  let length = 0;
  let at = start + 2;
  while (at < end) {
    while (at < end && bytes[at] !== 0) shape[length++] = bytes[at++];
    shape[length++] = 0;
    // Behind the name: table (4), column (2), type (4), size (2), modifier (4), format (2).
    for (let i = 7; i < 11; i++) shape[length++] = bytes[at + i];
    for (let i = 13; i < 17; i++) shape[length++] = bytes[at + i];
    at += 19;
  }
  return shape.slice(0, length);
}

/** Whether messages sent now may rely on the statement being there. Makes it the last used. */
export function isThere(state: ServerState, statement: Statement): boolean {
  const entry = state.statements.get(statement.id);
  if (entry === undefined) return false;
  if (!entry.confirmed && entry.segment !== state.segment) return false;
  if (state.lastStatement !== statement.id) {
    state.statements.delete(statement.id);
    state.statements.set(statement.id, entry);
    state.lastStatement = statement.id;
  }
  return true;
}

/** Notes that a Parse of the statement was sent. */
export function put(state: ServerState, id: number): void {
  state.statements.delete(id);
  state.statements.set(id, { confirmed: false, segment: state.segment });
  state.lastStatement = id;
}

/** The statement is not there (any more). */
export function take(state: ServerState, id: number): void {
  state.statements.delete(id);
  if (state.lastStatement === id) state.lastStatement = -1;
}

/** The least used statement, if there are more than `limit`; else −1. */
export function surplus(state: ServerState, limit: number): number {
  if (state.statements.size <= limit) return -1;
  for (const id of state.statements.keys()) return id;
  return -1;
}

/** ParseComplete came for a tracked Parse. */
export function confirm(state: ServerState, tracked: Tracked): void {
  const entry = state.statements.get(tracked.put);
  if (entry !== undefined) entry.confirmed = true;
}

/** DEALLOCATE ALL or DISCARD ALL went through; `later` are messages that were sent behind it. */
export function takeAll(state: ServerState, later: readonly Tracked[]): void {
  const before = state.statements;
  state.statements = new Map();
  state.lastStatement = -1;
  for (const { put } of later) {
    const entry = before.get(put);
    if (entry !== undefined) state.statements.set(put, entry);
  }
}

/** Takes back on the server's list what an error has skipped. */
export function undo(state: ServerState, skipped: readonly Tracked[]): void {
  for (let i = skipped.length - 1; i >= 0; i--) {
    const { put, taken } = skipped[i];
    // Perhaps it was sent again behind the Sync: forgetting what is there costs no more than another Parse.
    if (put >= 0) take(state, put);
    else if (taken >= 0 && !state.statements.has(taken)) {
      state.statements.set(taken, { confirmed: true, segment: 0 });
    }
  }
}

/** A frozen queue of owed replies whose records stand for themselves. */
export function detachedReplies(owed: FrozenReplies): FrozenReplies {
  if (owed.records === undefined) return owed;
  return { ...owed, records: owed.records.map((record) => record && detached(record)) };
}

/** A record of the queue of owed replies without what hangs on it here. */
function detached(record: object): object {
  if ("query" in record) {
    const statement = record as Statement;
    return { ...statement, query: { ...statement.query, next: undefined } };
  }
  const { before, after, described, again, ...rest } = record as Tracked;
  return {
    ...rest,
    again: again && detached(again) as Statement,
    described: described && detached(described),
    before: before && detached(before),
    after: after && detached(after),
  };
}
