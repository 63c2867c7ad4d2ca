// hot path
/**
 * A client's names for prepared statements: a hash map of plain data in the session's state, so that it travels with
 * the session. Names are bytes; a lookup makes no string.
 */

import type { StatementCache } from "../../pool/statement_cache.ts";
import {
  bytesOf,
  type FrozenStatement,
  type Statement,
  type Tracked,
} from "../../server/statements/on_server.ts";
import { hashBytes, sameBytes } from "../../server/statements/query_interner.ts";
import type { NamedStatement, SessionState } from "../state.ts";

/** The statement that `bytes[start..end)` names. */
export function findStatement(
  state: SessionState,
  bytes: Uint8Array,
  start: number,
  end: number,
): Statement | undefined {
  const first = state.statements.get(hashBytes(bytes, start, end));
  for (let entry = first; entry !== undefined; entry = entry.next) {
    if (sameBytes(entry.name, bytes, start, end)) return entry.statement;
  }
  return undefined;
}

/** Gives the name to a statement, or to none; returns the one that had it. */
export function setStatement(
  state: SessionState,
  cache: StatementCache,
  name: Uint8Array<ArrayBuffer>,
  statement: Statement | undefined,
): Statement | undefined {
  const hash = hashBytes(name, 0, name.length);
  const first = state.statements.get(hash);
  let rest: NamedStatement | undefined;
  let before: Statement | undefined;
  for (let entry = first; entry !== undefined;) {
    const next: NamedStatement | undefined = entry.next;
    if (sameBytes(entry.name, name, 0, name.length)) before = entry.statement;
    else {
      entry.next = rest;
      rest = entry;
    }
    entry = next;
  }
  if (statement !== undefined) {
    cache.named(name, statement);
    state.statementBytes += bytesOf(name, statement);
    rest = { name, statement, next: rest };
  }
  if (before !== undefined) {
    cache.unnamed(name, before);
    state.statementBytes -= bytesOf(name, before);
  }
  if (rest === undefined) state.statements.delete(hash);
  else state.statements.set(hash, rest);
  return before;
}

/** Forgets every name. */
export function clearStatements(state: SessionState, cache: StatementCache): void {
  for (const { name, statement } of namedStatements(state)) cache.unnamed(name, statement);
  state.statements.clear();
  state.statementBytes = 0;
}

/** All names with their statements. */
export function* namedStatements(state: SessionState): Iterable<NamedStatement> {
  for (const first of state.statements.values()) {
    for (let entry: NamedStatement | undefined = first; entry; entry = entry.next) yield entry;
  }
}

const decoder = new TextDecoder();

/** A name of the statement, for people. */
export function nameOfStatement(state: SessionState, wanted: Statement): string | undefined {
  for (const { name, statement } of namedStatements(state)) {
    if (statement.id === wanted.id) return decoder.decode(name);
  }
  return undefined;
}

/** All names with their statements, as they travel. */
export function freezeStatements(
  state: SessionState,
  cache: StatementCache | undefined,
): [name: Uint8Array, statement: FrozenStatement][] {
  if (cache === undefined) return [];
  return Array.from(
    namedStatements(state),
    ({ name, statement }) => [name, cache.freeze(statement)],
  );
}

/** An error skipped these messages, or one of them failed: the names are what they were before. */
export function takeBackNames(
  state: SessionState,
  cache: StatementCache,
  tracked: readonly Tracked[],
): void {
  for (let i = tracked.length - 1; i >= 0; i--) {
    const { name, before, after } = tracked[i];
    // A later message, behind the Sync, may have given the name to another already.
    if (name === undefined) continue;
    if (findStatement(state, name, 0, name.length)?.id !== after?.id) continue;
    setStatement(state, cache, name.slice(), before);
  }
}

/** DEALLOCATE ALL or DISCARD ALL went through; `later` are messages that were sent behind it. */
export function dropNames(
  state: SessionState,
  cache: StatementCache,
  later: readonly Tracked[],
): void {
  clearStatements(state, cache);
  for (const { name, after } of later) {
    if (name !== undefined) setStatement(state, cache, name.slice(), after);
  }
}
